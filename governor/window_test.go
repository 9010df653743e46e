package governor

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// happened is a session that was let through, as the slow oracle keeps it: a list, on the time that was credited.
type happened struct {
	at      time.Duration
	to      netip.Prefix
	receipt Receipt
	gone    bool // withdrawn
}

// books are what the oracle knows of one budget: every charge there ever was, none given back.
type books struct {
	exact
	charged map[netip.Prefix]time.Duration
}

func (b *books) costs(s happened) bool {
	if b.b.Of == Sessions {
		return true
	}
	at, ok := b.charged[s.to]
	return !ok || s.at-at >= b.b.Per
}

// withdrawn forgets a network to which nobody went in earnest since it was charged. The charge itself stays.
func (b *books) withdrawn(to netip.Prefix, list []happened) {
	at := b.charged[to]
	if !slices.ContainsFunc(list, func(s happened) bool { return s.to == to && s.at >= at && !s.gone }) {
		delete(b.charged, to)
	}
}

// fits tells whether s has room, and that for a nanosecond per charge: a token takes at most so much longer than it
// should.
func (b *books) fits(s happened, charges int) bool {
	after := new(big.Rat).Add(b.drained(s.at), big.NewRat(1, 1))
	after.Add(after, new(big.Rat).Mul(big.NewRat(int64(charges), int64(b.b.Per)), big.NewRat(int64(b.b.Limit), 1)))
	return !b.costs(s) || after.Cmp(big.NewRat(int64(b.b.Burst), 1)) <= 0
}

func (b *books) charge(s happened) {
	if b.costs(s) {
		b.level, b.last = new(big.Rat).Add(b.drained(s.at), big.NewRat(1, 1)), s.at
		if b.b.Of == Destinations {
			b.charged[s.to] = s.at
		}
	}
}

// TestNoWindowHoldsMoreThanItMayAndNobodyIsRefusedForNothing: over several windows of sessions and destinations, with
// sessions that never come about, restarts and wall clocks that step between two lives. Of the sessions that came
// about, never more than limit plus burst lie in any window, nor more distinct networks; and what fits all budgets is
// let through, even if nothing had ever been given back.
func TestNoWindowHoldsMoreThanItMayAndNobodyIsRefusedForNothing(t *testing.T) {
	t.Parallel()
	counts := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		var budgets []Budget
		for i := range rapid.IntRange(1, 4).Draw(t, "budgets") {
			of := rapid.SampledFrom([]Kind{Sessions, Sessions, Destinations}).Draw(t, "of")
			budgets = append(budgets, Budget{Of: of, Limit: rapid.IntRange(1, 30).Draw(t, "limit"), Burst: rapid.IntRange(1, 10).Draw(t, "burst"),
				Per: time.Duration(rapid.Int64Range(int64(MinPer), int64(time.Hour)).Draw(t, "per")) * time.Duration(1+i*i)})
		}
		p := home(StageDefer, budgets...)
		now, wall := t0, t0
		at := time.Duration(0) // credited so far
		g := New(p, now)
		var list []happened
		var running []int
		var oracle []*books
		for _, b := range budgets {
			oracle = append(oracle, &books{exact{b: b, level: new(big.Rat)}, map[netip.Prefix]time.Duration{}})
		}
		wait := func(d time.Duration) { now, wall, at = now.Add(d), wall.Add(d), at+d }
		for range rapid.IntRange(20, 120).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"open", "open", "open", "open", "open", "wait", "wait", "close", "withdraw", "withdraw", "restart"}).Draw(t, "what") {
			case "wait":
				b := budgets[rapid.IntRange(0, len(budgets)-1).Draw(t, "which")]
				wait(time.Duration(rapid.Int64Range(0, 2*int64(b.Per)/int64(b.Limit)).Draw(t, "for")))
			case "open":
				s := happened{at: at, to: host(rapid.IntRange(0, 20).Draw(t, "network"))}
				d := g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: s.to}, now)
				if d.Action > ActionPace {
					if !slices.ContainsFunc(oracle, func(b *books) bool { return !b.fits(s, len(list)+1) }) {
						t.Fatalf("at %v refused for %s what fits", at, d.Reason())
					}
					counts["refused"]++
					break
				}
				counts["let through"]++
				s.receipt = d.Receipt
				for _, b := range oracle {
					b.charge(s)
				}
				running = append(running, len(list))
				list = append(list, s)
			case "close", "withdraw":
				if len(running) == 0 {
					break
				}
				i := rapid.IntRange(0, len(running)-1).Draw(t, "session")
				s := &list[running[i]]
				running = slices.Delete(running, i, i+1)
				if rapid.Bool().Draw(t, "comes about") {
					g.Close("S", now)
				} else {
					s.gone = true
					counts["withdrawn"]++
					g.Withdraw("S", s.receipt, now)
					for _, b := range oracle {
						b.withdrawn(s.to, list)
					}
				}
			case "restart":
				saved, st := saveAll(g, now), g.State(now, wall)
				saved = slices.Concat(g.everybody(now), saved) // a copy, and then the log
				away := time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "away"))
				step := rapid.SampledFrom([]time.Duration{0, 0, time.Hour, -time.Hour, 10 * 366 * 24 * time.Hour, -50 * 366 * 24 * time.Hour}).Draw(t, "step")
				wall = wall.Add(away + step)
				credited, verdict := away+step, ClockGood
				if credited < 0 {
					credited, verdict = 0, ClockBack
				} else if credited > MaxAway {
					credited, verdict = 0, ClockAhead
				}
				at += credited
				now = time.Unix(0, 0).Add(at)
				g = New(p, now)
				if v := bring(g, saved, st, wall, now); v != verdict {
					t.Fatalf("clock %v, want %v", v, verdict)
				}
				running = nil
				counts[fmt.Sprint("clock ", verdict)]++
			}
		}
		for _, b := range budgets {
			for i, first := range list {
				n, networks := 0, map[netip.Prefix]bool{}
				for _, s := range list[i:] {
					if !s.gone && s.at-first.at < b.Per {
						n++
						networks[s.to] = true
					}
				}
				if b.Of == Destinations {
					n = len(networks)
				}
				if n > b.Limit+b.Burst {
					t.Fatalf("%d %v in %v from %v on, limit %d burst %d", n, b.Of, b.Per, first.at, b.Limit, b.Burst)
				}
			}
		}
	})
	t.Logf("%v", counts)
	for _, what := range []string{"refused", "let through", "withdrawn", "clock good", "clock back", "clock ahead"} {
		if counts[what] == 0 {
			t.Errorf("never %s", what)
		}
	}
}
