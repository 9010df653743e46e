package appliance

import (
	"context"
	"errors"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor/store"
)

// eraseEvery is the least time between two looks for what was deleted and is still in a file as bytes. Between them bbolt
// uses most free pages again by itself, so that this writes a few pages and not each page twice.
const eraseEvery = 10 * time.Minute

// eraser takes what is over its time out of the raw files. What is over is decided elsewhere, and told by forgotten.
type eraser struct {
	store  *store.Store
	health *health
	due    chan time.Time // of one: what nobody wrote to since then is over its time
}

func newEraser(s *store.Store, h *health) *eraser {
	return &eraser{store: s, health: h, due: make(chan time.Time, 1)}
}

// forgotten tells that everything from before a time has been deleted. It does not wait.
func (e *eraser) forgotten(before time.Time) {
	select {
	case e.due <- before:
	default:
	}
}

// Run erases, not more often than each eraseEvery, until ctx ends.
func (e *eraser) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case before := <-e.due:
			e.erase(ctx, before)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(eraseEvery):
		}
	}
}

func (e *eraser) erase(ctx context.Context, before time.Time) {
	_, err := e.store.WipeFree(ctx)
	if err = errors.Join(err, e.store.ForgetDamaged(before)); err == nil {
		e.health.end("erase")
	} else if ctx.Err() == nil {
		e.health.begin(records.HealthFacts{What: "erase", Detail: err.Error()})
	}
}
