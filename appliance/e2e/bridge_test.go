package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// asBridge makes a routed configuration one of a bridge.
func asBridge(config string) string {
	return strings.Replace(config, "\nnetwork:\n", "\nnetwork:\n  topology: bridge\n", 1)
}

// On a bridge, which has no address, a bot goes up the whole ladder over IPv4 and IPv6, and
// is told why in plain words: with subscribers on the bridge's own link, with all of
// them behind one router, and with VLAN tags and PPPoE on the wire. Its neighbour is served as if nothing were, and after a clean stop
// the box is as it was.
func TestTheLadderOnABridge(t *testing.T) {
	for name, c := range map[string]struct {
		place lab.Place
		lane  string
		wire  cable
	}{
		"before a router, both lanes":             {lab.BeforeRouter, "fast_lane: auto", nil},
		"behind a router, both lanes":             {lab.BehindRouter, "fast_lane: auto", nil},
		"behind a router, queue, portable reader": {lab.BehindRouter, "fast_lane: off, reader: portable", nil},
		"a VLAN, both lanes":                      {lab.BeforeRouter, "fast_lane: auto", inVLANs(0x81000007)},
		"QinQ, queue":                             {lab.BeforeRouter, "fast_lane: off", inVLANs(0x88a80064, 0x81000007)},
		"PPPoE, both lanes":                       {lab.BeforeRouter, "fast_lane: auto", inPPPoE()},
		"PPPoE in a VLAN, queue":                  {lab.BeforeRouter, "fast_lane: off", inPPPoE(0x81000007)},
	} {
		t.Run(name, func(t *testing.T) { bridgeLadder(t, c.place, c.lane, c.wire) })
	}
}

// cable changes how frames look between the homes and the router.
type cable func(t *testing.T, l *lab.Lab, homes ...*lab.Home)

func inVLANs(tags ...uint32) cable {
	return func(t *testing.T, l *lab.Lab, homes ...*lab.Home) {
		t.Helper()
		for _, h := range homes {
			tag(t, h.Namespace, "eth0", tags...)
		}
		tag(t, l.Router, "lan0", tags...)
	}
}

func inPPPoE(tags ...uint32) cable {
	return func(t *testing.T, l *lab.Lab, homes ...*lab.Home) {
		t.Helper()
		pppoe(t, l, homes...)
		if len(tags) > 0 {
			inVLANs(tags...)(t, l, homes...)
		}
	}
}

var toldOnABridge = regexp.MustCompile(`^421 4\.7\.0 sessions \d+/6 per 30s \(\d+%\) exceeded; retry in \d+ seconds?; case [0-9A-Z]{5}; help: https://isp\.example/mail`)

func bridgeLadder(t *testing.T, place lab.Place, lane string, w cable) {
	l, ctx := startLabAt(t, place)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Exim, StartTLS: true, Domains: []string{"mx.test"}})
	bot, neighbour := addHome(t, l, "bot"), addHome(t, l, "neighbour")
	if w != nil {
		w(t, l, bot, neighbour)
	}
	// A filter of addresses that nobody has set up a route for: the way back must not mind.
	for _, of := range []string{"all", "br0"} {
		if err := l.Box.Sysctl("ipv4/conf/"+of+"/rp_filter", "1"); err != nil {
			t.Fatal(err)
		}
	}
	// br_netfilter is off for all bridges in one case, so that it has to be switched on for this one.
	if place == lab.BehindRouter {
		for _, key := range []string{"bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"} {
			if err := l.Box.Sysctl(key, "0"); err != nil {
				t.Fatal(err)
			}
		}
	}
	// As the image has it: at the bridge nothing is let in but ICMP and what is led to the box.
	shut := `table inet mailweir_image {
		chain ports { meta l4proto { icmp, ipv6-icmp } return; meta l4proto tcp ct status dnat return; drop; }
		chain input { type filter hook input priority filter; iifname br0 jump ports; }
	}`
	if out, err := l.Box.Command(ctx, "nft", shut).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	before := boxState(t, l)
	b := newBox(t, ctx, l, asBridge(config("enforce", `  - name: home
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 6, per: 30s}
    ladder: {warn_at: 30, pace_at: 60, defer_at: 100, cut_at: 200, pace_max: 1s, cut_for: 60s, release_after: 5s}
  - name: big
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 1000, per: 1h}
`))+"queue: {"+lane+"}\n", fmt.Sprintf("subscriber,plan,prefixes\nbot,home,%s %s\nneighbour,big,%s %s\n", bot.IPv4, bot.Prefix6, neighbour.IPv4, neighbour.Prefix6))
	b.start()
	s := b.status()
	if s.Bridge == nil || s.Bridge.Name != "br0" || s.Bridge.Why != "" || !s.Bridge.Answer4 || !s.Bridge.Answer6 || s.Bridge.Tracked != "" {
		t.Fatalf("the bridge: %+v", s.Bridge)
	}
	if len(s.Problems) > 0 {
		t.Errorf("problems: %+v", s.Problems)
	}
	send := func(h *lab.Home, ipv6 bool, sessions, atOnce int, linger time.Duration) []lab.Session {
		return h.Send(ctx, lab.Traffic{To: mx.Address(ipv6), From: "a@home.test", Rcpt: "b@mx.test", StartTLS: true,
			Sessions: sessions, Concurrency: atOnce, Linger: linger, Timeout: 20 * time.Second})
	}
	all := func(why string, sessions []lab.Session, want lab.Result) {
		t.Helper()
		for _, s := range sessions {
			if s.Result != want {
				t.Errorf("%s: %v, want %v: %v", why, s.Result, want, s.Err)
			}
		}
	}
	// Within budget, in whichever lane.
	for _, ipv6 := range []bool{false, true} {
		all("the neighbour", send(neighbour, ipv6, 8, 4, 0), lab.Sent)
	}
	if f := b.status().Lanes.Fast; lane == "fast_lane: auto" && (!f.On || f.Sessions == 0) {
		t.Errorf("the fast lane was not used: %+v", f)
	}

	// One that runs when the cut comes, and began unasked where there is a lane for it; then until deferred.
	all("the bot's first", send(bot, false, 1, 1, 0), lab.Sent)
	running := make(chan []lab.Session, 1)
	go func() { running <- send(bot, false, 1, 1, 40*time.Second) }()
	await(t, 10*time.Second, "the long session to run", func() bool { return b.subscriber("bot").Open == 1 })
	held, told := time.Duration(0), map[bool]string{}
	for i := 0; len(told) < 2 && i < 30; i++ {
		ipv6 := len(told) == 1
		switch s := send(bot, ipv6, 1, 1, 0)[0]; s.Result {
		case lab.Sent:
			held = max(held, s.Greeting)
		case lab.Deferred:
			told[ipv6] = s.Replies[0]
		default:
			t.Fatalf("the bot: %v: %v", s.Result, s.Err)
		}
	}
	for _, text := range told {
		if !toldOnABridge.MatchString(text) {
			t.Errorf("the bot was told %q", text)
		}
	}
	if len(told) < 2 || held < 300*time.Millisecond {
		t.Errorf("told %v, the slowest greeting came after %v", told, held)
	}
	for i := 0; i < 100 && b.subscriber("bot").Stage != "cut"; i++ {
		send(bot, i%2 == 1, 1, 1, 0)
	}
	if s := b.subscriber("bot"); s.Stage != "cut" {
		t.Fatalf("stage %s: %s", s.Stage, s.Reason)
	}
	select {
	case s := <-running:
		all("the running session of who is cut", s, lab.Reset)
	case <-time.After(20 * time.Second):
		t.Error("a running session of a cut subscriber goes on")
	}
	all("who is cut, over IPv4", send(bot, false, 3, 1, 0), lab.Reset)
	all("who is cut, over IPv6", send(bot, true, 3, 1, 0), lab.Reset)
	cut := b.status().Actions.Cut
	all("who is cut, from the kernel", append(send(bot, false, 5, 1, 0), send(bot, true, 5, 1, 0)...), lab.Reset)
	if now := b.status().Actions.Cut; now != cut {
		t.Errorf("%d attempts of a cut address still reached user space", now-cut)
	}
	all("the neighbour", send(neighbour, true, 4, 2, 0), lab.Sent)
	if f := b.status().Lanes.Fast; f.On && f.Handed == 0 {
		t.Error("the running session did not begin in the fast lane")
	}
	if s := b.status(); s.Bridge.Unanswered != 0 {
		t.Errorf("%d deferred sessions were not answered", s.Bridge.Unanswered)
	}
	t.Logf("told %v; held for %v; %+v", told, held.Round(time.Millisecond), *b.status().Bridge)
	b.stop()
	if after := boxState(t, l); !slices.Equal(after, before) {
		t.Errorf("the box before:\n%q\nand after:\n%q", before, after)
	}
}

// boxState is what mailweir changes in the box to govern a bridge.
func boxState(t *testing.T, l *lab.Lab) (all []string) {
	t.Helper()
	for _, command := range [][]string{
		{"ip", "rule"}, {"ip", "-6", "rule"}, {"ip", "route", "show", "table", "all"}, {"ip", "-6", "route", "show", "table", "all"},
		{"sysctl", "net.bridge", "net.ipv4.conf.br0", "net.ipv4.conf.all"}, {"nft", "list", "ruleset"},
		{"sh", "-c", "ip -d link show br0 | grep -o 'nf_call[a-z0-9_]* [01]'"},
	} {
		out, err := l.Box.Command(t.Context(), command[0], command[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s", command, err, out)
		}
		all = append(all, string(out))
	}
	return all
}
