package governor

import (
	"testing"
	"time"
)

func pressure(g *Governor, now time.Time) int {
	r, _ := g.Explain("S", now)
	return r.Budgets[0].Pressure
}

func TestRetriesDoNotPress(t *testing.T) {
	t.Parallel()
	g := New(home(StageCut), t0)
	for range 5 {
		to(g, 1, t0)
	}
	for i, s := range []struct {
		why      string
		at       time.Duration
		n        int // attempts
		to       int // 0: nobody knows where
		retry    bool
		pressure int // after them
	}{
		{"the first denial of all", 0, 1, 1, false, 1},
		{"nineteen more at once are retries", 0, 19, 1, true, 1},
		{"one too many hammers", 0, 1, 1, false, 2},
		{"another network", 0, 1, 2, false, 3},
		{"its retry", 0, 1, 2, true, 3},
		{"one that nobody knows is never a retry", 0, 2, 0, false, 5},
		{"15 s later there is one more", 15 * time.Second, 1, 1, true, 5},
		{"and no second one", 15 * time.Second, 1, 1, false, 6},
	} {
		a := Attempt{Subscriber: "S", Plan: "home"}
		if s.to > 0 {
			a.Destination = host(s.to)
		}
		now := t0.Add(s.at)
		for range s.n {
			if d := g.Open(a, now); d.Action != ActionDefer || d.Retry != s.retry || d.Value < 6 {
				t.Errorf("%d %s: %+v", i, s.why, d)
			}
		}
		if got := pressure(g, now); got != s.pressure {
			t.Errorf("%d %s: pressed by %d, want %d", i, s.why, got, s.pressure)
		}
	}
	if r, _ := g.Explain("S", t0.Add(15*time.Second)); r.Retries != 21 || g.Stats().Retries != 21 {
		t.Errorf("%d retries, %+v", r.Retries, g.Stats())
	}
}

// What was tried during a cut is no news after it.
func TestWhatACutDeniesIsRemembered(t *testing.T) {
	t.Parallel()
	g := New(home(StageCut), t0)
	for n := range 15 {
		to(g, n, t0)
	}
	saveAll(g, t0)
	for n := 30; n < 50; n++ {
		if d := to(g, n, t0.Add(time.Minute)); d.Action != ActionCut {
			t.Fatalf("%+v", d)
		}
	}
	if saved := saveAll(g, t0.Add(time.Minute)); len(saved) != 1 || len(saved[0].Retries) < 30 {
		t.Errorf("to be saved: %+v", saved)
	}
	later := t0.Add(time.Hour + time.Second) // the cut is over
	for range 5 {
		to(g, 1, later)
	}
	for n := 30; n < 50; n++ {
		if d := to(g, n, later); d.Action != ActionDefer || !d.Retry {
			t.Errorf("%d: %+v", n, d)
		}
	}
	if d := to(g, 51, later); d.Retry || pressure(g, later) != 1 {
		t.Errorf("%+v, pressed by %d", d, pressure(g, later))
	}
}

// The last straw is never a retry: what adds nothing cannot be what cuts.
func TestARetryNeverCuts(t *testing.T) {
	t.Parallel()
	g := New(home(StageCut), t0)
	for range 5 {
		to(g, 1, t0)
	}
	for n := range 9 {
		to(g, n, t0)
	}
	if d := to(g, 3, t0); d.Action != ActionDefer || !d.Retry || d.Value != 15 || d.Stage != StageDefer {
		t.Errorf("%+v", d)
	}
	if d := to(g, 77, t0); d.Action != ActionCut {
		t.Errorf("%+v", d)
	}
}

func TestTheNetworkLongestUnusedMakesRoomAndADayIsForgotten(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer, Budget{Of: Sessions, Limit: 1, Per: MaxPer}), t0)
	to(g, 0, t0)
	for n := range maxDenied + 1 {
		if to(g, n, t0.Add(time.Duration(n)*time.Minute)).Retry {
			t.Errorf("%d is a retry", n)
		}
	}
	now := t0.Add(maxDenied * time.Minute)
	if to(g, 0, now).Retry || !to(g, 2, now).Retry || !to(g, maxDenied, now).Retry || to(g, 1, now).Retry {
		t.Error("not the one longest unused made room")
	}
	if !to(g, 2, now.Add(keepDenied)).Retry || to(g, 2, now.Add(2*keepDenied+1)).Retry {
		t.Error("a day")
	}
}

// A mode or an exemption that let everything pass told nobody to stop.
func TestRetriesOfModeObserveAreForgotten(t *testing.T) {
	t.Parallel()
	p := home(StageCut)
	p.Mode = ModeObserve
	g := New(p, t0)
	for range 8 {
		to(g, 1, t0)
	}
	if d := to(g, 1, t0); !d.Retry || d.Effective() != ActionPass {
		t.Errorf("%+v", d)
	}
	g.SetPolicy(home(StageCut), t0)
	if d := to(g, 1, t0); d.Retry || d.Action != ActionDefer {
		t.Errorf("%+v", d)
	}
	if d := to(g, 1, t0); !d.Retry {
		t.Errorf("%+v", d)
	}
}

// Who looks may be the first to notice that a mode has ended; what is forgotten by it is forgotten on disk too.
func TestWhatIsForgottenWhenSomebodyLooksIsSaved(t *testing.T) {
	t.Parallel()
	for why, look := range map[string]func(*Governor, time.Time){
		"Explain":   func(g *Governor, now time.Time) { g.Explain("S", now) },
		"Each":      func(g *Governor, now time.Time) { g.Each(now, func(Brief) bool { return true }) },
		"Allowance": func(g *Governor, now time.Time) { g.Allowance("S", 1, now) },
	} {
		p := home(StageCut)
		p.Mode = ModeObserve
		g := New(p, t0)
		for range 8 {
			to(g, 1, t0)
		}
		now := t0.Add(12 * time.Hour)
		g.Tick(now)
		saveAll(g, now)
		g.SetPolicy(home(StageCut), now)
		look(g, now)
		if saved := saveAll(g, now); len(saved) != 1 || saved[0].Mode != ModeEnforce || len(saved[0].Retries) != 0 {
			t.Errorf("%s: to be saved: %+v", why, saved)
		}
		look(g, now)
		if saved := saveAll(g, now); len(saved) != 0 {
			t.Errorf("%s: again: %+v", why, saved)
		}
	}
}

func TestRetriesOutliveARestart(t *testing.T) {
	t.Parallel()
	p := home(StageCut)
	g := New(p, t0)
	for range 5 + 20 {
		to(g, 1, t0)
	}
	h := New(p, t0)
	bring(h, saveAll(g, t0), g.State(t0, t0), t0.Add(30*time.Second), t0)
	for i := range 3 {
		if d := to(h, 1, t0); d.Retry != (i < 2) {
			t.Errorf("%d: %+v", i, d)
		}
	}
	e, _ := h.lookup("S")
	if u := used(e.t.denials.wholeAt, h.clock.t) / e.t.denials.every; u != 60-57+14 {
		t.Errorf("%d of all are used", u) // 20 before, six came back in 30 s, three more
	}
}
