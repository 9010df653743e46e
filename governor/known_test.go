package governor

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func to(g *Governor, n int, now time.Time) Decision {
	return g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: host(n)}, now)
}

func TestDestinationsAreChargedOnceInAWindow(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer, Budget{Of: Destinations, Limit: 3, Per: time.Hour}), t0)
	const tok = 20 * time.Minute
	for i, s := range []struct {
		why    string
		at     time.Duration
		to     int // 0: not known
		action Action
		wait   time.Duration
		reason string
	}{
		{"the first", 0, 1, ActionPass, 0, "destinations 1/3 per 1h (33%)"},
		{"again", 0, 1, ActionPass, 0, "destinations 1/3 per 1h (33%)"},
		{"nobody knows where", 0, 0, ActionPass, 0, "destinations 1/3 per 1h (33%)"},
		{"the second", 0, 2, ActionWarn, 0, "destinations 2/3 per 1h (66%)"},
		{"the third: beyond 80%", 0, 3, ActionPace, time.Minute, "destinations 3/3 per 1h (100%)"},
		{"a known one never waits, though the stage is pace", 0, 2, ActionWarn, 0, "destinations 3/3 per 1h (100%)"},
		{"the fourth", 0, 4, ActionDefer, tok, "destinations 4/3 per 1h (133%)"},
		{"a known one is not refused", 0, 3, ActionWarn, 0, "destinations 3/3 per 1h (100%)"},
		{"nor is one that nobody knows", 0, 0, ActionWarn, 0, "destinations 3/3 per 1h (100%)"},
		{"it fits when told", tok, 4, ActionPace, time.Minute, "destinations 3/3 per 1h (100%)"},
		{"known for almost a window", time.Hour - 1, 1, ActionWarn, 0, "destinations 2/3 per 1h (66%)"},
		{"a window later it is charged again, though it was used meanwhile", time.Hour, 1, ActionWarn, 0, "destinations 2/3 per 1h (66%)"},
		{"so it counts from there", 2*time.Hour - 1, 1, ActionPass, 0, "destinations 0/3 per 1h (0%)"},
	} {
		a := Attempt{Subscriber: "S", Plan: "home"}
		if s.to > 0 {
			a.Destination = host(s.to)
		}
		d := g.Open(a, t0.Add(s.at))
		if d.Action != s.action || d.Wait != s.wait || d.Reason() != s.reason {
			t.Errorf("%d %s: %v wait %v %q, want %v wait %v %q", i, s.why, d.Action, d.Wait, d.Reason(), s.action, s.wait, s.reason)
		}
	}
}

// What another budget refuses is charged to no destination.
func TestARefusedSessionKnowsNoDestination(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer, Budget{Of: Sessions, Limit: 1, Per: time.Hour}, Budget{Of: Destinations, Limit: 5, Per: time.Hour}), t0)
	to(g, 1, t0)
	if d := to(g, 2, t0); d.Action != ActionDefer || d.Of != Sessions {
		t.Fatalf("%+v", d)
	}
	if s := g.everybody(t0)[0]; len(s.Destinations) != 1 || s.Budgets[1].WholeAt != s.Destinations[0].At+12*time.Minute {
		t.Errorf("%+v", s)
	}
	// and who was refused by destinations is charged no session
	g = New(home(StageDefer, Budget{Of: Sessions, Limit: 9, Per: time.Hour}, Budget{Of: Destinations, Limit: 1, Per: time.Hour}), t0)
	to(g, 1, t0)
	to(g, 2, t0)
	if r, _ := g.Explain("S", t0); r.Budgets[0].Value != 1 || r.Budgets[1].Pressure != 1 || r.Budgets[0].Pressure != 0 {
		t.Errorf("%+v", r.Budgets)
	}
}

// In a plan that defers nothing more networks are charged than the budget holds; the oldest charge makes room.
func TestTheOldestNetworkMakesRoom(t *testing.T) {
	t.Parallel()
	g := New(home(StagePace, Budget{Of: Destinations, Limit: 3, Per: time.Hour, Burst: 2}), t0)
	for n := 1; n <= 8; n++ {
		to(g, n, t0.Add(time.Duration(n)*time.Second))
	}
	got := ""
	for n := 1; n <= 8; n++ {
		e, _ := g.lookup("S")
		if e.chargedFor(&e.plan.limits[0], networkOf(host(n)), g.clock.t) != nil {
			got += fmt.Sprint(n)
		}
	}
	if got != "45678" {
		t.Errorf("known are %s", got)
	}
}

func TestNetworksOfBothFamiliesAndOfWindowsAreApart(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer, Budget{Of: Destinations, Limit: 4, Per: time.Minute}, Budget{Of: Destinations, Limit: 40, Per: time.Hour}), t0)
	prefixes := []string{"192.0.2.0/24", "192.0.3.0/24", "2001:db8:1::/48", "2001:db8:2::/48"}
	for range 3 {
		for _, p := range prefixes {
			g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: netip.MustParsePrefix(p)}, t0)
		}
	}
	r, _ := g.Explain("S", t0)
	if r.Budgets[0].Value != 4 || r.Budgets[1].Value != 4 {
		t.Errorf("%+v", r.Budgets)
	}
	later := t0.Add(2 * time.Minute) // the minute has passed, the hour has not; tokens of both have come back
	if d := g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: netip.MustParsePrefix(prefixes[2])}, later); d.Action != ActionPass {
		t.Errorf("%+v", d)
	}
	if r, _ = g.Explain("S", later); r.Budgets[0].Value != 1 || r.Budgets[1].Value != 3 {
		t.Errorf("%+v", r.Budgets)
	}
	// the hash of an IPv6 network differs in its first and in its last bits alike
	seen := map[uint32]bool{}
	for i := range 1 << 12 {
		a := [16]byte{0x20, 1, byte(i >> 4), byte(i << 4), byte(i >> 8), byte(i)}
		seen[networkOf(netip.PrefixFrom(netip.AddrFrom16(a), 48)).bits] = true
	}
	if len(seen) < 1<<12-2 {
		t.Errorf("%d hashes of %d networks", len(seen), 1<<12)
	}
	if n := networkOf(netip.MustParsePrefix("192.0.2.77/24")); n.bits != 0xc0000200 || n.kind != ipv4 {
		t.Errorf("%+v", n)
	}
}

// Somebody who sent to a network is remembered until a window has passed, even if the budget was whole long before.
func TestWhoKnowsANetworkIsNotForgotten(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer, Budget{Of: Destinations, Limit: 60, Per: time.Hour}), t0)
	to(g, 1, t0)
	g.Close("S", t0)
	for i := range 100 {
		g.Tick(t0.Add(time.Hour - 1 - time.Duration(100-i)))
	}
	if g.Count() != 1 {
		t.Fatal("forgotten")
	}
	g.Tick(t0.Add(time.Hour))
	if g.Count() != 0 {
		t.Error("not forgotten")
	}
}

func TestManyNetworksAreCarriedToAnotherPlanAndOverARestart(t *testing.T) {
	t.Parallel()
	wide, other := Budget{Of: Destinations, Limit: 30, Per: time.Hour}, Budget{Of: Destinations, Limit: 100, Per: 2 * time.Hour}
	p := home(StageDefer, wide, other)
	p.Plans = append(p.Plans, Plan{Name: "office", HighestStage: StageDefer, Budgets: []Budget{
		{Of: Sessions, Limit: 100, Per: time.Hour}, {Of: Destinations, Limit: 60, Per: time.Hour}}})
	g := New(p, t0)
	for n := range 20 {
		to(g, n, t0)
	}
	h := New(p, t0)
	bring(h, saveAll(g, t0), g.State(t0, t0), t0, t0)
	for _, g := range []*Governor{g, h} {
		if s := g.everybody(t0)[0]; len(s.Destinations) != 40 {
			t.Fatalf("%d charges are saved", len(s.Destinations))
		}
		for n := range 20 {
			if d := to(g, n, t0); d.Of == Destinations && d.Value != 20 {
				t.Fatalf("%+v", d)
			}
		}
		g.SetPlans(func(string) string { return "office" }, t0)
		r, _ := g.Explain("S", t0)
		s := g.everybody(t0)[0]
		if r.Budgets[0].Value != 0 || r.Budgets[1].Value != 20 || len(s.Destinations) != 20 || s.Destinations[0].Budget != 1 {
			t.Errorf("%+v, %d known", r.Budgets, len(s.Destinations))
		}
		if d := g.Open(Attempt{Subscriber: "S", Plan: "office", Destination: host(3)}, t0); d.Action != ActionPass {
			t.Errorf("%+v", d)
		}
		if r, _ = g.Explain("S", t0); r.Budgets[1].Value != 20 {
			t.Errorf("charged again: %+v", r.Budgets)
		}
	}
}
