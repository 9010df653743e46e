package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SpareAddresses takes an IPv4 address and a /56 of the subscribers' side that
// no machine has or will get, for a line that is given another one.
func (l *Lab) SpareAddresses() (netip.Addr, netip.Prefix, error) {
	return l.net.spare(Subscribers)
}

// SetIPv4 makes a the machine's only IPv4 address; the zero Addr takes the one
// that it has away. It must be of the network that the machine is in, and
// nobody may have it: take it from its owner first, or use Swap. The access
// network knows at once: the box's neighbour entry goes with the address.
// Connections from the old address are left to their fate. Not to be called
// while another goroutine starts to send from this machine.
func (l *Line) SetIPv4(a netip.Addr) error {
	if err := l.setIPv4(a); err != nil {
		return fmt.Errorf("give %s the address %v: %w", l.Name, a, err)
	}
	return nil
}

func (l *Line) setIPv4(a netip.Addr) error {
	h, link, err := l.eth0()
	if err != nil {
		return err
	}
	defer h.Close()
	if l.IPv4.IsValid() {
		old := netip.PrefixFrom(l.IPv4, gateway4(l.IPv4).Bits())
		if err := h.AddrDel(link, &netlink.Addr{IPNet: ipNet(old)}); err != nil {
			return fmt.Errorf("take %s away: %w", old, err)
		}
		if err := l.forget(l.IPv4); err != nil {
			return err
		}
		l.IPv4 = netip.Addr{}
	}
	if !a.IsValid() {
		return nil
	}
	gw := gateway4(a)
	if !gw.IsValid() {
		return errors.New("not an address of the lab")
	}
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, gw.Bits()))}); err != nil {
		return err
	}
	l.IPv4 = a
	// The route went with the last address.
	return errors.Join(l.forget(a), addRoute(l.Namespace, "eth0", netip.PrefixFrom(netip.IPv4Unspecified(), 0), gw.Addr()))
}

// SetPrefix6 has the box route p to the machine and nothing else, and gives it
// one address in p; the zero Prefix leaves it without. What was said of SetIPv4
// holds here too.
func (l *Line) SetPrefix6(p netip.Prefix) error {
	if err := l.clearIPv6(); err != nil {
		return fmt.Errorf("take the IPv6 addresses of %s away: %w", l.Name, err)
	}
	if !p.IsValid() {
		return nil
	}
	a, err := l.AddPrefix6(p)
	if err != nil {
		return err
	}
	l.IPv6, l.Prefix6 = a, p.Masked()
	return nil
}

// AddPrefix6 has the box route one more prefix to the machine and gives it an
// address there, the result. IPv6 and Prefix6 stay as they are.
func (l *Line) AddPrefix6(p netip.Prefix) (netip.Addr, error) {
	host := p.Masked().Addr().As16()
	host[15] |= hostPart
	a := netip.AddrFrom16(host)
	if !p.IsValid() || !p.Contains(a) {
		return a, fmt.Errorf("route %v to %s: not a prefix that holds %v", p, l.Name, a)
	}
	if err := addRoute(l.router, l.dev, p.Masked(), l.link); err != nil {
		return a, err
	}
	return a, l.AddIPv6(a)
}

// AddIPv6 gives the machine one more address, of a prefix that is routed to it.
func (l *Line) AddIPv6(a netip.Addr) error {
	h, link, err := l.eth0()
	if err != nil {
		return err
	}
	defer h.Close()
	p := netip.PrefixFrom(a, 128)
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(p), Flags: addrFlags(p)}); err != nil {
		return fmt.Errorf("give %s the address %s: %w", l.Name, a, err)
	}
	return nil
}

// clearIPv6 leaves the machine with its link-local address, and the box without
// a route to it.
func (l *Line) clearIPv6() error {
	h, link, err := l.eth0()
	if err != nil {
		return err
	}
	defer h.Close()
	addrs, err := h.AddrList(link, unix.AF_INET6)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if a.Scope == unix.RT_SCOPE_LINK {
			continue
		}
		if err := h.AddrDel(link, &a); err != nil {
			return err
		}
	}
	hb, err := l.router.netlink()
	if err != nil {
		return err
	}
	defer hb.Close()
	routes, err := hb.RouteListFiltered(unix.AF_INET6, &netlink.Route{Gw: l.link.AsSlice()}, netlink.RT_FILTER_GW)
	if err != nil {
		return err
	}
	for _, r := range routes {
		dev, err := hb.LinkByIndex(r.LinkIndex)
		if err != nil {
			return err
		}
		if dev.Attrs().Name != l.dev {
			continue // the machine with the same number on another side
		}
		if err := hb.RouteDel(&r); err != nil {
			return err
		}
	}
	l.IPv6, l.Prefix6 = netip.Addr{}, netip.Prefix{}
	return nil
}

// Swap gives each of two machines of one side what the other has: its IPv4
// address, and its Prefix6 with the address in it. Prefixes and addresses that
// were added are gone.
func Swap(a, b *Line) error {
	a4, b4, a6, b6 := a.IPv4, b.IPv4, a.Prefix6, b.Prefix6
	return errors.Join(
		a.SetIPv4(netip.Addr{}), b.SetIPv4(a4), a.SetIPv4(b4),
		a.SetPrefix6(netip.Prefix{}), b.SetPrefix6(a6), a.SetPrefix6(b6))
}

// eth0 is the machine's interface; the caller closes the handle.
func (l *Line) eth0() (*netlink.Handle, netlink.Link, error) {
	h, err := l.Namespace.netlink()
	if err != nil {
		return nil, nil, err
	}
	link, err := h.LinkByName("eth0")
	if err != nil {
		h.Close()
		return nil, nil, err
	}
	return h, link, nil
}

// forget has the box ask anew where a is.
func (l *Line) forget(a netip.Addr) error {
	h, err := l.router.netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	dev, err := h.LinkByName(l.dev)
	if err != nil {
		return err
	}
	err = h.NeighDel(&netlink.Neigh{LinkIndex: dev.Attrs().Index, IP: a.AsSlice()})
	if err != nil && !errors.Is(err, unix.ENOENT) { // never asked so far
		return fmt.Errorf("neighbour entry of %s: %w", a, err)
	}
	return nil
}
