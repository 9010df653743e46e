package journal

import (
	"errors"
	"os"
	"testing"
	"time"
)

// A file that cannot be read goes when the time of the first thing in it is over, whenever the journal completed it or wrote it anew, whether that is noticed at once or at the next
// start, when nobody knows any more what it had; and not much before.
func TestWhatWasSetAsideGoesWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	const day, addr = 24 * time.Hour, "203.0.113.77"
	b := Bounds{Sessions: 30 * day, Records: 60 * day, Bytes: 64 << 20}
	early := b.span() + 2*ahead // how much before its time it may go, beside what it spans itself
	for _, row := range []struct {
		why      string
		age      time.Duration // of what there is, when the box writes it
		sessions bool
		spans    time.Duration // from the first to the last of it
		do       func(w *world, now time.Time)
		next     bool // life: it is found then
		goes     time.Duration
	}{
		{"just written", 0, true, time.Minute, nil, false, b.Sessions},
		{"just written, and found at the next start", 0, true, time.Minute, nil, true, b.Sessions},
		{"with all that a file spans", 20 * day, true, b.span() - time.Minute, nil, false, b.Sessions},
		{"with all that a file spans, and found at the next start", 20 * day, true, b.span() - time.Minute, nil, true, b.Sessions},
		{"completed at a start after a crash", 20 * day, true, time.Minute, func(w *world, _ time.Time) { w.Abandon(); w.reopen() }, false, b.Sessions},
		{"completed at a start after a crash, and found at the next", 20 * day, true, time.Minute, func(w *world, _ time.Time) { w.Abandon(); w.reopen() }, true, b.Sessions},
		{"without sessions", 20 * day, false, time.Minute, nil, false, b.Records},
		{"written anew without its sessions", 40 * day, true, time.Minute, func(w *world, now time.Time) { w.tidy(now) }, false, b.Records},
		{"written anew without its sessions, and found at the next start", 40 * day, true, time.Minute, func(w *world, now time.Time) { w.tidy(now) }, true, 40 * day},
		{"completed later than written, by an earlier version, and found at the next start but one", 20 * day, true, time.Minute, func(w *world, now time.Time) {
			path := w.Journal.records[0].path
			if err := errors.Join(w.Close(), os.Chtimes(path, now, now)); err != nil {
				t.Fatal(err)
			}
			w.reopen()
		}, true, b.Sessions},
		{"held beyond its time until now", 40 * day, true, time.Minute, func(w *world, now time.Time) {
			if err := w.Hold(Hold{Case: "00007", Subscriber: "S-1", From: now.Add(-41 * day), Reason: "x", By: "admin", Since: now}); err != nil {
				t.Fatal(err)
			}
			w.tidy(now)
			if w.Status().Held == 0 {
				t.Error("nothing is held")
			}
			if _, ok, err := w.Unhold("00007"); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}, false, 40 * day},
	} {
		now := time.Now()
		w, first := open(t, b), now.Add(-row.age)
		w.stage("S-9", "00001", first)
		for _, at := range []time.Time{first, first.Add(row.spans)} {
			if w.stage("S-9", "00001", at); row.sessions {
				w.session("S-1", addr, at)
			}
		}
		w.drain()
		if row.do != nil {
			row.do(w, now)
		}
		if row.next {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			cannotBeRead(t, w.Journal.records[0].path)
			w.reopen()
		} else {
			w.disk.Lock()
			_, err := w.setAside(&w.Journal.records, 0, unreadable{errors.New("input/output error")})
			w.disk.Unlock()
			if err != nil {
				t.Fatal(err)
			}
		}
		if len(w.setAsides()) != 1 {
			t.Fatalf("%s: set aside: %v", row.why, w.setAsides())
		}
		if before := first.Add(row.goes - early - row.spans); !before.Before(now) {
			if w.tidy(before); len(w.setAsides()) != 1 {
				t.Errorf("%s: it is gone before its time", row.why)
			}
		}
		if w.tidy(first.Add(row.goes)); len(w.setAsides()) > 0 {
			t.Errorf("%s: %v is there when its time is over", row.why, w.setAsides())
		}
		if err := w.Status().Err; err != nil {
			t.Errorf("%s: %v", row.why, err)
		}
	}
}

// cannotBeRead puts something in a file's place that cannot be read and is as old.
func cannotBeRead(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = errors.Join(os.Remove(path), os.Mkdir(path, 0o700), os.Chtimes(path, info.ModTime(), info.ModTime()))
	}
	if err != nil {
		t.Fatal(err)
	}
}
