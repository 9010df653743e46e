package journal

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// some is one input of each kind, with everything that it can have.
func some(at time.Time) []governor.Input {
	in := func(op governor.Op, i governor.Input) governor.Input {
		i.Op, i.At, i.Now = op, time.Duration(at.UnixNano()/7), at
		at = at.Add(1234567 * time.Nanosecond)
		return i
	}
	const line, ever = "S-1", time.Duration(1 << 62) // a moment still to come
	return []governor.Input{
		in(governor.OpBegin, governor.Input{Cases: 4096}),
		in(governor.OpPolicy, governor.Input{Policy: &governor.Policy{Mode: governor.ModeEnforce, Hash: "0123", Plans: []governor.Plan{
			{Name: "home", HighestStage: governor.StageCut, Ladder: governor.DefaultLadder(), Budgets: []governor.Budget{{Of: governor.Sessions, Limit: 5, Per: time.Hour}}}}}}),
		in(governor.OpState, governor.Input{Subscriber: line, Saved: &governor.Saved{Subscriber: line, Plan: "home", Stage: governor.StagePace, Case: "00001", Since: 5,
			Estimated: true, Unlisted: true, Mode: governor.ModeEnforce, Exemption: &governor.SavedExemption{Since: 1, Until: 2, Reason: "x", By: "y"},
			Budgets: []governor.SavedBudget{{Budget: governor.Budget{Of: governor.Sessions, Limit: 5, Per: time.Hour}, WholeAt: ever, SureAt: ever - 5}}},
			Carried: &governor.Carried{Open: 3, Charged: 1 << 25, Met: true, Trouble: true, Ended: 9, Plan: &governor.Plan{Name: "home"}}}),
		in(governor.OpState, governor.Input{Subscriber: "S-2", Saved: &governor.Saved{Subscriber: "S-2", Plan: "home",
			Budgets:      []governor.SavedBudget{{Budget: governor.Budget{Of: governor.Sessions, Limit: 5, Per: time.Hour}, WholeAt: ever, CalmAt: ever + 1}},
			Destinations: []governor.SavedDestination{{Network: governor.Network{Bits: 0xc0000200}, At: 7}, {Network: governor.Network{Bits: 5, IPv6: true}, At: 8}},
			Retries:      []governor.SavedRetry{{Network: governor.Network{Bits: 6, IPv6: true}, Every: 7, WholeAt: 8, UsedAt: 9}, {Every: 1, WholeAt: ever, UsedAt: 3}}},
			Carried: &governor.Carried{Opens: []uint8{1, 255}}}),
		in(governor.OpState, governor.Input{Subscriber: "S-3", Saved: &governor.Saved{Subscriber: "S-3", Plan: "home", Stage: governor.StageWarn, Case: "00002", Since: 3, // the first of its budgets is whole since then
			Budgets: []governor.SavedBudget{{Budget: governor.Budget{Of: governor.Sessions, Limit: 5, Per: time.Hour}, WholeAt: 6}, {Budget: governor.Budget{Of: governor.Messages, Limit: 5, Per: time.Hour}, WholeAt: ever}}},
			Carried: &governor.Carried{Trouble: true}}),
		in(governor.OpState, governor.Input{Subscriber: "S-4", Saved: &governor.Saved{Subscriber: "S-4", Plan: "home", Budgets: []governor.SavedBudget{{Budget: governor.Budget{Of: governor.Sessions, Limit: 5, Per: time.Hour}}}},
			Carried: &governor.Carried{Trouble: true, Forgave: &governor.SavedRelease{At: 4, Charged: 7, Base: 1<<24 + 7, Bare: true, Opens: []uint8{2}, Was: governor.Saved{Subscriber: "S-4", Plan: "home", Stage: governor.StageCut,
				Since: 3, Until: ever, Case: "00003", Budgets: []governor.SavedBudget{{Budget: governor.Budget{Of: governor.Sessions, Limit: 5, Per: time.Hour}, WholeAt: ever, CalmAt: 9}},
				Destinations: []governor.SavedDestination{{Network: governor.Network{Bits: 0xc0000200}, At: 7}}}}}}),
		in(governor.OpTick, governor.Input{}),
		in(governor.OpOpen, governor.Input{Subscriber: "unmapped:203.0.113.77", Plan: "strangers", Session: 1, Unlisted: true, Ran: true, Destination: netip.MustParsePrefix("192.0.2.0/24")}),
		in(governor.OpOpen, governor.Input{Subscriber: line, Plan: "home", Session: 2, Destination: netip.MustParsePrefix("2001:db8:7::/48")}),
		in(governor.OpSpend, governor.Input{Subscriber: line, Plan: "home", Session: 1, Of: governor.TLSHandshakes, Cost: 1}),
		in(governor.OpEstimate, governor.Input{Subscriber: line, Plan: "home", Session: 1, Of: governor.Messages, Cost: 3}),
		in(governor.OpAccepted, governor.Input{Subscriber: line, Session: 1, Cost: 20}),
		in(governor.OpClose, governor.Input{Subscriber: line, Session: 1}),
		in(governor.OpWithdraw, governor.Input{Subscriber: line, Session: 300, Receipt: governor.SavedReceipt{At: 5, Charged: 1 << 24, To: governor.Network{Bits: 0xc0000200}, OK: true}}),
		in(governor.OpWithdraw, governor.Input{Subscriber: line, Session: 301}),
		in(governor.OpExempt, governor.Input{Subscriber: line, Plan: "home", Lasts: time.Hour, Reason: "ticket 4711", By: "admin"}),
		in(governor.OpRelease, governor.Input{Subscriber: line}),
		in(governor.OpUnrelease, governor.Input{Subscriber: line}),
		in(governor.OpPlan, governor.Input{Subscriber: line, Plan: "office"}),
		in(governor.OpEnd, governor.Input{}),
	}
}

func (w *world) inputs() (all []governor.Input) {
	w.Helper()
	r, err := Read(w.opt.Dir)
	if err != nil {
		w.Fatal(err)
	}
	if err := r.Inputs(time.Time{}, time.Time{}, func(b *Batch) error { all = append(all, b.In...); b.Free(); return nil }); err != nil {
		w.Fatal(err)
	}
	return all
}

// What the governor was told is read as it was told, to the nanosecond, over several files and lives; and it is gone with its
// time.
func TestInputsAreReadAsTheyWereTold(t *testing.T) {
	t.Parallel()
	w := open(t, Bounds{Sessions: time.Hour, Records: 2 * time.Hour, Bytes: 64 << 20})
	var want []governor.Input
	tell := func(at time.Time) {
		for _, in := range some(at) {
			w.Record(&in)
			want = append(want, in)
		}
		w.drain()
	}
	tell(noon)
	tell(noon.Add(5 * time.Minute))
	if err := w.Abandon(); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	tell(noon.Add(20 * time.Minute))
	got := w.inputs()
	if len(got) != len(want) || len(w.Journal.inputs) < 3 {
		t.Fatalf("%d inputs in %d files, want %d", len(got), len(w.Journal.inputs), len(want))
	}
	for i := range want {
		got[i].Now, want[i].Now = got[i].Now.UTC(), want[i].Now.UTC()
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("%d: %+v\nwas %+v", i, got[i], want[i])
		}
	}
	for _, addr := range []string{"203.0.113.77", "192.0.2.0", "2001:db8:7::"} {
		if w.holding(addr) == nil {
			t.Errorf("%s is nowhere", addr)
		}
	}
	w.tidy(noon.Add(2 * time.Hour))
	for _, addr := range []string{"203.0.113.77", "192.0.2.0", "2001:db8:7::"} {
		if found := w.holding(addr); found != nil {
			t.Errorf("after its time %s is in %v", addr, found)
		}
	}
	if st := w.Status(); st.Err != nil || len(w.inputs()) != 0 {
		t.Errorf("%+v, %d inputs", st, len(w.inputs()))
	}
}

// Who tells more than there is room for, before anybody writes, waits for nothing: the rest is missing, and is said to be.
func TestInputsThatFindNoRoomAreCounted(t *testing.T) {
	t.Parallel()
	w := open(t, month)
	in := governor.Input{Op: governor.OpClose, Now: noon, Subscriber: "S-1", Session: 1}
	n := 0
	for w.Status().Inputs < 7 {
		w.Record(&in)
		n++
	}
	w.drain()
	w.Record(&in)
	w.drain()
	lost, read := 0, 0
	for _, in := range w.inputs() {
		if in.Op == governor.OpLost {
			lost += in.Cost
		} else {
			read++
		}
	}
	if lost != 7 || read != n-7+1 {
		t.Errorf("%d of %d read, %d said to be lost", read, n+1, lost)
	}
}

func FuzzInputs(f *testing.F) {
	var e encoder
	for _, in := range some(noon) {
		e.add(&in)
	}
	f.Add(e.frame(3))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || b[0] != rowInputs && b[0] != rowBegin {
			return
		}
		var in governor.Input
		err := decodeInputs(b, &known{}, func() *governor.Input { return &in }, func() error {
			var e encoder
			e.add(&in)
			return nil
		})
		if err != nil && !errors.Is(err, errRow) {
			t.Error(err)
		}
	})
}
