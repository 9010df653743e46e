package lane

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// cutting is a lane that may cut short, with plenty of tokens for both families.
func (r *rig) cutting(how string) *Lane {
	r.t.Helper()
	l := r.attached(how)
	r.ready(l)
	return l
}

func (r *rig) ready(l *Lane) {
	r.t.Helper()
	for _, a := range []netip.Addr{sub4, sub6} {
		if err := l.SetSource(a, 1); err != nil {
			r.t.Fatal(err)
		}
	}
	l.Grant(1, 1000)
	l.Alive(time.Hour)
	l.ShortCut(time.Hour)
}

// drained reads copies away until the test ends: nothing may be lost for want of room.
func (r *rig) drained(l *Lane) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			l.Read(func(*Copy) {})
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	r.t.Cleanup(func() { close(stop); <-done })
}

// seen counts the packets of governed ports that pass the box's netfilter.
func (r *rig) nft(args ...string) (out string) {
	r.t.Helper()
	r.box.Must(func() error {
		b, err := exec.Command("nft", args...).CombinedOutput()
		if out = string(b); err != nil {
			return fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, b)
		}
		return nil
	})
	return out
}

const watchForward = `add table inet watch { counter seen { }; chain f { type filter hook forward priority 0; tcp sport 25 counter name seen; tcp dport 25 counter name seen; }; }`

func (r *rig) seen() int {
	r.t.Helper()
	m := regexp.MustCompile(`packets (\d+)`).FindStringSubmatch(r.nft("list", "counter", "inet", "watch", "seen"))
	if m == nil {
		r.t.Fatal("no counter")
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// segmentation turns TSO and GSO of an interface on or off.
func segmentation(name string, on bool) error {
	const tso, gso = 0x1f, 0x24 // ETHTOOL_STSO, ETHTOOL_SGSO (linux/ethtool.h)
	const checksum = 0x17       // ETHTOOL_STXCSUM
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, what := range []uint32{tso, gso, checksum} {
		value := struct{ cmd, data uint32 }{cmd: what}
		if on {
			value.data = 1
		}
		var req struct { // struct ifreq
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}
		copy(req.name[:unix.IFNAMSIZ-1], name)
		req.data = unsafe.Pointer(&value)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
			return fmt.Errorf("offload %#x of %s: %w", what, name, errno)
		}
	}
	return nil
}

// echoAt makes a server that returns what it gets.
func (s space) echoAt(addr netip.Addr) net.Listener {
	l := s.listen(addr, 25)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	return l
}

// exchange sends n random bytes and wants the same back.
func exchange(t *testing.T, why string, c net.Conn, n int) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	sent, got := make([]byte, n), make([]byte, n)
	_, _ = rand.Read(sent)
	go func() { _, _ = c.Write(sent) }()
	if _, err := io.ReadFull(c, got); err != nil || !slices.Equal(got, sent) {
		t.Fatalf("%s: %v", why, err)
	}
}

// Both families, both ways of attaching, with the work of segments and checksums left to
// the wire and without: what arrives is what was sent, and netfilter saw its beginning only.
func TestASessionThroughTheShortCut(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, how string) {
		for _, offload := range []bool{true, false} {
			r := newRig(t)
			if !offload {
				for _, s := range []struct {
					space
					name string
				}{{r.sub, "sub0"}, {r.inter, "int0"}, {r.box, "lan0"}, {r.box, "wan0"}} {
					s.Must(func() error { return segmentation(s.name, false) })
				}
			}
			r.nft(watchForward)
			l := r.cutting(how)
			r.drained(l)
			for _, to := range []netip.Addr{inter4, inter6} {
				before, seen := r.stats(l), r.seen()
				c := r.sub.dial(r.inter.echoAt(to).Addr())
				exchange(t, fmt.Sprintf("%v, offload %v", to, offload), c, 2<<20)
				after := r.stats(l)
				if n := r.seen() - seen; n > 4 {
					t.Errorf("%v, offload %v: netfilter saw %d packets", to, offload, n)
				}
				if n := after.ShortCut - before.ShortCut; n < 50 || after.Lost != 0 || after.Stack.Begins == before.Stack.Begins {
					t.Errorf("%v, offload %v: %d packets cut short: %+v", to, offload, n, after)
				}
				_ = c.Close()
			}
		}
	})
}

func (r *rig) stats(l *Lane) Stats {
	r.t.Helper()
	s, err := l.Stats()
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// What arrives has one hop less, a right header checksum and, with nothing left to the
// wire, a right TCP checksum.
func TestWhatTheShortCutPutsOnTheWire(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, s := range []struct {
		space
		name string
	}{{r.sub, "sub0"}, {r.inter, "int0"}, {r.box, "lan0"}, {r.box, "wan0"}} {
		s.Must(func() error { return segmentation(s.name, false) })
	}
	l := r.cutting("tcx")
	r.drained(l)
	w := r.inter.tap("int0")
	c := r.sub.dial(r.inter.echoAt(inter4).Addr())
	exchange(t, "a session", c, 100_000)
	n := 0
	for _, frame := range w.frames() {
		ip := frame[14:]
		if len(frame) < 54 || frame[12] != 8 || frame[13] != 0 || ip[9] != 6 || netip.AddrFrom4([4]byte(ip[12:16])) != sub4 {
			continue
		}
		n++
		total := int(ip[2])<<8 | int(ip[3])
		pseudo := slices.Concat(ip[12:20], []byte{0, 6, byte((total - 20) >> 8), byte(total - 20)})
		if ip[8] != 63 || checksum(ip[:20]) != 0 || checksum(pseudo, ip[20:total]) != 0 || len(ip) != total {
			t.Errorf("TTL %d, header checksum %#x, of TCP %#x, %d bytes of %d", ip[8], checksum(ip[:20]), checksum(pseudo, ip[20:total]), len(ip), total)
		}
	}
	if n < 50 || r.stats(l).ShortCut < 50 {
		t.Errorf("%d packets of the client's arrived: %+v", n, r.stats(l))
	}
}

// Routes, neighbours and devices change under a running session; nothing is remembered.
func TestTheShortCutFollowsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := r.cutting("tcx")
	r.drained(l)
	c := r.sub.dial(r.inter.echoAt(inter4).Addr())
	cut := func() uint64 { return r.stats(l).ShortCut }
	again := func(why string) {
		t.Helper()
		before := cut()
		exchange(t, why, c, 20_000)
		if cut() == before {
			t.Errorf("%s: nothing was cut short: %+v", why, r.stats(l).Stack)
		}
	}
	again("as it begins")

	// Another network card at the server's end: the neighbour is another one.
	r.inter.Must(func() error {
		l, err := netlink.LinkByName("int0")
		if err != nil {
			return err
		}
		return netlink.LinkSetHardwareAddr(l, net.HardwareAddr{2, 7, 7, 7, 7, 7})
	})
	r.box.Must(func() error {
		l, err := netlink.LinkByName("wan0")
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_REACHABLE, IP: inter4.AsSlice(), HardwareAddr: net.HardwareAddr{2, 7, 7, 7, 7, 7}})
	})
	again("the neighbour has another address")

	// Nobody's address is known: it is asked for.
	r.box.Must(func() error {
		all, err := netlink.NeighList(0, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, n := range all {
			if err := netlink.NeighDel(&n); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
		return nil
	})
	again("no neighbour is known")

	// No route: the kernel says so to the client, which goes on trying.
	prohibit := &netlink.Route{Dst: &net.IPNet{IP: inter4.AsSlice(), Mask: net.CIDRMask(32, 32)}, Type: unix.RTN_PROHIBIT}
	r.box.Must(func() error { return netlink.RouteAdd(prohibit) })
	before, route := cut(), r.stats(l).Stack.Route
	if _, err := c.Write([]byte("into nowhere")); err != nil {
		t.Fatal(err)
	}
	nfqtest.Eventually(t, "the client's packet is left to the kernel", func() bool { return r.stats(l).Stack.Route > route })
	if cut() != before {
		t.Errorf("%d packets were cut short without a route", cut()-before)
	}
	r.box.Must(func() error { return netlink.RouteDel(prohibit) })
	got := make([]byte, len("into nowhere"))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	again("the route is back")

	// A device goes down and comes back.
	link := func(do func(netlink.Link) error) {
		r.box.Must(func() error {
			l, err := netlink.LinkByName("wan0")
			if err != nil {
				return err
			}
			return do(l)
		})
	}
	link(netlink.LinkSetDown)
	before, route = cut(), r.stats(l).Stack.Route
	if _, err := c.Write([]byte("into nowhere")); err != nil {
		t.Fatal(err)
	}
	nfqtest.Eventually(t, "the client's packet is left to the kernel", func() bool { return r.stats(l).Stack.Route > route })
	if cut() != before {
		t.Errorf("%d packets were cut short to a device that is down", cut()-before)
	}
	link(netlink.LinkSetUp)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	again("the device is up again")
}

// What leaves may be shorter than what comes: the kernel tells the sender, in both families.
func TestTheKernelTellsWhatIsTooLongForTheShortCut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := r.cutting("tcx")
	r.drained(l)
	for _, to := range []struct {
		addr netip.Addr
		net  string
	}{{inter4, "10.0.2.2/32"}, {inter6, "fd00:2::2/128"}} {
		c := r.sub.dial(r.inter.echoAt(to.addr).Addr())
		exchange(t, "before", c, 10_000)
		r.box.Must(func() error {
			l, err := netlink.LinkByName("wan0")
			if err != nil {
				return err
			}
			_, dst, err := net.ParseCIDR(to.net)
			if err != nil {
				return err
			}
			return netlink.RouteAdd(&netlink.Route{Dst: dst, LinkIndex: l.Attrs().Index, MTU: 1300, MTULock: true})
		})
		before := r.stats(l)
		exchange(t, fmt.Sprintf("%v behind a way of 1300 bytes", to.addr), c, 1<<20)
		after := r.stats(l)
		if after.Stack.Length == before.Stack.Length || after.ShortCut == before.ShortCut {
			t.Errorf("%v: %+v", to.addr, after)
		}
	}
}

// Policy routing and two ways of equal cost: the packets of a session take the way that
// its SYN took.
func TestTheShortCutTakesTheWayOfTheSYN(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.box.Must(func() error {
		return errors.Join(nfqtest.Veth("wan1", "int1", r.inter.Space), nfqtest.Address("wan1", "10.0.4.1/24"))
	})
	// All answers go by the first link, whatever the way of the question.
	r.inter.Must(func() error { return nfqtest.Address("int1", "10.0.4.2/24") })
	r.box.WaitFor("wan1")
	_, many, _ := net.ParseCIDR("192.0.2.0/24")
	r.inter.Must(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: many, LinkIndex: lo.Attrs().Index, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST, Table: unix.RT_TABLE_LOCAL})
	})
	r.box.Must(func() error {
		var hops []*netlink.NexthopInfo
		for i, via := range []string{"10.0.2.2", "10.0.4.2"} {
			l, err := netlink.LinkByName(fmt.Sprintf("wan%d", i))
			if err != nil {
				return err
			}
			hops = append(hops, &netlink.NexthopInfo{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(via)})
		}
		return netlink.RouteAdd(&netlink.Route{Dst: many, MultiPath: hops})
	})
	o := options()
	o.RingBytes = 8 << 20
	l := r.open(o)
	r.box.Must(func() error { _, err := l.Attach(lans, []string{"wan0", "wan1"}); return err })
	r.ready(l)
	r.drained(l)
	taps := []*tap{r.inter.tap("int0"), r.inter.tap("int1")}
	r.inter.echoAt(netip.IPv4Unspecified())
	ways := func(why string) (packets [2]map[netip.Addr]int) {
		t.Helper()
		for _, w := range taps {
			w.frames() // what was there
		}
		for server := range byte(24) {
			exchange(t, why, r.sub.dial(&net.TCPAddr{IP: net.IPv4(192, 0, 2, server+1), Port: 25}), 5000)
		}
		for i, w := range taps {
			packets[i] = map[netip.Addr]int{}
			for _, f := range w.frames() {
				if len(f) >= 54 && f[12] == 8 && f[13] == 0 && f[14+9] == 6 && netip.AddrFrom4([4]byte(f[26:30])) == sub4 {
					packets[i][netip.AddrFrom4([4]byte(f[30:34]))]++
				}
			}
		}
		return packets
	}
	packets := ways("two ways of equal cost")
	for server := range packets[0] {
		if packets[1][server] != 0 {
			t.Errorf("the session with %v took both ways", server)
		}
	}
	if len(packets[0]) == 0 || len(packets[1]) == 0 || len(packets[0])+len(packets[1]) != 24 {
		t.Errorf("%d sessions took one way and %d the other", len(packets[0]), len(packets[1]))
	}
	if s := r.stats(l); s.ShortCut == 0 || s.Stack.Path == 0 {
		t.Errorf("%+v", s)
	}

	// A rule by port sends mail by the first link, whatever the routes say.
	r.box.Must(func() error {
		if err := netlink.RouteAdd(&netlink.Route{Dst: many, Gw: net.ParseIP("10.0.2.2"), Table: 100}); err != nil {
			return err
		}
		rule := netlink.NewRule()
		rule.Priority, rule.Table, rule.IPProto, rule.Dport, rule.IifName = 10, 100, unix.IPPROTO_TCP, netlink.NewRulePortRange(25, 25), "lan0"
		return netlink.RuleAdd(rule)
	})
	before := r.stats(l)
	packets = ways("a rule by port")
	after := r.stats(l)
	if len(packets[0]) != 24 || len(packets[1]) != 0 {
		t.Errorf("with the rule %d sessions took the first link and %d the second", len(packets[0]), len(packets[1]))
	}
	if after.ShortCut == before.ShortCut || after.Stack.Path != before.Stack.Path {
		t.Errorf("with the rule: %+v", after)
	}
}

// A session that is handed over, or whose time is over, comes to netfilter's hooks with its next packet.
func TestHandedOverAndForbiddenPacketsMeetNetfilter(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.nft(watchForward)
	l := r.cutting("tcx")
	var isn atomic.Uint32
	c := r.sub.dial(r.inter.echoAt(inter4).Addr())
	exchange(t, "in the lane", c, 5000)
	l.Read(func(k *Copy) {
		if k.Token {
			isn.Store(uint32(k.IP[24])<<24 | uint32(k.IP[25])<<16 | uint32(k.IP[26])<<8 | uint32(k.IP[27]))
		}
	})
	key := Key{netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String())}
	for _, row := range []struct {
		why  string
		do   func() error
		seen bool
	}{
		{"in the lane", func() error { return nil }, false},
		{"handed over", func() error { return set(l.SetState(key, isn.Load(), Handed)) }, true},
		{"back", func() error { return set(l.SetState(key, isn.Load(), See)) }, false},
		{"forbidden", func() error { l.ShortCut(0); return nil }, true},
		{"allowed", func() error { l.ShortCut(time.Hour); return nil }, false},
		{"forgotten by the lane", func() error { return set(l.DeleteFlow(key, isn.Load())) }, true},
	} {
		exchange(t, "before "+row.why, c, 10)
		time.Sleep(100 * time.Millisecond) // the last ACK is late
		if err := row.do(); err != nil {
			t.Fatal(row.why, err)
		}
		before := r.seen()
		exchange(t, row.why, c, 10)
		if n := r.seen() - before; (n >= 2) != row.seen || !row.seen && n != 0 {
			t.Errorf("%s: netfilter saw %d packets", row.why, n)
		}
	}
}

func set(found bool, err error) error {
	if err == nil && !found {
		err = errors.New("no such flow")
	}
	return err
}
