package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	table       = 0x6d77 // of ours; the same number as the fast lane's filter
	rulePref    = 250    // for what bears the mark, before the operator's tables
	lastPref    = 40250  // for what no table knows, behind them all
	loopback    = 1      // index of lo
	learnedMost = 1 << 16
)

// A neighbour is through whom answers to a subscriber go.
type neighbour struct {
	mac  [6]byte
	told time.Time
}

// toldFor is how long the kernel is not told the same again. It asks by itself whether
// a neighbour is still there after 15 s at the earliest.
const toldFor = 5 * time.Second

// wayBack puts the routes and rules in place, for each family as far as the bridge has it.
func (b *Bridge) wayBack(v *view) error {
	var errs []error
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		if family == unix.AF_INET6 && !hasIPv6("all") {
			continue
		}
		err := b.routes(family)
		if err == nil && family == unix.AF_INET {
			err = b.sourceCheck()
		}
		if err == nil && family == unix.AF_INET6 && !hasIPv6(b.name) {
			err = fmt.Errorf("IPv6 is switched off on %s, so deferred sessions over it are reset instead of told why", b.name)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if family == unix.AF_INET {
			v.answer4 = true
		} else {
			v.answer6 = true
		}
	}
	var err error
	if v.onLink, err = b.networks(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// hasIPv6 tells whether an interface takes part in IPv6.
func hasIPv6(device string) bool {
	v, err := setting("ipv6/conf/" + device + "/disable_ipv6").read()
	return err == nil && v == "0"
}

func (b *Bridge) routes(family int) error {
	all, at := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, Answer4
	if family == unix.AF_INET6 {
		all, at = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}, Answer6
	}
	out := b.index
	if family == unix.AF_INET6 && !hasIPv6(b.name) {
		out = loopback // a reset asks only that there be a route
	}
	own := &net.IPNet{IP: at.AsSlice(), Mask: net.CIDRMask(at.BitLen(), at.BitLen())}
	for _, r := range []netlink.Route{
		{Family: family, Dst: own, LinkIndex: loopback, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST},
		{Family: family, Dst: all, LinkIndex: out, Table: table, Scope: unix.RT_SCOPE_LINK},
	} {
		if err := b.handle.RouteReplace(&r); err != nil {
			return fmt.Errorf("route %s: %w", r.Dst, err)
		}
	}
	have, err := b.handle.RuleListFiltered(family, &netlink.Rule{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("list routing rules: %w", err)
	}
	there := map[int]bool{}
	for _, r := range have {
		there[r.Priority] = true
	}
	for _, r := range b.rules(family) {
		if there[r.Priority] {
			continue
		}
		if err := b.handle.RuleAdd(r); err != nil {
			return fmt.Errorf("add routing rule %d (CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES): %w", r.Priority, err)
		}
	}
	return nil
}

func (b *Bridge) rules(family int) []*netlink.Rule {
	marked, last := netlink.NewRule(), netlink.NewRule()
	marked.Family, marked.Priority, marked.Table, marked.Mark, marked.Mask = family, rulePref, table, b.o.Mark, &b.o.Mask
	last.Family, last.Priority, last.Table = family, lastPref, table
	return []*netlink.Rule{marked, last}
}

// networks are those of which the kernel may ask the bridge for neighbours by itself.
func (b *Bridge) networks() (all []netip.Prefix, err error) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := b.handle.RouteListFiltered(family, &netlink.Route{LinkIndex: b.index}, netlink.RT_FILTER_OIF)
		if err != nil {
			return nil, fmt.Errorf("list the routes of %s: %w", b.name, err)
		}
		for _, r := range routes {
			if r.Gw != nil || r.Via != nil || r.Dst == nil || r.Table == table {
				continue
			}
			if addr, ok := netip.AddrFromSlice(r.Dst.IP); ok {
				ones, _ := r.Dst.Mask.Size()
				all = append(all, netip.PrefixFrom(addr.Unmap(), ones))
			}
		}
	}
	return all, nil
}

// removeRoutes takes everything away that wayBack may have made, now or in an earlier life.
func (b *Bridge) removeRoutes() error {
	var errs []error
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		if family == unix.AF_INET6 && !hasIPv6("all") {
			continue
		}
		rules, err := b.handle.RuleListFiltered(family, &netlink.Rule{Table: table}, netlink.RT_FILTER_TABLE)
		errs = append(errs, err)
		for i := range rules {
			rules[i].Family = family
			errs = append(errs, b.handle.RuleDel(&rules[i]))
		}
		routes, err := b.handle.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
		errs = append(errs, err)
		at := Answer4
		if family == unix.AF_INET6 {
			at = Answer6
		}
		routes = append(routes, netlink.Route{Family: family, Dst: &net.IPNet{IP: at.AsSlice(), Mask: net.CIDRMask(at.BitLen(), at.BitLen())},
			LinkIndex: loopback, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST})
		for i := range routes {
			if err := b.handle.RouteDel(&routes[i]); !errors.Is(err, unix.ESRCH) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// errUnanswerable is when there is no way to tell a client anything.
var errUnanswerable = errors.New("no way back")

// Answerable says whether deferred sessions of this address' family can be answered.
func (b *Bridge) Answerable(client netip.Addr) bool { return b.view.Load().answers(client.Unmap()) }

// Learn makes what the box says to client go to the neighbour from whom his packet came.
// The zero MAC is not known. An error means that he cannot be answered. It may be called
// from any thread, and asks the kernel for no more than this.
//
// The kernel forgets a neighbour that is not used, and asks one that is from time to
// time. It has room for net.ipv4.neigh.default.gc_thresh3 of them (1024).
func (b *Bridge) Learn(client netip.Addr, mac [6]byte, now time.Time) error {
	client = client.Unmap().WithZone("")
	v := b.view.Load()
	if !v.answers(client) {
		return errUnanswerable
	}
	if client.IsLinkLocalUnicast() || slices.ContainsFunc(v.onLink, func(p netip.Prefix) bool { return p.Contains(client) }) {
		return nil
	}
	if mac == [6]byte{} {
		return errUnanswerable
	}
	b.learning.Lock()
	defer b.learning.Unlock()
	if n, known := b.learned[client]; known && n.mac == mac && now.Sub(n.told) < toldFor && !now.Before(n.told) {
		return nil
	}
	family := unix.AF_INET6
	if client.Is4() {
		family = unix.AF_INET
	}
	err := b.handle.NeighSet(&netlink.Neigh{LinkIndex: v.index, Family: family, State: netlink.NUD_REACHABLE, IP: client.AsSlice(), HardwareAddr: mac[:]})
	if err != nil {
		return fmt.Errorf("tell the kernel the neighbour of %s: %w", client, err)
	}
	if len(b.learned) >= learnedMost {
		clear(b.learned) // the kernel is told once more
	}
	b.learned[client] = neighbour{mac, now}
	return nil
}
