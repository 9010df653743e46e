package governor

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestExplainRemembersTheLastDecisions(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer), t0)
	for i := range 80 {
		g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0.Add(time.Duration(i)*time.Second))
	}
	r, _ := g.Explain("S", t0)
	if len(r.Decisions) != decidedEach {
		t.Fatalf("%d decisions", len(r.Decisions))
	}
	for i, d := range r.Decisions {
		if !d.At.Equal(t0.Add(time.Duration(30+i)*time.Second)) || !d.Notable() || d.Change != nil {
			t.Fatalf("%d: %+v", i, d)
		}
	}
}

// Whoever comes late finds room: those who have the most make it.
func TestDecisionsOfWhoComesLateAreRemembered(t *testing.T) {
	t.Parallel()
	g := New(home(StageCut), t0)
	bots := decidedAll/decidedEach + 1
	for i := range bots {
		for range 60 {
			g.Open(Attempt{Subscriber: fmt.Sprint("bot", i), Plan: "home"}, t0)
		}
	}
	later := t0.Add(20 * time.Hour)
	for range 30 {
		g.Open(Attempt{Subscriber: "late", Plan: "home"}, later)
	}
	r, _ := g.Explain("late", later)
	if r.Stage != StageCut || len(r.Decisions) < 25 {
		t.Errorf("stage %v, %d decisions", r.Stage, len(r.Decisions))
	}
	all, least := len(r.Decisions), decidedEach
	for i := range bots {
		r, _ := g.Explain(fmt.Sprint("bot", i), later)
		all += len(r.Decisions)
		least = min(least, len(r.Decisions))
	}
	if all > decidedAll || least < decidedEach/2 {
		t.Errorf("%d decisions are kept, %d at least of each", all, least)
	}
	if g.Stats().DecisionsCut == 0 {
		t.Error("and nothing was counted")
	}
}

// Forged sources, which are as many as somebody likes, take no room from those who are listed.
func TestStrangersPushOutNoDecisionsOfOthers(t *testing.T) {
	t.Parallel()
	g := New(home(StageCut), t0)
	for range 60 {
		g.Open(Attempt{Subscriber: "line", Plan: "home"}, t0)
	}
	forged(g, decidedAll/6, 12, t0)
	if r, _ := g.Explain("line", t0); len(r.Decisions) != decidedEach {
		t.Errorf("%d decisions", len(r.Decisions))
	}
	real(g, "bot", 60, t0)
	if r, _ := g.Explain("bot", t0); len(r.Decisions) < 2 {
		t.Errorf("%d decisions of a stranger who came late", len(r.Decisions))
	}
}

// Whoever comes and goes, what is remembered is within its bounds, in order, and the last of each.
func TestDecisionsAreCountedRightly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := New(home(StageDefer), t0)
		g.decided[lines].most, g.decided[strangers].most = 120, 60
		said := map[string]int{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "who"))
			e, _ := g.admit(id, "home", g.plans["home"], false)
			switch rapid.SampledFrom([]string{"decide", "decide", "decide", "class", "forget"}).Draw(t, "what") {
			case "decide":
				for range rapid.IntRange(1, 60).Draw(t, "times") {
					said[id]++
					g.remember(&e, Decision{Value: said[id]}, 1)
				}
			case "class":
				g.stranger(&e, rapid.Bool().Draw(t, "is one"))
			case "forget":
				g.drop(&e)
				delete(said, id)
			}
			var n [classes]int
			for id := range said {
				e, _ := g.lookup(id)
				all := e.t.decided.list()
				for i, d := range all {
					if d.Value != said[id]-len(all)+1+i {
						t.Fatalf("%s: %d of %d is %d", id, i, said[id], d.Value)
					}
				}
				if room := len(e.t.decided.room); room > 4*len(all) {
					t.Fatalf("room for %d, %d decisions", room, len(all))
				}
				n[e.class()] += len(all)
			}
			for class := range n {
				m, listed := &g.decided[class], 0
				for k := range m.by {
					for e := m.by[k].oldest; e != nil; e = e.newer {
						if listed += k; e.decided.n != k || e.newer == nil && m.by[k].newest != e {
							t.Fatalf("%d decisions among those with %d", e.decided.n, k)
						}
					}
				}
				if m.n != n[class] || listed != n[class] || class == lines && len(said) < 2 && m.n > max(m.most, decidedEach) {
					t.Fatalf("class %d: %d are counted, %d listed, %d there", class, m.n, listed, n[class])
				}
			}
		}
	})
}
