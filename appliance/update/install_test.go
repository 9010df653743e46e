package update

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

func TestInstallKeepsWhatCameOfIt(t *testing.T) {
	now := func() time.Time { return time.Unix(1764400000, 0) }
	for _, row := range []struct {
		why    string
		change func(*rig, []byte) io.Reader
		state  string
		wrote  bool // something into slot b
	}{
		{"a sound file", func(_ *rig, b []byte) io.Reader { return bytes.NewReader(b) }, Waits, true},
		{"a sound stream", func(_ *rig, b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b)) }, Waits, true},
		{"a file that is cut short", func(_ *rig, b []byte) io.Reader { return bytes.NewReader(b[:len(b)-2000]) }, Refused, false},
		{"a stream that is cut short", func(_ *rig, b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b[:len(b)-2000])) }, Stopped, true},
		{"a stream that is cut short in the manifest", func(_ *rig, b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b[:600])) }, Refused, false},
		{"an older one", func(r *rig, b []byte) io.Reader { r.box.About.Build = 12; return bytes.NewReader(b) }, Refused, false},
	} {
		dir := t.TempDir()
		r := newRig(t)
		from := row.change(r, r.bundle(r.next, r.secret))
		fresh := bytes.Clone(r.m.slots["b"])
		o, err := r.box.Install(from, dir, []string{"port2"}, now)
		if o.State != row.state || (err == nil) != (row.state == Waits) || bytes.Equal(fresh, r.m.slots["b"]) == row.wrote {
			t.Errorf("%s: %+v, %v", row.why, o, err)
		}
		kept, bad := Load(dir)
		if bad != nil || kept.State != row.state || (kept.Why == "") != (err == nil) || err == nil && (kept.Links[0] != "port2" || kept.To.Build != 11) {
			t.Errorf("%s: kept: %+v, %v", row.why, kept, bad)
		}
	}
}

// What is refused while another one waits does not hide that one.
func TestARefusalDoesNotHideWhatWaits(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t)
	file := r.bundle(r.next, r.secret)
	if _, err := r.box.Install(bytes.NewReader(file), dir, nil, time.Now); err != nil {
		t.Fatal(err)
	}
	if _, err := r.box.Install(bytes.NewReader(file[:5000]), dir, nil, time.Now); err == nil {
		t.Error("half an update was taken")
	}
	if o, err := Load(dir); err != nil || o.State != Waits {
		t.Errorf("%+v, %v", o, err)
	}
	if env, err := r.m.Read(); err != nil || env.Next != "b" {
		t.Errorf("%+v, %v", env, err)
	}
}

func TestOneInstallsAtATime(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	before := r.state()
	if _, err := r.box.Install(bytes.NewReader(r.bundle(r.next, r.secret)), dir, nil, time.Now); err == nil || !strings.Contains(err.Error(), "another update is being written") || r.state() != before {
		t.Errorf("%v", err)
	}
	unlock()
	if _, err := r.box.Install(bytes.NewReader(r.bundle(r.next, r.secret)), dir, nil, time.Now); err != nil {
		t.Error(err)
	}
}

func TestWhatCameOfATrialThatFailed(t *testing.T) {
	r := newRig(t)
	now := time.Unix(1764400000, 0)
	waits := Outcome{State: Waits, From: Version{"v10", 10}, To: Version{"v11", 11}, Slot: "b", Links: []string{"port2"}}
	told := waits
	told.State, told.Why = RolledBack, "self-test: a packet got no verdict in 5s"
	for _, row := range []struct {
		why  string
		last *Outcome
		want string
	}{
		{"it never said why", &waits, "version v11 (build 11) was given up, version v10 (build 10) runs: GRUB says so"},
		{"it said why itself", &told, "version v11 (build 11) was given up, version v10 (build 10) runs: self-test: a packet got no verdict in 5s"},
		{"nothing is known of it", nil, "an update was given up, version v10 (build 10) runs: GRUB says so"},
		{"what is known is of an earlier one", &Outcome{State: Committed, To: Version{"v10", 10}, Slot: "a"}, "an update was given up, version v10 (build 10) runs: GRUB says so"},
	} {
		if o := r.box.GaveUp(row.last, "GRUB says so", now); o.String() != row.want || o.Slot != "b" {
			t.Errorf("%s: %s, slot %s", row.why, o, o.Slot)
		}
	}
	r.box.Running = "b"
	if o := r.box.Fell("GRUB could not start slot a", now); o.String() != "version v10 (build 10) runs from slot b in the place of the other: GRUB could not start slot a" || o.Good() {
		t.Errorf("%s", o)
	}
}
