package bridge

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestOfWhichBridgeThePortsAre(t *testing.T) {
	t.Parallel()
	inside(t, func() {
		build(t, "br0", "lan0", "wan0")
		build(t, "br1", "lan1")
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "free"}, PeerName: "freex"}))
		for _, row := range []struct {
			ports []string
			name  string
			says  []string
		}{
			{both, "br0", nil},
			{[]string{"lan1"}, "br1", nil},
			{[]string{"lan0", "lan7"}, "br0", []string{"lan7 is not there"}},
			{[]string{"free", "wan0"}, "br0", []string{"free is not a port of a bridge"}},
			{[]string{"lan0", "lan1"}, "br0", []string{"lan1 is a port of br1 and others of br0"}},
			{[]string{"br0", "none"}, "", []string{"br0 is not a port", "none is not there"}},
		} {
			name, err := Of(row.ports)
			if name != row.name || (err == nil) != (row.says == nil) {
				t.Errorf("%v: %q, %v", row.ports, name, err)
			}
			for _, part := range row.says {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("%v: %v does not say %q", row.ports, err, part)
				}
			}
		}
	})
}

// Only what is needed is changed, and all of it taken back, also by the one who comes
// after a crash.
func TestEverythingIsTakenBack(t *testing.T) {
	t.Parallel()
	for _, crash := range []bool{false, true} {
		inside(t, func() {
			build(t, "br0", both...)
			must(t, sysctlCall4.write("0"))
			must(t, sysctlCall6.write("0"))
			must(t, conf4("all", "rp_filter").write("2"))
			o := options(t)
			b := opened(t, o)
			b.index = 0
			if v, err := b.option(calls[0].attribute); err == nil {
				t.Errorf("no bridge has %d", v)
			}
			link, err := netlink.LinkByName("br0")
			must(t, err)
			b.index = link.Attrs().Index
			before := snapshot(t, b)
			for range 2 {
				b.Look(both)
			}
			s := b.State()
			if want := []string{"nf_call_ip6tables", "nf_call_iptables", "src_valid_mark"}; s.Name != "br0" || s.Why != "" || fmt.Sprint(s.Changed) != fmt.Sprint(want) || !s.Answer4 || !s.Answer6 || s.Tagged {
				t.Errorf("%+v, want changed %v", s, want)
			}
			during := snapshot(t, b)
			if n := strings.Count(during, "ip rule 250:") + strings.Count(during, "ip rule 40250:"); n != 4 {
				t.Errorf("%d rules, want 4:\n%s", n, during)
			}
			if crash {
				b.handle.Close()
				b = opened(t, o)
				b.Look(both)
				if again := snapshot(t, b); again != during {
					t.Errorf("after a crash:\n%s\nbefore:\n%s", again, during)
				}
				if fmt.Sprint(b.State().Changed) != fmt.Sprint(s.Changed) {
					t.Errorf("after a crash %v counts as ours, before %v", b.State().Changed, s.Changed)
				}
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			if after := snapshot(t, b); after != before {
				t.Errorf("crash %t: after\n%s\nbefore\n%s", crash, after, before)
			}
			if _, err := os.Stat(o.File); err == nil {
				t.Error("the note is still there")
			}
		})
	}
}

// What the operator has switched on himself stays as it is.
func TestWhatIsThereAlreadyIsNotTouched(t *testing.T) {
	t.Parallel()
	inside(t, func() {
		build(t, "br0", both...)
		o := options(t)
		b := opened(t, o)
		b.Look(both)
		if s := b.State(); len(s.Changed) != 0 || s.Why != "" {
			t.Errorf("%+v", s)
		}
		must(t, sysctlVLAN.write("1"))
		if !b.State().Tagged {
			t.Error("nobody says that tagged frames are shown")
		}
		must(t, b.Close())
		if v, err := sysctlCall4.read(); v != "1" || err != nil {
			t.Errorf("%s is %q, %v", sysctlCall4, v, err)
		}
	})
}

// Ports come late, a bridge is made anew, somebody takes our routes away.
func TestLookPutsThingsRight(t *testing.T) {
	t.Parallel()
	inside(t, func() {
		b := opened(t, options(t))
		b.Look(both)
		if s := b.State(); s.Name != "" || s.Why != "lan0 is not there; wan0 is not there" || s.Answer4 || s.Answer6 {
			t.Errorf("%+v", s)
		}
		if err := b.Learn(netip.MustParseAddr("100.64.0.9"), [6]byte{2}, time.Now()); err == nil {
			t.Error("there is a way back without a bridge")
		}
		build(t, "br0", both...)
		b.Look(both)
		want := snapshot(t, b)
		for range 2 {
			link, err := netlink.LinkByName("br0")
			must(t, err)
			must(t, netlink.LinkDel(link))
			for _, port := range both {
				link, err := netlink.LinkByName(port)
				must(t, err)
				must(t, netlink.LinkDel(link))
			}
			build(t, "br0", both...)
			b.Look(both)
			if s := b.State(); s.Why != "" || !s.Answer4 || !s.Answer6 {
				t.Errorf("of a new bridge: %+v", s)
			}
		}
		must(t, b.removeRoutes())
		b.Look(both)
		index := func(s string) string { // which is another one
			return strings.NewReplacer(fmt.Sprintf("Ifindex: %d ", b.index), "Ifindex: B ").Replace(s)
		}
		if got := snapshot(t, b); strings.Count(index(got), "Ifindex: B ") != 2 || len(strings.Split(got, "\n")) != len(strings.Split(want, "\n")) {
			t.Errorf("is\n%s\nwas\n%s", got, want)
		}
		must(t, b.Close())
	})
}

// A bridge without IPv6 can say nothing over it, but there is a route, which a reset asks for.
func TestABridgeWithoutIPv6(t *testing.T) {
	t.Parallel()
	inside(t, func() {
		build(t, "br0", both...)
		must(t, setting("ipv6/conf/br0/disable_ipv6").write("1"))
		b := opened(t, options(t))
		b.Look(both)
		if s := b.State(); !s.Answer4 || s.Answer6 || !strings.Contains(s.Why, "IPv6 is switched off on br0") {
			t.Errorf("%+v", s)
		}
		client := netip.MustParseAddr("2001:db8::9")
		if b.Answerable(client) || b.Learn(client, [6]byte{2}, time.Now()) == nil {
			t.Error("there is a way back")
		}
		routes, err := netlink.RouteGet(client.AsSlice())
		if err != nil || len(routes) != 1 || routes[0].LinkIndex != loopback {
			t.Errorf("route: %+v, %v", routes, err)
		}
		must(t, b.Close())
	})
}

func TestWhatIsLearnt(t *testing.T) {
	t.Parallel()
	inside(t, func() {
		build(t, "br0", both...)
		link, err := netlink.LinkByName("br0")
		must(t, err)
		for _, a := range []string{"192.0.2.1/24", "2001:db8:1::1/64"} {
			parsed, err := netlink.ParseAddr(a)
			must(t, err)
			if strings.Contains(a, ":") {
				parsed.Flags = unix.IFA_F_NODAD
			}
			must(t, netlink.AddrAdd(link, parsed))
		}
		b := opened(t, options(t))
		b.Look(both)
		now := time.Now()
		told := func(a netip.Addr) string {
			all, err := netlink.NeighList(link.Attrs().Index, 0)
			must(t, err)
			for _, n := range all {
				if n.IP.Equal(a.AsSlice()) && n.State == netlink.NUD_REACHABLE {
					return n.HardwareAddr.String()
				}
			}
			return ""
		}
		mac, other := [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
		for _, row := range []struct {
			why    string
			client string
			mac    [6]byte
			at     time.Duration
			ok     bool
			want   string
		}{
			{"behind a router", "100.64.0.9", mac, 0, true, "02:00:00:00:00:01"},
			{"over IPv6", "2001:db8:9::9", mac, 0, true, "02:00:00:00:00:01"},
			{"as a mapped address", "::ffff:100.64.0.10", mac, 0, true, "02:00:00:00:00:01"},
			{"by another router", "100.64.0.9", other, 0, true, "02:00:00:00:00:02"},
			{"nobody knows by whom", "100.64.0.11", [6]byte{}, 0, false, ""},
			{"on a network of the bridge: a packet must not say where the box's own gateway is", "192.0.2.254", mac, 0, true, ""},
			{"the same over IPv6", "2001:db8:1::fe", mac, 0, true, ""},
			{"link-local", "fe80::9", mac, 0, true, ""},
		} {
			client := netip.MustParseAddr(row.client)
			if err := b.Learn(client, row.mac, now.Add(row.at)); (err == nil) != row.ok {
				t.Errorf("%s: %v", row.why, err)
			}
			if got := told(client.Unmap()); got != row.want {
				t.Errorf("%s: the kernel knows %q, want %q", row.why, got, row.want)
			}
		}
		// Said again before long, the kernel is not told, and later it is.
		client := netip.MustParseAddr("100.64.0.9")
		forget := func() {
			must(t, netlink.NeighDel(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: client.AsSlice(), HardwareAddr: other[:]}))
		}
		forget()
		must(t, b.Learn(client, other, now.Add(toldFor-1)))
		if got := told(client); got != "" {
			t.Errorf("told again: %s", got)
		}
		must(t, b.Learn(client, other, now.Add(toldFor)))
		if got := told(client); got == "" {
			t.Error("not told again")
		}
		forget()
		must(t, b.Learn(client, other, now.Add(-time.Hour)))
		if got := told(client); got == "" {
			t.Error("not told again by a clock that was set back")
		}
		must(t, b.Close())
	})
}
