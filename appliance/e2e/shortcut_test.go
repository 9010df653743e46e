package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// Sessions of the fast lane go past netfilter until somebody else has a rule there: then
// he sees their packets within a second, and status says who it is.
func TestTheShortCutGivesWayToTheOperatorsFirewall(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, config("enforce", `  - name: home
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 1000, per: 1h, burst: 1000}
`), fmt.Sprintf("subscriber,plan,prefixes\nhome,home,%s %s\n", home.IPv4, home.Prefix6))
	b.start()
	send := func(sessions int) {
		t.Helper()
		for _, v6 := range []bool{false, true} {
			for _, s := range home.Send(ctx, lab.Traffic{To: mx.Address(v6), From: "a@home.test", Rcpt: "b@mx.test", Sessions: sessions, Concurrency: 2}) {
				if s.Result != lab.Sent {
					t.Fatalf("%v: %v", s.Result, s.Err)
				}
			}
		}
	}
	nft := func(args ...string) string {
		t.Helper()
		out, err := l.Box.Command(ctx, "nft", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
		return string(out)
	}
	on := func(want bool) func() bool {
		return func() bool { s := b.status().Lanes.Fast.ShortCut; return s.On == want }
	}
	await(t, 5*time.Second, "the short cut is on", on(true))
	send(1) // the first session of an address waits for its verdict
	before := b.status().Lanes.Fast
	send(10)
	after := b.status().Lanes.Fast
	if n := after.ShortCut.Packets - before.ShortCut.Packets; n < 100 || after.Sessions-before.Sessions < 15 {
		t.Fatalf("%d packets of %d sessions were cut short: %+v", n, after.Sessions-before.Sessions, after)
	}

	nft("add table inet filter; add counter inet filter mail; add chain inet filter forward { type filter hook forward priority 0; }; add rule inet filter forward tcp dport 25 counter name mail")
	began := time.Now()
	await(t, 5*time.Second, "the short cut is off", on(false))
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Errorf("it took %v until the operator's rule was noticed", took)
	}
	if why := b.status().Lanes.Fast.ShortCut.Why; why != "table inet filter of somebody else has a chain at forward" {
		t.Errorf("status says %q", why)
	}
	if said := b.metrics(); !strings.Contains(said, "mailweir_fast_lane_short_cut 0") || !strings.Contains(said, "mailweir_fast_lane_short_cut_packets_total ") {
		t.Errorf("metrics:\n%s", said)
	}
	before = b.status().Lanes.Fast
	send(10)
	after = b.status().Lanes.Fast
	if after.ShortCut.Packets != before.ShortCut.Packets || after.ShortCut.Stack["not_allowed"] == before.ShortCut.Stack["not_allowed"] {
		t.Errorf("with the operator's rule: %+v", after.ShortCut)
	}
	m := regexp.MustCompile(`packets (\d+)`).FindStringSubmatch(nft("list", "counter", "inet", "filter", "mail"))
	if n, _ := strconv.Atoi(m[1]); n < 20*8 {
		t.Errorf("the operator's rule saw %d packets of 20 sessions", n)
	}

	nft("delete", "table", "inet", "filter")
	await(t, 15*time.Second, "the short cut is on again", on(true))
	before = b.status().Lanes.Fast
	send(10)
	if n := b.status().Lanes.Fast.ShortCut.Packets - before.ShortCut.Packets; n < 100 {
		t.Errorf("%d packets were cut short again", n)
	}
}
