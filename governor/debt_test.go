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
