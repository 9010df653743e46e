package netconf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/config"
)

// unusable are the flags of an address that is not (or not any more) to be used: duplicate address detection goes on, or found one.
const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED

// configure takes what the port has away and gives it what m says.
func (p *Port) configure(ctx context.Context, m config.Management) error {
	port, err := netlink.LinkByName(p.Name)
	if err != nil {
		return err
	}
	if err := clean(port, m.VLAN); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(port); err != nil {
		return fmt.Errorf("%s up: %w", p.Name, err)
	}
	link, err := vlan(port, m.VLAN)
	if err != nil {
		return err
	}
	name := link.Attrs().Name
	err = errors.Join(ipv6(name, m.IPv6), netlink.LinkSetUp(link))
	if err != nil {
		return err
	}
	if a, static := m.Static4(); static {
		err = errors.Join(give(link, a), route(link, a.Addr(), m.IPv4Gateway))
	}
	if a, static := m.Static6(); static {
		err = errors.Join(err, give(link, a), route(link, a.Addr(), m.IPv6Gateway))
	}
	if m.IPv4 == config.DHCP {
		p.ask(ctx, link)
	}
	return err
}

// clean takes the addresses of a port away, and its VLANs but the one that is to stay.
func clean(port netlink.Link, stays uint16) error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range links {
		v, is := l.(*netlink.Vlan)
		switch {
		case !is || v.ParentIndex != port.Attrs().Index:
		case v.VlanId == int(stays):
			errs = append(errs, bare(l))
		default:
			errs = append(errs, netlink.LinkDel(l))
		}
	}
	return errors.Join(append(errs, bare(port))...)
}

// bare takes all addresses away, and with them their routes.
func bare(link netlink.Link) error {
	name := link.Attrs().Name
	list, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range list {
		if err := netlink.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) { // it went with one before it
			errs = append(errs, fmt.Errorf("take %v from %s: %w", a.IPNet, name, err))
		}
	}
	return errors.Join(append(errs, setIPv6(name, "disable_ipv6", "1"))...)
}

// vlan is the interface of a VLAN on a port, or the port itself.
func vlan(port netlink.Link, id uint16) (netlink.Link, error) {
	if id == 0 {
		return port, nil
	}
	name := vlanName(port.Attrs().Name, id)
	l := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: port.Attrs().Index}, VlanId: int(id)}
	if err := netlink.LinkAdd(l); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("VLAN %d on %s: %w", id, port.Attrs().Name, err)
	}
	return netlink.LinkByName(name)
}

// ipv6 has the kernel take part in IPv6 on a link, or not. It asks for routers when IPv6 comes up, so what it does with their answers is set before.
func ipv6(link, how string) error {
	if how == config.Off {
		return nil // bare has switched it off
	}
	taken := "0"
	if how == config.Auto {
		taken = "1"
	}
	return errors.Join(setIPv6(link, "accept_ra", taken), setIPv6(link, "autoconf", taken), setIPv6(link, "disable_ipv6", "0"))
}

// setIPv6 sets what the kernel does with IPv6 on a link.
func setIPv6(link, key, value string) error {
	err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", link, key), []byte(value), 0o644)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel without IPv6
	}
	return err
}

// give adds an address.
func give(link netlink.Link, a netip.Prefix) error {
	addr := &netlink.Addr{IPNet: ipNet(a)}
	if a.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD // somebody chose it, and it has to be there at once
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("address %v: %w", a, err)
	}
	return nil
}

// route makes a gateway the way to everywhere else.
func route(link netlink.Link, from netip.Addr, gateway string) error {
	if gateway == "" {
		return nil
	}
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gateway)}
	if from.Is4() {
		r.Src = from.AsSlice()
	}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("route by %s: %w", gateway, err)
	}
	return nil
}
