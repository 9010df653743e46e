package governor

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestSetPlansMovesEverybodyKnown(t *testing.T) {
	t.Parallel()
	p := twoPlans()
	g := New(p, t0)
	cut := opens(g, 15, t0) // S is cut
	for _, sub := range []string{"stays", "unmentioned", "nonsense"} {
		g.Open(Attempt{Subscriber: sub, Plan: "home"}, t0)
	}
	saveAll(g, t0)
	asked := map[string]int{}
	changes := g.SetPlans(func(sub string) string {
		asked[sub]++
		g.Explain(sub, t0) // nothing is held meanwhile
		return map[string]string{"S": "office", "stays": "home", "nonsense": "no such plan"}[sub]
	}, t0)
	if len(changes) != 1 {
		t.Fatalf("%+v", changes)
	}
	c := changes[0]
	if c.Subscriber != "S" || c.Plan != "office" || c.From != StageCut || c.To == StageCut || c.Case != cut.Case ||
		c.Why != "the plan's highest stage is defer now" {
		t.Errorf("%+v", c)
	}
	if len(asked) != 4 || asked["S"] != 1 {
		t.Errorf("asked for %v", asked)
	}
	if r, _ := g.Explain("S", t0); r.Plan != "office" || r.Budgets[0].Value != 5 || r.Budgets[0].Burst != 25 || r.Open != 5 {
		t.Errorf("what was used stays used: %+v", r)
	}
	for _, sub := range []string{"stays", "unmentioned", "nonsense"} {
		if r, _ := g.Explain(sub, t0); r.Plan != "home" || r.Budgets[0].Value != 1 {
			t.Errorf("%s: %+v", sub, r)
		}
	}
	if saved := saveAll(g, t0); len(saved) != 1 || saved[0].Subscriber != "S" || saved[0].Plan != "office" {
		t.Errorf("to be saved: %+v", saved)
	}
	if d := g.Open(Attempt{Subscriber: "S", Plan: "office"}, t0); d.Action != ActionPass || d.Value != 6 {
		t.Errorf("the next session: %+v", d)
	}
	if s := g.Stats(); s.UnknownPlan != 0 {
		t.Errorf("%+v", s)
	}
}

func TestSetPlanMovesOneAndSaysWhatThatBrings(t *testing.T) {
	t.Parallel()
	g := New(twoPlans(), t0)
	opens(g, 15, t0) // S is cut
	g.Open(Attempt{Subscriber: "T", Plan: "home"}, t0)
	saveAll(g, t0)
	for _, c := range []struct {
		why, sub, plan string
		changed        bool
		is             string // the plan of S after it
	}{
		{"nobody of that name", "U", "office", false, "home"},
		{"no plan of that name", "S", "no such plan", false, "home"},
		{"as it is", "S", "home", false, "home"},
		{"one that does not cut", "S", "office", true, "office"},
		{"again", "S", "office", false, "office"},
	} {
		got, ok := g.SetPlan(c.sub, c.plan, t0)
		if ok != c.changed || ok && (got.Subscriber != "S" || got.From != StageCut || got.To == StageCut || got.Why != "the plan's highest stage is defer now") {
			t.Errorf("%s: %v %+v", c.why, ok, got)
		}
		if r, _ := g.Explain("S", t0); r.Plan != c.is {
			t.Errorf("%s: it is under %s", c.why, r.Plan)
		}
	}
	if saved := saveAll(g, t0); len(saved) != 1 || saved[0].Plan != "office" {
		t.Errorf("to be saved: %+v", saved)
	}
}

// Those who come and go while everybody is walked over neither stop the walk nor are left out of it.
func TestSetPlansWhileOthersDecide(t *testing.T) {
	t.Parallel()
	g := New(twoPlans(), t0)
	const n = 5 * chunk
	for i := range n {
		g.Open(Attempt{Subscriber: fmt.Sprint("S", i), Plan: "home"}, t0)
		if i%2 == 0 {
			g.Close(fmt.Sprint("S", i), t0) // idle in an hour
		}
	}
	later := t0.Add(2 * time.Hour)
	var others sync.WaitGroup
	others.Go(func() {
		for i := range n {
			g.Open(Attempt{Subscriber: fmt.Sprint("T", i), Plan: "office"}, later)
			g.Tick(later)
		}
	})
	g.SetPlans(func(string) string { return "office" }, later)
	others.Wait()
	for _, r := range g.List(later) {
		if r.Plan != "office" {
			t.Errorf("%s is still under %s", r.Subscriber, r.Plan)
		}
	}
}
