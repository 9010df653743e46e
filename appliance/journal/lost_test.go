package journal

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// state is that of a line, as a checkpoint tells it.
func state(n int, at time.Time) governor.Input {
	sub := fmt.Sprintf("S-%05d", n)
	return governor.Input{Op: governor.OpState, At: time.Hour, Now: at, Subscriber: sub, Carried: &governor.Carried{}, Saved: &governor.Saved{Subscriber: sub, Plan: "home",
		Budgets: []governor.SavedBudget{{Budget: governor.Budget{Of: governor.Sessions, Limit: 5, Per: time.Hour}, WholeAt: 2 * time.Hour}}}}
}

// A begin of a life, or a checkpoint, that lacks some of what was known is none, in whatever frame the rest of it is: what is missing is said where it is
// missing, and who plays it knows that it is not all.
func TestWhatIsKnownIsAllOrIsSaidNotToBe(t *testing.T) {
	t.Parallel()
	policy := &governor.Policy{Mode: governor.ModeEnforce, Plans: []governor.Plan{{Name: "home", HighestStage: governor.StageCut, Ladder: governor.DefaultLadder(),
		Budgets: []governor.Budget{{Of: governor.Sessions, Limit: 5, Per: time.Hour}}}}}
	for _, row := range []struct {
		why    string
		begins governor.Op
		states int
		exact  bool
	}{
		{"a checkpoint", governor.OpCheckpoint, 100, true},
		{"a checkpoint of more than there is room for", governor.OpCheckpoint, 5000, false},
		{"a begin", governor.OpBegin, 100, true},
		{"a begin of more than there is room for", governor.OpBegin, 5000, false},
	} {
		w := open(t, Bounds{Sessions: time.Hour, Records: time.Hour, Bytes: 1 << 20})
		tell := func(in governor.Input) { w.Record(&in) }
		tell(governor.Input{Op: row.begins, At: time.Hour, Now: noon, Policy: policy})
		if row.begins == governor.OpBegin {
			tell(governor.Input{Op: governor.OpPolicy, At: time.Hour, Now: noon, Policy: policy})
		}
		for n := range row.states {
			tell(state(n, noon))
		}
		if row.begins == governor.OpCheckpoint {
			tell(governor.Input{Op: governor.OpCheckpointed, At: time.Hour, Now: noon, Session: 7})
		}
		tell(governor.Input{Op: governor.OpTick, At: time.Hour + time.Second, Now: noon.Add(time.Second)})
		w.drain()
		p := governor.NewPlayer(governor.PlayerOptions{})
		states, missing, last := 0, 0, governor.OpUnknown
		for _, in := range w.inputs() {
			switch in.Op {
			case governor.OpState:
				states++
			case governor.OpLost:
				missing += in.Cost
				if last != governor.OpState {
					t.Errorf("%s: the place of what is missing is behind a %d", row.why, last)
				}
			}
			last = in.Op
			p.Play(&in)
		}
		if p.Exact != row.exact || states+missing != row.states || missing > 0 == row.exact || int(w.Status().Inputs) != missing {
			t.Errorf("%s: exact %v, %d states, %d missing, %d counted", row.why, p.Exact, states, missing, w.Status().Inputs)
		}
		w.Close()
	}
}

// Earlier versions counted at the begin of a frame what is missing anywhere in it: nothing that such a frame begins is whole.
func TestAFrameThatSaysHowManyAreMissingButNotWhere(t *testing.T) {
	t.Parallel()
	for _, lost := range []uint64{0, 3} {
		var e encoder
		for _, in := range []governor.Input{{Op: governor.OpCheckpoint, At: 1, Now: noon, Policy: &governor.Policy{}}, state(1, noon), {Op: governor.OpCheckpointed, At: 1, Now: noon},
			{Op: governor.OpTick, At: 2, Now: noon}} {
			e.add(&in)
		}
		payload := binary.AppendUvarint(binary.AppendVarint(binary.AppendVarint([]byte{rowBegin}, e.oldest), e.newest), lost)
		p, in := governor.NewPlayer(governor.PlayerOptions{}), governor.Input{}
		if err := decodeInputs(append(payload, e.b...), &known{}, func() *governor.Input { return &in }, func() error { p.Play(&in); return nil }); err != nil {
			t.Fatal(err)
		}
		if p.Exact != (lost == 0) || p.Lost != lost {
			t.Errorf("%d missing: exact %v, %d", lost, p.Exact, p.Lost)
		}
	}
}

// What is missing of several frames, and within one, is all there, in its order.
func TestWhatIsMissingAddsUp(t *testing.T) {
	t.Parallel()
	var e encoder
	in := governor.Input{Op: governor.OpTick, At: 5, Now: noon}
	e.add(&in)
	e.miss(2)
	e.add(&in)
	e.miss(4)
	got, one := "", governor.Input{}
	if err := decodeInputs(e.frame(1), &known{}, func() *governor.Input { return &one }, func() error {
		got += fmt.Sprintf("%d ", one.Cost)
		if !one.Now.Equal(noon) {
			t.Errorf("at %v", one.Now)
		}
		return nil
	}); err != nil || got != "1 0 2 0 4 " {
		t.Errorf("%q, %v", got, err)
	}
}
