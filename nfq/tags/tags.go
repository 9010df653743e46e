// Package tags lets mail be governed that crosses the bridge with VLAN tags (IEEE 802.1Q, 802.1ad: one or two of them) or in a session of PPPoE (RFC 2516).
//
// The kernel's bridge hands such frames to no queue. An eBPF program at every port takes the tags of governed mail off where it comes in, and puts them on
// again where it leaves; in between it is IP as everything else. bpf/tags.bpf.c says how it is known which tags a packet had, and what it does not take apart.
//
// Needs Linux 6.6 (TCX).
package tags

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

//go:generate sh ../../.ci/generate .

// Options of Open.
type Options struct {
	Ports []uint16 // of TCP, that are governed
	Pairs int      // pairs of addresses whose tags are kept at once, and the numbers for kinds of tags: 16 to 65536
	Log   *slog.Logger
}

// Tags is the program and the ports of the bridge that it is attached to.
type Tags struct {
	log    *slog.Logger
	coll   *ebpf.Collection
	handle *netlink.Handle

	mu     sync.Mutex
	at     map[int]*port // by index of the interface
	here   local
	taking bool
	why    string
	rests  bool
	closed bool
}

// port is a port of the bridge. on stays until Close, since packets may be held that want their tags; off is there while the port is governed.
type port struct {
	name string
	off  link.Link
	on   link.Link
	last int // a second file of off, see attach; 0: there is none
}

// State is what is done about tags now.
type State struct {
	On      bool   // tags are taken off
	Why     string // why not, if nobody asked for rest
	Resting bool   // Rest was asked for
	Stats   Stats
}

// Stats counts packets since Open.
type Stats struct {
	Taken    uint64 // their tags were taken off
	Returned uint64 // and put on again
	Own      uint64 // of the box itself, that got tags
	Odd      uint64 // passed as they came, unread: they could not have been put together again
	Unknown  uint64 // dropped: what their number meant was forgotten
	Failed   uint64 // dropped: the kernel did not take tags off or put them on
}

// errUnknown is the kernel not saying which ports there are: what is attached stays as it is.
var errUnknown = errors.New("the interfaces cannot be listed")

// Open loads the program. Nothing is attached before Look.
func Open(o Options) (*Tags, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	spec, err := loadProgram()
	if err != nil {
		return nil, fmt.Errorf("tags: read the embedded program: %w", err)
	}
	pairs := uint32(min(max(o.Pairs, 16), 65536))
	for _, name := range []string{"pairs", "known", "slots"} {
		spec.Maps[name].MaxEntries = pairs
	}
	if err := spec.Variables["numbers"].Set(pairs); err != nil {
		return nil, fmt.Errorf("tags: %w", err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("tags: load the eBPF program: %w", err)
	}
	t := &Tags{log: o.Log, coll: coll, at: map[int]*port{}, here: newLocal()}
	if err = t.fill(o.Ports); err == nil {
		t.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	if err != nil {
		coll.Close()
		return nil, fmt.Errorf("tags: %w", err)
	}
	return t, nil
}

func (t *Tags) fill(ports []uint16) error {
	words := map[uint32]uint32{}
	for _, p := range ports {
		words[uint32(p/32)] |= 1 << (p % 32)
	}
	for word, bits := range words {
		if err := t.coll.Maps["ports"].Put(word, programPortBits{Governed: bits}); err != nil {
			return fmt.Errorf("write the ports: %w", err)
		}
	}
	return nil
}

// Look attaches what is to be attached: on at every port of the bridge, off at those of the names in governed. It is called whenever links may have changed;
// what it cannot do State tells, and the log once.
func (t *Tags) Look(bridge string, governed []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	why := ""
	if err := t.look(bridge, governed); err != nil {
		why = strings.ReplaceAll(err.Error(), "\n", "; ")
		if why != t.why {
			t.log.Warn("tags", "err", why)
		}
	}
	t.why, t.rests = why, false
}

// Rest takes no tags off any more until Look: mail with tags crosses the bridge unread.
func (t *Tags) Rest() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	if err := t.stop(); err != nil {
		t.log.Warn("tags", "err", err)
	}
	t.why, t.rests = "", true
}

func (t *Tags) look(bridge string, governed []string) error {
	found, here, err := t.find(bridge)
	if errors.Is(err, errUnknown) {
		return err
	}
	if err == nil {
		err = t.tell(here)
	}
	if err == nil {
		err = t.attach(found, governed)
	}
	if err != nil {
		return errors.Join(err, t.stop())
	}
	return t.take(true)
}

// local is what is not for crossing the bridge.
type local struct {
	own       map[programMac]bool    // addresses of the box
	elsewhere map[programVlanOf]bool // VLANs of a port that have an interface of their own
}

func newLocal() local { return local{own: map[programMac]bool{}, elsewhere: map[programVlanOf]bool{}} }

// find returns the ports of the bridge by their index, and what of their frames is not for crossing it. An error that is
// errUnknown says nothing about the ports.
func (t *Tags) find(bridge string) (ports map[int]netlink.Link, here local, err error) {
	here = newLocal()
	if bridge == "" {
		return nil, here, errors.New("there is no bridge")
	}
	links, err := t.handle.LinkList()
	if err != nil {
		return nil, here, fmt.Errorf("%w: %w", errUnknown, err)
	}
	at := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == bridge })
	if at < 0 {
		return nil, here, fmt.Errorf("bridge %s is not there", bridge)
	}
	br, ok := links[at].(*netlink.Bridge)
	if !ok {
		return nil, here, fmt.Errorf("%s is no bridge but a %s", bridge, links[at].Type())
	}
	if br.VlanFiltering != nil && *br.VlanFiltering {
		return nil, here, fmt.Errorf("bridge %s forwards by VLAN itself (vlan_filtering)", bridge)
	}
	ports = map[int]netlink.Link{}
	for _, l := range links {
		if a := l.Attrs(); a.MasterIndex == br.Index {
			ports[a.Index] = l
		}
	}
	for _, l := range links {
		a := l.Attrs()
		// What has a port's or the bridge's address is for the box.
		if (ports[a.Index] != nil || a.Index == br.Index || a.ParentIndex == br.Index) && len(a.HardwareAddr) == 6 {
			here.own[programMac{Addr: [6]uint8(a.HardwareAddr)}] = true
		}
		if v, ok := l.(*netlink.Vlan); ok && ports[a.ParentIndex] != nil {
			proto := v.VlanProtocol
			if proto == netlink.VLAN_PROTOCOL_UNKNOWN {
				proto = netlink.VLAN_PROTOCOL_8021Q
			}
			here.elsewhere[programVlanOf{Port: uint32(a.ParentIndex), Proto: bits.ReverseBytes16(uint16(proto)), Vid: uint16(v.VlanId)}] = true
		}
	}
	return ports, here, nil
}

// tell writes what is not for crossing the bridge.
func (t *Tags) tell(here local) error {
	err := errors.Join(set(t.coll.Maps["own"], t.here.own, here.own), set(t.coll.Maps["elsewhere"], t.here.elsewhere, here.elsewhere))
	if err != nil {
		return fmt.Errorf("write what does not cross the bridge: %w", err)
	}
	t.here = here
	return nil
}

// set makes a map of the program what now says, before which it was what before says.
func set[K comparable](m *ebpf.Map, before, now map[K]bool) error {
	for k := range now {
		if before[k] {
			continue
		}
		if err := m.Put(k, uint8(1)); err != nil {
			return err
		}
	}
	for k := range before {
		if now[k] {
			continue
		}
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}

// attach puts on at every port before off is put anywhere: nothing is taken apart that another port could not put together.
//
// Should the process be killed, off is to go before on everywhere. The kernel closes a process's files by ascending number and lets them go in
// the reverse order (task_work_run), so every off has a second file with a number above those of all on.
func (t *Tags) attach(found map[int]netlink.Link, governed []string) error {
	for index, p := range t.at {
		if l, still := found[index]; still && l.Attrs().Name == p.name && is(p.on, index) {
			continue
		}
		if err := t.take(false); err != nil { // a port without on, until it has one
			return err
		}
		delete(t.at, index)
		if err := errors.Join(p.stop(), p.on.Close()); err != nil {
			return err
		}
	}
	highest := 0
	for index, l := range found {
		p := t.at[index]
		if p == nil {
			if err := t.take(false); err != nil {
				return err
			}
			on, err := t.put(index, l.Attrs().Name, "on", ebpf.AttachTCXEgress)
			if err != nil {
				return err
			}
			p = &port{name: l.Attrs().Name, on: on}
			t.at[index] = p
		}
		highest = max(highest, fileOf(p.on))
	}
	for index, p := range t.at {
		wanted := slices.Contains(governed, p.name)
		if p.off != nil && wanted && is(p.off, index) && p.last > highest {
			continue
		}
		if err := p.stop(); err != nil {
			return err
		}
		if !wanted {
			continue
		}
		var err error
		if p.off, err = t.put(index, p.name, "off", ebpf.AttachTCXIngress); err != nil {
			return err
		}
		if p.last, err = unix.FcntlInt(uintptr(fileOf(p.off)), unix.F_DUPFD_CLOEXEC, highest+1); err != nil {
			return fmt.Errorf("a second number for a file: %w", err)
		}
		t.log.Info("tags are taken off mail and put on again", "port", p.name)
	}
	return nil
}

// is says whether l is still attached to the interface of that index.
func is(l link.Link, index int) bool {
	info, err := l.Info()
	if err != nil {
		return true // not known: as before
	}
	at := info.TCX()
	return at != nil && int(at.Ifindex) == index
}

func fileOf(l link.Link) int { return l.(interface{ FD() int }).FD() }

func (t *Tags) put(index int, name, program string, where ebpf.AttachType) (link.Link, error) {
	l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: t.coll.Programs[program], Attach: where, Anchor: link.Head()})
	if errors.Is(err, ebpf.ErrNotSupported) {
		return nil, fmt.Errorf("this kernel has no TCX (Linux 6.6): %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("attach to %s: %w", name, err)
	}
	return l, nil
}

// take begins or ends taking tags off at once on all ports.
func (t *Tags) take(off bool) error {
	if t.taking == off {
		return nil
	}
	v := uint32(0)
	if off {
		v = 1
	}
	if err := t.coll.Variables["taking"].Set(v); err != nil {
		return fmt.Errorf("begin or end to take tags off: %w", err)
	}
	t.taking = off
	return nil
}

// stop detaches off.
func (p *port) stop() (err error) {
	if p.last != 0 {
		err = unix.Close(p.last)
	}
	if p.off != nil {
		err = errors.Join(err, p.off.Close())
	}
	p.off, p.last = nil, 0
	return err
}

// stop takes no tags off any more; on stays.
func (t *Tags) stop() error {
	errs := []error{t.take(false)}
	for _, p := range t.at {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

// State may be asked for at any time, from any goroutine.
func (t *Tags) State() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return State{}
	}
	s := State{On: t.taking, Why: t.why, Resting: t.rests}
	var each []programStats
	if err := t.coll.Maps["counters"].Lookup(uint32(0), &each); err != nil {
		s.Why = strings.TrimPrefix(s.Why+"; read the counters: "+err.Error(), "; ")
	}
	for _, n := range each {
		s.Stats.Taken += n.Off
		s.Stats.Returned += n.On
		s.Stats.Own += n.Own
		s.Stats.Odd += n.Odd
		s.Stats.Unknown += n.Unknown
		s.Stats.Failed += n.Failed
	}
	return s
}

// Close detaches everything. Packets that are held without their tags are lost then, so what holds them is closed before.
func (t *Tags) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true

	err := t.stop()
	for _, p := range t.at {
		err = errors.Join(err, p.on.Close())
	}
	clear(t.at)
	t.coll.Close()
	t.handle.Close()
	if err != nil {
		return fmt.Errorf("tags: %w", err)
	}
	return nil
}
