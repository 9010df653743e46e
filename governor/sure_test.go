package governor

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// mixed has as many budgets beside those of messages as said, so that what is certain lies in the record or beside it.
func mixed(others int) Policy {
	p := Plan{Name: "p", HighestStage: StageCut, Ladder: Ladder{WarnAt: 50, PaceAt: 80, DeferAt: 100, CutAt: 300, CutFor: time.Minute, ReleaseAfter: time.Minute},
		Budgets: []Budget{{Of: Messages, Limit: 60, Per: time.Hour, Burst: 3}, {Of: Messages, Limit: 100, Per: 24 * time.Hour, Burst: 7}}}
	for i := range others {
		p.Budgets = append(p.Budgets, Budget{Of: TLSFailures, Limit: MaxLimit, Per: time.Duration(i+1) * time.Hour})
	}
	return Policy{Mode: ModeEnforce, Plans: []Plan{p}}
}

// What was counted for certain and is over its budget cuts, although a message was estimated too: after as many attempts
// as without it.
func TestOneEstimatedMessageExemptsNobody(t *testing.T) {
	t.Parallel()
	attempts := func(estimated int, before bool) (n int) {
		g := New(mixed(0), t0)
		a := Attempt{Subscriber: "s", Plan: "p"}
		g.Open(a, t0)
		if before {
			g.SpendEstimated("s", "p", estimated, t0)
		}
		g.Spend("s", "p", Messages, 5, t0)
		if !before {
			g.SpendEstimated("s", "p", estimated, t0)
		}
		g.Close("s", t0)
		for n = 1; n < 1000; n++ {
			if d := g.Open(a, t0.Add(time.Duration(n)*time.Millisecond)); d.Action == ActionCut {
				return n
			} else if d.Action != ActionDefer {
				t.Fatalf("attempt %d: %v", n, d.Action)
			}
		}
		return n
	}
	want := attempts(0, false)
	if want > 20 {
		t.Fatalf("without an estimate not cut after %d attempts", want)
	}
	for _, estimated := range []int{1, 2, 100} {
		for _, before := range []bool{true, false} {
			if got := attempts(estimated, before); got != want {
				t.Errorf("%d estimated, before the others %v: cut at attempt %d, want %d", estimated, before, got, want)
			}
		}
	}
}

// TestEstimatesChangeNoCut: whatever happens, in whatever order, also with restarts, other plans and releases between, the
// attempts that are cut are those that would be if nothing had been estimated; and nobody is deferred less.
func TestEstimatesChangeNoCut(t *testing.T) {
	t.Parallel()
	cuts, deferred := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		p := mixed(rapid.IntRange(0, 8).Draw(rt, "others"))
		other := mixed(rapid.IntRange(0, 8).Draw(rt, "others of the other plan")).Plans[0]
		other.Name = "q"
		other.Budgets[0].Limit, other.Budgets[0].Burst = rapid.IntRange(30, 90).Draw(rt, "limit"), rapid.IntRange(1, 6).Draw(rt, "burst")
		p.Plans = append(p.Plans, other)
		all, sure := New(p, t0), New(p, t0)
		var disks [2][]Saved             // what a restart finds: also who did not change since the last
		now, plan, under := t0, "p", "p" // under: what the last attempt put the subscriber under, as sessions always do first
		for i := range rapid.IntRange(20, 200).Draw(rt, "steps") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, 20 * time.Second, time.Minute, 5 * time.Minute, time.Hour}).Draw(rt, "pause"))
			switch rapid.IntRange(0, 19).Draw(rt, "what") {
			case 0, 1, 2, 3:
				n := rapid.IntRange(1, 4).Draw(rt, "messages")
				all.Spend("s", under, Messages, n, now)
				sure.Spend("s", under, Messages, n, now)
			case 4, 5, 6:
				all.SpendEstimated("s", under, rapid.IntRange(1, 4).Draw(rt, "messages inside TLS"), now)
			case 7:
				for i, g := range []**Governor{&all, &sure} {
					if changed := saveAll(*g, now); len(changed) > 0 { // there is one subscriber
						disks[i] = changed
					}
					next := New(p, now)
					bring(next, disks[i], (*g).State(now, now), now, now)
					*g = next
				}
			case 8:
				all.Release("s", now)
				sure.Release("s", now)
			case 9:
				plan = rapid.SampledFrom([]string{"p", "q"}).Draw(rt, "plan")
			case 10:
				all.Tick(now)
				sure.Tick(now)
			default:
				under = plan
				a := Attempt{Subscriber: "s", Plan: plan}
				x, y := all.Open(a, now), sure.Open(a, now)
				for g, d := range map[*Governor]Decision{all: x, sure: y} {
					if d.LetThrough() {
						g.Close("s", now)
					}
				}
				if x.Action == ActionCut != (y.Action == ActionCut) || x.Action < y.Action {
					rt.Fatalf("step %d: %v (%s), without estimates %v (%s)", i, x.Action, x.Reason(), y.Action, y.Reason())
				}
				if x.Action == ActionCut {
					cuts++
				} else if x.Action == ActionDefer && y.Action < ActionDefer {
					deferred++
				}
			}
		}
	})
	if cuts == 0 || deferred == 0 {
		t.Errorf("%d attempts cut, %d deferred for estimates alone: nothing was tried", cuts, deferred)
	}
	t.Logf("%d attempts cut, %d deferred for estimates alone", cuts, deferred)
}

// What an earlier version saved says only that there is an estimate: then nothing is certain, in the subscriber's favour.
func TestAnEstimateSavedWithoutWhatIsSure(t *testing.T) {
	t.Parallel()
	for _, others := range []int{0, 8} {
		t.Run(fmt.Sprint(others), func(t *testing.T) {
			p := mixed(others)
			g := New(p, t0)
			a := Attempt{Subscriber: "s", Plan: "p"}
			g.Open(a, t0)
			g.Spend("s", "p", Messages, 5, t0)
			g.SpendEstimated("s", "p", 1, t0)
			g.Close("s", t0)
			saved := saveAll(g, t0)
			for i := range saved {
				for j := range saved[i].Budgets {
					saved[i].Budgets[j].SureAt = 0
				}
			}
			again := New(p, t0)
			bring(again, saved, g.State(t0, t0), t0, t0)
			for i := range 100 {
				if d := again.Open(a, t0.Add(time.Duration(i)*time.Millisecond)); d.Action != ActionDefer {
					t.Fatalf("attempt %d: %v", i, d.Action)
				}
			}
		})
	}
}

// TestSpendDoesNotAllocate: neither for what is certain nor for an estimate, with what is certain in the record and beside it.
func TestSpendDoesNotAllocate(t *testing.T) {
	for _, others := range []int{0, 8} {
		p := mixed(others)
		p.Plans[0].Budgets[0].Burst, p.Plans[0].Budgets[1].Burst = 100, 100 // nothing that is to be remembered
		g, now := New(p, t0), t0
		for range 3 { // who is known, and the first estimate of all
			g.Open(Attempt{Subscriber: "s", Plan: "p"}, now)
			g.Spend("s", "p", Messages, 1, now)
			g.SpendEstimated("s", "p", 1, now)
			now = now.Add(24 * time.Hour)
		}
		if n := testing.AllocsPerRun(1000, func() {
			now = now.Add(3 * time.Hour)
			g.Spend("s", "p", Messages, 1, now)
			g.SpendEstimated("s", "p", 1, now)
			g.Spend("s", "p", Messages, 1, now)
		}); n != 0 {
			t.Errorf("%d budgets beside: %v allocations", others, n)
		}
	}
}
