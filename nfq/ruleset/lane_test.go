package ruleset

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// markOnArrival stands for package lane: it puts a mark on every packet of port 25.
func (r *rig) markOnArrival(mark uint32) {
	r.t.Helper()
	r.box.nft(fmt.Sprintf(`add table netdev arrival
add chain netdev arrival lan { type filter hook ingress device lan0 priority 0; tcp dport 25 meta mark set %[1]d; }
add chain netdev arrival wan { type filter hook ingress device wan0 priority 0; tcp sport 25 meta mark set %[1]d; }
`, mark), "-f", "-")
}

func (r *rig) tracked() string {
	r.t.Helper()
	return r.box.run("", "conntrack", "conntrack", "-L")
}

// Packets of the fast lane meet neither the queue nor, untracked, conntrack, and leave
// without our mark; both families.
func TestTheFastLanePasses(t *testing.T) {
	t.Parallel()
	for _, untracked := range []bool{true, false} {
		for _, c := range []struct{ name, from, to string }{{"IPv4", subIP4, interIP4}, {"IPv6", subIP6, intIP6}} {
			t.Run(fmt.Sprintf("%s untracked %v", c.name, untracked), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				o := options()
				o.FailOpen, o.Lane, o.Untracked = false, true, untracked // nobody reads: what is queued is lost
				rs := r.apply(o)
				const other = 0x40000001 // somebody else's bits
				r.markOnArrival(other | o.Fast())
				r.box.nft(fmt.Sprintf(`add table inet after
add counter inet after marked
add counter inet after kept
add chain inet after forward { type filter hook forward priority 0; tcp dport 25 meta mark & %#x != 0 counter name marked; tcp dport 25 meta mark %#x counter name kept; }
`, o.Mask, other), "-f", "-")
				s := r.connect(r.inter.serve(c.to, 25), c.from, c.to, 25)
				s.talk("EHLO home")
				s.bulk(1 << 20)
				n, err := rs.Counters()
				if err != nil {
					t.Fatal(err)
				}
				if n.QueuedUp.Packets+n.QueuedDown.Packets+n.PureACK.Packets+n.Invalid.Packets != 0 {
					t.Errorf("met the queue's rules: %+v", n)
				}
				listing := r.box.nft("", "list", "counters", "table", "inet", "after")
				if !strings.Contains(listing, "packets 0") || strings.Count(listing, "packets 0 ") != 1 {
					t.Errorf("a mark of ours went further, or somebody else's was lost:\n%s", listing)
				}
				if there := strings.Contains(r.tracked(), "dport=25"); there == untracked {
					t.Errorf("untracked %v, conntrack says:\n%s", untracked, r.tracked())
				}
			})
		}
	}
}

// A session that is handed over in its middle comes into the queue in both directions:
// first by the mark on its packets, then by that of its connection.
func TestASessionIsHandedOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	o := options()
	o.Lane, o.Untracked = true, true
	r.apply(o)
	r.markOnArrival(o.Fast())
	see := o.Value(See)
	l := r.listen([]uint16{10}, func(p packet) answer {
		if p.up {
			return withMark(see) // as a worker does with the first packet that it adopts
		}
		return answer{}
	})
	s := r.connect(r.inter.serve(interIP4, 25), subIP4, interIP4, 25)
	s.talk("EHLO home")
	if n := l.count(func(packet) bool { return true }); n != 0 {
		t.Fatalf("%d packets came into the queue before", n)
	}
	r.box.nft("flush chain netdev arrival lan; flush chain netdev arrival wan; "+
		fmt.Sprintf("add rule netdev arrival lan tcp dport 25 meta mark set %d; add rule netdev arrival wan tcp sport 25 meta mark set %d", see, see), "-f", "-")
	if err := pass(s.server, s.client, "250-first the server"); err != nil {
		t.Fatal(err)
	}
	down := func(p packet) bool { return !p.up && p.payload > 0 }
	nfqtest.Eventually(t, "the server's packet comes into the queue", func() bool { return l.count(down) == 1 })
	s.talk("MAIL FROM:<a@b>")
	r.box.nft("delete table netdev arrival", "-f", "-")
	before := l.count(down)
	s.talk("RCPT TO:<a@b>")
	nfqtest.Eventually(t, "without the mark the connection's own leads there", func() bool { return l.count(down) == before+1 })
}

func TestTheListingWithTheLane(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	o := options()
	o.Lane, o.Untracked = true, true
	r.apply(o)
	got := r.listing()
	for _, chain := range []string{"cut", "steer", "apply"} {
		_, rules, found := strings.Cut(got, "chain "+chain+" {")
		lines := strings.SplitN(strings.TrimSpace(rules), "\n", 3)
		if !found || len(lines) < 3 || !strings.Contains(lines[1], "meta mark & 0x0f000000 == 0x0b000000") || !strings.HasSuffix(strings.Split(lines[1], " comment")[0], "accept") {
			t.Errorf("chain %s does not let the fast lane pass first:\n%s", chain, got)
		}
	}
	if strings.Count(got, "notrack") != 1 {
		t.Errorf("not untracked once:\n%s", got)
	}
}

func TestForeignRulesAreFound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ why, rules, want string }{
		{"nothing", "", ""},
		{"ours", "ours", ""},
		{"a table that is not hooked in", "add table inet fw; add chain inet fw f", ""},
		{"what only looks at what comes to the box", "add table inet fw; add chain inet fw in { type filter hook input priority 0; }", ""},
		{"before conntrack", "add table netdev fw; add chain netdev fw in { type filter hook ingress device lan0 priority 0; }", ""},
		{"a firewall", "add table inet fw4; add chain inet fw4 f { type filter hook forward priority 0; }", "table inet fw4"},
		{"address translation", "add table ip nat; add chain ip nat p { type nat hook postrouting priority 100; }", "table ip nat"},
		{"of the other family", "add table ip6 mangle; add chain ip6 mangle p { type filter hook prerouting priority -150; }", "table ip6 mangle"},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			switch c.rules {
			case "":
			case "ours":
				r.apply(options())
			default:
				r.box.nft(c.rules, "-f", "-")
			}
			r.box.Must(func() error {
				got, err := Foreign()
				if got != c.want {
					t.Errorf("found %q, want %q", got, c.want)
				}
				return err
			})
		})
	}
}
