package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/store"
)

// saveBatch is how many subscribers one transaction holds: few enough that it
// takes milliseconds on flash.
const saveBatch = 1000

// saver writes changed budgets to the store, in batches and off the packet path.
type saver struct {
	gov    *governor.Governor
	store  *store.Store
	now    func() time.Time
	log    *slog.Logger
	health *health

	saving  sync.Mutex // one save at a time; held over the disk
	savedAt time.Time  // guarded by saving

	mu      sync.Mutex // guards all below; never held over the disk
	err     error
	began   time.Time // when the save that runs now began
	day     time.Time // midnight UTC of today
	dayBase int64     // bytes written before it
}

// heartbeat is how often the time of the last save is written although nothing
// changed, so that a quiet week does not look like a clock that jumped.
const heartbeat = time.Hour

// Run saves once a second until ctx ends. The last save is the caller's, after
// the packets have stopped.
func (s *saver) Run(ctx context.Context) error {
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			s.writtenToday() // so that midnight does not pass unseen
			if err := s.save(); err != nil {
				s.log.Error("save budgets; what was not saved stays in memory and is tried again", "err", err)
				s.health.begin(records.HealthFacts{What: "store", Detail: err.Error()})
			} else {
				s.health.end("store")
			}
		}
	}
}

// save writes everything that changed since it was last written.
func (s *saver) save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.note(s.now(), nil)
	err := s.saveAll()
	s.note(time.Time{}, err)
	return err
}

func (s *saver) note(began time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began = began; began.IsZero() {
		s.err = err
	}
}

func (s *saver) saveAll() error {
	for {
		now := s.now()
		batch := s.gov.Dirty(saveBatch, now)
		if len(batch) == 0 {
			if now.Sub(s.savedAt) < heartbeat {
				return nil
			}
		} // or of nobody: only the time
		if err := s.store.Save(batch, s.gov.State(now, now)); err != nil {
			s.gov.Redo(batch)
			return fmt.Errorf("save budgets: %w", err)
		}
		s.savedAt = now
		if len(batch) < saveBatch {
			return nil
		}
	}
}

// saveHangs is how long a save may take before the disk is said to hang.
const saveHangs = 10 * time.Second

// status is how saving goes. It does not wait for a save that hangs.
func (s *saver) status() (ok bool, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if took := s.now().Sub(s.began); !s.began.IsZero() && took > saveHangs {
		return false, fmt.Sprintf("the disk has not answered for %v", took.Round(time.Second))
	}
	if s.err != nil {
		return false, s.err.Error()
	}
	return true, ""
}

// writtenToday is how many bytes the store wrote since midnight UTC, or since
// the start if that is later.
func (s *saver) writtenToday() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.store.WrittenBytes()
	if today := s.now().UTC().Truncate(24 * time.Hour); !today.Equal(s.day) {
		if !s.day.IsZero() {
			s.dayBase = all
		}
		s.day = today
	}
	return all - s.dayBase
}

// restore brings back what the last life saved.
func (a *Appliance) restore(now time.Time) error {
	saved, st, err := a.store.Load()
	if err != nil {
		return err
	}
	if n := a.store.Skipped(); n > 0 {
		a.log.Error("entries of the database were damaged and are forgotten", "entries", n)
		a.health.tell(records.HealthFacts{What: "store", Count: uint64(n), Detail: "damaged entries of subscribers are forgotten: their budgets and stages begin anew"})
	}
	verdict, err := a.gov.Restore(st, func(each func(*governor.Saved)) error {
		for i := range saved {
			each(&saved[i])
		}
		return nil
	}, now, now)
	if err != nil {
		return err
	}
	savedAt := st.Wall
	switch verdict {
	case governor.ClockBack, governor.ClockAhead:
		a.health.tell(records.HealthFacts{What: "clock_step", Detail: fmt.Sprintf(
			"the clock says %s and the last save was at %s: budgets go on as they were saved",
			now.UTC().Format(time.RFC3339), savedAt.UTC().Format(time.RFC3339))})
	}
	if savedAt.IsZero() {
		a.log.Info("first start with this data directory", "dir", a.opt.DataDir)
	} else {
		a.log.Info("budgets restored", "subscribers", a.gov.Count(), "saved", savedAt, "clock", verdict)
	}
	return nil
}
