// Package bridge prepares a Linux bridge on which mail is to be governed: its packets must
// come to the inet chains (br_netfilter), and what the box itself says to a subscriber must
// find its way back.
//
// # The way back
//
// A bridge needs no address and no route, and subscribers may be behind a router of
// theirs. So what the box says (the 421 of a deferred session, a reset) cannot go by the
// box's own routes:
//
//   - Deferred sessions are led to Answer4 and Answer6, dummy addresses that are
//     local to the box by a route of type local; no interface has them, and nothing
//     outside ever sees them.
//   - The responder's packets bear a mark. A rule sends what bears it to a table of ours,
//     which says that everybody is on the bridge.
//   - Through which neighbour, the session's first packet said: its source MAC is
//     that of the subscriber or of the router before him (Learn). Who is on a network
//     of which the bridge itself has an address is asked by ARP or ND as always; what
//     a packet claims must not change whom the box itself believes its gateway to be.
//   - The kernel sends a reset straight back by the port from which the packet came, but only
//     if any route leads to its sender. Where the box has none, a rule behind all
//     others finds our table.
//   - A reverse-path filter would drop what comes from where no route leads. With
//     src_valid_mark it heeds the mark, and finds our table.
//
// All of it, and every setting that was changed, is taken back by Close. What a killed
// process left behind is found by the next; until then it changes nothing but that packets
// of the bridge are shown to rules that pass them.
package bridge

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Where deferred sessions are led. Both are dummies by their registration (RFC 7600,
// section 4.8; RFC 9780).
var (
	Answer4 = netip.MustParseAddr("192.0.0.8")
	Answer6 = netip.MustParseAddr("100:0:0:1::8")
)

// Options says what to prepare.
type Options struct {
	Mark, Mask uint32 // of the packets that the responder sends, and of those that come to it
	File       string // where settings are noted before they are changed, for who comes after a crash
	Log        *slog.Logger
}

// Bridge keeps the bridge prepared: Look does it and is to be called again and again, as
// interfaces come and go. All methods are safe for concurrent use and belong to the network
// namespace of the thread that called Open, from which Look and Close must be called, too.
type Bridge struct {
	o      Options
	handle *netlink.Handle
	memory *memory

	mu    sync.Mutex // guards what follows
	name  string     // "": none of the ports is on one
	index int
	why   string // it is not as it should be
	view  atomic.Pointer[view]

	learning sync.Mutex // guards what follows; never held while anything is looked up
	learned  map[netip.Addr]neighbour
}

// view is what the packet path has to know; it is replaced, never changed.
type view struct {
	index            int
	answer4, answer6 bool
	onLink           []netip.Prefix // networks in which the bridge has an address
}

func (v *view) answers(a netip.Addr) bool { return a.Is4() && v.answer4 || a.Is6() && v.answer6 }

// Open finds out whether the kernel has what it takes, and changes nothing.
func Open(o Options) (*Bridge, error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &Bridge{o: o, handle: h, memory: &memory{file: o.File}, learned: map[netip.Addr]neighbour{}}
	b.view.Store(&view{})
	return b, nil
}

// Missing says what this kernel lacks, or has not loaded.
func Missing() error {
	if _, err := sysctlCall4.read(); err != nil {
		return fmt.Errorf("the kernel shows no packets of bridges to nftables; load the module br_netfilter (CONFIG_BRIDGE_NETFILTER; in network namespaces Linux 5.3): %w", err)
	}
	return nil
}

// Of is the name of the bridge that all of these are ports of. The error says of each
// why it is not, one a line.
func Of(ports []string) (name string, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return "", fmt.Errorf("open a netlink socket: %w", err)
	}
	defer h.Close()
	name, _, err = find(h, ports)
	return name, err
}

// Look brings the bridge into the state that it shall have; ports are those of it that matter.
// Where that cannot be (yet), State says why, and as much as is possible is done.
func (b *Bridge) Look(ports []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var err error
	b.name, b.index, err = find(b.handle, ports)
	v := &view{index: b.index}
	if b.index != 0 {
		b.memory.recall(b)
		err = errors.Join(err, b.filter(), b.wayBack(v))
	}
	if b.view.Swap(v).index != v.index {
		b.learning.Lock()
		clear(b.learned)
		b.learning.Unlock()
	}
	why := ""
	if err != nil {
		why = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	if why != b.why && why != "" {
		b.o.Log.Warn("bridge", "err", why)
	}
	b.why = why
}

// find looks up of which bridge the ports are.
func find(h *netlink.Handle, ports []string) (name string, index int, err error) {
	var errs []error
	for _, port := range ports {
		link, err := h.LinkByName(port)
		if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
			errs = append(errs, fmt.Errorf("%s is not there", port))
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("look up %s: %w", port, err))
			continue
		}
		of := link.Attrs().MasterIndex
		switch {
		case of == 0:
			errs = append(errs, fmt.Errorf("%s is not a port of a bridge", port))
			continue
		case of == index:
			continue
		}
		master, err := h.LinkByIndex(of)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("look up what %s is a port of: %w", port, err))
		case master.Type() != "bridge":
			errs = append(errs, fmt.Errorf("%s is not a port of a bridge but of %s, a %s", port, master.Attrs().Name, master.Type()))
		case index != 0:
			errs = append(errs, fmt.Errorf("%s is a port of %s and others of %s: all must be of one bridge", port, master.Attrs().Name, name))
		default:
			name, index = master.Attrs().Name, of
		}
	}
	return name, index, errors.Join(errs...)
}

// State is what status says.
type State struct {
	Name             string   // of the bridge, "" when there is none
	Why              string   // not all is as it should be
	Changed          []string // settings that are ours until we stop
	Answer4, Answer6 bool     // deferred sessions can be answered
	Tagged           bool     // somebody has frames with a tag shown to nftables, too
}

// State says how things were when Look looked last.
func (b *Bridge) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := State{Name: b.name, Why: b.why, Changed: b.memory.changed(), Answer4: b.view.Load().answer4, Answer6: b.view.Load().answer6}
	for _, of := range []setting{sysctlVLAN, sysctlPPPoE} {
		v, err := of.read()
		s.Tagged = s.Tagged || err == nil && v != "0"
	}
	slices.Sort(s.Changed)
	return s
}

// Close takes everything back.
func (b *Bridge) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.view.Store(&view{})
	err := errors.Join(b.removeRoutes(), b.memory.restore(b))
	b.handle.Close()
	if err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	return nil
}
