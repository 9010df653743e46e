package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/store"
)

const (
	// saveBatch is how many subscribers are saved at once: few enough that it
	// takes milliseconds on flash.
	saveBatch = 2000

	// saveWithin is how long charges may wait for the disk, so that few of them share a page of it. Where somebody's stage changes, or saveSoon have
	// changed, which fill more than a page, they do not wait: saveEvery is how often that is looked at.
	saveWithin = 5 * time.Second
	saveSoon   = 50

	// heartbeat is how often the time of the last save is written although
	// nothing changed, so that a quiet week does not look like a clock that jumped.
	heartbeat = time.Hour

	// renewAfter is the longest time between two snapshots, while anything is in the log: it has what the governor has
	// forgotten since, such as addresses. firstRenewal is how long after the start there is one.
	renewAfter   = 24 * time.Hour
	firstRenewal = time.Hour

	// clockStep is how far the wall clock may move against the time that passes before
	// the time of the last save is written again: a restart credits what the wall clock
	// says that went by since, and a step is not that.
	clockStep = time.Second
)

// saver writes what the governor knows to the store, off the packet path:
// changed subscribers within seconds, and all of them when a snapshot is due.
type saver struct {
	gov    *governor.Governor
	store  *store.Store
	now    func() time.Time
	log    *slog.Logger
	health *health
	beside func() int64 // bytes that others wrote
	stage  atomic.Bool  // somebody's has changed since the last save, or that was none

	saving  sync.Mutex // one save at a time; held over the disk
	savedAt time.Time  // guarded by saving
	disk    disk

	mu          sync.Mutex // guards all below; never held over the disk
	snapshotErr error      // of the last snapshot
	day         time.Time  // midnight UTC of today
	daySince    time.Time  // since when is counted: day, or the start if that was later
	dayBase     int64      // bytes written before that
	dayBefore   int64      // bytes written in the day before; 0: not all of it was seen
	most        int64      // of what allWritten has said
	kernelBase  int64      // what the kernel had counted of this process before
}

// Run saves, as [saver.due] says, until ctx ends, and starts and awaits the snapshots.
// The last save is the caller's, after the packets have stopped.
func (s *saver) Run(ctx context.Context) error {
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	snapshots := make(chan struct{}, 1) // holds one while a snapshot is written
	var wait sync.WaitGroup
	defer wait.Wait()
	var again time.Time // no snapshot before
	var since time.Time // of due
	renew := s.now().Add(firstRenewal)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		s.writtenToday() // so that midnight does not pass unseen
		now := s.now()
		if s.due(now, &since) {
			_ = s.saveNow() // which has told
		}
		if now.Before(again) || !s.store.SnapshotDue() && !s.snapshotFailed() && (now.Before(renew) || !s.store.Logged()) {
			continue
		}
		select {
		case snapshots <- struct{}{}:
			again, renew = now.Add(snapshotAgain), now.Add(renewAfter)
			wait.Go(func() {
				s.snapshot(ctx)
				<-snapshots
			})
		default:
		}
	}
}

// due tells whether what has changed, since when somebody's charges wait for the disk, goes there now.
func (s *saver) due(now time.Time, since *time.Time) bool {
	changed := s.gov.Changed()
	switch {
	case changed == 0:
		*since = time.Time{}
	case since.IsZero():
		*since = now.Add(-saveEvery) // about
	}
	if s.stage.Load() || changed >= saveSoon || changed > 0 && now.Sub(*since) >= saveWithin {
		*since = time.Time{}
		return true
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	return now.Sub(s.savedAt) >= heartbeat || stepped(s.savedAt, now)
}

// saveNow writes everything that changed since it was last written, and waits for
// the disk: for what somebody was promised. The error has been told already; what
// was not saved stays in memory and is tried again within a second.
func (s *saver) saveNow() error {
	err := s.save()
	if err != nil {
		if s.health.begin(records.HealthFacts{What: "store", Detail: err.Error()}) {
			s.log.Error("save budgets; what was not saved stays in memory and is tried again each second", "err", err)
		}
	} else if s.health.end("store") {
		s.log.Info("budgets are saved again")
	}
	return err
}

func (s *saver) save() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.disk.begins(s.now())
	s.stage.Store(false)
	err := s.saveAll()
	if err != nil {
		s.stage.Store(true) // it is tried again at once
	}
	s.disk.ends(err)
	return err
}

func (s *saver) saveAll() error {
	for {
		now := s.now()
		batch := s.gov.Dirty(saveBatch, now)
		if len(batch) == 0 && now.Sub(s.savedAt) < heartbeat && !stepped(s.savedAt, now) {
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

// stepped tells whether the wall clock was set between two readings of this life, the
// way it is set when NTP is heard at last.
func stepped(before, now time.Time) bool {
	step := now.Round(0).Sub(before.Round(0)) - now.Sub(before)
	return step.Abs() > clockStep
}

// snapshotFailed tells whether the last one did.
func (s *saver) snapshotFailed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshotErr != nil
}

// status is how saving goes. It does not wait for a save that hangs.
func (s *saver) status() (ok bool, why string) {
	if ok, why = s.disk.status(s.now()); !ok {
		return false, why
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshotErr != nil {
		return false, s.snapshotErr.Error()
	}
	return true, ""
}

// writing is how much was written lately.
type writing struct {
	today     int64
	since     time.Time // midnight UTC, or the start if that was later
	yesterday int64     // 0: not all of that day was seen
}

// writtenToday is how many bytes were written since midnight UTC, or since the start if that is later.
func (s *saver) writtenToday() int64 { return s.writing().today }

func (s *saver) writing() writing {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, now := s.allWritten(), s.now()
	if today := now.UTC().Truncate(24 * time.Hour); !today.Equal(s.day) {
		s.dayBefore = 0
		if s.day.IsZero() {
			s.daySince = now
		} else {
			if s.daySince.Equal(s.day) && today.Equal(s.day.Add(24*time.Hour)) {
				s.dayBefore = all - s.dayBase
			}
			s.dayBase, s.daySince = all, today
		}
		s.day = today
	}
	return writing{all - s.dayBase, s.daySince, s.dayBefore}
}

// allWritten is how many bytes were written since the start: as the kernel counts them, whole pages of whatever mailweir writes, or what was handed to it, where it
// does not count or counts less, as in memory. The caller holds s.mu.
func (s *saver) allWritten() int64 {
	own, kernel := s.store.WrittenBytes()+s.beside(), kernelWrote()
	if s.day.IsZero() { // the first time: another life may have been in this process
		s.kernelBase = kernel
	}
	s.most = max(s.most, own, kernel-s.kernelBase)
	return s.most
}

// kernelWrote is what the kernel counts of what this process has had written to disks; 0: it does not.
func kernelWrote() (n int64) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "write_bytes: %d", &n); err == nil {
			return n
		}
	}
	return 0
}
