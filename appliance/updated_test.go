package appliance

import (
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/update"
)

func TestWhatBecomesOfAnUpdateIsARecordOnce(t *testing.T) {
	dir := t.TempDir()
	var said []records.Entry
	h := &health{now: time.Now, say: func(e records.Entry) bool { said = append(said, e); return true }}
	u := &updates{}
	look := func(why string, want int) {
		t.Helper()
		if err := u.look(dir, h); err != nil {
			t.Errorf("%s: %v", why, err)
		}
		if len(said) != want {
			t.Fatalf("%s: %d records, want %d: %+v", why, len(said), want, said)
		}
	}
	look("there was no update", 0)
	o := update.Outcome{State: update.Waits, From: update.Version{Version: "v1", Build: 1}, To: update.Version{Version: "v2", Build: 2}, Slot: "b", Time: time.Unix(1764400000, 0)}
	save := func() {
		t.Helper()
		if err := o.Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	save()
	look("it is written", 1)
	look("nothing new", 1)
	if p := updateProblem(dir); len(p) != 0 {
		t.Errorf("problems: %+v", p)
	}
	o.State, o.Why, o.Time = update.RolledBack, "no verdict", o.Time.Add(time.Minute)
	save()
	u = &updates{} // another life
	look("it was given up", 2)
	if got := said[1]; got.Kind != records.KindHealth || got.Severity != records.Warning ||
		got.Text != "update rolled_back: version v2 (build 2) was given up, version v1 (build 1) runs: no verdict" {
		t.Errorf("%+v", got)
	}
	if p := updateProblem(dir); len(p) != 1 || p[0].What != "Update: version v2 (build 2) was given up, version v1 (build 1) runs: no verdict." {
		t.Errorf("problems: %+v", p)
	}
	u = &updates{}
	look("after a restart", 2)
}
