package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// An exemption, or a plan that does nothing of the kind, lets go at once of what
// is cut in the kernel and of greetings that are held. What comes after the
// exemption is not the cut of before.
func TestWhoIsLetPassIsLetGoAtOnce(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	b := (*box)(nil)
	list := "subscriber,plan,prefixes\n"
	var homes []*lab.Home
	for i := range 4 {
		h := addHome(t, l, fmt.Sprintf("home-%d", i))
		homes = append(homes, h)
		list += fmt.Sprintf("home-%d,%s,%s %s\n", i, []string{"cut", "pace"}[i/2], h.IPv4, h.Prefix6)
	}
	b = newBox(t, ctx, l, config("enforce", `  - name: cut
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 2, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s, cut_at: 300, cut_for: 1h}
  - name: pace
    highest_stage: pace
    budgets:
      - {of: sessions, limit: 2, per: 24h}
    ladder: {warn_at: 25, pace_at: 50, pace_max: 60s}
`), list)
	b.start()
	send := func(i int, ipv6 bool, timeout time.Duration) lab.Session {
		return homes[i].Send(ctx, lab.Traffic{To: mx.Address(ipv6), From: "a@home.test", Rcpt: "b@mx.test", Timeout: timeout})[0]
	}
	var sub webadmin.Subscriber
	ways := []struct {
		name string
		do   func(id string)
	}{
		{"exempt", func(id string) { b.cli(&sub, "exempt", id, "--until", "1h", "--reason", "a test") }},
		{"another plan", func(id string) { b.cli(&sub, "plan", id, "free") }},
	}
	for i, way := range ways {
		id := homes[i].Name
		for range 60 {
			if send(i, false, time.Minute); b.subscriber(id).Stage == "cut" {
				break
			}
		}
		for _, ipv6 := range []bool{false, true} {
			if got := send(i, ipv6, time.Minute); got.Result != lab.Reset {
				t.Fatalf("%s is to be cut, ipv6=%v: %v", id, ipv6, got.Result)
			}
		}
		begin := time.Now()
		way.do(id)
		for _, ipv6 := range []bool{false, true} {
			if got := send(i, ipv6, time.Minute); got.Result != lab.Sent {
				t.Errorf("%s: ipv6=%v: %v (%v)", way.name, ipv6, got.Result, got.Err)
			}
		}
		t.Logf("%s: a cut line sent over IPv4 and IPv6 within %v", way.name, ms(time.Since(begin)))
	}
	b.cli(&sub, "exempt", "home-0", "--end")
	if got := send(0, false, time.Minute); got.Result != lab.Deferred {
		t.Errorf("after the exemption of a cut line: %v, want it deferred: its budget is used up, its cut is over", got.Result)
	}
	b.cli(&sub, "plan", "home-1", "--list")
	if got := send(1, false, time.Minute); got.Result == lab.Reset {
		t.Error("back under the plan that cut it: the cut of before goes on")
	}

	for i, way := range ways {
		i += 2
		id := homes[i].Name
		send(i, false, time.Minute)
		waiting := make(chan lab.Session, 1)
		go func() { waiting <- send(i, false, 50*time.Second) }()
		await(t, 10*time.Second, "a held greeting", func() bool { return b.status().Lanes.Queue.Held == 1 })
		begin := time.Now()
		way.do(id)
		select {
		case s := <-waiting:
			if s.Result != lab.Sent {
				t.Errorf("%s: who waited for his greeting: %v (%v)", way.name, s.Result, s.Err)
			}
			t.Logf("%s: a held greeting went, and the mail was sent, within %v", way.name, ms(time.Since(begin)))
		case <-time.After(5 * time.Second):
			t.Errorf("%s: the greeting is still held", way.name)
			<-waiting
		}
	}
}
