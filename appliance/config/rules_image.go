package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const maxNameServers = 3 // the resolver looks at no more

func (r *rules) management() {
	m := r.c.Management
	if m.IPv4 == Off && m.IPv6 == Off {
		r.bad("management.ipv4", "is off and so is ipv6: nobody could log in any more; leave one on")
	}
	if m.IPv4 != DHCP && m.IPv4 != Off {
		r.static("management.ipv4", m.IPv4, "dhcp", "192.0.2.10/24", netip.Addr.Is4, m.IPv4Gateway)
	} else if m.IPv4Gateway != "" {
		r.bad("management.ipv4_gateway", "goes with a static address; with ipv4: %s remove it", m.IPv4)
	}
	if m.IPv6 != Auto && m.IPv6 != Off {
		r.static("management.ipv6", m.IPv6, "auto", "2001:db8::10/64", netip.Addr.Is6, m.IPv6Gateway)
	} else if m.IPv6Gateway != "" {
		r.bad("management.ipv6_gateway", "goes with a static address; with ipv6: %s remove it", m.IPv6)
	}
	if n := len(m.DNS); n > maxNameServers {
		r.bad("management.dns", "has %d servers; at most %d", n, maxNameServers)
	}
	seen := make(map[string]int)
	for i, s := range m.DNS {
		at := fmt.Sprintf("management.dns[%d]", i)
		if a, err := netip.ParseAddr(s); err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			r.bad(at, "%q is not the address of a server; write 192.0.2.1 or 2001:db8::1", s)
		} else if first, twice := seen[s]; twice {
			r.bad(at, "%q is already dns[%d]", s, first)
		}
		seen[s] = i
	}
}

// static checks ADDRESS/BITS and its gateway.
func (r *rules) static(key, s, dynamic, example string, family func(netip.Addr) bool, gateway string) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !family(p.Addr()) || p.Addr().Is4In6() {
		r.bad(key, "%q is neither %s nor off nor an address with the length of its network, such as %s", s, dynamic, example)
		return
	}
	if why := unusable(p); why != "" {
		r.bad(key, "%s; write one such as %s", why, example)
		return
	}
	if gateway == "" {
		return
	}
	g, err := netip.ParseAddr(gateway)
	switch {
	case err != nil || !family(g) || g.Zone() != "":
		r.bad(key+"_gateway", "%q is not an address such as %v", gateway, p.Masked().Addr().Next())
	case !p.Contains(g) && !(g.Is6() && g.IsLinkLocalUnicast()):
		r.bad(key+"_gateway", "%v is not in the network %v, so there is no way to it", g, p.Masked())
	case g == p.Addr():
		r.bad(key+"_gateway", "%v is the box itself; name the router", g)
	}
}

// unusable says why no port can have an address; "": one can.
func unusable(p netip.Prefix) string {
	switch {
	case !p.Addr().IsGlobalUnicast() || p.Bits() == 0:
		return fmt.Sprintf("%q is no address that a port can have", p)
	case p.Bits() < p.Addr().BitLen()-1 && p.Addr() == p.Masked().Addr():
		return fmt.Sprintf("%v is the name of the network, not an address in it", p)
	case p.Addr().Is4() && p.Bits() < 31 && p.Addr() == broadcast(p):
		return fmt.Sprintf("%v is the network's broadcast address", p)
	}
	return ""
}

// broadcast is the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for i := range a {
		a[i] |= byte(uint32(1<<(32-p.Bits())-1) >> (24 - 8*i))
	}
	return netip.AddrFrom4(a)
}

const maxNTPServers = 8 // each is asked in every round

func (r *rules) ntp() {
	servers := r.c.NTP.Servers
	if n := len(servers); n > maxNTPServers {
		r.bad("ntp.servers", "has %d servers; at most %d", n, maxNTPServers)
	}
	seen := make(map[string]int)
	for i, s := range servers {
		at := fmt.Sprintf("ntp.servers[%d]", i)
		if why := serverName(s); why != "" {
			r.bad(at, "%q %s; write ntp.isp.example, 192.0.2.1 or [2001:db8::1]:123", s, why)
		} else if first, twice := seen[s]; twice {
			r.bad(at, "%q is already servers[%d]; its vote counts once", s, first)
		}
		seen[s] = i
	}
}

// serverName says what is wrong with HOST or HOST:PORT.
func serverName(s string) string {
	if s == "" {
		return "is not a host"
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || strings.Contains(s, "/") {
		return hostName(s)
	}
	if host == "" {
		return "has no host"
	}
	if why := hostName(host); why != "" {
		return why
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || port[0] == '+' {
		return "has a port outside 1 to 65535"
	}
	return ""
}
