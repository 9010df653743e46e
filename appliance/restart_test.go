package appliance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
)

// A case that ended while the box was off ended when it was due, for the reason
// that it would have had; one that the governor has lost ends with the start.
func TestACaseThatEndsWhileTheBoxIsOff(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	for range 4 {
		d.session("home", "small")
	}
	r, _ := d.gov.Explain("home", d.time())
	d.save()
	for range 4 {
		d.session("other", "small")
	}
	lost, _ := d.gov.Explain("other", d.time())
	if err := d.keeper.save(); err != nil { // but not the saver
		t.Fatal(err)
	}
	d.cut()
	d.pass(48 * time.Hour)
	d.start()
	d.catchUp()
	f, ok := d.cases.file(r.Case)
	last := f.Changes[len(f.Changes)-1]
	if !ok || f.Closed.IsZero() || !f.Closed.Before(d.time().Add(-time.Hour)) || !strings.Contains(last.Reason, "below 50% for 15m") {
		t.Errorf("%v %+v", ok, f)
	}
	if got := d.told(records.KindStage); len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "home: ") || !strings.Contains(got[len(got)-1], "-> observe") {
		t.Errorf("%q", got)
	}
	if f, ok := d.cases.file(lost.Case); !ok || !f.Closed.Equal(d.time()) || f.Stage != governor.StageObserve {
		t.Errorf("%v %+v", ok, f)
	}
}

// A clock that is years ahead for a while, at a start or at any time, makes no case
// old; one that stays so does.
func TestAClockThatIsAheadMakesNoCaseOld(t *testing.T) {
	t.Parallel()
	const years = 10 * 366 * 24 * time.Hour
	for name, start := range map[string]bool{"at a start": true, "while it runs": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDeaf(t, homePlans, homeList)
			d.cases.note(moved("00001", governor.StageWarn, governor.StagePace, d.time()))
			d.cases.note(moved("00001", governor.StagePace, governor.StageObserve, d.time()))
			there := func() bool { _, ok := d.cases.file("00001"); return ok }
			d.session("home", "small")
			d.save()
			d.forgetOld()
			d.pass(years)
			if start {
				d.cut()
				d.start()
			}
			if d.forgetOld(); !there() {
				t.Fatal("forgotten at once")
			}
			d.pass(-years)
			d.forgetOld()
			d.pass(clockTrial + time.Minute)
			if d.forgetOld(); !there() {
				t.Fatal("forgotten although the clock is right again")
			}
			d.pass(years)
			for range clockTrial / time.Hour {
				if d.forgetOld(); !there() {
					t.Fatal("forgotten on trial")
				}
				d.pass(time.Hour)
			}
			if d.forgetOld(); there() {
				t.Error("never forgotten")
			}
		})
	}
}

// Where the budgets are lost and the cases are not, no case's number is given out
// to another.
func TestCaseNumbersGoOnWhereBudgetsAreLost(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	number := func(id string) string {
		for range 4 {
			d.session(id, "small")
		}
		r, _ := d.gov.Explain(id, d.time())
		return r.Case
	}
	first := number("home")
	d.save()
	for round := range 3 {
		d.cut()
		if err := os.RemoveAll(filepath.Join(d.dir, "data", "budgets")); err != nil {
			t.Fatal(err)
		}
		d.pass(time.Minute)
		d.start()
		d.catchUp()
		if r, known := d.gov.Explain("home", d.time()); known {
			t.Fatalf("the budgets are not lost: %+v", r)
		}
		next := number("other")
		if f, ok := d.cases.file(next); next <= first || !ok || f.Subscriber != "other" || !f.Closed.IsZero() {
			t.Fatalf("round %d: after %s comes %s: %v %+v", round, first, next, ok, f)
		}
		if f, ok := d.cases.file(first); !ok || f.Closed.IsZero() {
			t.Errorf("the one before: %v %+v", ok, f)
		}
		first = next
		d.save()
	}
	if health := d.told(records.KindHealth); len(health) != 0 {
		t.Errorf("%q", health)
	}
}

// Who was exempt until some day is told when a clock that is not believed has moved it.
func TestAnExemptionThatAClockMovesIsTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why   string
		away  time.Duration
		until time.Time // after it; zero: as it was said
	}{
		{"an hour", time.Hour, time.Time{}},
		{"ten years on", 10 * 365 * 24 * time.Hour, opened.Add(10*365*24*time.Hour + 7*24*time.Hour)},
		{"an hour back", -time.Hour, opened.Add(-time.Hour + 7*24*time.Hour)},
	} {
		d := newDeaf(t, homePlans, homeList)
		said := opened.Add(7 * 24 * time.Hour)
		if _, err := (&source{a: d.Appliance}).Exempt("home", said, "a move", "me"); err != nil {
			t.Fatal(err)
		}
		d.cut()
		d.pass(c.away)
		d.start()
		text := func(at time.Time) string { return "exempt until " + at.Format(time.RFC3339) + ": a move (by me)" }
		var want []string
		if !c.until.IsZero() {
			want = []string{"mailweir: exemption_moved home | " + text(said) + " -> " + text(c.until)}
		}
		if got := d.told(records.KindAudit); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", c.why, got, want)
		}
		d.cut()
	}
}
