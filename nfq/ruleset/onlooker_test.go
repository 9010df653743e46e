package ruleset

import (
	"net/netip"
	"testing"
	"time"
)

func TestWhoLooksOnIsFound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ why, rules, want string }{
		{"nothing", "", ""},
		{"ours", "ours", ""},
		{"a table that is not hooked in", "add table inet fw; add chain inet fw f", ""},
		{"what looks at what comes to the box", "add table inet fw; add chain inet fw in { type filter hook input priority 0; }", ""},
		{"before routing", "add table ip fw; add chain ip fw p { type filter hook prerouting priority -300; }", "table ip fw of somebody else has a chain at prerouting"},
		{"a firewall", "add table inet filter; add chain inet filter f { type filter hook forward priority 0; }", "table inet filter of somebody else has a chain at forward"},
		{"address translation", "add table ip6 nat; add chain ip6 nat p { type nat hook postrouting priority 100; }", "table ip6 nat of somebody else has a chain at postrouting"},
		{"what comes in at an interface", "add table netdev fw; add chain netdev fw in { type filter hook ingress device lan0 priority 0; }", "table netdev fw of somebody else has a chain at ingress"},
		{"what goes out by an interface", "add table netdev fw; add chain netdev fw out { type filter hook egress device lan0 priority 0; }", "table netdev fw of somebody else has a chain at egress"},
		{"what comes in, in family inet", "add table inet fw; add chain inet fw in { type filter hook ingress device lan0 priority 0; }", "table inet fw of somebody else has a chain at ingress"},
		{"bridges", "add table bridge fw; add chain bridge fw f { type filter hook forward priority 0; }", ""},
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
				got, err := Onlooker()
				if got != c.want {
					t.Errorf("found %q, want %q", got, c.want)
				}
				return err
			})
		})
	}
}

func TestChangesAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rs := r.apply(options())
	var w *Changes
	r.box.Must(func() (err error) { w, err = WatchChanges(); return err })
	told := func(why string, rules string, want bool) {
		t.Helper()
		if rules != "" {
			r.box.nft(rules, "-f", "-")
		}
		select {
		case <-w.C():
			if !want {
				t.Errorf("%s was told", why)
			}
		case <-time.After(map[bool]time.Duration{true: 5 * time.Second, false: 50 * time.Millisecond}[want]):
			if want {
				t.Errorf("%s was not told", why)
			}
		}
		for len(w.C()) > 0 {
			<-w.C()
		}
	}
	told("nothing", "", false)
	told("a table", "add table inet fw", true)
	told("a chain", "add chain inet fw f { type filter hook forward priority 0; }", true)
	if err := rs.Cut(netip.MustParseAddr(subIP4), time.Minute); err != nil {
		t.Fatal(err)
	}
	told("a cut of our own", "", false)
	told("its end", "delete table inet fw", true)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
