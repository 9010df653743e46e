package governor

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAnAllowanceIsTheSmallestOfAllBudgets(t *testing.T) {
	t.Parallel()
	budget := func(of Kind, limit, burst int) Budget {
		return Budget{Of: of, Limit: limit, Per: time.Hour, Burst: burst}
	}
	for _, c := range []struct {
		why     string
		highest Stage
		mode    Mode
		budgets []Budget
		before  func(g *Governor)
		want    int
	}{
		{"eight of ten at once are below 80 %", StageCut, ModeEnforce, []Budget{budget(Sessions, 100, 10)}, nil, 8},
		{"one has begun", StageCut, ModeEnforce, []Budget{budget(Sessions, 100, 10)}, func(g *Governor) { open(g, "S", 1) }, 7},
		{"a burst of one is held when it is used again", StageCut, ModeEnforce, []Budget{budget(Sessions, 100, 1)}, nil, 0},
		{"the smallest counts", StageCut, ModeEnforce, []Budget{budget(Sessions, 100, 50), budget(Destinations, 5, 5), {Of: ConcurrentSessions, Limit: 9}}, nil, 4},
		{"sessions that run", StageCut, ModeEnforce, []Budget{budget(Sessions, 100, 50), {Of: ConcurrentSessions, Limit: 3}}, func(g *Governor) { open(g, "S", 1) }, 2},
		{"those that run may still make a handshake", StageCut, ModeEnforce, []Budget{budget(TLSHandshakes, 100, 10)}, func(g *Governor) { open(g, "S", 3) }, 5},
		{"a few messages do not matter", StageCut, ModeEnforce, []Budget{budget(Sessions, 100, 10), budget(Messages, 100, 10)}, func(g *Governor) { g.Spend("S", "home", Messages, 4, t0) }, 8},
		{"many do", StageCut, ModeEnforce, []Budget{budget(Sessions, 100, 10), budget(Messages, 100, 10)}, func(g *Governor) { g.Spend("S", "home", Messages, 5, t0) }, 0},
		{"never more than asked for", StageCut, ModeEnforce, []Budget{budget(Sessions, 10_000, 1000)}, nil, 64},
		{"mode observe lets everybody pass", StageCut, ModeObserve, []Budget{budget(Sessions, 10, 1)}, func(g *Governor) { open(g, "S", 20) }, 64},
		{"nobody waits under a plan that warns", StageWarn, ModeEnforce, []Budget{budget(Sessions, 10, 1)}, func(g *Governor) { open(g, "S", 20) }, 64},
		{"who is exempt has what others have", StageCut, ModeEnforce, []Budget{budget(Sessions, 10, 1)}, func(g *Governor) {
			if err := g.Exempt("S", "home", Exemption{Until: t0.Add(time.Hour), Reason: "a test"}, t0); err != nil {
				panic(err)
			}
		}, 0},
		{"who is deferred", StageDefer, ModeEnforce, []Budget{budget(Sessions, 10, 2), budget(Sessions, 100, 50)}, func(g *Governor) { open(g, "S", 5) }, 0},
	} {
		p := home(c.highest, c.budgets...)
		p.Mode = c.mode
		g := New(p, t0)
		g.Spend("S", "home", Rejected, 1, t0) // known from here on, and nothing charged
		if c.before != nil {
			c.before(g)
		}
		if got := g.Allowance("S", 64, t0); got != c.want {
			t.Errorf("%s: %d, want %d", c.why, got, c.want)
		}
	}
	g := New(home(StageCut, budget(Sessions, 100, 10)), t0)
	if got := g.Allowance("nobody", 64, t0); got != 0 {
		t.Errorf("who is not known: %d", got)
	}
	g.Open(Attempt{Subscriber: "S", Plan: "none of ours"}, t0)
	if got := g.Allowance("S", 64, t0); got != 0 {
		t.Errorf("under a plan that the policy does not have: %d", got)
	}
}

func TestAnObstacleSaysWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	hour := func(of Kind, limit, burst int) Budget {
		return Budget{Of: of, Limit: limit, Per: time.Hour, Burst: burst}
	}
	for _, c := range []struct {
		name    string
		budgets []Budget
		before  func(g *Governor)
		want    Obstacle
		why     string
	}{
		{"nothing", []Budget{hour(Sessions, 100, 10)}, func(g *Governor) { open(g, "S", 1) }, ObstacleNone, ""},
		{"nobody knows him", nil, func(*Governor) {}, NotKnown, ""},
		{"no such plan", nil, func(g *Governor) { g.Open(Attempt{Subscriber: "S", Plan: "castle"}, t0) }, NoPlan, ""},
		{"used up, which is a stage as well", []Budget{hour(Destinations, 90, 90), hour(Sessions, 100, 10)}, func(g *Governor) { open(g, "S", 8) },
			StageTooHigh, "stage pace, sessions 8/10 at once, 100 per 1h (80%)"},
		{"a burst of one", []Budget{hour(Sessions, 100, 1)}, func(g *Governor) { g.Spend("S", "home", Rejected, 1, t0) }, BudgetTooLow, "sessions 0/1 at once, 100 per 1h (0%)"},
		{"sessions that run", []Budget{{Of: ConcurrentSessions, Limit: 3}}, func(g *Governor) { open(g, "S", 3) }, BudgetTooLow, "concurrent_sessions 3/3 (100%)"},
		{"handshakes that running ones may still make", []Budget{hour(TLSHandshakes, 10, 10)}, func(g *Governor) { open(g, "S", 8) }, BudgetTooLow, "tls_handshakes 8/10 per 1h (80%)"},
		{"messages have no bound for a session", []Budget{hour(Messages, 10, 10)}, func(g *Governor) { g.Spend("S", "home", Messages, 5, t0) }, BudgetTooLow, "messages 5/10 per 1h (50%)"},
		{"the stage", []Budget{hour(Sessions, 100, 2)}, func(g *Governor) { open(g, "S", 3) }, StageTooHigh, "stage defer, sessions 3/2 at once, 100 per 1h (150%)"},
	} {
		g := New(home(StageDefer, c.budgets...), t0)
		c.before(g)
		o, why := g.Obstacle("S", t0)
		if o != c.want || why != c.why {
			t.Errorf("%s: %d %q, want %d %q", c.name, o, why, c.want, c.why)
		}
		if n := g.Allowance("S", 9, t0); n > 0 != (o == ObstacleNone) {
			t.Errorf("%s: an allowance of %d", c.name, n)
		}
	}
}

func open(g *Governor, sub string, n int) {
	for range n {
		g.Open(Attempt{Subscriber: sub, Plan: "home"}, t0)
	}
}

// TestWhoeverIsWithinAnAllowanceIsNeverToldToWait lets as many sessions pass unasked as an allowance says and charges them
// later, in any order with whatever else the running ones do: a handshake each, its failure, a few messages, their end.
func TestWhoeverIsWithinAnAllowanceIsNeverToldToWait(t *testing.T) {
	t.Parallel()
	let := 0
	rapid.Check(t, func(t *rapid.T) {
		g := New(drawPolicy(t, StageCut), t0)
		now, out := t0, 0
		var fresh, shaken int // sessions that may still make a handshake, and that may still fail in it
		g.Open(Attempt{Subscriber: "S", Plan: "home"}, now)
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
			switch what := rapid.SampledFrom([]string{"lease", "arrive", "arrive", "shake", "fail", "message", "close", "ask"}).Draw(t, "what"); what {
			case "lease":
				if out == 0 {
					out = g.Allowance("S", rapid.IntRange(1, 20).Draw(t, "most"), now)
				}
			case "arrive":
				if out == 0 {
					continue
				}
				out--
				d := g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: host(rapid.IntRange(0, 9).Draw(t, "network"))}, now)
				if d.Effective() > ActionWarn {
					t.Fatalf("let through unasked, and then %v: %s", d.Action, d.Reason())
				}
				let++
				fresh++
			case "shake":
				if fresh > 0 {
					fresh--
					shaken++
					g.Spend("S", "home", TLSHandshakes, 1, now)
				}
			case "fail":
				if shaken > 0 {
					shaken--
					g.Spend("S", "home", TLSFailures, 1, now)
				}
			case "message": // what is left is asked for again
				g.Spend("S", "home", rapid.SampledFrom([]Kind{Messages, Recipients, Rejected}).Draw(t, "of"), rapid.IntRange(1, 3).Draw(t, "cost"), now)
				out = min(out, g.Allowance("S", out, now))
			case "close":
				if fresh > 0 {
					fresh--
					g.Close("S", now)
				} else if shaken > 0 {
					shaken--
					g.Close("S", now)
				}
			case "ask": // the other lane: what is out is taken back first
				out = 0
				if d := g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: host(rapid.IntRange(0, 9).Draw(t, "network"))}, now); d.LetThrough() {
					fresh++
				}
			}
		}
	})
	if let == 0 {
		t.Error("nobody was let through unasked")
	}
	t.Log(fmt.Sprint(let, " sessions were let through unasked"))
}
