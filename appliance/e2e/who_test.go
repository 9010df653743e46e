package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A cut follows the line, not the address: whoever has the address next is served,
// at once and without a signal, and so is the line under a plan that cuts nobody.
// A list that is broken or gone is refused and the old one goes on.
func TestTheCutFollowsTheLine(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	list := func(lines ...string) {
		t.Helper()
		text := "subscriber,plan,prefixes\n" + strings.Join(lines, "\n") + "\n"
		path := filepath.Join(l.Dir, "subscribers.csv")
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	b := newBox(t, ctx, l, config("enforce", `  - name: small
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 2, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s, cut_at: 200, cut_for: 1h}
  - name: big
    highest_stage: pace
    budgets:
      - {of: sessions, limit: 1000, per: 1h}
`), "subscriber,plan,prefixes\n")
	list("old,small," + home.IPv4.String())
	b.start()
	send := func() lab.Result {
		t.Helper()
		return home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 1})[0].Result
	}
	drive := func(id string) {
		t.Helper()
		for range 60 {
			if send(); b.subscriber(id).Stage == "cut" {
				break
			}
		}
		if s := b.subscriber(id); s.Stage != "cut" {
			t.Fatalf("%s is in stage %s", id, s.Stage)
		}
		if got := send(); got != lab.Reset {
			t.Fatalf("a session of a cut subscriber: %v", got)
		}
	}
	records := func() int { return len(b.records("kind=CONFIG&limit=1000")) }
	next := func(what string, change func()) {
		t.Helper()
		before := records()
		change()
		await(t, 10*time.Second, "a CONFIG record: "+what, func() bool { return records() > before })
		if r := b.records("kind=CONFIG&limit=1")[0]; !strings.Contains(r.Line, fmt.Sprintf("what=%q", what)) {
			t.Fatalf("want %s: %s", what, r.Line)
		}
	}
	drive("old")

	next("refused", func() { list("old,golden," + home.IPv4.String()) })
	next("refused", func() {
		if err := os.Remove(filepath.Join(l.Dir, "subscribers.csv")); err != nil {
			t.Fatal(err)
		}
	})
	if got := send(); got != lab.Reset {
		t.Errorf("after a refused list: %v", got)
	}

	next("reloaded", func() { list("old,small,100.64.250.250", "new,big,"+home.IPv4.String()) })
	if got := send(); got != lab.Sent {
		t.Errorf("the address has a new line: %v", got)
	}
	if s := b.subscriber("old"); s.Stage != "cut" {
		t.Errorf("the old line is in stage %s", s.Stage)
	}
	if s := b.subscriber("new"); s.Stage != "observe" || s.Plan != "big" {
		t.Errorf("the new line: %s, %s", s.Plan, s.Stage)
	}

	next("reloaded", func() { list("old,big," + home.IPv4.String()) })
	if s := b.subscriber("old"); s.Stage == "cut" || s.Plan != "big" {
		t.Errorf("a cut line under a plan that cuts nobody: %s, %s", s.Plan, s.Stage)
	}
	if got := send(); got != lab.Sent {
		t.Errorf("a cut line under a plan that cuts nobody: %v", got)
	}

	// An unmapped source is a subscriber like any other for the command line.
	next("reloaded", func() { list("elsewhere,big,100.64.250.250") })
	if got := send(); got != lab.Sent {
		t.Errorf("unmapped: %v", got)
	}
	id := home.IPv4.String() + "/32"
	if s := b.subscriber(id); s.ID != id || !s.Unmapped {
		t.Errorf("%s: %+v", id, s)
	}
	var released webadmin.Subscriber
	b.cli(&released, "release", id)
	if released.ID != id {
		t.Errorf("released %q", released.ID)
	}
}

// Two in one network namespace would replace each other's rules without a word.
func TestASecondOneIsRefused(t *testing.T) {
	l, ctx := startLab(t)
	b := newBox(t, ctx, l, config("observe", ""), "subscriber,plan\n")
	b.start()
	second := l.Box.Command(ctx, binary, "run", "--config", b.config, "--data", filepath.Join(l.Dir, "other"))
	out, err := second.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another mailweir runs in this network namespace") {
		t.Errorf("%v: %s", err, out)
	}
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 {
		t.Errorf("%v", err)
	}
	if s := b.status(); !s.Ready {
		t.Error("the first one is not ready any more")
	}
}
