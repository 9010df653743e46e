package appliance

import (
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
