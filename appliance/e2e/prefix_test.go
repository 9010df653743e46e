package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/lab"
)

// Two IPv6 addresses of one delegated prefix are one subscriber, and so are two
// prefixes of one line; neighbours are not. What nobody's line covers is counted
// by the /56 as well.
func TestOnePrefixOneBudget(t *testing.T) {
	const limit = 4
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	line, neighbour := addHome(t, l, "line"), addHome(t, l, "neighbour")
	stranger, other := addHome(t, l, "stranger"), addHome(t, l, "other")
	_, second, err := l.SpareAddresses()
	check(t, err)
	b := newBox(t, ctx, l, strings.Replace(config("enforce", fmt.Sprintf(`  - name: small
    highest_stage: defer
    budgets:
      - {of: sessions, limit: %d, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`, limit)), "unmapped_plan: free", "unmapped_plan: small", 1),
		fmt.Sprintf("subscriber,plan,prefixes\nline,small,%s %s\nneighbour,small,%s\n", line.Prefix6, second, neighbour.Prefix6))
	b.start()
	send := func(h *lab.Home, from netip.Addr) lab.Result {
		t.Helper()
		return h.Send(ctx, lab.Traffic{To: mx.Address(true), Source: from, From: "a@home.test", Rcpt: "b@mx.test"})[0].Result
	}
	within := func(p netip.Prefix, subnet, host byte) netip.Addr { // in another /64 of a /56
		a := p.Addr().As16()
		a[7], a[15] = subnet, host
		return netip.AddrFrom16(a)
	}
	add := func(h *lab.Home, a netip.Addr) netip.Addr {
		t.Helper()
		check(t, h.AddIPv6(a))
		return a
	}
	inSecond, err := line.AddPrefix6(second)
	check(t, err)
	from := []netip.Addr{line.IPv6, add(line, within(line.Prefix6, 0, 0x99)), add(line, within(line.Prefix6, 0xff, 1)), inSecond}
	for i := range limit {
		if got := send(line, from[i]); got != lab.Sent {
			t.Errorf("session %d, from %v: %v", i+1, from[i], got)
		}
	}
	for _, a := range from {
		if got := send(line, a); got != lab.Deferred {
			t.Errorf("one more than the budget, from %v: %v", a, got)
		}
	}
	if s := b.subscriber("line"); s.Stage != "defer" || len(s.Prefixes) != 2 {
		t.Errorf("stage %s, prefixes %v", s.Stage, s.Prefixes)
	}
	for range limit {
		if got := send(neighbour, neighbour.IPv6); got != lab.Sent {
			t.Errorf("the neighbour: %v", got)
		}
	}

	from = []netip.Addr{stranger.IPv6, add(stranger, within(stranger.Prefix6, 3, 1))}
	for i := range limit {
		if got := send(stranger, from[i%2]); got != lab.Sent {
			t.Errorf("nobody's line, session %d: %v", i+1, got)
		}
	}
	for _, a := range from {
		if got := send(stranger, a); got != lab.Deferred {
			t.Errorf("nobody's line, one more than the budget, from %v: %v", a, got)
		}
	}
	if got := send(other, other.IPv6); got != lab.Sent {
		t.Errorf("nobody's line, another /56: %v", got)
	}
	if s := b.subscriber(stranger.Prefix6.String()); !s.Unmapped || s.Stage != "defer" {
		t.Errorf("nobody's line: %+v", s)
	}
}
