// Package routing makes the image's ports those of a router, as network.addresses and network.routes say: addresses, routes, rules, and what the kernel
// is told of forwarding.
//
// All that the ports reach is in a table of its own (Table), and rules say who looks there: what comes in by one of the ports, and what the box
// itself says to or in the name of somebody behind them (a 421, a reset, an ICMP error). What the box has to say for itself goes as ever by
// the main table, where only the management port is. What comes in by any other interface than the ports is for the box or goes nowhere, and what
// comes in by the ports finds no way to the management port: so neither leads around the other, without a rule of netfilter, which would
// keep the fast lane from its short cut.
//
// What is of this package is known by its own number: Protocol of routes and rules, and addresses without a route of the kernel's. Nothing else is touched.
package routing

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mailweir/mailweir/appliance/config"
)

const (
	Table    = 225 // netlink can have rules suppress defaults only of tables below 256
	Protocol = 225 // of routes and rules: who made them

	mainTable = 254
)

// Priorities of the rules; the kernel's own are 0 (its addresses), 32766 and 32767.
const (
	ruleManagement = 260 + iota // in the name of the management port's addresses
	ruleIn                      // in by one of the ports
	ruleNowhere                 // in by any other interface
	ruleBehind                  // said by the box in the name of who is behind the ports, or of the ports
	ruleUnbound                 // said by the box for itself: IPv4 leaves the source open
	ruleToBehind                // said by the box in anybody else's name, to who is behind the ports
)

// Plan is a router: pure, and comparable by its parts.
type Plan struct {
	Ports  []Port
	Routes []Route // those of the ports' own networks are not among them
}

// Port is one interface that forwards.
type Port struct {
	Name       string
	Subscriber bool
	Addresses  []netip.Prefix // with the bits of the host
}

// Route leads to a network that is behind a router.
type Route struct {
	To   netip.Prefix
	Via  netip.Addr
	Port string
}

// Of is what a configuration that has passed its rules says.
func Of(n config.Network) Plan {
	var p Plan
	add := func(names []string, subscriber bool) {
		for _, name := range names {
			port := Port{Name: name, Subscriber: subscriber}
			for _, a := range n.Addresses {
				if a.Interface == name {
					port.Addresses = append(port.Addresses, a.Prefix())
				}
			}
			p.Ports = append(p.Ports, port)
		}
	}
	add(n.SubscriberInterfaces, true)
	add(n.UpstreamInterfaces, false)
	for _, r := range n.Routes {
		p.Routes = append(p.Routes, Route{To: r.Prefix(), Via: r.Gateway(), Port: cmp.Or(r.Interface, p.towards(r.Gateway()))})
	}
	return p
}

// Without is the plan without these ports, and without what goes by them.
func (p Plan) Without(ports []string) (less Plan) {
	less.Ports = slices.DeleteFunc(slices.Clone(p.Ports), func(port Port) bool { return slices.Contains(ports, port.Name) })
	less.Routes = slices.DeleteFunc(slices.Clone(p.Routes), func(r Route) bool { return slices.Contains(ports, r.Port) })
	return less
}

// towards is the port in whose network an address is; "": none.
func (p Plan) towards(a netip.Addr) string {
	for _, port := range p.Ports {
		if slices.ContainsFunc(port.Addresses, func(own netip.Prefix) bool { return own.Contains(a) }) {
			return port.Name
		}
	}
	return ""
}

// Names are those of the ports.
func (p Plan) Names() (names []string) {
	for _, port := range p.Ports {
		names = append(names, port.Name)
	}
	return names
}

// behind are the networks that are at the ports, or named to be behind a router there.
func (p Plan) behind() (all []netip.Prefix) {
	for _, port := range p.Ports {
		for _, a := range port.Addresses {
			all = append(all, a.Masked())
		}
	}
	for _, r := range p.Routes {
		if r.To.Bits() > 0 {
			all = append(all, r.To)
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

// rule is one of the rules that choose a table.
type rule struct {
	priority int
	v6       bool
	in       string // the interface by which a packet comes; lo: the box itself says it
	not      bool   // any but in
	from     netip.Prefix
	table    int // 0: nowhere
	specific bool
}

func (r rule) String() string {
	return fmt.Sprintf("%d v6=%t in=%s not=%t from=%v table=%d specific=%t", r.priority, r.v6, r.in, r.not, r.from, r.table, r.specific)
}

// rules are those of the plan, in their order.
func (p Plan) rules() (all []rule) {
	for _, v6 := range []bool{false, true} {
		for _, port := range p.Ports {
			all = append(all, rule{priority: ruleIn, v6: v6, in: port.Name, table: Table})
		}
		all = append(all, rule{priority: ruleNowhere, v6: v6, in: "lo", not: true})
		for _, b := range p.behind() {
			if b.Addr().Is6() == v6 {
				all = append(all, rule{priority: ruleBehind, v6: v6, in: "lo", from: b, table: Table})
			}
		}
	}
	// A source that is still open is 0.0.0.0 to the rules of IPv4; of IPv6 no rule with a source fits then.
	all = append(all,
		rule{priority: ruleUnbound, in: "lo", from: netip.PrefixFrom(netip.IPv4Unspecified(), 32), table: mainTable},
		rule{priority: ruleToBehind, in: "lo", table: Table, specific: true})
	for _, half := range []string{"::/1", "8000::/1"} {
		all = append(all, rule{priority: ruleToBehind, v6: true, in: "lo", from: netip.MustParsePrefix(half), table: Table, specific: true})
	}
	return all
}

// managementRules have what the box says in the name of these addresses go by the main table, whatever the plan says.
func managementRules(addresses []netip.Prefix) (all []rule) {
	for _, a := range addresses {
		all = append(all, rule{priority: ruleManagement, v6: a.Addr().Is6(), in: "lo", from: netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), table: mainTable})
	}
	return all
}

// route is one of the table.
type route struct {
	to   netip.Prefix
	via  netip.Addr // the zero one: the network is at the port
	port string
	from netip.Addr // the box's own there; the zero one: the kernel chooses
	key  string     // of the configuration, for errors; "": it is that of a port's own network
}

// String is all of it that the kernel shows.
func (r route) String() string {
	return fmt.Sprintf("%v via %v at %s from %v", r.to, r.via, r.port, r.from)
}

// routes are those of the table: the ports' own networks first, since others need them.
func (p Plan) routes() (all []route) {
	seen := map[netip.Prefix]bool{}
	for _, port := range p.Ports {
		for _, a := range port.Addresses {
			if net := a.Masked(); !seen[net] {
				seen[net] = true
				r := route{to: net, port: port.Name}
				if a.Addr().Is4() { // of IPv6 the kernel's choice is as good
					r.from = a.Addr()
				}
				all = append(all, r)
			}
		}
	}
	for i, r := range p.Routes {
		all = append(all, route{to: r.To, via: r.Via, port: r.Port, key: fmt.Sprintf("network.routes[%d].via", i)})
	}
	return all
}
