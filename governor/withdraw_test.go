package governor

import (
	"testing"
	"time"
)

func TestForgedSessionsAreGivenBack(t *testing.T) {
	t.Parallel()
	p := home(StageDefer, Budget{Of: Sessions, Limit: 20, Per: time.Hour, Burst: 5}, Budget{Of: Destinations, Limit: 5, Per: time.Hour})
	for _, first := range []bool{true, false} { // the first first, or the last first
		g := New(p, t0)
		var receipts []Receipt
		for n := range 5 {
			receipts = append(receipts, to(g, n, t0).Receipt)
		}
		if d := to(g, 9, t0); d.Action != ActionDefer {
			t.Fatalf("%+v", d)
		}
		later := t0.Add(time.Minute)
		for i := range receipts {
			if !first {
				i = len(receipts) - 1 - i
			}
			g.Withdraw("S", receipts[i], later)
		}
		// as if they had never been: but for a minute of each network's token
		r, _ := g.Explain("S", later)
		if r.Open != 0 || r.Budgets[0].Value != 0 || r.Budgets[1].Value != 1 {
			t.Errorf("first %v: %+v", first, r)
		}
		if s := g.everybody(later)[0]; len(s.Destinations) != 0 {
			t.Errorf("known is %+v", s.Destinations)
		}
		if d := to(g, 9, later); d.Action != ActionPass {
			t.Errorf("first %v: %+v", first, d)
		}
		g.Withdraw("S", receipts[0], later) // of a session that did not run any more: the last one's is ended
		g.Withdraw("S", receipts[0], later)
		if s := g.Stats(); s.StrayCloses != 1 {
			t.Errorf("%+v", s)
		}
	}
}

func TestANetworkThatSomebodyElseWentToStaysCharged(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer, Budget{Of: Destinations, Limit: 5, Per: time.Hour}), t0)
	forged := to(g, 1, t0)
	to(g, 1, t0)
	g.Withdraw("S", forged.Receipt, t0)
	if r, _ := g.Explain("S", t0); r.Budgets[0].Value != 1 {
		t.Errorf("%+v", r.Budgets)
	}
	// so many that nobody counts them all
	g = New(home(StageDefer, Budget{Of: Destinations, Limit: 5, Per: time.Hour}), t0)
	for range 300 {
		forged = to(g, 1, t0)
	}
	for range 300 {
		g.Withdraw("S", forged.Receipt, t0)
	}
	if r, _ := g.Explain("S", t0); r.Budgets[0].Value != 1 || r.Open != 0 {
		t.Errorf("%+v", r)
	}
}

// What was forgiven, or counts otherwise now, is not given back once more.
func TestReceiptsBecomeVoid(t *testing.T) {
	t.Parallel()
	for why, then := range map[string]func(*Governor){
		"released":      func(g *Governor) { g.Release("S", t0) },
		"another plan":  func(g *Governor) { g.SetPlans(func(string) string { return "office" }, t0) },
		"another limit": func(g *Governor) { p := twoPlans(); p.Plans[0].Budgets[0].Burst = 6; g.SetPolicy(p, t0) },
	} {
		g := New(twoPlans(), t0)
		forged := to(g, 1, t0).Receipt
		then(g)
		r, _ := g.Explain("S", t0)
		a := Attempt{Subscriber: "S", Plan: r.Plan}
		for range 2 {
			g.Open(a, t0)
		}
		before, _ := g.Explain("S", t0)
		g.Withdraw("S", forged, t0)
		if after, _ := g.Explain("S", t0); after.Budgets[0].Value != before.Budgets[0].Value || after.Open != before.Open-1 {
			t.Errorf("%s: %+v became %+v", why, before, after)
		}
	}
	// and a receipt is kept by a reload that changes nothing
	g := New(twoPlans(), t0)
	forged := to(g, 1, t0).Receipt
	g.SetPolicy(twoPlans(), t0)
	g.Withdraw("S", forged, t0)
	if r, _ := g.Explain("S", t0); r.Budgets[0].Value != 0 {
		t.Errorf("%+v", r)
	}
}

func TestWhatIsAcceptedMakesGoodForWhatIsRejected(t *testing.T) {
	t.Parallel()
	p := home(StageDefer, Budget{Of: Rejected, Limit: 60, Per: time.Hour, Burst: 10})
	g := New(p, t0)
	g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0)
	used := func() int { r, _ := g.Explain("S", t0); return r.Budgets[0].Value }
	for range 100 { // one in ten, for ever
		g.Spend("S", "home", Rejected, 1, t0)
		g.Accepted("S", 9, t0)
	}
	if used() != 0 {
		t.Errorf("%d used by one in ten", used())
	}
	g.Accepted("S", 1<<30, t0) // never beyond whole
	for range 20 {             // one in two
		g.Spend("S", "home", Rejected, 1, t0)
		g.Accepted("S", 1, t0)
	}
	if u := used(); u != 18 {
		t.Errorf("%d used, want 20 less 20/9", u)
	}
	if d := g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0); d.Action != ActionDefer || d.Of != Rejected {
		t.Errorf("%+v", d)
	}
	g.Accepted("S", -1, t0)
	g.Accepted("nobody", 1, t0)
	g.Accepted("S", 9*18, t0)
	if d := g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0); d.Action > ActionPass {
		t.Errorf("%+v", d)
	}
	if c := g.Tick(t0.Add(30 * time.Second)); len(c) != 1 || c[0].To != StageWarn {
		t.Errorf("the stage does not follow: %+v", c)
	}
}
