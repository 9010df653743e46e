package appliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/store"
)

// kept is a governor with its saver on a store of its own.
type kept struct {
	*saver
	dir string

	mu   sync.Mutex
	told []string
}

func keeps(t *testing.T, dir string) *kept {
	t.Helper()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := governor.Policy{Mode: governor.ModeEnforce, Plans: []governor.Plan{{Name: "home", HighestStage: governor.StageDefer,
		Budgets: []governor.Budget{{Of: governor.Sessions, Limit: 4, Per: time.Hour}}}}}
	k := &kept{dir: dir}
	say := func(e records.Entry) bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.told = append(k.told, fmt.Sprint(e))
		return true
	}
	k.saver = &saver{gov: governor.New(p, time.Now()), store: s, now: time.Now, log: slog.New(slog.DiscardHandler), health: &health{say: say, now: time.Now}, beside: func() int64 { return 0 }}
	return k
}

func (k *kept) said() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.told)
}

// back is the box that finds what k has on disk, as after a power cut.
func (k *kept) back(t *testing.T) *Appliance {
	t.Helper()
	s, err := store.Open(k.dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	a := &Appliance{store: s, gov: governor.New(governor.Policy{Mode: governor.ModeEnforce}, time.Now()), log: k.log, health: k.health, now: time.Now, cases: newCasebook()}
	a.damaged()
	if err := a.restore(time.Now()); err != nil {
		t.Fatal(err)
	}
	return a
}

func (k *kept) files(t *testing.T) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(k.dir, "budgets", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		names[i], _, _ = strings.Cut(filepath.Base(names[i]), "-")
	}
	return strings.Join(names, " ")
}

// Few charges share a page of the disk: they wait for it, for some seconds at most. A change of stage does not, nor do many.
func TestFewChargesWaitForTheDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keeps(t, t.TempDir())
		ctx, end := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		time.Sleep(saveEvery + saveEvery/2)
		opens := func(from, to int) {
			for n := range to - from {
				k.gov.Open(governor.Attempt{Subscriber: fmt.Sprintf("S-%05d", from+n), Plan: "home"}, time.Now())
			}
		}
		waits := func(most time.Duration) (waited time.Duration) {
			t.Helper()
			for began := time.Now(); k.gov.Changed() > 0; time.Sleep(saveEvery / 10) {
				if waited = time.Since(began); waited > most {
					t.Fatalf("%d still wait after %v", k.gov.Changed(), waited)
				}
			}
			return waited
		}
		opens(0, saveSoon-1)
		if waited := waits(saveWithin); waited < saveWithin-2*saveEvery {
			t.Errorf("few have waited for %v only", waited)
		}
		opens(0, saveSoon)
		waits(saveEvery)
		opens(0, 1)
		k.stage.Store(true)
		waits(saveEvery)
		opens(0, 1)
		waits(saveWithin)
		if k.stage.Load() {
			t.Error("a change of stage is to be saved again and again")
		}
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := k.store.Close(); err != nil {
			t.Fatal(err)
		}
		if n := k.back(t).gov.Count(); n != saveSoon {
			t.Errorf("%d came back", n)
		}
	})
}

func TestTheSaverSavesEachSecondAndMakesSnapshots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keeps(t, t.TempDir())
		ctx, end := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		// 30,000 subscribers, changed again and again, until the log has outgrown 4 MiB and then its snapshot
		for range 10 {
			for n := range 30_000 {
				k.gov.Open(governor.Attempt{Subscriber: fmt.Sprintf("S-%05d", n), Plan: "home"}, time.Now())
			}
			time.Sleep(snapshotAgain)
			synctest.Wait()
		}
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if ok, why := k.status(); !ok || k.writtenToday() < 4<<20 {
			t.Errorf("%s, %d bytes", why, k.writtenToday())
		}
		if got := k.files(t); got != "log snapshot" && got != "snapshot" {
			t.Errorf("files: %s", got)
		}
		if err := k.store.Close(); err != nil {
			t.Fatal(err)
		}
		if a := k.back(t); a.gov.Count() != 30_000 || k.said() != 0 {
			t.Errorf("%d came back; said %q", a.gov.Count(), k.told)
		}
	})
}

// What was written is counted by the day, UTC; a day that was not seen from its beginning is none to compare with.
func TestWhatIsWrittenIsCountedByTheDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keeps(t, t.TempDir())
		time.Sleep(time.Hour) // it is one o'clock
		if w := k.writing(); !w.since.Equal(time.Now()) || w.yesterday != 0 {
			t.Errorf("%+v", w)
		}
		ctx, end := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		pass := func(d time.Duration) writing {
			k.gov.Open(governor.Attempt{Subscriber: "S", Plan: "home"}, time.Now())
			time.Sleep(d)
			synctest.Wait()
			return k.writing()
		}
		midnight := func() time.Time { return time.Now().UTC().Truncate(24 * time.Hour) }
		first := pass(22 * time.Hour)
		if first.today == 0 || first.since.Equal(midnight()) {
			t.Errorf("the first day: %+v", first)
		}
		if w := pass(2 * time.Hour); !w.since.Equal(midnight()) || w.yesterday != 0 {
			t.Errorf("the second day: %+v", w)
		}
		second := pass(22 * time.Hour)
		if w := pass(2 * time.Hour); !w.since.Equal(midnight()) || w.yesterday < second.today || w.today > w.yesterday {
			t.Errorf("the third day: %+v, after %+v", w, second)
		}
		end()
		if err := errors.Join(<-done, k.store.Close()); err != nil {
			t.Error(err)
		}
	})
}

// What cannot be saved is told once, stays in memory, and is saved when that goes again.
func TestTheSaverLosesNothingWhenTheDiskFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := keeps(t, dir)
	k.gov.Open(governor.Attempt{Subscriber: "S", Plan: "home"}, time.Now())
	if err := k.store.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := k.saveNow(); !errors.Is(err, fs.ErrClosed) {
			t.Fatalf("%v", err)
		}
		if _, err := k.writeSnapshot(t.Context()); !errors.Is(err, fs.ErrClosed) {
			t.Fatalf("%v", err)
		}
	}
	k.snapshot(t.Context())
	if ok, why := k.status(); ok || why == "" || k.said() != 2 {
		t.Errorf("%v %q, said %q", ok, why, k.told)
	}
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	k.store = s
	if err := k.saveNow(); err != nil {
		t.Fatal(err)
	}
	k.snapshot(t.Context())
	if ok, why := k.status(); !ok || k.said() != 4 {
		t.Errorf("%q, said %q", why, k.told)
	}
	if err := k.store.Close(); err != nil {
		t.Fatal(err)
	}
	if a := k.back(t); a.gov.Count() != 1 {
		t.Errorf("%d came back", a.gov.Count())
	}
}

// Who stops in the middle of a snapshot leaves nothing of it, and has lost nothing.
func TestASnapshotIsGivenUpWhenWeStop(t *testing.T) {
	t.Parallel()
	k := keeps(t, t.TempDir())
	for n := range 3000 {
		k.gov.Open(governor.Attempt{Subscriber: fmt.Sprintf("S-%05d", n), Plan: "home"}, time.Now())
	}
	if err := k.saveNow(); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	end()
	if _, err := k.writeSnapshot(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if got := k.files(t); got != "log" {
		t.Errorf("files: %s", got)
	}
	if err := k.store.Close(); err != nil {
		t.Fatal(err)
	}
	if a := k.back(t); a.gov.Count() != 3000 {
		t.Errorf("%d came back", a.gov.Count())
	}
}

// Damage is told and stops nobody.
func TestABoxStartsWhateverIsOnItsDisk(t *testing.T) {
	t.Parallel()
	k := keeps(t, t.TempDir())
	for n := range 10 {
		k.gov.Open(governor.Attempt{Subscriber: fmt.Sprintf("S-%05d", n), Plan: "home"}, time.Now())
		if err := k.saveNow(); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.store.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(k.dir, "budgets", "*"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	if err := errors.Join(os.WriteFile(names[0], b, 0o600), os.WriteFile(filepath.Join(k.dir, "mailweir.db"), []byte("junk"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if a := k.back(t); a.gov.Count() != 9 || k.said() != 2 {
		t.Errorf("%d came back; said %q", a.gov.Count(), k.told)
	}
}

// The figures of a save that hangs are there all the same.
func TestADiskThatHangsIsSeen(t *testing.T) {
	t.Parallel()
	k := keeps(t, t.TempDir())
	var now atomic.Int64
	k.now = func() time.Time { return time.Unix(now.Load(), 0) }
	k.saving.Lock() // as a save does that waits for the disk
	k.disk.begins(k.now())
	now.Store(11)
	if ok, why := k.status(); ok || !strings.Contains(why, "11s") {
		t.Errorf("%v %q", ok, why)
	}
	k.saving.Unlock()
	if err := k.saveNow(); err != nil {
		t.Error(err)
	}
	if ok, why := k.status(); !ok {
		t.Error(why)
	}
	if err := k.store.Close(); err != nil {
		t.Error(err)
	}
}
