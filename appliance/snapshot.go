package appliance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
)

const (
	// snapshotPart is how many subscribers are taken from the governor at once.
	snapshotPart = 1000

	// snapshotAgain is the least time between the beginnings of two snapshots,
	// also after one that came to nothing.
	snapshotAgain = time.Minute
)

// snapshot writes all subscribers to the store and says how it went. It works at
// most half of the time, so that a core and the disk have room for others.
func (s *saver) snapshot(ctx context.Context) {
	began := s.now()
	n, err := s.writeSnapshot(ctx)
	if ctx.Err() != nil {
		return // we stop: the log that it was to replace is as good
	}
	s.mu.Lock()
	s.snapshotErr = err
	s.mu.Unlock()
	if err != nil {
		if s.health.begin(records.HealthFacts{What: "snapshot", Detail: err.Error()}) {
			s.log.Error("write a snapshot of the budgets; the log goes on, and it is tried again each minute", "err", err)
		}
		return
	}
	if s.health.end("snapshot") {
		s.log.Info("snapshots of the budgets are written again")
	}
	s.log.Debug("snapshot of the budgets written", "subscribers", n, "took", s.now().Sub(began))
}

func (s *saver) writeSnapshot(ctx context.Context) (n int, err error) {
	w, err := s.store.Snapshot()
	if err != nil {
		return 0, err
	}
	defer func() {
		if e := w.Abort(); e != nil {
			err = errors.Join(err, fmt.Errorf("give up the snapshot: %w", e))
		}
	}()
	for from := 0; from >= 0; {
		now := s.now()
		var some []governor.Saved
		some, from = s.gov.Snapshot(from, snapshotPart, now)
		if err := w.Write(some, s.gov.State(now, now)); err != nil {
			return n, fmt.Errorf("write a snapshot of the budgets: %w", err)
		}
		n += len(some)
		select {
		case <-ctx.Done():
			return n, ctx.Err()
		case <-time.After(s.now().Sub(now)):
		}
	}
	if err := w.Commit(); err != nil {
		return n, fmt.Errorf("finish a snapshot of the budgets: %w", err)
	}
	return n, nil
}
