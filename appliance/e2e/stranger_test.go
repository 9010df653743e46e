package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A line that RADIUS names and the list does not have is a subscriber all the
// same, under the plan of strangers: what it was refused goes with it too. Sources
// that nobody names are listed with what they did.
func TestLinesThatTheListDoesNotHave(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})
	home, stranger := addHome(t, l, "home"), addHome(t, l, "stranger")
	nas := addNAS(t, ctx, l)
	b := newBox(t, ctx, l, strings.Replace(withRADIUS(t, l, nas, config("enforce", `  - name: strangers
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 2, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`)), "unmapped_plan: free", "unmapped_plan: strangers", 1), "subscriber,plan,circuits\n")
	b.start()
	send := func(h *lab.Home, ipv6 bool) lab.Result {
		t.Helper()
		return h.Send(ctx, lab.Traffic{To: mx.Address(ipv6), From: "a@home.test", Rcpt: "b@mx.test", Messages: 2, StartTLS: ipv6})[0].Result
	}
	expect := func(why string, got, want lab.Result) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", why, got, want)
		}
	}
	const id = "radius:new@isp.example"
	nas.start("new@isp.example", "1", home.Line)
	expect("first of two, IPv4", send(home, false), lab.Sent)
	expect("second of two, IPv6: the same line", send(home, true), lab.Sent)
	expect("third of two", send(home, false), lab.Deferred)
	if v := b.subscriber(id); v.Plan != "strangers" || v.Stage != "defer" || len(v.Bindings) != 2 || v.Bindings[0].Source != "radius" {
		t.Errorf("%s: %+v", id, v)
	}
	old := home.Line
	v4, p6, err := l.SpareAddresses()
	check(t, err)
	check(t, home.SetIPv4(v4))
	check(t, home.SetPrefix6(p6))
	nas.start("new@isp.example", "2", home.Line)
	nas.stop("new@isp.example", "1", old)
	expect("on its new address", send(home, false), lab.Deferred)
	expect("in its new prefix", send(home, true), lab.Deferred)
	// The operator makes it a line: it is the same one.
	b.list("subscriber,plan,circuits\nS-1,free,new@isp.example\n")
	await(t, 10*time.Second, "the line of the list to hold the address", func() bool { return b.holder(home.IPv4, time.Time{}) == "S-1" })
	expect("under a plan of its own", send(home, false), lab.Sent)

	expect("nobody's, first of two", send(stranger, false), lab.Sent)
	expect("nobody's, second of two", send(stranger, false), lab.Sent)
	expect("nobody's, third of two", send(stranger, false), lab.Deferred)
	find := func(address string) (u webadmin.Unmapped) {
		t.Helper()
		var page struct{ Items []webadmin.Unmapped }
		code, answer := b.ask("GET", "/unmapped", "")
		if code != http.StatusOK {
			t.Fatalf("unmapped: %d %s", code, answer)
		}
		check(t, json.Unmarshal([]byte(answer), &page))
		for _, one := range page.Items {
			if one.Address == address {
				return one
			}
			if one.Address == home.IPv4.String() {
				t.Errorf("a line is listed among the strangers: %+v", one)
			}
		}
		return webadmin.Unmapped{}
	}
	address := stranger.IPv4.String()
	await(t, 10*time.Second, "the stranger's sessions to be over", func() bool { return find(address).Messages == 4 })
	if u := find(address); u.Subscriber != address+"/32" || u.Stage != "defer" || u.Sessions != 3 || u.Denied != 1 || u.Destinations != 1 || u.Crowd != "" || u.First.IsZero() {
		t.Errorf("%+v", u)
	}
}

// Four sources name four lines for one address: what the API says goes before
// RADIUS, that before a lease, and the list is asked last. A longer prefix goes
// before all of it.
func TestWhoIsBelieved(t *testing.T) {
	l, ctx := startLab(t)
	home := addHome(t, l, "home")
	nas := addNAS(t, ctx, l)
	lease := func(addr string) string {
		return fmt.Sprintf("%d 02:00:5e:00:53:01 %s * *\n", time.Now().Add(time.Hour).Unix(), addr)
	}
	b := newBox(t, ctx, l, strings.Replace(withRADIUS(t, l, nas, config("enforce", "")), "  unmapped_plan:",
		"  lease_files: [{path: dnsmasq.leases, format: dnsmasq}]\n  unmapped_plan:", 1),
		fmt.Sprintf("subscriber,plan,prefixes,circuits\nlisted,free,%s,\nleased,free,,02:00:5e:00:53:01\ndialled,free,,acct\nsaid,free,,\nwide,free,100.64.0.0/16,\n", home.IPv4))
	b.replace("dnsmasq.leases", "")
	b.start()
	is := func(why, want string) {
		t.Helper()
		await(t, 5*time.Second, fmt.Sprintf("%s: %v to be held by %s, not by %s", why, home.IPv4, want, b.holder(home.IPv4, time.Time{})),
			func() bool { return b.holder(home.IPv4, time.Time{}) == want })
	}
	is("only the list", "listed")
	b.replace("dnsmasq.leases", lease(home.IPv4.String()))
	is("a lease", "leased")
	nas.start("acct", "1", home.Line)
	is("RADIUS", "dialled")
	prefix := netip.PrefixFrom(home.IPv4, 32).String()
	if code, answer := b.ask("PUT", "/bindings", fmt.Sprintf(`{"prefix":%q,"subscriber":"said"}`, prefix)); code != http.StatusOK {
		t.Fatalf("bind: %d %s", code, answer)
	}
	is("the API", "said")
	b.kill()
	b.start()
	is("the API, after kill -9", "said")
	nas.tell("Interim-Update", "acct", "1", home.Line)
	is("the API, after RADIUS said it again", "said")
	if code, answer := b.ask("DELETE", "/bindings?prefix="+prefix, ""); code != http.StatusOK && code != http.StatusNoContent {
		t.Fatalf("unbind: %d %s", code, answer)
	}
	is("the API no more", "dialled")
	nas.stop("acct", "1", home.Line)
	is("RADIUS no more", "leased")
	b.replace("dnsmasq.leases", lease("100.64.200.200"))
	is("the lease no more", "listed")
	b.list("subscriber,plan,prefixes\nwide,free,100.64.0.0/16\n")
	is("only the wide prefix", "wide")
}
