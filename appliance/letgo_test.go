package appliance

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
)

const cutPlans = `mode: enforce
identity: {unmapped_plan: strangers}
plans:
  - name: small
    highest_stage: cut
    budgets: [{of: sessions, limit: 2, per: 24h}]
    ladder: {pace_at: 100, pace_max: 0s, cut_for: 60m}
  - name: large
    highest_stage: defer
    budgets: [{of: sessions, limit: 600, per: 24h}]
  - name: strangers
    highest_stage: defer
    budgets: [{of: sessions, limit: 2, per: 24h}]
`

var homeAddr = netip.MustParseAddr("100.64.0.1")

// newCut is a box on which home is cut, in the kernel too.
func newCut(t *testing.T) (*deaf, *fakeKernel) {
	t.Helper()
	d := newDeaf(t, cutPlans, homeList)
	k := &fakeKernel{set: map[netip.Addr]time.Duration{}}
	d.cutter.use(k)
	for i := 0; d.attempt(i).Action != governor.ActionCut; i++ {
	}
	if err := d.cutter.do(cutJob{"home", homeAddr, time.Hour}); err != nil || !k.has(homeAddr) {
		t.Fatal(err, k.set)
	}
	return d, k
}

// attempt is a session of home to network i, under the plan that it has.
func (d *deaf) attempt(i int) governor.Decision {
	v := d.gov.Open(governor.Attempt{Subscriber: "home", Plan: d.who.of(homeAddr).plan,
		Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(i), 0}), 24)}, d.time())
	if v.Change != nil {
		d.judge.changed(*v.Change, v.Mode)
	}
	if v.LetThrough() {
		d.gov.Close("home", d.time())
	}
	return v
}

// reviews is what the cutter does when it is asked for a review.
func (d *deaf) reviews() {
	select {
	case <-d.cutter.shifts:
		d.cutter.review()
	default:
	}
}

func (d *deaf) isLetGo(t *testing.T, k *fakeKernel) {
	t.Helper()
	if r, _ := d.gov.Explain("home", d.time()); r.Stage == governor.StageCut {
		t.Errorf("it is cut: %+v", r)
	}
	if len(k.set) > 0 || len(d.cutter.held) > 0 {
		t.Errorf("the kernel goes on with %v, and the cutter holds %v", k.set, d.cutter.held)
	}
}

func TestTheEndOfACutThatAnAttemptNoticesIsToldToTheKernel(t *testing.T) {
	t.Parallel()
	d, k := newCut(t)
	d.pass(time.Hour + time.Second)
	if v := d.attempt(1); v.Change == nil || v.Change.From != governor.StageCut {
		t.Fatalf("%+v", v)
	}
	d.reviews()
	d.settled(d.gov.Tick(d.time()))
	d.isLetGo(t, k)
}

// While the new plan is being saved, an attempt finds it and comes down from the cut:
// nothing is left to change for who gave the plan.
func TestAPlanThatDoesNotCutLetsGoWhoeverNoticesIt(t *testing.T) {
	t.Parallel()
	d, k := newCut(t)
	if err := d.who.SetPlan("home", "large"); err != nil {
		t.Fatal(err)
	}
	if v := d.attempt(1); v.Change == nil || v.Change.From != governor.StageCut {
		t.Fatalf("%+v", v)
	}
	if _, err := (&source{a: d.Appliance}).SetPlan("home", "large", "me"); err != nil {
		t.Fatal(err)
	}
	d.isLetGo(t, k)
}

func TestAPlanThatCutsKeepsTheCut(t *testing.T) {
	t.Parallel()
	d, k := newCut(t)
	if _, err := (&source{a: d.Appliance}).SetPlan("home", "small", "me"); err != nil {
		t.Fatal(err)
	}
	d.reviews()
	if !k.has(homeAddr) {
		t.Error("let go, though the plan is as before")
	}
}
