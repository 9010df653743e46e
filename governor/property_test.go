package governor

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// exact is a bucket in fractions: it drains Limit tokens in Per, without rounding anything.
type exact struct {
	b     Budget
	level *big.Rat
	last  time.Duration
}

func (e *exact) drained(at time.Duration) *big.Rat {
	out := new(big.Rat).Mul(big.NewRat(int64(at-e.last), int64(e.b.Per)), big.NewRat(int64(e.b.Limit), 1))
	l := new(big.Rat).Sub(e.level, out)
	if l.Sign() < 0 {
		return new(big.Rat)
	}
	return l
}

// TestLimitsAreKeptToTheTokenAndNobodyIsRefusedForNothing uses limits whose token time is no whole nanosecond.
func TestLimitsAreKeptToTheTokenAndNobodyIsRefusedForNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := Budget{Of: Sessions, Limit: rapid.IntRange(1, 2000).Draw(t, "limit"),
			Per: time.Duration(rapid.Int64Range(int64(MinPer), int64(48*time.Hour)).Draw(t, "per")), Burst: rapid.IntRange(1, 40).Draw(t, "burst")}
		g := New(home(StageDefer, b), t0)
		oracle := &exact{b: b, level: new(big.Rat)}
		token := b.Per / time.Duration(b.Limit)
		var at time.Duration
		var passed []time.Duration
		for range 100 {
			at += time.Duration(rapid.Int64Range(0, int64(3*token/2)).Draw(t, "wait"))
			d := g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0.Add(at))
			room := new(big.Rat).Add(oracle.drained(at), big.NewRat(1, 1)).Cmp(big.NewRat(int64(b.Burst), 1)) <= 0
			if d.Action <= ActionPace {
				if !room {
					t.Fatalf("at %v let through what does not fit", at)
				}
				oracle.level, oracle.last = new(big.Rat).Add(oracle.drained(at), big.NewRat(1, 1)), at
				passed = append(passed, at)
				continue
			}
			// A token takes at most a nanosecond longer than it should.
			slack := time.Duration(len(passed) + 1)
			if new(big.Rat).Add(oracle.drained(at-slack), big.NewRat(1, 1)).Cmp(big.NewRat(int64(b.Burst), 1)) <= 0 {
				t.Fatalf("at %v refused what fits since %v", at, slack)
			}
			// refused until the time told and not a nanosecond longer
			if d2 := g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0.Add(at+d.Wait-1)); d2.Action != ActionDefer || d2.Wait != 1 {
				t.Fatalf("at %v told to wait %v, just before it was %v %v", at, d.Wait, d2.Action, d2.Wait)
			}
			at += d.Wait
			if d = g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0.Add(at)); d.Action > ActionPace {
				t.Fatalf("at %v it was time, but %v", at, d.Action)
			}
			oracle.level, oracle.last = new(big.Rat).Add(oracle.drained(at), big.NewRat(1, 1)), at
			passed = append(passed, at)
		}
		for i := range passed {
			n := 0
			for _, p := range passed[i:] {
				if p-passed[i] < b.Per {
					n++
				}
			}
			if n > b.Limit+b.Burst {
				t.Fatalf("%d sessions in %v from %v on, limit %d burst %d", n, b.Per, passed[i], b.Limit, b.Burst)
			}
		}
	})
}

// TestWhatExplainForetellsComesTrue: a stage ends when Explain says, not a nanosecond before or after; and a budget is
// whole when it says so.
func TestWhatExplainForetellsComesTrue(t *testing.T) {
	t.Parallel()
	seen := map[Stage]int{}
	rapid.Check(t, func(t *rapid.T) {
		g := New(drawPolicy(t, StageCut), t0)
		now := t0
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 5_000).Draw(t, "ms")) * time.Millisecond)
			if d := g.Open(Attempt{Subscriber: "S", Plan: "home"}, now); d.LetThrough() && rapid.Bool().Draw(t, "close") {
				g.Close("S", now)
			}
			g.Spend("S", "home", Messages, rapid.IntRange(0, 3).Draw(t, "messages"), now)
		}
		g.Tick(now)
		for {
			r, ok := g.Explain("S", now)
			if !ok || r.Stage == StageObserve || r.Until.IsZero() {
				break
			}
			seen[r.Stage]++
			before, _ := g.Explain("S", r.Until.Add(-1))
			after, _ := g.Explain("S", r.Until)
			if !r.Until.After(now) || before.Stage != r.Stage || !before.Until.Equal(r.Until) || !before.Since.Equal(r.Since) {
				t.Fatalf("%v until %v; just before it is %v since %v until %v", r.Stage, r.Until, before.Stage, before.Since, before.Until)
			}
			if after.Stage >= r.Stage {
				t.Fatalf("%v until %v, and then it is %v", r.Stage, r.Until, after.Stage)
			}
			if after.Stage != StageObserve && !after.Since.Equal(r.Until) {
				t.Fatalf("%v until %v, and then %v since %v", r.Stage, r.Until, after.Stage, after.Since)
			}
			for i, b := range before.Budgets {
				if b.RefillsAt.IsZero() != (b.Value == 0 || b.Of == ConcurrentSessions) || b.Value > 0 && b.Of != ConcurrentSessions && !b.RefillsAt.After(r.Until.Add(-1)) {
					t.Fatalf("budget %d: %+v", i, b)
				}
			}
			now = r.Until
			for _, c := range g.Tick(now) {
				if !c.At.Equal(r.Until) || c.From != r.Stage || c.To != after.Stage || !c.Until.Equal(after.Until) {
					t.Fatalf("told %v>%v at %v until %v, foretold %v>%v at %v until %v", c.From, c.To, c.At, c.Until, r.Stage, after.Stage, r.Until, after.Until)
				}
			}
		}
	})
	t.Logf("stages foretold: %v", seen)
	for s := StageWarn; s < stages; s++ {
		if seen[s] == 0 {
			t.Errorf("never saw %v", s)
		}
	}
}

// TestNobodyFlaps: whatever somebody on the edge does, stages of pace and above are not entered more than a few times
// in any 30 seconds.
func TestNobodyFlaps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why  string
		b    Budget
		hold time.Duration // how long a session runs
	}{
		{"burst of one", Budget{Of: Sessions, Limit: 3600, Per: time.Hour, Burst: 1}, 0},
		{"burst of two", Budget{Of: Sessions, Limit: 3600, Per: time.Hour, Burst: 2}, 0},
		{"mail server at its limit", Budget{Of: Sessions, Limit: 1500, Per: time.Hour, Burst: 120}, 0},
		{"sessions at once", Budget{Of: ConcurrentSessions, Limit: 3}, 2 * time.Second},
	} {
		rnd := rand.New(rand.NewPCG(7, 7))
		g := New(home(StageDefer, c.b), t0)
		var ups []time.Duration
		var closes []time.Duration
		sawDefer := false
		for at := time.Duration(0); at < time.Hour; at += time.Duration(rnd.IntN(1500)) * time.Millisecond {
			for len(closes) > 0 && closes[0] <= at {
				g.Close("S", t0.Add(closes[0]))
				closes = closes[1:]
			}
			g.Tick(t0.Add(at))
			d := g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0.Add(at))
			if d.LetThrough() {
				closes = append(closes, at+c.hold)
			}
			sawDefer = sawDefer || d.Action == ActionDefer
			if d.Change != nil && d.Change.To >= StagePace && d.Change.To > d.Change.From {
				ups = append(ups, at)
			}
		}
		if !sawDefer {
			t.Errorf("%s: never deferred, so nothing is shown", c.why)
		}
		for i := range ups {
			if i+3 < len(ups) && ups[i+3]-ups[i] < 30*time.Second {
				t.Errorf("%s: four steps up from %v to %v", c.why, ups[i], ups[i+3])
				break
			}
		}
		t.Logf("%s: %d steps up in an hour", c.why, len(ups))
	}
}

// TestManyAtOnceLoseNothing: workers open, spend and close the same subscribers at once while others read, tick, save
// and reload. In the end nobody runs, nobody was closed who did not run, and what was let through is within the budget.
func TestManyAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	p := home(StageDefer, Budget{Of: Sessions, Limit: 50, Per: time.Hour}, Budget{Of: ConcurrentSessions, Limit: 5},
		Budget{Of: Messages, Limit: 1000, Per: time.Hour})
	g := New(p, t0)
	subs := make([]string, 20)
	for i := range subs {
		subs[i] = fmt.Sprint("S", i)
	}
	var clock sync.Mutex
	at := t0
	now := func() time.Time { // workers' times overtake each other by some milliseconds
		clock.Lock()
		defer clock.Unlock()
		at = at.Add(time.Microsecond)
		return at.Add(-time.Duration(rand.IntN(5)) * time.Millisecond)
	}
	var passed [20]int
	var count sync.Mutex
	var workers, others sync.WaitGroup
	done := make(chan struct{})
	for w := range 4 {
		workers.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for range 5000 {
				i := rnd.IntN(len(subs))
				d := g.Open(Attempt{Subscriber: subs[i], Plan: "home"}, now())
				if !d.LetThrough() {
					continue
				}
				count.Lock()
				passed[i]++
				count.Unlock()
				g.Spend(subs[i], "home", Messages, 1, now())
				if r, ok := g.Explain(subs[i], now()); !ok || r.Open < 1 || r.Open > 5 {
					t.Errorf("%s runs %d sessions", subs[i], r.Open)
				}
				g.Close(subs[i], now())
			}
		})
	}
	others.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			g.Tick(now())
			g.List(now())
			g.Redo(g.Dirty(7, now()))
			g.SetPolicy(p, now())
			g.Stages()
			g.Stats()
		}
	})
	workers.Wait()
	close(done)
	others.Wait()
	for i, n := range passed {
		if n > 51 { // all within a second of the clock: the burst, and what a second refills at most
			t.Errorf("%s: %d sessions let through of a budget of 50", subs[i], n)
		}
	}
	sum := 0
	for _, r := range g.List(now()) {
		if r.Open != 0 {
			t.Errorf("%s still runs %d sessions", r.Subscriber, r.Open)
		}
	}
	for s, n := range g.Stages() {
		if sum += n; n < 0 {
			t.Errorf("%d subscribers are in %v", n, s)
		}
	}
	if st := g.Stats(); st.StrayCloses != 0 || st.Untracked != 0 || sum != g.Count() || sum != 20 {
		t.Errorf("%+v, %d counted by stage", st, sum)
	}
}

func TestOpenAllocatesNothing(t *testing.T) {
	p := home(StageCut, Budget{Of: Sessions, Limit: MaxLimit, Per: time.Hour}, Budget{Of: ConcurrentSessions, Limit: 10}, Budget{Of: Messages, Limit: MaxLimit, Per: time.Hour},
		Budget{Of: Destinations, Limit: 1000, Per: time.Second})
	g := New(p, t0)
	now := t0
	g.Open(Attempt{Subscriber: "S", Plan: "home"}, now)
	g.Dirty(1, now)
	g.Close("S", now)
	n := 0
	got := testing.AllocsPerRun(5000, func() {
		now = now.Add(time.Millisecond)
		n++
		g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: host(n % 2)}, now)
		g.Spend("S", "home", Messages, 1, now)
		g.Close("S", now)
	})
	if got > 0 {
		t.Errorf("%v allocations for a session within budget", got)
	}
}
