package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// As many as process 1 of the image keeps beside the loader.
const (
	MaxAddresses = 32
	MaxRoutes    = 128
)

// FallbackNetwork is that of the image's management port while nobody gives it an address by DHCP.
var FallbackNetwork = netip.MustParsePrefix("192.168.77.0/24")

// routing checks the addresses and routes of a box that routes.
func (r *rules) routing() {
	n := r.c.Network
	if n.Topology == Bridge {
		const why = "goes with topology: routed; a bridge has no addresses and no routes: remove it"
		if len(n.Addresses) > 0 {
			r.bad("network.addresses", why)
		}
		if len(n.Routes) > 0 {
			r.bad("network.routes", why)
		}
		return
	}
	if len(n.Addresses) > MaxAddresses {
		r.bad("network.addresses", "has %d addresses; at most %d", len(n.Addresses), MaxAddresses)
		return
	}
	if len(n.Routes) > MaxRoutes {
		r.bad("network.routes", "has %d routes; at most %d", len(n.Routes), MaxRoutes)
		return
	}
	good := r.addresses(n)
	r.routes(n, good)
	r.unreached(n, good)
}

// Has tells whether an interface is one of the subscribers' or the internet's.
func (n Network) Has(name string) bool {
	return slices.Contains(n.SubscriberInterfaces, name) || slices.Contains(n.UpstreamInterfaces, name)
}

// sides is what a message names.
func (n Network) sides() string {
	return strings.Join(slices.Concat(n.SubscriberInterfaces, n.UpstreamInterfaces), ", ")
}

// addresses are those without a fault.
func (r *rules) addresses(n Network) (good []Address) {
	for i, a := range n.Addresses {
		at := fmt.Sprintf("network.addresses[%d]", i)
		p, err := netip.ParsePrefix(a.Address)
		switch {
		case a.Interface == "":
			r.bad(at+".interface", "is missing; name the interface that has the address: %s", n.sides())
		case !n.Has(a.Interface):
			r.bad(at+".interface", "%q is neither in subscriber_interfaces nor in upstream_interfaces: %s", a.Interface, n.sides())
		case a.Address == "":
			r.bad(at+".address", "is missing; write an address with the length of its network, such as 192.0.2.1/24 or 2001:db8::1/64")
		case err != nil || p.Addr().Is4In6():
			r.bad(at+".address", "%q is not an address with the length of its network, such as 192.0.2.1/24 or 2001:db8::1/64", a.Address)
		case unusable(p) != "":
			r.bad(at+".address", "%s; write one such as 192.0.2.1/24 or 2001:db8::1/64", unusable(p))
		default:
			if why := r.clash(n.Addresses, i, p); why != "" {
				r.bad(at+".address", "%v %s", p, why)
				continue
			}
			good = append(good, a)
		}
	}
	return good
}

// clash says in whose way an address is; "": in nobody's.
func (r *rules) clash(all []Address, i int, p netip.Prefix) string {
	for j, b := range all[:i] {
		q := b.Prefix()
		switch {
		case !q.IsValid() || !p.Overlaps(q):
		case p.Addr() == q.Addr():
			return fmt.Sprintf("is already addresses[%d]; an address is given once", j)
		case all[i].Interface != b.Interface:
			return fmt.Sprintf("is of the network %v, which overlaps %v on %s (addresses[%d]); each interface has networks of its own", p.Masked(), q.Masked(), b.Interface, j)
		}
	}
	if m, whose := r.managed(p); m.IsValid() {
		return fmt.Sprintf("is of the network %v, which overlaps %v, that of the management port%s; they have to be apart", p.Masked(), m, whose)
	}
	return ""
}

// managed is the network of the management port that p overlaps, as far as the configuration says it.
func (r *rules) managed(p netip.Prefix) (m netip.Prefix, whose string) {
	g := r.c.Management
	if m, ok := g.Static4(); ok && m.Overlaps(p) {
		return m.Masked(), ""
	}
	if m, ok := g.Static6(); ok && m.Overlaps(p) {
		return m.Masked(), ""
	}
	if g.IPv4 == DHCP && FallbackNetwork.Overlaps(p) {
		return FallbackNetwork, " while nobody answers by DHCP"
	}
	return netip.Prefix{}, ""
}

func (r *rules) routes(n Network, good []Address) {
	seen := map[netip.Prefix]int{}
	for i, one := range n.Routes {
		at := fmt.Sprintf("network.routes[%d]", i)
		to, fine := r.destination(at, one, good)
		if why := hop(n, one, good); why != "" {
			key := at + ".via"
			if one.Interface != "" && !n.Has(one.Interface) || one.Interface == "" && one.Gateway().IsLinkLocalUnicast() {
				key = at + ".interface"
			}
			r.bad(key, "%s", why)
			continue
		}
		if !fine {
			continue
		}
		if one.To == DefaultRoute {
			to = one.Prefix()
		} else if to.Addr().Is4() != one.Gateway().Is4() {
			r.bad(at+".via", "%v is no router for %v: one is IPv4, the other IPv6", one.Gateway(), to)
			continue
		}
		if first, twice := seen[to]; twice {
			r.bad(at+".to", "%s is already routes[%d]; a network has one way", one.To, first)
			continue
		}
		seen[to] = i
	}
}

// destination checks where a route leads.
func (r *rules) destination(at string, one Route, good []Address) (to netip.Prefix, fine bool) {
	if one.To == DefaultRoute {
		return to, true
	}
	to, err := netip.ParsePrefix(one.To)
	switch {
	case one.To == "":
		r.bad(at+".to", "is missing; write default, or a network such as 198.51.100.0/24")
	case err != nil || to.Addr().Is4In6():
		r.bad(at+".to", "%q is neither default nor a network with its length, such as 198.51.100.0/24 or 2001:db8:8::/48", one.To)
	case to.Bits() == 0:
		r.bad(at+".to", "%q is everything: write default", one.To)
	case to != to.Masked():
		r.bad(at+".to", "%v has bits behind its length; write %v, or %v/%d for the one address", to, to.Masked(), to.Addr(), to.Addr().BitLen())
	case !to.Addr().IsGlobalUnicast():
		r.bad(at+".to", "%v is no network that can be routed", to)
	default:
		for _, a := range good {
			if a.Prefix().Masked() == to {
				r.bad(at+".to", "%v is the network of %s already (%s); there is no other way to it", to, a.Interface, a.Address)
				return to, false
			}
		}
		if m, whose := r.managed(to); m.IsValid() && m.Bits() <= to.Bits() {
			r.bad(at+".to", "%v is in %v, the network of the management port%s; they have to be apart", to, m, whose)
			return to, false
		}
		return to, true
	}
	return to, false
}

// hop says what is wrong with the router of a route; "": nothing.
func hop(n Network, one Route, good []Address) string {
	via, err := netip.ParseAddr(one.Via)
	switch {
	case one.Via == "":
		return "is missing; name the router"
	case err != nil || via.Zone() != "" || via.Is4In6() || !via.IsGlobalUnicast() && !(via.Is6() && via.IsLinkLocalUnicast()):
		return fmt.Sprintf("%q is not the address of a router; write one such as 192.0.2.1 or fe80::1", one.Via)
	case one.Interface != "" && !n.Has(one.Interface):
		return fmt.Sprintf("%q is neither in subscriber_interfaces nor in upstream_interfaces: %s", one.Interface, n.sides())
	case via.IsLinkLocalUnicast():
		if one.Interface == "" {
			return fmt.Sprintf("is missing: %v is link-local and may be at any of %s; name the interface", via, n.sides())
		}
		return ""
	}
	for _, a := range good {
		p := a.Prefix()
		if p.Addr() == via {
			return fmt.Sprintf("%v is the box itself (%s); name the router", via, a.Interface)
		}
		if !p.Contains(via) || one.Interface != "" && one.Interface != a.Interface {
			continue
		}
		if p.Bits() < p.Addr().BitLen()-1 && via == p.Masked().Addr() || via.Is4() && p.Bits() < 31 && via == broadcast(p) {
			return fmt.Sprintf("%v is the name or the broadcast address of the network %v; name the router", via, p.Masked())
		}
		return ""
	}
	return fmt.Sprintf("%v is in no network of %s, so there is no way to it", via, cmp.Or(one.Interface, n.sides()))
}

// unreached warns of what is valid and does hardly what one expects.
func (r *rules) unreached(n Network, good []Address) {
	if len(n.Addresses) == 0 {
		return
	}
	for _, f := range []struct {
		name string
		of   func(netip.Addr) bool
	}{{"IPv4", netip.Addr.Is4}, {"IPv6", netip.Addr.Is6}} {
		has := func(side []string) bool {
			return slices.ContainsFunc(good, func(a Address) bool { return f.of(a.Prefix().Addr()) && slices.Contains(side, a.Interface) })
		}
		to := slices.ContainsFunc(n.Routes, func(one Route) bool { return one.To == DefaultRoute && f.of(one.Gateway()) })
		if (has(n.SubscriberInterfaces) || has(n.UpstreamInterfaces)) && !to {
			r.warn("network.routes", "has no default for %s: only networks that are named here are reached", f.name)
		}
		if to && !has(n.SubscriberInterfaces) {
			r.warn("network.addresses", "no interface of subscribers has an address of %s, so who is deferred over it is not answered", f.name)
		}
	}
}
