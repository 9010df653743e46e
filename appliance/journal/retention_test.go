package journal

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
)

// After their time, sessions are in no byte of the journal, and neither are records after theirs; the chain over what is left
// can be checked all the while.
func TestNothingOutlivesItsTime(t *testing.T) {
	t.Parallel()
	b := Bounds{Sessions: time.Hour, Records: 3 * time.Hour, Bytes: 64 << 20}
	w := open(t, b)
	old, young := "203.0.113.77", "198.51.100.9"
	old6 := "2001:db8:dead:beef::77"
	for i := range 20 {
		w.session("S-1", old, noon.Add(time.Duration(i)*time.Second))
		w.session("S-6", old6, noon.Add(time.Duration(i)*time.Second))
	}
	w.add(records.Decision(records.DecisionFacts{Decision: governor.Decision{Subscriber: "S-1", At: noon.Add(20 * time.Second), Action: governor.ActionDefer},
		Src: netip.AddrPortFrom(netip.MustParseAddr(old), 4711)}))
	w.session("S-2", young, noon.Add(50*time.Minute))
	w.drain()
	for _, a := range []string{old, old6, young} {
		if w.holding(a) == nil {
			t.Fatalf("%s is nowhere", a)
		}
	}

	for _, row := range []struct {
		why              string
		at               time.Duration
		old, old6, young bool
		rows             int
	}{
		{"nothing is old", 50 * time.Minute, true, true, true, 42},
		{"an hour: the first sessions go, a decision of theirs stays", time.Hour, true, false, true, 2},
		{"the rest of the sessions", time.Hour + 50*time.Minute, true, false, false, 1},
		{"three hours: the decision, too", 3*time.Hour + 20*time.Second, false, false, false, 0},
		{"and then what told that there had been something", 4 * time.Hour, false, false, false, 0},
	} {
		w.tidy(noon.Add(row.at))
		if err := w.Status().Err; err != nil {
			t.Fatal(err)
		}
		for addr, want := range map[string]bool{old: row.old, old6: row.old6, young: row.young} {
			if found := w.holding(addr); (found != nil) != want {
				t.Errorf("%s: %s is in %v, want %v", row.why, addr, found, want)
			}
		}
		if rows, _ := w.whole(); rows != row.rows {
			t.Errorf("%s: %d rows, want %d", row.why, rows, row.rows)
		}
	}
	if left := w.items(Query{}); len(left) != 0 {
		t.Errorf("%d stubs are left of nothing", len(left))
	}
}

// Times are kept to the second, not to the file: whatever the time of a sweep, nothing is older than its retention, and
// nothing goes that is younger than retention less the span of a file and what lies between two sweeps.
func TestRetentionIsKeptAtEverySweep(t *testing.T) {
	t.Parallel()
	b := Bounds{Sessions: 2 * time.Hour, Records: 5 * time.Hour, Bytes: 64 << 20}
	w := open(t, b)
	const every = 3 * time.Minute
	for n := range int(8 * time.Hour / every) {
		minute := n * int(every/time.Minute)
		now := noon.Add(time.Duration(n) * every)
		w.session("S-1", "100.64.0.11", now)
		w.stage("S-1", "00001", now)
		w.tidy(now)
		sessions, others := 0, 0
		for _, it := range w.items(Query{}) {
			if it.Stub != nil {
				continue
			}
			keep := b.Records
			if it.Record.Kind == records.KindSession {
				keep = b.Sessions
				sessions++
			} else {
				others++
			}
			if age := now.Sub(it.Record.Time); age > keep {
				t.Fatalf("minute %d: a %s is %v old", minute, it.Record.Kind, age)
			}
		}
		sure := b.Sessions - b.span() - ahead
		if want := min(n+1, int(sure/every)); sessions < want {
			t.Fatalf("minute %d: %d sessions, at least %d are young enough", minute, sessions, want)
		}
		if want := min(n+1, int((b.Records-b.span()-ahead)/every)); others < want {
			t.Fatalf("minute %d: %d other records, at least %d are young enough", minute, others, want)
		}
		w.whole()
	}
	if st := w.Status(); st.Held != 0 || !st.Since.After(noon) {
		t.Errorf("%+v", st)
	}
}

// What belongs to a held case stays beyond its time, and says so; when the hold ends, it goes.
func TestAHeldCaseStays(t *testing.T) {
	t.Parallel()
	b := Bounds{Sessions: time.Hour, Records: 2 * time.Hour, Bytes: 64 << 20}
	w := open(t, b)
	for i := range 10 {
		at := noon.Add(time.Duration(i) * time.Second)
		w.session("S-1", "203.0.113.77", at)
		w.session("S-2", "198.51.100.9", at)
	}
	w.stage("S-1", "00007", noon.Add(15*time.Second))
	w.stage("S-2", "00008", noon.Add(16*time.Second))
	w.session("S-1", "203.0.113.77", noon.Add(30*time.Minute)) // after the case
	w.drain()
	hold := Hold{Case: "00007", Subscriber: "S-1", From: noon, Reason: "file 12/26", By: "admin", Since: noon}
	if err := w.Hold(hold); err != nil {
		t.Fatal(err)
	}
	if err := w.Closed("00007", noon.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, life := range []string{"this life", "the next one"} {
		w.tidy(noon.Add(3 * time.Hour))
		if err := w.Status().Err; err != nil {
			t.Fatal(err)
		}
		held := w.items(Query{Case: "00007"})
		if len(held) != 11 || w.Status().Held != 11 {
			t.Fatalf("%s: %d records are held, status says %d", life, len(held), w.Status().Held)
		}
		for _, it := range held {
			if !slices.Equal(it.Held, []string{"00007"}) || it.Record.Value("subscriber") != "S-1" {
				t.Errorf("%s: %q held by %v", life, it.Record.Text, it.Held)
			}
		}
		if rows, _ := w.whole(); rows != 11 || w.holding("198.51.100.9") != nil {
			t.Errorf("%s: %d rows; the neighbour is in %v", life, rows, w.holding("198.51.100.9"))
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		w.reopen()
	}
	was, ok, err := w.Unhold("00007")
	if err != nil || !ok || was.Reason != hold.Reason {
		t.Fatalf("%+v, %v, %v", was, ok, err)
	}
	if _, ok, _ := w.Unhold("00007"); ok {
		t.Error("the hold ended twice")
	}
	w.tidy(noon.Add(3*time.Hour + time.Minute))
	if found := w.holding("203.0.113.77"); found != nil || w.Status().Held != 0 {
		t.Errorf("after the hold: %v, %+v", found, w.Status())
	}
}

// All files together stay within the bound; the oldest go, but not what is held.
func TestTheBoundIsKept(t *testing.T) {
	t.Parallel()
	b := Bounds{Sessions: 30 * 24 * time.Hour, Records: 180 * 24 * time.Hour, Bytes: 1 << 20}
	w := open(t, b)
	w.stage("S-7", "00007", noon)
	if err := w.Hold(Hold{Case: "00007", Subscriber: "S-7", Reason: "x", From: noon, To: noon.Add(time.Second)}); err != nil {
		t.Fatal(err)
	}
	for i := range 4000 {
		w.session("S-1", "100.64.0.11", noon.Add(time.Duration(i)*time.Second))
		if i%100 == 0 {
			w.drain()
			var all int64
			for _, s := range w.Journal.records {
				all += s.size
			}
			if all > b.Bytes || w.Status().Bytes != all {
				t.Fatalf("%d bytes after %d records, status says %d", all, i, w.Status().Bytes)
			}
		}
	}
	w.drain()
	rows, stubs := w.whole()
	if rows < 500 || stubs == 0 || len(w.items(Query{Case: "00007"})) != 1 {
		t.Errorf("%d rows, %d stubs, %d of the held case", rows, stubs, len(w.items(Query{Case: "00007"})))
	}
	for _, it := range w.items(Query{}) {
		if it.Stub != nil && it.Stub.Why != Bounded {
			t.Errorf("numbers %d to %d are gone because of %s", it.Stub.First, it.Stub.Last, it.Stub.Why)
		}
	}
}
