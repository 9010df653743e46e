package update

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/image/bundle"
	"github.com/mailweir/mailweir/image/layout"
)

func TestWhatKindOfStartItWas(t *testing.T) {
	for _, row := range []struct {
		why     string
		env     layout.Env
		running string
		want    Start
		says    string
	}{
		{"no update", layout.Env{Active: "a"}, "a", Ordinary, ""},
		{"the first try", layout.Env{Active: "a", Next: "b", Tries: 1}, "b", OnTrial, ""},
		{"the last try", layout.Env{Active: "a", Next: "b"}, "b", OnTrial, ""},
		{"GRUB found the new slot damaged", layout.Env{Active: "a", Next: "b", Tries: 2}, "a", GivenUp, "could not start slot b"},
		{"all tries are used up", layout.Env{Active: "a", Failed: "b"}, "a", GivenUp, "slot b was started and did not come up"},
		{"the active slot is damaged", layout.Env{Active: "a"}, "b", Fallback, "could not start slot a"},
		{"an image that GRUB did not start", layout.Env{Active: "a"}, "", Ordinary, ""},
	} {
		got, says := Look(row.env, row.running)
		if got != row.want || !strings.Contains(says, row.says) || (says == "") != (row.says == "") {
			t.Errorf("%s: %v, %q", row.why, got, says)
		}
	}
}

func TestATrialIsCommittedOrGivenUp(t *testing.T) {
	r := newRig(t)
	r.m.env = layout.Env{Active: "a", Next: "b", Tries: 2}.Block()
	r.box.Running = "b"
	if err := r.box.Commit(); err != nil {
		t.Fatal(err)
	}
	if env, _ := r.m.Read(); env != (layout.Env{Active: "b"}) {
		t.Errorf("committed: %+v", env)
	}
	r.m.env = layout.Env{Active: "a", Next: "b", Tries: 2}.Block()
	if err := r.box.GiveUp(); err != nil {
		t.Fatal(err)
	}
	env, _ := r.m.Read()
	if env != (layout.Env{Active: "a", Failed: "b"}) {
		t.Errorf("given up: %+v", env)
	}
	if s, _ := Look(env, "a"); s != GivenUp {
		t.Errorf("and the next start is %v", s)
	}
}

func TestAnOutcomeIsKeptAndToldOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if o, err := Load(dir); o != nil || err != nil {
		t.Errorf("at first: %+v, %v", o, err)
	}
	r := newRig(t)
	o := r.box.Of(bundle.Manifest{Version: "v11", Build: 11}, Waits, time.Date(2026, 11, 29, 12, 0, 0, 5, time.UTC))
	o.Links = []string{"port2", "port3"}
	if err := o.Save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Load(dir)
	if err != nil || got.String() != "version v11 (build 11) is in slot b and goes on trial at the next start" || len(got.Links) != 2 || !got.Good() || got.Told(dir) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := got.SetTold(dir); err != nil || !got.Told(dir) {
		t.Errorf("told: %v", err)
	}
	got.State, got.Why = RolledBack, "no answer"
	if got.Told(dir) || got.Good() || got.String() != "version v11 (build 11) was given up, version v10 (build 10) runs: no answer" {
		t.Errorf("what came of it is news: %s", got)
	}
	if err := os.WriteFile(File(dir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), File(dir)) {
		t.Errorf("damaged: %v", err)
	}
}
