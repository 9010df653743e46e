package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Wire puts a machine on an interface of the box that nobody else is on: eth0 there and dev in the box are the two ends
// of one cable, without a switch between them, so that what is measured over it is the box and no bridge. IPv4 only; the
// prefixes are the addresses of both ends, of which the box's is the machine's default route. The box's end has no
// reverse-path filter.
func (l *Lab) Wire(name, dev string, host, box netip.Prefix) (*Namespace, error) {
	ns, err := l.net.addWire(name, dev, host, box)
	if err != nil {
		return nil, fmt.Errorf("add %s: %w", name, err)
	}
	return ns, nil
}

func (n *network) addWire(name, dev string, host, box netip.Prefix) (*Namespace, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ns, err := newNamespace(n.lab, name)
	if err != nil {
		return nil, err
	}
	n.lines = append(n.lines, ns)
	if err := sysctls(ns); err != nil {
		return nil, err
	}
	inBox, err := n.box.netlink()
	if err != nil {
		return nil, err
	}
	defer inBox.Close()
	there, err := ns.netlink()
	if err != nil {
		return nil, err
	}
	defer there.Close()
	cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: dev}, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns.handle)}
	if err := inBox.LinkAdd(cable); err != nil {
		return nil, fmt.Errorf("interface %s: %w", dev, err)
	}
	for _, end := range []struct {
		h    *netlink.Handle
		dev  string
		addr netip.Prefix
	}{{inBox, dev, box}, {there, "eth0", host}} {
		link, err := end.h.LinkByName(end.dev)
		if err != nil {
			return nil, err
		}
		if err := end.h.LinkSetUp(link); err != nil {
			return nil, err
		}
		if err := end.h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(end.addr)}); err != nil {
			return nil, fmt.Errorf("address %s on %s: %w", end.addr, end.dev, err)
		}
	}
	if err := awaitUp(inBox, dev); err != nil {
		return nil, err
	}
	if err := awaitUp(there, "eth0"); err != nil {
		return nil, err
	}
	// The filter is the stricter of the interface's and of everybody's.
	for _, of := range []string{"all", dev} {
		if err := n.box.Sysctl("ipv4/conf/"+of+"/rp_filter", "0"); err != nil {
			return nil, err
		}
	}
	return ns, addRoute(ns, "eth0", netip.PrefixFrom(netip.IPv4Unspecified(), 0), box.Addr())
}
