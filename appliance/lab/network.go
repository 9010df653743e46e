package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The address plan. Each machine has a fixed link-local address, fe80::NUMBER,
// and the box is fe80::1 on both sides; IPv6 routes go by those.
var (
	boxLAN4  = netip.MustParsePrefix("100.64.0.1/16")
	boxLAN6  = netip.MustParsePrefix("2001:db8:1000::1/64")
	boxWAN4a = netip.MustParsePrefix("198.51.100.1/24")
	boxWAN4b = netip.MustParsePrefix("203.0.113.1/24")
	boxWAN6  = netip.MustParsePrefix("2001:db8:f000::1/64")
	boxMgmt4 = netip.MustParsePrefix("192.0.2.1/24")
	boxMgmt6 = netip.MustParsePrefix("2001:db8:e000::1/64")
	boxLink  = netip.MustParsePrefix("fe80::1/64")
)

// network is the switch, the box and the backbone, and what hangs on them.
type network struct {
	lab          string
	access, inet *Namespace // one bridge each
	box          *Namespace
	router       *Namespace // the box itself, unless that is a bridge

	mu    sync.Mutex
	mgmt  *Namespace // the third bridge, once something is on it
	lines []*Namespace
	count [Management + 1]int // addresses given out on each side, which is the next one's number
}

func newNetwork(lab string, place Place) (_ *network, err error) {
	n := &network{lab: lab}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	for _, x := range []struct {
		name string
		to   **Namespace
	}{{"switch", &n.access}, {"box", &n.box}, {"backbone", &n.inet}} {
		if *x.to, err = newNamespace(lab, x.name); err != nil {
			return nil, err
		}
	}
	for _, sw := range []*Namespace{n.access, n.inet} {
		if err := addBridge(sw); err != nil {
			return nil, fmt.Errorf("bridge in %s: %w", sw.Name, err)
		}
	}
	n.router = n.box
	if place != Routing {
		if n.router, err = newNamespace(lab, "router"); err != nil {
			return nil, err
		}
		if err := sysctls(n.box); err != nil {
			return nil, err
		}
	}
	// Sysctls come before the interfaces, which inherit them.
	if err := sysctls(n.router,
		"ipv4/ip_forward", "1", "ipv6/conf/all/forwarding", "1", "ipv6/conf/default/forwarding", "1",
		"ipv4/conf/all/rp_filter", "1", "ipv4/conf/default/rp_filter", "1"); err != nil {
		return nil, err
	}
	if err := n.addBox(place); err != nil {
		return nil, err
	}
	return n, nil
}

// sysctls sets the pairs, after those that every machine gets: no
// autoconfiguration, no duplicate address detection (an address answers at
// once), and neither redirects nor filters that the lab did not ask for.
func sysctls(ns *Namespace, pairs ...string) error {
	common := []string{
		"ipv6/conf/all/disable_ipv6", "0", "ipv6/conf/default/disable_ipv6", "0",
		"ipv6/conf/default/accept_dad", "0", "ipv6/conf/default/accept_ra", "0", "ipv6/conf/default/addr_gen_mode", "1",
		"ipv4/conf/all/rp_filter", "0", "ipv4/conf/default/rp_filter", "0",
		"ipv4/conf/all/send_redirects", "0", "ipv4/conf/default/send_redirects", "0",
	}
	for p := range slices.Chunk(append(common, pairs...), 2) {
		if err := ns.Sysctl(p[0], p[1]); err != nil {
			return err
		}
	}
	return nil
}

func addBridge(ns *Namespace) error {
	h, err := ns.netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	off := false
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}, MulticastSnooping: &off}
	if err := h.LinkAdd(br); err != nil {
		return err
	}
	return h.LinkSetUp(br)
}

// plug makes interface dev in ns, its other end a port of the bridge in sw,
// and gives it the addresses.
func (n *network) plug(ns *Namespace, dev string, sw *Namespace, port string, addrs ...netip.Prefix) error {
	hs, err := sw.netlink()
	if err != nil {
		return err
	}
	defer hs.Close()
	hn, err := ns.netlink()
	if err != nil {
		return err
	}
	defer hn.Close()
	br, err := hs.LinkByName("br0")
	if err != nil {
		return err
	}
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: port, MasterIndex: br.Attrs().Index},
		PeerName:  dev, PeerNamespace: netlink.NsFd(ns.handle),
	}
	if err := hs.LinkAdd(veth); err != nil {
		return fmt.Errorf("veth %s-%s: %w", port, dev, err)
	}
	if err := hs.LinkSetUp(veth); err != nil {
		return err
	}
	link, err := hn.LinkByName(dev)
	if err != nil {
		return err
	}
	if err := hn.LinkSetUp(link); err != nil {
		return err
	}
	for _, a := range addrs {
		if err := hn.AddrAdd(link, &netlink.Addr{IPNet: ipNet(a), Flags: addrFlags(a)}); err != nil {
			return fmt.Errorf("address %s on %s: %w", a, dev, err)
		}
	}
	return errors.Join(awaitUp(hs, port), awaitUp(hn, dev))
}

// awaitUp waits until the kernel has noticed that an interface has a carrier,
// which it looks at once a second at most; what is sent before is lost.
func awaitUp(h *netlink.Handle, name string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s stays %s", name, link.Attrs().OperState)
		}
	}
}

func addrFlags(p netip.Prefix) int {
	if p.Addr().Is6() {
		return unix.IFA_F_NODAD
	}
	return 0
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// plan gives the addresses of the number-th machine (from 1) of a side.
func plan(side Side, number int) (v4 netip.Prefix, v6 netip.Addr, routed netip.Prefix, link netip.Prefix) {
	link = netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 14: byte((number + 1) >> 8), 15: byte(number + 1)}), 64)
	six := [16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: hostPart}
	switch side {
	case Subscribers:
		v4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte((number + 10) / 250), byte((number+10)%250 + 1)}), 16)
		six[4], six[5] = 0x10|byte(number>>8), byte(number)
		v6 = netip.AddrFrom16(six)
		return v4, v6, netip.PrefixFrom(v6, 56).Masked(), link
	case Management:
		v4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + number)}), 24)
		six[4], six[5] = 0xe0, byte(number)
		v6 = netip.AddrFrom16(six)
		return v4, v6, netip.PrefixFrom(v6, 128), link
	}
	// Odd ones in one /24, even ones in the other: two networks to talk to.
	v4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(10 + number/2)}), 24)
	if number%2 == 0 {
		v4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + number/2)}), 24)
	}
	six[4], six[5] = 0xf0|byte(number>>8), byte(number)
	v6 = netip.AddrFrom16(six)
	return v4, v6, netip.PrefixFrom(v6, 48).Masked(), link
}

// hostPart ends every machine's own IPv6 address.
const hostPart = 0x25

// side is what one side of the box hangs on.
func (n *network) side(side Side) (sw *Namespace, dev string, most int) {
	switch side {
	case Subscribers:
		return n.access, "lan0", 400
	case Management:
		return n.mgmt, "mgmt0", 200 // one /24
	}
	return n.inet, "wan0", 400 // two /24s
}

// next takes the next number of a side; nobody else gets its addresses.
func (n *network) next(side Side) (int, error) {
	if _, _, most := n.side(side); n.count[side] == most {
		return 0, fmt.Errorf("no more than %d machines and spare addresses a side", most)
	}
	n.count[side]++
	return n.count[side], nil
}

// addManagement makes the third network, which a lab has only when it is used.
func (n *network) addManagement() error {
	if n.mgmt != nil {
		return nil
	}
	sw, err := newNamespace(n.lab, "management")
	if err != nil {
		return err
	}
	n.mgmt = sw
	if err := addBridge(sw); err != nil {
		return fmt.Errorf("bridge in %s: %w", sw.Name, err)
	}
	return n.plug(n.box, "mgmt0", sw, "box", boxLink, boxMgmt4, boxMgmt6)
}

// addLine puts one more machine behind one of the box's interfaces.
func (n *network) addLine(name string, side Side) (Line, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if side == Management {
		if err := n.addManagement(); err != nil {
			return Line{}, err
		}
	}
	number, err := n.next(side)
	if err != nil {
		return Line{}, err
	}
	sw, dev, _ := n.side(side)
	v4, v6, routed, link := plan(side, number)
	ns, err := newNamespace(n.lab, name)
	if err != nil {
		return Line{}, err
	}
	n.lines = append(n.lines, ns)
	if err := sysctls(ns); err != nil {
		return Line{}, err
	}
	if err := n.plug(ns, "eth0", sw, fmt.Sprintf("port%d", number), link, v4, netip.PrefixFrom(v6, 128)); err != nil {
		return Line{}, err
	}
	l := Line{Name: name, Namespace: ns, IPv4: v4.Addr(), IPv6: v6, Prefix6: routed, router: n.router, dev: dev, link: link.Addr()}
	err = errors.Join(
		addRoute(ns, "eth0", netip.PrefixFrom(netip.IPv4Unspecified(), 0), gateway4(l.IPv4).Addr()),
		addRoute(ns, "eth0", netip.PrefixFrom(netip.IPv6Unspecified(), 0), boxLink.Addr()),
		addRoute(n.router, dev, routed, l.link))
	return l, err
}

// spare takes addresses that no machine has.
func (n *network) spare(side Side) (netip.Addr, netip.Prefix, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	number, err := n.next(side)
	if err != nil {
		return netip.Addr{}, netip.Prefix{}, err
	}
	v4, _, routed, _ := plan(side, number)
	return v4.Addr(), routed, nil
}

// gateway4 is the box's address in the network that a belongs to; its bits are
// the network's. The zero Prefix: a belongs to none.
func gateway4(a netip.Addr) netip.Prefix {
	for _, gw := range []netip.Prefix{boxLAN4, boxWAN4a, boxWAN4b, boxMgmt4} {
		if gw.Masked().Contains(a) {
			return gw
		}
	}
	return netip.Prefix{}
}

func addRoute(ns *Namespace, dev string, to netip.Prefix, via netip.Addr) error {
	h, err := ns.netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(dev)
	if err != nil {
		return err
	}
	if err := h.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Gw: via.AsSlice()}); err != nil {
		return fmt.Errorf("route %s via %s in %s: %w", to, via, ns.Name, err)
	}
	return nil
}

// all gives every namespace there is so far.
func (n *network) all() []*Namespace {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]*Namespace, 0, 4+len(n.lines))
	for _, ns := range append([]*Namespace{n.access, n.box, n.router, n.inet, n.mgmt}, n.lines...) {
		if ns != nil && !slices.Contains(out, ns) {
			out = append(out, ns)
		}
	}
	return out
}

func (n *network) close() {
	for _, ns := range n.all() {
		ns.close()
	}
}
