package appliance

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
)

// shown is what status says is wrong, that begins with text.
func (d *deaf) shown(text string) (found []string) {
	for _, p := range d.problems() {
		if strings.HasPrefix(p.What, text) {
			found = append(found, p.What)
		}
	}
	return found
}

// What passes unjudged, or is not kept, is told: by a HEALTH record at once and then once a minute, and by status as
// long as it goes on.
func TestWhatPassesUnjudgedIsTold(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		what, shown string
		happens     func(d *deaf)
	}{
		{"unknown_plan", "Sessions pass unjudged under a plan", func(d *deaf) { d.session("home", "of nobody") }},
		{"case_changes_lost", "There are too many open cases", func(d *deaf) {
			for i := range maxCases + 1 {
				d.cases.note(governor.StageChange{Subscriber: fmt.Sprint("S-", i), Case: fmt.Sprintf("%05d", i), To: governor.StagePace, At: d.time()})
			}
		}},
		{"table_full", "More subscribers are active", func(d *deaf) {
			for i := range governor.MaxSubscribers + 1 {
				d.gov.Open(governor.Attempt{Subscriber: fmt.Sprint("S-", i), Plan: "small", Destination: netip.MustParsePrefix("192.0.2.0/24")}, d.time())
			}
		}},
	} {
		d := newDeaf(t, homePlans, homeList)
		d.lookAtCounters()
		if got := d.told(records.KindHealth); len(got) > 0 || len(d.shown(row.shown)) > 0 {
			t.Errorf("%s: told before it happened: %q", row.what, got)
		}
		row.happens(d)
		d.lookAtCounters()
		d.lookAtCounters()
		told := func() (n int) {
			for _, line := range d.told(records.KindHealth) {
				if strings.Contains(line, row.what) {
					n++
				}
			}
			return n
		}
		if n := told(); n != 1 || len(d.shown(row.shown)) != 1 {
			t.Errorf("%s: %d records, shown as %q", row.what, n, d.shown(row.shown))
		}
		d.pass(2 * time.Minute)
		d.lookAtCounters()
		if n := told(); n != 1 || len(d.shown(row.shown)) != 0 {
			t.Errorf("%s, when it is over: %d records, shown as %q", row.what, n, d.shown(row.shown))
		}
	}
}

// A list that was refused is a problem until a good one is there.
func TestARefusedListIsShown(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	for _, bad := range []string{"subscriber,plan\nhome,golden\n", "subscriber,plan\n"} {
		d.write("subscribers.csv", bad)
		d.looks()
		if got := d.shown("The list of subscribers was refused"); len(got) != 1 {
			t.Errorf("%q: shown as %q", bad, got)
		}
	}
	path := filepath.Join(d.dir, "subscribers.csv")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	d.write("subscribers.csv", homeList+"third,small,100.64.0.3\n")
	if d.looks(); len(d.shown("The list of subscribers was refused")) != 0 || d.who.Table().Len() != 3 {
		t.Errorf("shown as %q, %d subscribers", d.shown("The list"), d.who.Table().Len())
	}
}
