package boot

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/mailweir/mailweir/appliance/cabling"
)

const (
	bridgeName = "br0"
	portsMost  = 64 // cards beyond these are left alone
)

// ports are the box's Ethernet interfaces by what they do; "" where there is none. With three or more the first is for management and the next two are
// bridged; with two, both are bridged and nobody can log in but at the console; one is for management. Where the box routes, the spare ones may have work, too.
type ports struct {
	management, subscribers, upstream string
	spare                             []string
	cards                             cabling.Cards
	address                           map[string]string // what people know a card by
}

func (p ports) bridged() bool { return p.upstream != "" }

// has tells whether a port is one of the box's, and its card is there.
func (p ports) has(name string) bool {
	return slices.Contains(p.cards.Names, name) && !p.cards.Lacks(name)
}

// there are those of names whose card is there.
func (p ports) there(names ...string) (some []string) {
	for _, name := range names {
		if p.has(name) {
			some = append(some, name)
		}
	}
	return some
}

// with is what people read: the ports with what each does in this shape; nil: it is not known which they have.
func (p ports) with(s *shape) string {
	var lines []string
	add := func(name, does string) {
		switch {
		case name == "":
		case p.cards.Lacks(name):
			lines = append(lines, cabling.MissingText(name, p.cards.MACs[name])+"; it would be: "+does)
		default:
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

// assign gives ports their work by their number.
func assign(cards cabling.Cards) (p ports) {
	p.cards = cards
	names := cards.Names
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

// card is a network card that was found.
type card struct {
	name string // the kernel's
	mac  string // its permanent hardware address; "": it has none
}

func portName(number int) string { return fmt.Sprintf("port%d", number) }

// numbered says which port each card is, in the order of the cards. Who was a port at the last start is the same one now, wherever it is; of the others, in the order of the
// buses, each gets the lowest number that is free. macs are those of the last start, and named what the ports' shape of then names: what has no card is missing.
func numbered(found []card, macs map[string]string, named []string) (which []string, c cabling.Cards) {
	which, c.MACs = make([]string, len(found)), map[string]string{}
	times := map[string]int{}
	for _, f := range found {
		times[f.mac]++
	}
	found = slices.Clone(found)
	for i, f := range found {
		if times[f.mac] > 1 { // cheap cards have all the same: by that nobody is known
			found[i].mac = ""
		}
	}
	taken := map[string]bool{}
	for i, f := range found {
		for port, mac := range macs {
			if mac != "" && mac == f.mac && !taken[port] {
				which[i], taken[port] = port, true
			}
		}
	}
	c.Unknown = len(named) > 0 && len(macs) == 0
	c.Strange = len(macs) > 0 && len(taken) == 0
	if c.Strange {
		macs, named = nil, nil
	}
	next := 1
	for i, f := range found {
		if which[i] == "" {
			for ; taken[portName(next)]; next++ {
			}
			which[i] = portName(next)
			taken[which[i]] = true
			if was := macs[which[i]]; was != "" && times[was] < 2 {
				c.Other = append(c.Other, cabling.Other{Port: which[i], Was: was, Is: cmp.Or(f.mac, "one without a permanent hardware address")})
			}
		}
		if f.mac != "" {
			c.MACs[which[i]] = f.mac
		}
	}
	wanted := slices.Concat(named, slices.Collect(maps.Keys(macs)))
	for n := 1; n <= portsMost; n++ {
		name := portName(n)
		if known := slices.Contains(wanted, name); known && !taken[name] {
			c.Missing = append(c.Missing, name)
			if mac := macs[name]; mac != "" {
				c.MACs[name] = mac
			}
		} else if !taken[name] {
			continue
		}
		c.Names = append(c.Names, name)
	}
	return which, c
}

// nameThem names the ports port1, port2, ...; macs and named are those of the last start.
func nameThem(macs map[string]string, named []string) (ports, error) {
	names, err := physical("/sys")
	if err != nil {
		return ports{}, err
	}
	names = names[:min(len(names), portsMost)]
	var errs []error
	found := make([]card, len(names))
	links := make([]netlink.Link, len(names))
	for i, name := range names {
		found[i].name = name
		if links[i], err = netlink.LinkByName(name); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		found[i].mac = links[i].Attrs().PermHWAddr.String()
	}
	which, cards := numbered(found, macs, named)
	address := map[string]string{}
	for i, l := range links {
		if l == nil {
			continue
		}
		address[which[i]] = found[i].name + ", " + l.Attrs().HardwareAddr.String()
		if err := netlink.LinkSetName(l, which[i]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", found[i].name, err))
		}
	}
	p := assign(cards)
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

// linked are those of the ports that have a link by what they are now: a bridge takes the spare ones down.
func linked(names []string) []string {
	p, err := portsHere()
	s := shapeNow()
	if err != nil || s == nil {
		return names
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.Contains(p.spare, name) && !slices.Contains(s.names(), name)
	})
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
