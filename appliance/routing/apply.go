package routing

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ours are the flags of an address of this package: its network's route is in our table and not the kernel's.
const ours = unix.IFA_F_NOPREFIXROUTE

// Apply has the kernel be the router that the plan says, in the calling thread's network namespace. ports are all interfaces that may be of a plan: what
// an earlier one gave them and this one does not goes. Done twice it changes nothing. What can be done is done, whatever cannot.
func (p Plan) Apply(ports []string) error {
	var errs []error
	for _, port := range p.Ports {
		l, err := netlink.LinkByName(port.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", port.Name, err) // half a router is none
		}
		errs = append(errs, sysctls(portSettings(port)), up(l))
	}
	// Forwarding is last: nobody is let through by half of the rules.
	errs = append(errs, p.giveAddresses(ports), setRoutes(p.routes()), setRules(p.rules(), func(priority int) bool { return priority != ruleManagement }), p.forward())
	return errors.Join(errs...)
}

// Remove takes away what Apply gave, and ends forwarding.
func Remove(ports []string) error {
	return errors.Join(sysctls([][2]string{{"net/ipv4/ip_forward", "0"}, {"net/ipv6/conf/all/forwarding", "0"}, {inboundAddress, "0"},
		{"net/ipv4/conf/all/accept_redirects", "0"}}), // the kernel sets it as forwarding ends
		setRules(nil, func(priority int) bool { return priority != ruleManagement }), setRoutes(nil), Plan{}.giveAddresses(ports))
}

// Management has the box answer at these addresses of the management port by the main table, whatever a plan says: who is connected there reaches it.
func Management(addresses []netip.Prefix) error {
	return setRules(managementRules(addresses), func(priority int) bool { return priority == ruleManagement })
}

// inboundAddress has ICMP errors of IPv4 come from the port by which the packet came, as those of IPv6 do: by that the rules choose their way.
const inboundAddress = "net/ipv4/icmp_errors_use_inbound_ifaddr"

func up(l netlink.Link) error {
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("%s up: %w", l.Attrs().Name, err)
	}
	return nil
}

// portSettings are the sysctls of one port. Sources that are not behind a subscribers' port do not come in there (RFC 3704, strict); from the internet
// those do not that no route leads back to (loose).
func portSettings(p Port) [][2]string {
	back := "2"
	if p.Subscriber {
		back = "1"
	}
	var all [][2]string
	for _, s := range [][2]string{
		{"ipv4/conf/PORT/rp_filter", back}, {"ipv4/conf/PORT/accept_redirects", "0"}, {"ipv4/conf/PORT/send_redirects", "0"},
		{"ipv4/conf/PORT/accept_source_route", "0"}, {"ipv4/conf/PORT/arp_announce", "2"},
		{"ipv6/conf/PORT/accept_ra", "0"}, {"ipv6/conf/PORT/autoconf", "0"}, {"ipv6/conf/PORT/accept_redirects", "0"},
		{"ipv6/conf/PORT/accept_dad", "0"}, // somebody chose the addresses, and mail passes from the first second
		{"ipv6/conf/PORT/disable_ipv6", "0"},
	} {
		all = append(all, [2]string{"net/" + strings.Replace(s[0], "PORT", p.Name, 1), s[1]})
	}
	return all
}

// forward has the ports forward, and no other interface: all of a kernel is switched on at once, also those that are host.
func (p Plan) forward() error {
	errs := []error{sysctls([][2]string{{"net/ipv4/conf/all/send_redirects", "0"}, {inboundAddress, "1"}, {"net/ipv4/ip_forward", "1"}, {"net/ipv6/conf/all/forwarding", "1"}})}
	links, err := netlink.LinkList()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	names := []string{"default"}
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	for _, name := range names {
		on := "0"
		if slices.Contains(p.Names(), name) {
			on = "1"
		}
		errs = append(errs, sysctls([][2]string{{"net/ipv4/conf/" + name + "/forwarding", on}, {"net/ipv6/conf/" + name + "/forwarding", on}}))
	}
	return errors.Join(errs...)
}

// sysctls sets what is not so already: the kernel forgets routers when it is told again to forward. A kernel without IPv6 has no such files.
func sysctls(all [][2]string) error {
	var errs []error
	for _, s := range all {
		file := filepath.Join("/proc/sys", s[0])
		was, err := os.ReadFile(file)
		if err == nil && strings.TrimSpace(string(was)) == s[1] {
			continue
		}
		if err == nil {
			err = os.WriteFile(file, []byte(s[1]), 0o644)
		}
		if err != nil && !(errors.Is(err, os.ErrNotExist) && strings.HasPrefix(s[0], "net/ipv6/")) {
			errs = append(errs, fmt.Errorf("%s = %s: %w", strings.ReplaceAll(s[0], "/", "."), s[1], err))
		}
	}
	return errors.Join(errs...)
}

// giveAddresses gives each port its own, after what is no longer wanted has gone.
func (p Plan) giveAddresses(ports []string) error {
	var errs []error
	for _, name := range ports {
		var want []netip.Prefix
		if i := slices.IndexFunc(p.Ports, func(port Port) bool { return port.Name == name }); i >= 0 {
			want = p.Ports[i].Addresses
		}
		if err := give(name, want); err != nil {
			errs = append(errs, fmt.Errorf("addresses of %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func give(name string, want []netip.Prefix) error {
	l, err := netlink.LinkByName(name)
	if _, gone := err.(netlink.LinkNotFoundError); gone && len(want) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	for _, a := range mustList(l, &err) {
		if is, ok := prefixOf(a.IPNet); ok && a.Flags&ours != 0 && !slices.Contains(want, is) {
			if gone := netlink.AddrDel(l, &a); gone != nil && !errors.Is(gone, unix.EADDRNOTAVAIL) { // it went with one before it
				err = errors.Join(err, fmt.Errorf("take %v away: %w", is, gone))
			}
		}
	}
	has := mustList(l, &err)
	for _, w := range want {
		if slices.ContainsFunc(has, func(a netlink.Addr) bool { is, _ := prefixOf(a.IPNet); return is == w }) {
			continue
		}
		a := &netlink.Addr{IPNet: ipNet(w), Flags: ours}
		if w.Addr().Is6() {
			a.Flags |= unix.IFA_F_NODAD
		}
		if bad := netlink.AddrAdd(l, a); bad != nil {
			err = errors.Join(err, fmt.Errorf("give %v: %w", w, bad))
		}
	}
	return err
}

func mustList(l netlink.Link, err *error) []netlink.Addr {
	list, failed := netlink.AddrList(l, netlink.FAMILY_ALL)
	*err = errors.Join(*err, failed)
	return list
}

// setRoutes has our table hold these and no others.
func setRoutes(want []route) error {
	var errs []error
	links := map[string]int{}
	names := map[int]string{}
	list, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range list {
		links[l.Attrs().Name], names[l.Attrs().Index] = l.Attrs().Index, l.Attrs().Name
	}
	has := map[string]bool{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		there, err := netlink.RouteListFiltered(family, &netlink.Route{Table: Table}, netlink.RT_FILTER_TABLE)
		if err != nil {
			errs = append(errs, fmt.Errorf("list routes: %w", err))
		}
		for _, one := range there {
			if one.Protocol != Protocol {
				continue
			}
			is := route{port: names[one.LinkIndex]}
			is.to, _ = prefixOf(one.Dst)
			if one.Dst == nil {
				is.to = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
				if family == netlink.FAMILY_V6 {
					is.to = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
				}
			}
			if via, ok := netip.AddrFromSlice(one.Gw); ok {
				is.via = via.Unmap()
			}
			if from, ok := netip.AddrFromSlice(one.Src); ok {
				is.from = from.Unmap()
			}
			if slices.ContainsFunc(want, func(w route) bool { return w.String() == is.String() }) {
				has[is.String()] = true
				continue
			}
			if err := netlink.RouteDel(&one); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("take the route to %v away: %w", is.to, err))
			}
		}
	}
	for _, w := range want {
		if has[w.String()] {
			continue
		}
		r := &netlink.Route{LinkIndex: links[w.port], Dst: ipNet(w.to), Table: Table, Protocol: Protocol}
		if w.via.IsValid() {
			r.Gw = w.via.AsSlice()
		} else {
			r.Scope = unix.RT_SCOPE_LINK
		}
		if w.from.IsValid() {
			r.Src = w.from.AsSlice()
		}
		if err := netlink.RouteReplace(r); err != nil {
			err = fmt.Errorf("route to %v: %w", w.to, err)
			if w.key != "" {
				err = fmt.Errorf("%s: %v at %s: %w", w.key, w.via, w.port, err)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// setRules has, of ours with a priority that is of, these and no others.
func setRules(want []rule, of func(priority int) bool) error {
	var errs []error
	has := map[string]bool{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		there, err := netlink.RuleList(family)
		if err != nil {
			errs = append(errs, fmt.Errorf("list rules: %w", err))
		}
		for _, one := range there {
			if one.Protocol != Protocol || !of(one.Priority) {
				continue
			}
			is := rule{priority: one.Priority, v6: family == netlink.FAMILY_V6, in: one.IifName, not: one.Invert, table: one.Table, specific: one.SuppressPrefixlen == 0}
			is.from, _ = prefixOf(one.Src)
			if !has[is.String()] && slices.Contains(want, is) {
				has[is.String()] = true
				continue
			}
			if err := netlink.RuleDel(&one); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("take rule %d away: %w", one.Priority, err))
			}
		}
	}
	for _, w := range want {
		if has[w.String()] {
			continue
		}
		if err := netlink.RuleAdd(w.netlink()); err != nil {
			errs = append(errs, fmt.Errorf("rule %v: %w", w, err))
		}
	}
	return errors.Join(errs...)
}

func (r rule) netlink() *netlink.Rule {
	n := netlink.NewRule()
	n.Priority, n.Family, n.IifName, n.Invert, n.Table, n.Protocol = r.priority, netlink.FAMILY_V4, r.in, r.not, r.table, Protocol
	if r.v6 {
		n.Family = netlink.FAMILY_V6
	}
	if r.from.IsValid() {
		n.Src = ipNet(r.from)
	}
	if r.specific {
		n.SuppressPrefixlen = 0
	}
	if r.table == 0 {
		n.Type = unix.RTN_UNREACHABLE
	}
	return n
}

// ipNet is a prefix as netlink wants it: with the bits of the host.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	if !ok {
		return netip.Prefix{}, false
	}
	if len(n.Mask) == net.IPv6len {
		return netip.PrefixFrom(ip, bits), true
	}
	return netip.PrefixFrom(ip.Unmap(), bits), true
}
