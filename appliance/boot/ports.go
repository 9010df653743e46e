package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/vishvananda/netlink"
)

const bridgeName = "br0"

// ports are the box's Ethernet interfaces by what they do; "" where there is none. With three or more the first is for management and the next two are
// bridged; with two, both are bridged and nobody can log in but at the console; one is for management. Where the box routes, the spare ones may have work, too.
type ports struct {
	management, subscribers, upstream string
	spare                             []string
	names                             []string          // of all, in the order of the machine's buses
	address                           map[string]string // hardware address of each
}

func (p ports) bridged() bool { return p.upstream != "" }

// with is what people read: the ports with what each does in this shape; nil: it is not known which they have.
func (p ports) with(s *shape) string {
	var lines []string
	add := func(name, does string) {
		if name != "" {
			lines = append(lines, fmt.Sprintf("%s (%s): %s", name, p.address[name], does))
		}
	}
	add(p.management, "management")
	switch {
	case s != nil && s.routed():
		for _, name := range p.data() {
			add(name, s.does(name))
		}
		for _, r := range s.Routes {
			lines = append(lines, strings.TrimSpace(fmt.Sprintf("route to %s via %s %s", r.To, r.Via, r.Interface)))
		}
		if p.management == "" {
			lines = append(lines, "There is no management port: the box is set up at the console only.")
		}
	default:
		add(p.subscribers, "subscribers, bridged")
		add(p.upstream, "internet, bridged")
		for _, name := range p.spare {
			add(name, "not used")
		}
	}
	if len(lines) == 0 {
		return "no Ethernet port was found"
	}
	return strings.Join(lines, "\n")
}

// does says what a port of a router does.
func (s shape) does(name string) string {
	side := ""
	switch {
	case slices.Contains(s.Subscribers, name):
		side = "subscribers, routed"
	case slices.Contains(s.Upstream, name):
		side = "internet, routed"
	default:
		return "not used"
	}
	for _, a := range s.Addresses {
		if a.Interface == name {
			side += ", " + a.Address
		}
	}
	return side
}

// assign gives ports their work, in the order of the machine's buses.
func assign(names []string) (p ports) {
	p.names = names
	switch n := len(names); {
	case n >= 3:
		p.management, p.subscribers, p.upstream, p.spare = names[0], names[1], names[2], names[3:]
	case n == 2:
		p.subscribers, p.upstream = names[0], names[1]
	case n == 1:
		p.management = names[0]
	}
	return p
}

// physical are the Ethernet interfaces with a device behind them, in the order of the machine's buses, which is
// the same at each start; the kernel's own names are not.
func physical(sys string) (names []string, err error) {
	all, err := filepath.Glob(filepath.Join(sys, "class/net/*"))
	if err != nil {
		return nil, err
	}
	where := map[string]string{}
	for _, p := range all {
		device, err := filepath.EvalSymlinks(filepath.Join(p, "device"))
		if err != nil || readString(filepath.Join(p, "type")) != "1" { // ARPHRD_ETHER
			continue
		}
		if _, err := os.Stat(filepath.Join(p, "wireless")); err == nil {
			continue
		}
		name := filepath.Base(p)
		names = append(names, name)
		where[name] = device + " " + name
	}
	sort.Slice(names, func(i, j int) bool { return where[names[i]] < where[names[j]] })
	return names, nil
}

// nameThem names the ports port1, port2, ...
func nameThem() (ports, error) {
	names, err := physical("/sys")
	if err != nil {
		return ports{}, err
	}
	var errs []error
	address := map[string]string{}
	for n, was := range names {
		l, err := netlink.LinkByName(was)
		if err == nil {
			names[n] = fmt.Sprintf("port%d", n+1)
			address[names[n]] = was + ", " + l.Attrs().HardwareAddr.String()
			err = netlink.LinkSetName(l, names[n])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", was, err))
		}
	}
	p := assign(names)
	p.address = address
	if lo, err := netlink.LinkByName("lo"); err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, netlink.LinkSetUp(lo))
	}
	return p, errors.Join(errs...)
}

// bridgePorts makes the bridge that mail passes by. It neither speaks spanning tree nor keeps multicast from anybody: on the wire it is a cable.
func bridgePorts(names ...string) error {
	snooping := false
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}, MulticastSnooping: &snooping}
	if err := netlink.LinkAdd(br); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make %s: %w", bridgeName, err)
	}
	var errs []error
	for _, n := range names {
		l, err := netlink.LinkByName(n)
		if err == nil {
			err = netlink.LinkSetMaster(l, br)
		}
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n, err))
		}
	}
	if err := netlink.LinkSetUp(br); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", bridgeName, err))
	}
	return errors.Join(errs...)
}

// Links are the ports that have a link now.
func Links() (names []string) {
	all, err := filepath.Glob("/sys/class/net/port*/carrier")
	if err != nil {
		return nil
	}
	for _, f := range all {
		if readString(f) == "1" {
			names = append(names, filepath.Base(filepath.Dir(f)))
		}
	}
	return names
}

// linksAre says which of the ports that had a link have none.
func linksAre(before, now []string) error {
	var without []string
	for _, n := range before {
		if !slices.Contains(now, n) {
			without = append(without, n)
		}
	}
	if len(without) > 0 {
		return fmt.Errorf("%s had a link before the update and has none now", strings.Join(without, ", "))
	}
	return nil
}
