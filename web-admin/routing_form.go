package webadmin

import (
	"fmt"
	"strings"
)

// Addresses and routes are typed a line each, so that there may be as many as somebody needs, also without scripts.

func addressLines(all []PortAddress) string {
	var b strings.Builder
	for _, a := range all {
		fmt.Fprintf(&b, "%s %s\n", inert(a.Interface), inert(a.Address))
	}
	return b.String()
}

func routeLines(all []PortRoute) string {
	var b strings.Builder
	for _, r := range all {
		fmt.Fprintf(&b, "%s via %s", inert(r.To), inert(r.Via))
		if r.Interface != "" {
			fmt.Fprintf(&b, " at %s", inert(r.Interface))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// routing is what a form says of addresses and routes. A bridge has none: what was typed for a router is not kept.
func (t *wizardTry) routing(f *networkForm) (addresses []PortAddress, routes []PortRoute) {
	addresses, routes = []PortAddress{}, []PortRoute{}
	if f.Topology == "bridge" {
		return addresses, routes
	}
	for n, line := range strings.Split(f.Addresses, "\n") {
		switch w := strings.Fields(line); len(w) {
		case 0:
		case 2:
			addresses = append(addresses, PortAddress{Interface: w[0], Address: w[1]})
		default:
			t.wrong("addresses", "Addresses", fmt.Sprintf("line %d: write a port and its address, such as port2 192.0.2.1/24", n+1))
		}
	}
	for n, line := range strings.Split(f.Routes, "\n") {
		w := strings.Fields(line)
		switch {
		case len(w) == 0:
		case len(w) == 3 && w[1] == "via":
			routes = append(routes, PortRoute{To: w[0], Via: w[2]})
		case len(w) == 5 && w[1] == "via" && w[3] == "at":
			routes = append(routes, PortRoute{To: w[0], Via: w[2], Interface: w[4]})
		default:
			t.wrong("routes", "Routes", fmt.Sprintf("line %d: write where it leads and the router, such as default via 192.0.2.1, or 2001:db8:8::/48 via fe80::1 at port2", n+1))
		}
	}
	return addresses, routes
}
