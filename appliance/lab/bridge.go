package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Place says where in the network the box stands.
type Place uint8

// The places of the box. As a bridge it has no address, and somebody else routes:
//
//	Routing       homes - switch - [box] - backbone
//	BeforeRouter  homes - switch - [box] - router - backbone: subscribers are on the box's own link
//	BehindRouter  homes - switch - router - [box] - backbone: all of them are behind one neighbour
const (
	Routing Place = iota
	BeforeRouter
	BehindRouter
)

// addBox connects the box and the router, where that is another machine.
func (n *network) addBox(place Place) error {
	routers := []struct {
		dev   string
		sw    *Namespace
		addrs []netip.Prefix
	}{
		{"lan0", n.access, []netip.Prefix{boxLink, boxLAN4, boxLAN6}},
		{"wan0", n.inet, []netip.Prefix{boxLink, boxWAN4a, boxWAN4b, boxWAN6}},
	}
	if place == Routing {
		for _, r := range routers {
			if err := n.plug(n.box, r.dev, r.sw, "box", r.addrs...); err != nil {
				return err
			}
		}
		return nil
	}
	if err := addBridge(n.box); err != nil {
		return err
	}
	near, far := routers[0], routers[1] // of the router's interfaces the box is behind near
	mine, other := "lan0", "wan0"       // and so are its own
	if place == BehindRouter {
		near, far, mine, other = far, near, other, mine
	}
	return errors.Join(
		n.plug(n.box, mine, near.sw, "box"),
		n.plug(n.router, near.dev, n.box, other, near.addrs...),
		n.plug(n.router, far.dev, far.sw, "router", far.addrs...),
		enslave(n.box, "br0", mine))
}

// enslave makes an interface a port of a bridge of the same machine.
func enslave(ns *Namespace, bridge, dev string) error {
	h, err := ns.netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	br, err := h.LinkByName(bridge)
	if err != nil {
		return err
	}
	link, err := h.LinkByName(dev)
	if err != nil {
		return err
	}
	return h.LinkSetMaster(link, br)
}

// Address gives an interface of the machine one more address.
func (n *Namespace) Address(dev string, a netip.Prefix) error {
	h, err := n.netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(dev)
	if err != nil {
		return err
	}
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(a), Flags: addrFlags(a)}); err != nil {
		return fmt.Errorf("address %s on %s of %s: %w", a, dev, n.Name, err)
	}
	return nil
}
