package appliance

import (
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor/store"
)

// broken is a store whose disk is gone.
func broken(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// fails makes the keeper's disk fail, and not the saver's; what it gives back mends it.
func (d *deaf) fails() (mend func()) {
	d.t.Helper()
	good := d.keeper.store
	d.keeper.store = broken(d.t)
	return func() { d.keeper.store = good }
}

// Addresses and cases that cannot be saved are on status as budgets are; it is told
// and logged once when it begins and once when it ends; and nothing is lost.
func TestTheKeeperLosesNothingWhenTheDiskFails(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	mend := d.fails()
	for range 3 {
		d.session("home", "small")
	}
	if err := d.who.SetPlan("other", "large"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := d.keeper.saveNow(); err == nil {
			t.Fatal("saved")
		}
	}
	if ok, why := d.saved(); ok || !strings.Contains(why, "addresses and cases") {
		t.Errorf("%v %q", ok, why)
	}
	mend()
	for range 3 {
		if err := d.keeper.saveNow(); err != nil {
			t.Fatal(err)
		}
	}
	if ok, why := d.saved(); !ok || why != "" {
		t.Errorf("%v %q", ok, why)
	}
	if got := d.told(records.KindHealth); len(got) != 2 {
		t.Errorf("%q", got)
	}
	if log := d.log.String(); strings.Count(log, "level=ERROR") != 1 || strings.Count(log, "saved again") != 1 {
		t.Errorf("%s", log)
	}
	d.cut()
	d.start()
	if _, ok := d.cases.file("00001"); !ok || d.planOf("other") != "large" {
		t.Errorf("the case is there: %v; the plan is %s", ok, d.planOf("other"))
	}
}

// A database that hangs is on status, and status does not hang with it.
func TestADatabaseThatHangsIsSeen(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	d.keeper.disk.begins(d.time())
	d.pass(saveHangs + time.Second)
	if ok, why := d.saved(); ok || !strings.Contains(why, "11s") {
		t.Errorf("%v %q", ok, why)
	}
	if err := d.keeper.saveNow(); err != nil {
		t.Fatal(err)
	}
	if ok, why := d.saved(); !ok {
		t.Error(why)
	}
}

// A budget's save that fails is logged once, too.
func TestTheSaverLogsAFailureOnce(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	good := d.saver.store
	d.session("home", "small")
	d.saver.store = broken(t)
	for range 3 {
		if err := d.saver.saveNow(); err == nil {
			t.Fatal("saved")
		}
	}
	d.saver.store = good
	for range 3 {
		if err := d.saver.saveNow(); err != nil {
			t.Fatal(err)
		}
	}
	if log := d.log.String(); strings.Count(log, "level=ERROR") != 1 || strings.Count(log, "saved again") != 1 {
		t.Errorf("%s", log)
	}
}

// What is damaged is left out and told, and the rest is there.
func TestTheKeeperTellsWhatIsDamaged(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	for range 4 {
		d.session("home", "small")
	}
	d.save()
	for shelf, key := range map[string]string{casesShelf: "0000Y", directoryShelf: "?"} {
		if err := d.store.Shelf(shelf).Put([]byte(key), []byte("junk")); err != nil {
			t.Fatal(err)
		}
	}
	d.cut()
	d.start()
	if _, ok := d.cases.file("00001"); !ok {
		t.Error("a good case is gone")
	}
	if got := d.told(records.KindHealth); len(got) != 1 || !strings.Contains(got[0], "1 about who held an address, 1 cases") {
		t.Errorf("%q", got)
	}
}
