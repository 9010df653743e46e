package appliance

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/governor"
)

// dice are the random choices of a test.
type dice struct{ *rand.Rand }

func (r dice) of(words ...string) string { return words[r.IntN(len(words))] }

// upTo is a whole number of units, from none to n.
func (r dice) upTo(n int, unit time.Duration) time.Duration { return time.Duration(r.IntN(n+1)) * unit }

// policy is a configuration with three plans: each with one to four budgets of different kinds and windows, and half of them with a ladder of their own.
func (r dice) policy() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mode: %s\nidentity: {unmapped_plan: strangers}\nplans:\n", r.of("enforce", "enforce", "observe"))
	for _, name := range []string{"small", "strangers", "odd"} {
		fmt.Fprintf(&b, "  - name: %s\n    highest_stage: %s\n    budgets:\n", name, r.of("warn", "pace", "defer", "cut"))
		has := map[string]bool{}
		for range 1 + r.IntN(4) {
			of, per, limit := r.of("sessions", "messages", "tls_handshakes"), r.of("10s", "1m", "7m", "10m", "1h", "61m", "24h"), 1+r.IntN(40)
			if !has[of+per] {
				has[of+per] = true
				fmt.Fprintf(&b, "      - {of: %s, limit: %d, per: %s, burst: %d}\n", of, limit, per, 1+r.IntN(limit))
			}
		}
		if r.IntN(2) == 0 {
			fmt.Fprintf(&b, "    ladder: {cut_for: %dm, release_after: %dm, pace_max: %ds}\n", 1+r.IntN(30), 1+r.IntN(30), r.IntN(5))
		}
	}
	return b.String()
}

// happens is one thing that happens to a box, in words.
func (r dice) happens(d *deaf) string {
	d.t.Helper()
	switch r.IntN(14) {
	case 0:
		d.write("mailweir.yaml", r.policy())
		return fmt.Sprint("other plans: ", d.reload())
	case 1, 2:
		inOrder := r.IntN(2) == 0
		if inOrder {
			d.gov.Stop(d.time())
		}
		d.journaled()
		d.cut()
		away := r.upTo(100, time.Minute)
		d.pass(away)
		d.start()
		return fmt.Sprintf("a restart, in order %v, away for %v", inOrder, away)
	case 3:
		who := r.of("home", "other")
		if c, ok := d.gov.Release(who, d.time()); ok && c.From != governor.StageObserve {
			d.judge.changed(c, c.Mode)
		}
		return "release " + who
	case 4:
		x := governor.Exemption{Until: d.time().Add(time.Minute + r.upTo(100, time.Minute)), Reason: "asked", By: "admin"}
		return fmt.Sprint("exempt other: ", d.gov.Exempt("other", "small", x, d.time()))
	case 5:
		back := r.upTo(100, time.Second)
		d.pass(-back)
		return fmt.Sprint("the clock goes back by ", back)
	case 6:
		n := r.IntN(60)
		for range n {
			d.pass(time.Minute)
			d.settled(d.gov.Tick(d.time()))
			d.expired()
		}
		return fmt.Sprint(n, " quiet minutes")
	case 7:
		d.write("subscribers.csv", fmt.Sprintf("subscriber,plan,prefixes\nhome,%s,100.64.0.1\nother,%s,100.64.0.2\n", r.of("small", "odd"), r.of("small", "odd")))
		return fmt.Sprint("another list: ", d.reload())
	case 8:
		pass := r.upTo(30, time.Hour)
		d.pass(pass)
		return fmt.Sprint("nothing for ", pass)
	default:
		from, n := r.of("100.64.0.1", "100.64.0.2", "203.0.113.9", "2001:db8::7"), 1+r.IntN(60)
		d.sends(from, n)
		return fmt.Sprint(n, " sessions of ", from)
	}
}

// Whatever happens to a box, in whatever order and under whatever plans, its journal decides again word by word what was recorded.
func TestRandomLivesAreDecidedAgain(t *testing.T) {
	t.Parallel()
	decisions := 0
	for seed := range uint64(24) {
		r := dice{rand.New(rand.NewPCG(seed, 6))}
		d := newDeaf(t, r.policy(), homeList)
		var did []string
		for range 20 {
			did = append(did, r.happens(d))
			if r.IntN(3) == 0 {
				d.journaled()
			}
		}
		got := d.whatIf(WhatIfOptions{}).Recorded
		written := len(d.items(journal.Query{Kinds: comparedKinds}))
		if got == nil || got.OnlyThen+got.OnlyNow+got.Unchecked > 0 || got.Same != written {
			t.Errorf("seed %d: of %d recorded: %+v, after\n%s", seed, written, got, strings.Join(did, "\n"))
		}
		decisions += written
	}
	t.Logf("%d decisions and stages", decisions)
	if decisions < 1000 {
		t.Errorf("only %d decisions and stages were there to be decided again", decisions)
	}
}

// A budget that was whole again while the box was off has ended a stage then, and not when the box is back.
func TestABudgetThatGotWholeWhileTheBoxWasOff(t *testing.T) {
	t.Parallel()
	for _, inOrder := range []bool{true, false} {
		d := newDeaf(t, "mode: enforce\nidentity: {unmapped_plan: small}\nplans:\n  - name: small\n    highest_stage: defer\n    budgets: [{of: sessions, limit: 20, per: 10m}]\n", homeList)
		d.sends("100.64.0.1", 19)
		if inOrder {
			d.gov.Stop(d.time())
		}
		d.journaled()
		d.cut()
		d.pass(10 * time.Minute)
		d.start()
		d.settled(d.gov.Tick(d.time()))
		got := d.whatIf(WhatIfOptions{}).Recorded
		if written := len(d.items(journal.Query{Kinds: comparedKinds})); got == nil || got.Same != written || got.OnlyThen+got.OnlyNow+got.Unchecked > 0 {
			t.Errorf("stopped in order %v: of %d recorded: %+v", inOrder, written, got)
		}
	}
}

// A time that a clock which was set back has twice is decided again from the first of the two on.
func TestSinceATimeThatWasTwice(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{true, false} {
		d := newDeaf(t, "mode: enforce\nidentity: {unmapped_plan: small}\nplans:\n  - name: small\n    highest_stage: defer\n    budgets: [{of: sessions, limit: 20, per: 10m}]\n", homeList)
		d.pass(3 * time.Hour)
		since := d.time().Add(-time.Minute)
		d.sends("100.64.0.1", 30)
		d.pass(5 * time.Minute)
		d.settled(d.gov.Tick(d.time()))
		if restarts {
			d.gov.Stop(d.time())
			d.journaled()
			d.stop()
			d.pass(-2 * time.Hour)
			d.start()
		} else {
			d.journaled()
			d.pass(-2 * time.Hour)
			d.settled(d.gov.Tick(d.time()))
			d.gov.Checkpoint(d.time, d.journal.Room)
		}
		d.journaled()
		for range 300 {
			d.pass(time.Minute)
			d.settled(d.gov.Tick(d.time()))
		}
		if got := d.whatIf(WhatIfOptions{From: since}).Recorded; got == nil || got.Same < 20 || got.OnlyThen+got.OnlyNow > 0 {
			t.Errorf("with a restart %v: %+v", restarts, got)
		}
	}
}
