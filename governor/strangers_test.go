package governor

import (
	"fmt"
	"testing"
	"time"
)

// forged plays SYNs of n sources that no list has: tries each, to as many networks, of which no session comes about.
func forged(g *Governor, n, tries int, now time.Time) {
	for i := range n {
		a := Attempt{Subscriber: fmt.Sprintf("%d.x", i), Plan: "home", Unlisted: true}
		var passed []Receipt
		for try := range tries {
			a.Destination = host(try)
			if d := g.Open(a, now); d.LetThrough() {
				passed = append(passed, d.Receipt)
			}
		}
		for _, r := range passed {
			g.Withdraw(a.Subscriber, r, now)
		}
	}
}

// real plays sessions of a source that no list has, each to its end, and tells how many were counted and what was decided.
func real(g *Governor, id string, n int, now time.Time) (uncounted int, seen map[Action]int) {
	before, seen := g.Stats().Strangers, map[Action]int{}
	for i := range n {
		d := g.Open(Attempt{Subscriber: id, Plan: "home", Destination: host(i), Unlisted: true}, now)
		seen[d.Action]++
		if d.LetThrough() {
			g.Close(id, now)
		}
	}
	return int(g.Stats().Strangers - before), seen
}

func ticks(g *Governor, from time.Time, n int) (changes []StageChange) {
	for i := range n {
		changes = append(changes, g.Tick(from.Add(time.Duration(i)*time.Second))...)
	}
	return changes
}

// Sources whose SYNs are forged may fill the room of strangers, but not for long: whatever they were denied, they go
// first.
func TestForgedSourcesDoNotBlindUs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why   string
		tries int
		stage Stage // of the forged ones
	}{{"nothing denied", 2, StageObserve}, {"denied once", 6, StageDefer}, {"cut", 15, StageCut}} {
		g := New(home(StageCut), t0)
		g.most = 8192
		forged(g, 2048+100, c.tries, t0)
		if n := g.Stages()[c.stage]; n < 2000 || g.Stats().Strangers == 0 {
			t.Fatalf("%s: %v", c.why, g.Stages())
		}
		if uncounted, _ := real(g, "early", 10, t0); uncounted != 10 {
			t.Fatalf("%s: there is room", c.why)
		}
		changes := ticks(g, t0, 60)
		now := t0.Add(time.Minute)
		uncounted, seen := real(g, "bot", 50, now)
		if uncounted > 0 || seen[ActionDefer]+seen[ActionCut] < 40 {
			t.Errorf("%s: a minute later %d of 50 sessions of a new source were not counted, %v", c.why, uncounted, seen)
		}
		ended := map[string]bool{}
		for _, change := range changes {
			if change.To == StageObserve {
				ended[change.Subscriber] = true
			}
		}
		for i := range 2048 {
			id := fmt.Sprintf("%d.x", i)
			if _, known := g.Explain(id, now); c.stage != StageObserve && !known && !ended[id] {
				t.Fatalf("%s: %s was forgotten and nobody was told that its case is closed", c.why, id)
			}
		}
	}
}

// Whoever really sent something keeps his stage, however many forged ones there are, and is never refused the room that he has.
func TestForgedSourcesPushOutNobodyWhoSent(t *testing.T) {
	t.Parallel()
	g := New(home(StageCut), t0)
	g.most = 8192
	real(g, "bot", 30, t0)
	g.Open(Attempt{Subscriber: "line", Plan: "home"}, t0)
	for range 8 {
		g.Open(Attempt{Subscriber: "line", Plan: "home"}, t0)
	}
	forged(g, 2100, 15, t0)
	ticks(g, t0, 300)
	now := t0.Add(5 * time.Minute)
	if r, _ := g.Explain("bot", now); r.Stage != StageCut || len(r.Decisions) == 0 {
		t.Errorf("who was cut: %+v", r)
	}
	if r, _ := g.Explain("line", now); r.Stage != StageDefer || len(r.Decisions) == 0 {
		t.Errorf("a line: %+v", r)
	}
}

// Where room is scarce a stranger who did send is forgotten when nothing of his is in use any more, though he was denied
// something within the day.
func TestStrangersMakeRoomWhenTheyAreCalm(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer, Budget{Of: Sessions, Limit: 60, Per: time.Hour, Burst: 2}), t0)
	g.most = 8192
	for i := range 2048 {
		real(g, fmt.Sprint("s", i), 4, t0)
	}
	ticks(g, t0, 30)
	if g.Stats().Unlisted != 2048 {
		t.Fatalf("%+v", g.Stats())
	}
	ticks(g, t0.Add(10*time.Minute), 60) // budgets are whole, stage warn would last for five minutes more
	if s := g.Stats(); s.Unlisted > 2048/4*3+1 || s.Unlisted < 2048/2 {
		t.Errorf("%d of 2048 are left, as many as need not go", s.Unlisted)
	}
	if uncounted, seen := real(g, "bot", 50, t0.Add(11*time.Minute)); uncounted > 0 || seen[ActionDefer] < 40 {
		t.Errorf("%d uncounted, %v", uncounted, seen)
	}
}

// What is remembered of denied networks is bounded for all together, in memory and on disk, and each has a few.
func TestDeniedNetworksAreBoundedForAll(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer), t0)
	const n = 600
	forged(g, n, 5+maxDenied, t0)
	for try := range 5 + maxDenied {
		g.Open(Attempt{Subscriber: "line", Plan: "home", Destination: host(try)}, t0)
	}
	all, least, line := 0, maxDenied, 0
	for _, s := range g.everybody(t0) {
		if s.Subscriber == "line" {
			line = len(s.Retries)
			continue
		}
		all += len(s.Retries) - 1 // of all together
		least = min(least, len(s.Retries)-1)
	}
	if all > deniedStrangers+n*fewDenied || least < fewDenied {
		t.Errorf("%d networks denied to strangers are kept, %d at least of each", all, least)
	}
	if line != maxDenied+1 {
		t.Errorf("%d of a line", line)
	}
	h := New(home(StageDefer), t0)
	bring(h, saveAll(g, t0), g.State(t0, t0), t0, t0)
	if g.denied != h.denied {
		t.Errorf("%v before, %v after a restart", g.denied, h.denied)
	}
	for _, g := range []*Governor{g, h} {
		for i := range n {
			g.Release(fmt.Sprintf("%d.x", i), t0)
		}
		ticks(g, t0.Add(25*time.Hour), 2000) // all are looked at
		if g.denied != [classes]int{} {
			t.Errorf("%v are counted when all is forgotten", g.denied)
		}
	}
}

// The oldest makes room where there is none for one more.
func TestWhereRoomIsScarceTheNetworkLongestUnusedMakesIt(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer, Budget{Of: Sessions, Limit: 1, Per: MaxPer}), t0)
	g.denied[strangers] = deniedStrangers
	open := func(n int, at time.Duration) Decision {
		return g.Open(Attempt{Subscriber: "s", Plan: "home", Destination: host(n), Unlisted: true}, t0.Add(at))
	}
	open(0, 0)
	for n := range fewDenied + 1 {
		open(n, time.Duration(n)*time.Minute)
	}
	at := time.Hour
	if open(0, at).Retry || !open(2, at).Retry || !open(fewDenied, at).Retry || open(1, at).Retry {
		t.Error("not the one longest unused made room")
	}
}

// Also where nearly all the room is taken by lines, what was decided about them is remembered, and forged sources keep none
// of them out.
func TestATableFullOfLines(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer), t0)
	g.most = 8192
	busy := func(i int, now time.Time) (d Decision) {
		for range 8 {
			d = g.Open(Attempt{Subscriber: fmt.Sprint("line", i), Plan: "home"}, now)
		}
		return d
	}
	const n = 7800
	for i := range n {
		busy(i, t0)
	}
	forged(g, 1000, 12, t0)
	for i := range 100 {
		if d := busy(n+i, t0); d.Action != ActionDefer {
			t.Fatalf("line %d of %d is kept out: %+v, %+v", n+i, g.most, d, g.Stats())
		}
	}
	ticks(g, t0, 60)
	if s := g.Stats(); s.Unlisted > 150 {
		t.Errorf("%d strangers are left though there is hardly room", s.Unlisted)
	}
	later := t0.Add(2 * time.Hour)
	for i := range n {
		for range 5 {
			g.Close(fmt.Sprint("line", i), later)
		}
	}
	ticks(g, later, 300)
	if r, _ := g.Explain("line7", later.Add(5*time.Minute)); r.Stage != StageObserve || len(r.Decisions) == 0 {
		t.Errorf("what was decided is forgotten: %+v", r)
	}
}
