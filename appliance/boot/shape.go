package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/mailweir/mailweir/appliance/cabling"
	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/routing"
	"github.com/mailweir/mailweir/image/layout"
)

// shape is what the box is between subscribers and internet: that part of the configuration's group network which process 1 has to know before anything
// can govern.
type shape struct {
	Topology    string           `json:"topology"`
	Subscribers []string         `json:"subscriber_interfaces"`
	Upstream    []string         `json:"upstream_interfaces"`
	Addresses   []config.Address `json:"addresses"`
	Routes      []config.Route   `json:"routes"`
}

func shapeOf(n config.Network) shape {
	return shape{n.Topology, n.SubscriberInterfaces, n.UpstreamInterfaces, n.Addresses, n.Routes}
}

func (s shape) network() config.Network {
	return config.Network{Topology: s.Topology, SubscriberInterfaces: s.Subscribers, UpstreamInterfaces: s.Upstream, Addresses: s.Addresses, Routes: s.Routes}
}

// String tells one from another in an error.
func (s shape) String() string {
	if !s.routed() {
		return s.Topology
	}
	var own []string
	for _, a := range s.Addresses {
		own = append(own, a.Interface+" "+a.Address)
	}
	return s.Topology + ", " + strings.Join(own, ", ")
}

func (s shape) routed() bool { return s.Topology == config.Routed }

// names are the ports that a router has; of a bridge there is nothing to tell.
func (s *shape) names() []string {
	if s == nil || !s.routed() {
		return nil
	}
	return slices.Concat(s.Subscribers, s.Upstream)
}

// bridge is what a box is that nobody has said anything else to.
func (p ports) bridge() shape {
	return shape{Topology: config.Bridge, Subscribers: []string{p.subscribers}, Upstream: []string{p.upstream}}
}

// CablingDir is where it is known in memory which card is which port.
const CablingDir = cabling.Dir(runDir)

// cabled is CablingDir, but in tests.
var cabled = CablingDir

// portsHere are the ports as process 1 found them.
func portsHere() (ports, error) {
	c, err := cabled.Cards()
	if err == nil && c == nil {
		err = errors.New("process 1 has not said so")
	}
	if err != nil {
		return ports{}, fmt.Errorf("it is not known which ports this box has: %w", err)
	}
	return assign(*c), nil
}

// shapeFile says in memory what the ports are now.
var shapeFile = filepath.Join(runDir, "network.json")

// take has the ports be of this shape. deferred: sessions may be led to the box itself, to be told 421; nobody is governing otherwise.
func (p ports) take(s shape, deferred bool) error {
	if !p.bridged() {
		return nil
	}
	var err error
	if s.routed() {
		err = p.route(s, deferred)
	} else {
		err = errors.Join(routing.Remove(p.data()), p.rest(), shutBridge(deferred), bridgePorts(p.there(p.subscribers, p.upstream)...))
	}
	if err != nil {
		return err
	}
	return s.save()
}

// save says what the ports are now.
func (s shape) save() error {
	text, err := json.Marshal(s)
	if err == nil {
		err = os.MkdirAll(runDir, 0o700)
	}
	if err == nil {
		err = durable.Replace(shapeFile, text)
	}
	return err
}

// change is take, after whose failure the ports are again what they were; nil: what that was is not known.
func (p ports) change(want shape, is *shape, deferred bool) error {
	err := p.take(want, deferred)
	if err == nil {
		return nil
	}
	if is == nil {
		return fmt.Errorf("what the ports are now is not known: %w", err)
	}
	if again := p.take(*is, deferred); again != nil {
		return fmt.Errorf("%w; they cannot be again what they were (%v) either, and what they are now is not known: %w", err, is, again)
	}
	return fmt.Errorf("the ports stay as they were (%v): %w", is, err)
}

// rest takes the ports down that a bridge does not use.
func (p ports) rest() error {
	var errs []error
	for _, name := range p.there(p.spare...) {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetDown(l)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s down: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// data are all ports but that for management.
func (p ports) data() []string {
	return append([]string{p.subscribers, p.upstream}, p.spare...)
}

// route makes them a router, of those that are there. Where that cannot be, nothing is changed.
func (p ports) route(s shape, deferred bool) error {
	if wrong := p.routable(s); len(wrong) > 0 {
		var errs []error
		for _, one := range wrong {
			errs = append(errs, fmt.Errorf("%s: %s", one.Key, one.Message))
		}
		return errors.Join(errs...)
	}
	plan := routing.Of(s.network()).Without(p.cards.Missing)
	if len(plan.Ports) == 0 {
		return fmt.Errorf("none of the router's ports is there: %s", strings.Join(p.cards.Text(), "; "))
	}
	if err := shutRouted(p.data(), deferred); err != nil { // before there is an address
		return err
	}
	return errors.Join(unbridge(p.there(p.data()...)), plan.Apply(p.data()))
}

// routable is what is in the way of a router on this box, by the keys of the configuration.
func (p ports) routable(s shape) (found config.Problems) {
	add := func(key, format string, args ...any) {
		found = append(found, config.Problem{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	side := func(key string, names []string) {
		for i, name := range names {
			switch {
			case name == p.management:
				add(fmt.Sprintf("%s[%d]", key, i), "%s is this box's management port; its other ports are %s", name, strings.Join(p.data(), ", "))
			case !slices.Contains(p.data(), name):
				add(fmt.Sprintf("%s[%d]", key, i), "this box has no port %s; it has %s", name, strings.Join(p.data(), ", "))
			}
		}
	}
	side("network.subscriber_interfaces", s.Subscribers)
	side("network.upstream_interfaces", s.Upstream)
	if len(s.Addresses) == 0 {
		add("network.addresses", "is empty, and a router without an address routes nothing; give each port one, or write topology: bridge")
	}
	for i, r := range s.Routes {
		if via := r.Gateway(); via.IsLinkLocalUnicast() && slices.Contains(linkLocals(r.Interface), via) {
			add(fmt.Sprintf("network.routes[%d].via", i), "%v is the box itself (%s); name the router", via, r.Interface)
		}
	}
	return found
}

// bridgeable is what in a configuration with a bridge does not fit this box: its bridge has always the same two ports.
func (p ports) bridgeable(s shape) (found config.Problems) {
	for key, names := range map[string][]string{"network.subscriber_interfaces": s.Subscribers, "network.upstream_interfaces": s.Upstream} {
		for i, name := range names {
			if name != p.subscribers && name != p.upstream {
				found = append(found, config.Problem{Key: fmt.Sprintf("%s[%d]", key, i), Message: fmt.Sprintf("%s is none of this box's bridge, which has %s and %s", name, p.subscribers, p.upstream)})
			}
		}
	}
	slices.SortFunc(found, func(a, b config.Problem) int { return strings.Compare(a.Key, b.Key) })
	return found
}

// macs are the hardware addresses by which the next start knows the ports: of those that are there, and of those that this shape needs.
func (p ports) macs(s shape) map[string]string {
	known := map[string]string{}
	for name, mac := range p.cards.MACs {
		if p.has(name) || !slices.Contains(p.spare, name) || s.routed() && s.network().Has(name) {
			known[name] = mac
		}
	}
	return known
}

// linkLocals are the link-local addresses of a port, also the one that it has as soon as it is no bridge's. Where there is no such port there are none.
func linkLocals(port string) (own []netip.Addr) {
	l, err := net.InterfaceByName(port)
	if err != nil {
		return nil
	}
	if m := l.HardwareAddr; len(m) == 6 { // RFC 4291, appendix A
		own = append(own, netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]}))
	}
	there, err := l.Addrs()
	if err != nil {
		return own
	}
	for _, a := range there {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() {
			own = append(own, p.Addr())
		}
	}
	return own
}

// Fits says why the ports of this box cannot be what a configuration says, or which of its names are none of theirs.
func Fits(n config.Network) config.Problems {
	p, err := portsHere()
	if err != nil {
		return nil // what is not known is found out by trying
	}
	if s := shapeOf(n); s.routed() {
		return p.routable(s)
	}
	return p.bridgeable(shapeOf(n))
}

// unbridge takes the bridge away.
func unbridge(names []string) error {
	br, err := netlink.LinkByName(bridgeName)
	if _, none := err.(netlink.LinkNotFoundError); none {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		l, err := netlink.LinkByName(name)
		if err == nil && l.Attrs().MasterIndex == br.Attrs().Index {
			err = netlink.LinkSetNoMaster(l)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(append(errs, netlink.LinkDel(br))...)
}

// passing says by what mail passes while nothing is governed.
func passing() string {
	if s := shapeNow(); s != nil && s.routed() {
		return "The box routes"
	}
	return "The bridge is up"
}

// shapeNow is what the ports are; nil: it is not known.
func shapeNow() *shape { return readShape(os.ReadFile(shapeFile)) }

func readShape(text []byte, err error) *shape {
	var s shape
	if err != nil || len(text) == 0 || json.Unmarshal(text, &s) != nil || s.Topology != config.Bridge && s.Topology != config.Routed {
		return nil
	}
	return &s
}

// Shape has the ports of this box be what a configuration says. It is called before a life of the program that governs; who governs is told by its error why
// that cannot be.
func Shape(n config.Network) error {
	p, err := portsHere()
	if err != nil {
		return err
	}
	return p.change(shapeOf(n), shapeNow(), true)
}

// Keep has the next start begin with this shape, which was confirmed, or needs no confirmation. A bridge on a disk that can keep nothing is no error.
func Keep(n config.Network) error {
	p, err := portsHere()
	if err != nil {
		return err
	}
	k, err := keptHere()
	if err != nil {
		return err
	}
	s := shapeOf(n)
	return k.write(keptShape{s, p.macs(s)})
}

// Kept is the shape that was confirmed last, to which one that is tried goes back; nil: none can be tried, since the disk keeps none, or, without a management port,
// nobody could confirm it.
func Kept() (*config.Network, error) {
	p, err := portsHere()
	if err != nil || !p.has(p.management) {
		return nil, err
	}
	k, err := keptHere()
	if err != nil {
		return nil, err
	}
	s, _, err := k.read()
	if errors.Is(err, os.ErrNotExist) { // flashed before there was such a file
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if s == nil {
		bridge := p.bridge()
		s = &bridge
	}
	n := s.network()
	return &n, nil
}

// yaml is the shape as a configuration says it.
func (s shape) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mode: observe\nnetwork:\n  topology: %s\n  subscriber_interfaces: [%s]\n  upstream_interfaces: [%s]\n", s.Topology, strings.Join(s.Subscribers, ", "), strings.Join(s.Upstream, ", "))
	if len(s.Addresses) > 0 {
		b.WriteString("  addresses:\n")
	}
	for _, a := range s.Addresses {
		fmt.Fprintf(&b, "    - {interface: %s, address: %q}\n", a.Interface, a.Address)
	}
	if len(s.Routes) > 0 {
		b.WriteString("  routes:\n")
	}
	for _, r := range s.Routes {
		fmt.Fprintf(&b, "    - {to: %q, via: %q", r.To, r.Via)
		if r.Interface != "" {
			fmt.Fprintf(&b, ", interface: %s", r.Interface)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// recall reads what the ports were when the box ran last: the data partition, where the configuration is, may take its time, or be lost.
func (b *box) recall() error {
	disk, _, err := findData("/sys", "/dev", b.options[layout.OptionESP])
	if err != nil {
		return err
	}
	k, err := keptOn(disk)
	if err == nil {
		b.last, b.macs, err = k.read()
		b.keeps = err == nil
	}
	if errors.Is(err, os.ErrNotExist) { // flashed before there was such a file
		return nil
	}
	return err
}

// announce has the neighbours of a router's ports told of its addresses, whoever gives them.
func (b *box) announce() {
	go func() {
		for {
			b.try("announcements", func() error {
				a, err := routing.NewAnnouncer(b.ports.there(b.ports.data()...))
				if err != nil {
					return err
				}
				return a.Run(context.Background(), func(err error) { b.log.Warn("neighbours may send to the box that was here before", "err", err) })
			})
			time.Sleep(time.Minute) // it ended, and with what was not announced nothing is lost but time
		}
	}()
}

// begin has mail pass at once: by the router that the box was, or else by the bridge.
func (b *box) begin() {
	bridge := func() { b.try("bridge", func() error { return b.ports.take(b.ports.bridge(), false) }) }
	if b.last == nil || !b.last.routed() {
		bridge()
		return
	}
	b.try("router", func() error { return b.ports.take(*b.last, false) }, func() {
		b.last = nil
		b.console.say("What the ports were at the last start they cannot be now: they are bridged until the configuration is read.")
		bridge()
	})
}

// reshape has the ports be what the configuration says, if it can be read and they can: else they stay as they are. So it is on a disk that keeps no shape; elsewhere
// they are what was confirmed last, and who governs tries another one.
func (b *box) reshape(file string) error {
	if b.keeps {
		return nil
	}
	c, err := config.Load(file)
	if err != nil {
		return fmt.Errorf("the ports stay as they are, since the configuration cannot be read: %w", err)
	}
	want, is := shapeOf(c.Network), shapeNow()
	if is != nil && want.network().SamePorts(is.network()) {
		return nil
	}
	if err := b.ports.change(want, is, false); err != nil {
		return err
	}
	b.console.say("%s", b.ports.with(shapeNow()))
	return nil
}

// forget takes away what is kept of the ports on a disk: a factory reset.
func (b *box) forget(disk string) error {
	b.last, b.macs = nil, nil
	k, err := keptOn(disk)
	if err == nil {
		err = k.erase()
	}
	if err != nil {
		return fmt.Errorf("forget the ports' addresses: %w", err)
	}
	return nil
}

// guard keeps the ports shut while nobody governs.
func (b *box) guard() error {
	s := shapeNow()
	switch {
	case s == nil:
		return nil
	case s.routed():
		return shutRouted(b.ports.data(), false)
	}
	return shutBridge(false)
}
