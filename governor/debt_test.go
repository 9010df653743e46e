package governor

import (
	"testing"
	"time"
)

// What one session owes never cuts by itself: only attempts made again and again do.
func TestDebtAloneCutsNobody(t *testing.T) {
	g := New(Policy{Mode: ModeEnforce, Plans: []Plan{{Name: "p", HighestStage: StageCut,
		Budgets: []Budget{{Of: Messages, Limit: 60, Per: time.Hour, Burst: 1}}}}}, t0)
	a := Attempt{Subscriber: "s", Plan: "p"}
	g.Open(a, t0)
	for range 3 {
		g.Spend("s", "p", Messages, 1, t0)
	}
	g.Close("s", t0)
	if d := g.Open(a, t0.Add(time.Millisecond)); d.Action != ActionDefer {
		t.Errorf("the first attempt after it: %v, %s", d.Action, d.Reason())
	}
	if d := g.Open(a, t0.Add(2*time.Millisecond)); d.Action != ActionCut {
		t.Errorf("the second: %v, %s", d.Action, d.Reason())
	}
}

// A cost beyond all bounds is a full debt, not a wrapped one.
func TestACostThatOverflowsIsADebt(t *testing.T) {
	for _, cost := range []int{291, 300, 1000, MaxLimit} {
		g := New(Policy{Mode: ModeEnforce, Plans: []Plan{{Name: "p", HighestStage: StageDefer,
			Budgets: []Budget{{Of: Recipients, Limit: 1, Per: MaxPer}}}}}, t0)
		g.Open(Attempt{Subscriber: "s", Plan: "p"}, t0)
		if d := g.Spend("s", "p", Recipients, cost, t0); d.Value < 2 || d.Stage != StageDefer {
			t.Errorf("%d recipients: %s, stage %v", cost, d.Reason(), d.Stage)
		}
		if d := g.Open(Attempt{Subscriber: "s", Plan: "p"}, t0.Add(time.Hour)); d.Action != ActionDefer {
			t.Errorf("after %d recipients: %v %s", cost, d.Action, d.Reason())
		}
	}
}

// Messages that nobody saw, as those inside TLS, defer but never cut, however hard is tried again; not after a restart
// either, and not together with some that were seen, as long as those alone would fit. Once their budget has been whole,
// what is certain cuts as ever.
func TestEstimatedMessagesCutNobody(t *testing.T) {
	p := Policy{Mode: ModeEnforce, Plans: []Plan{{Name: "p", HighestStage: StageCut,
		Budgets: []Budget{{Of: Messages, Limit: 60, Per: time.Hour, Burst: 2}}}}}
	g := New(p, t0)
	a := Attempt{Subscriber: "s", Plan: "p"}
	g.Open(a, t0)
	g.Spend("s", "p", Messages, 1, t0)
	if d := g.SpendEstimated("s", "p", 3, t0); d.Stage != StageDefer || d.Action > ActionPace {
		t.Errorf("while it runs: %v, stage %v", d.Action, d.Stage)
	}
	g.Close("s", t0)
	for i := range 1000 {
		if d := g.Open(a, t0.Add(time.Duration(i)*time.Millisecond)); d.Action != ActionDefer || d.Of != Messages || d.Stage != StageDefer {
			t.Fatalf("attempt %d: %v, stage %v, %s", i, d.Action, d.Stage, d.Reason())
		}
	}
	again := New(p, t0.Add(time.Second))
	bring(again, saveAll(g, t0.Add(time.Second)), g.State(t0.Add(time.Second), t0), t0, t0.Add(time.Second))
	for i := range 1000 {
		if d := again.Open(a, t0.Add(time.Second+time.Duration(i)*time.Millisecond)); d.Action != ActionDefer {
			t.Fatalf("attempt %d after a restart: %v, %s", i, d.Action, d.Reason())
		}
	}
	later := t0.Add(time.Hour)
	g.Open(a, later)
	for range 6 {
		g.Spend("s", "p", Messages, 1, later)
	}
	g.Close("s", later)
	var d Decision
	for i := range 20 {
		d = g.Open(a, later.Add(time.Duration(i)*time.Millisecond))
	}
	if d.Action != ActionCut {
		t.Errorf("what was seen: %v, %s", d.Action, d.Reason())
	}
}

// What else is over its budget cuts although the messages are an estimate.
func TestEstimatedMessagesProtectNobody(t *testing.T) {
	g := New(Policy{Mode: ModeEnforce, Plans: []Plan{{Name: "p", HighestStage: StageCut,
		Budgets: []Budget{{Of: Messages, Limit: 60, Per: time.Hour, Burst: 2}, {Of: Sessions, Limit: 60, Per: time.Hour, Burst: 3}}}}}, t0)
	a := Attempt{Subscriber: "s", Plan: "p"}
	for range 3 {
		g.Open(a, t0)
	}
	g.SpendEstimated("s", "p", 5, t0)
	var d Decision
	for i := range 20 {
		d = g.Open(a, t0.Add(time.Duration(i)*time.Millisecond))
	}
	if d.Action != ActionCut || d.Of != Sessions {
		t.Errorf("%v because of %v, %s", d.Action, d.Of, d.Reason())
	}
}
