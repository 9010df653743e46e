package appliance

import (
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
)

// A release that was answered is on disk.
func TestAReleaseOutlivesAPowerCut(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	for range 4 {
		d.session("home", "small")
	}
	d.save()
	r, _ := d.gov.Explain("home", d.time())
	if r.Stage != governor.StageDefer || r.Case == "" {
		t.Fatalf("%+v", r)
	}
	d.pass(time.Minute)
	if v, err := (&source{a: d.Appliance}).Release("home", "me"); err != nil || v.Stage != "observe" {
		t.Fatal(v, err)
	}
	if got := d.told(records.KindAudit); len(got) != 1 || got[0] != "me: release home | defer -> observe" {
		t.Errorf("%q", got)
	}
	d.cut()
	d.start()
	if r, _ := d.gov.Explain("home", d.time()); r.Stage != governor.StageObserve {
		t.Errorf("after a power cut %v", r.Stage)
	}
	if f, ok := d.cases.file(r.Case); !ok || !f.Closed.Equal(d.time()) || !strings.Contains(f.Changes[len(f.Changes)-1].Reason, "released") {
		t.Errorf("the case is %v %+v", ok, f)
	}
}

// What cannot be saved is released all the same, and told.
func TestAReleaseThatCannotBeSavedHolds(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	for range 4 {
		d.session("home", "small")
	}
	d.save()
	if err := d.store.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err := (&source{a: d.Appliance}).Release("home", "me"); err != nil || v.Stage != "observe" {
		t.Fatal(v, err)
	}
	if ok, why := d.saver.status(); ok || why == "" {
		t.Error("nobody would know")
	}
	health := strings.Join(d.told(records.KindHealth), "\n")
	if !strings.Contains(health, "store") || !strings.Contains(health, "keeper") {
		t.Errorf("%q", health)
	}
}
