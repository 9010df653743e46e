package records

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Sessions and decisions that come soon behind a record wait for more of them; everything else is a record at once, and takes along what waits.
func TestOnlyWhatComesInPlentyWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := OpenChain(filepath.Join(t.TempDir(), "records.state"), "box-1")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		said := make(chan Kind, 10)
		w := NewWriter(c, 64, time.Now, func(r Record) { said <- r.Kind })
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		session, audit := Session(SessionFacts{Start: time.Now(), End: time.Now()}), Audit(AuditFacts{Time: time.Now(), Who: "admin", What: "release"})
		for _, step := range []struct {
			why   string
			say   []Entry
			sleep time.Duration
			want  int
		}{
			{"the first one is a record at once", []Entry{session}, 0, 1},
			{"the next one waits", []Entry{session}, 0, 1},
			{"and another one with it", []Entry{session}, restFor - time.Millisecond, 1},
			{"until their time is over", nil, time.Millisecond, 3},
			{"what somebody waits for does not", []Entry{audit}, 0, 4},
			{"nor the next of these", []Entry{audit}, 0, 5},
			{"a session waits again", []Entry{session}, 0, 5},
			{"and goes with what does not", []Entry{audit}, 0, 7},
			{"who comes much later does not wait", nil, time.Second, 7},
			{"whatever it is", []Entry{session}, 0, 8},
		} {
			for _, e := range step.say {
				w.Say(e)
			}
			time.Sleep(step.sleep)
			if synctest.Wait(); len(said) != step.want {
				t.Errorf("%s: %d records, want %d", step.why, len(said), step.want)
			}
		}
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Who settles sees what was said before, whether the writer rests or not; nobody waits for one that has ended.
func TestSettle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		made := 0
		c, err := OpenChain(filepath.Join(t.TempDir(), "records.state"), "box-1")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		w := NewWriter(c, 64, time.Now, func(Record) { made++ })
		ctx, stop := context.WithCancel(context.Background())
		over := make(chan struct{})
		go func() { defer close(over); _ = w.Run(ctx) }()
		synctest.Wait()
		for want := range 5 {
			if w.Settle(ctx); made != want {
				t.Errorf("%d records, want %d", made, want)
			}
			w.Say(Session(SessionFacts{Start: time.Now(), End: time.Now()}))
		}
		stop()
		<-over
		if made != 5 {
			t.Errorf("%d records at the end, want 5", made)
		}
		w.Settle(context.Background())
	})
}

// running is a writer with a chain of its own, from run until end.
func running(t *testing.T, capacity int, sink func(Record)) (w *Writer, run func(), end func()) {
	t.Helper()
	c, err := OpenChain(filepath.Join(t.TempDir(), "records.state"), "box-1")
	if err != nil {
		t.Fatal(err)
	}
	w = NewWriter(c, capacity, time.Now, sink)
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	return w, func() { go func() { over <- w.Run(ctx) }() }, func() {
		stop()
		if err := errors.Join(<-over, c.Close()); err != nil {
			t.Error(err)
		}
	}
}

// Settle returns behind the records, not before them.
func TestSettleWaitsForTheRecords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		let, made := make(chan struct{}), 0
		w, run, end := running(t, 64, func(Record) { <-let; made++ })
		run()
		session := Session(SessionFacts{Start: time.Now(), End: time.Now()})
		w.Say(session)
		let <- struct{}{}
		synctest.Wait() // it rests
		w.Say(session)
		settled := make(chan int, 1)
		go func() { w.Settle(context.Background()); settled <- made }()
		synctest.Wait()
		if len(settled) > 0 {
			t.Error("it is settled while the record is being made")
		}
		close(let)
		if n := <-settled; n != 2 {
			t.Errorf("%d records, want 2", n)
		}
		end()
	})
}

// What had to be dropped is said as soon as there is room, while the writer runs on.
func TestALossIsToldWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []string
		w, run, end := running(t, 4, func(r Record) {
			if r.Value("what") == "record_loss" {
				told = append(told, r.Value("count"))
			}
		})
		audit := Audit(AuditFacts{Time: time.Now(), Who: "admin", What: "release"})
		for range 10 {
			w.Say(audit)
		}
		run()
		synctest.Wait()
		if !slices.Equal(told, []string{"6"}) {
			t.Errorf("told as lost: %q", told)
		}
		for range 5 { // nobody takes them between
			w.Say(audit)
		}
		synctest.Wait()
		if !slices.Equal(told, []string{"6", "1"}) {
			t.Errorf("told as lost: %q", told)
		}
		end()
		if len(told) != 2 {
			t.Errorf("told again: %q", told)
		}
	})
}
