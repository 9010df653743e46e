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

const (
	// saveBatch is how many subscribers are saved at once: few enough that it
	// takes milliseconds on flash.
	saveBatch = 2000

	// heartbeat is how often the time of the last save is written although
	// nothing changed, so that a quiet week does not look like a clock that jumped.
	heartbeat = time.Hour

	// saveHangs is how long a save may take before the disk is said to hang.
	saveHangs = 10 * time.Second
)

// saver writes what the governor knows to the store, off the packet path:
// changed subscribers every second, and all of them when a snapshot is due.
type saver struct {
	gov    *governor.Governor
	store  *store.Store
	now    func() time.Time
	log    *slog.Logger
	health *health

	saving  sync.Mutex // one save at a time; held over the disk
	savedAt time.Time  // guarded by saving

	mu          sync.Mutex // guards all below; never held over the disk
	err         error      // of the last save
	snapshotErr error      // of the last snapshot
	began       time.Time  // when the save that runs now began
	day         time.Time  // midnight UTC of today
	dayBase     int64      // bytes written before it
}

// Run saves once a second until ctx ends, and starts and awaits the snapshots.
// The last save is the caller's, after the packets have stopped.
func (s *saver) Run(ctx context.Context) error {
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	snapshots := make(chan struct{}, 1) // holds one while a snapshot is written
	var wait sync.WaitGroup
	defer wait.Wait()
	var again time.Time // no snapshot before
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		s.writtenToday() // so that midnight does not pass unseen
		_ = s.saveNow()  // which has told
		now := s.now()
		if now.Before(again) || !s.store.SnapshotDue() {
			continue
		}
		select {
		case snapshots <- struct{}{}:
			again = now.Add(snapshotAgain)
			wait.Go(func() {
				s.snapshot(ctx)
				<-snapshots
			})
		default:
		}
	}
}

// saveNow writes everything that changed since it was last written, and waits for
// the disk: for what somebody was promised. The error has been told already; what
// was not saved stays in memory and is tried again within a second.
func (s *saver) saveNow() error {
	err := s.save()
	if err != nil {
		s.log.Error("save budgets; what was not saved stays in memory and is tried again", "err", err)
		s.health.begin(records.HealthFacts{What: "store", Detail: err.Error()})
	} else {
		s.health.end("store")
	}
	return err
}

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
		if len(batch) == 0 && now.Sub(s.savedAt) < heartbeat {
			return nil
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

// status is how saving goes. It does not wait for a save that hangs.
func (s *saver) status() (ok bool, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if took := s.now().Sub(s.began); !s.began.IsZero() && took > saveHangs {
		return false, fmt.Sprintf("the disk has not answered for %v", took.Round(time.Second))
	}
	for _, err := range []error{s.err, s.snapshotErr} {
		if err != nil {
			return false, err.Error()
		}
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
