package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// A subscriber who opens sessions as fast as he can, with the fast lane on, is let
// through exactly burst times at once and then at the limit's rate: what began unasked is
// in the books before anything else is decided.
func TestNobodyOvershootsInTheFastLane(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	const burst, limit = 20, 30 // per minute: one each two seconds
	b := newBox(t, ctx, l, config("enforce", fmt.Sprintf(`  - name: home
    highest_stage: defer
    budgets:
      - {of: sessions, limit: %d, per: 1m, burst: %d}
    ladder: {pace_at: 100, pace_max: 0s}
`, limit, burst)), fmt.Sprintf("subscriber,plan,prefixes\nhome,home,%s %s\n", home.IPv4, home.Prefix6))
	b.start()
	began := time.Now()
	// The first session of an address waits for its verdict; those after it may begin unasked.
	for _, first := range home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 1, Concurrency: 1}) {
		if first.Result != lab.Sent {
			t.Fatalf("the first session: %v: %v", first.Result, first.Err)
		}
	}
	sent, deferred := 1, 0
	for round := 0; time.Since(began) < 12*time.Second; round++ {
		if round > 3 {
			time.Sleep(100 * time.Millisecond) // more than 200 a second are a flood, of which SYNs are dropped
		}
		all := home.Send(ctx, lab.Traffic{To: mx.Address(round%2 == 1), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 16, Concurrency: 16})
		for _, s := range all {
			switch s.Result {
			case lab.Sent:
				sent++
			case lab.Deferred:
				deferred++
			default:
				t.Fatalf("%v: %v", s.Result, s.Err)
			}
		}
		if round == 3 && (sent < burst || sent > burst+1+int(time.Since(began).Seconds()/2)) {
			t.Errorf("%d of the first %d sessions were let through, want %d at once", sent, sent+deferred, burst)
		}
	}
	took := time.Since(began)
	if most := burst + 1 + int(took.Seconds()*limit/60); sent > most || sent < most-3 {
		t.Errorf("%d sessions were let through in %v, want %d", sent, took, most)
	}
	s := b.status()
	t.Logf("%d sessions let through, %d deferred in %v; %d began unasked, waited: %v", sent, deferred, took.Round(time.Millisecond), s.Lanes.Fast.Sessions, s.Lanes.Fast.Waited)
	if !s.Lanes.Fast.On || s.Lanes.Fast.Sessions == 0 {
		t.Errorf("the fast lane was not used: %+v", s.Lanes.Fast)
	}
	if used := budget(t, b.subscriber("home"), "sessions"); used.Value < burst-2 {
		t.Errorf("the budget says %d of %d used", used.Value, burst)
	}
}
