package boot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/mailweir/mailweir/appliance/cabling"
	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// routerRig is a box in a namespace with an operator, subscribers and the internet around it, and somebody who listens at many ports of it.
type routerRig struct {
	t                            *testing.T
	box, operator, inside, world nfqtest.Space
	ports                        ports
}

var listening = []uint16{22, 25, 53, 80, 123, 443, 1813, 2525, 8443, 40001}

func newRouterRig(t *testing.T) *routerRig {
	t.Helper()
	r := &routerRig{t: t, box: nfqtest.NewSpace(t), operator: nfqtest.NewSpace(t), inside: nfqtest.NewSpace(t), world: nfqtest.NewSpace(t), ports: portsNamed("port1", "port2", "port3")}
	r.operator.Must(func() error { return nfqtest.Veth("net0", "port1", r.box) })
	r.inside.Must(func() error { return nfqtest.Veth("lan0", "port2", r.box) })
	r.world.Must(func() error { return nfqtest.Veth("wan0", "port3", r.box) })
	r.operator.Must(func() error { return nfqtest.Address("net0", "192.168.9.2/24", "2001:db8:9::2/64") })
	r.box.Must(func() error { return nfqtest.Address("port1", "192.168.9.1/24", "2001:db8:9::1/64") })
	r.box.Must(func() error {
		for _, port := range listening {
			l, err := net.Listen("tcp", fmt.Sprint(":", port))
			if err != nil {
				return err
			}
			u, err := net.ListenPacket("udp", fmt.Sprint(":", port))
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close(); u.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					fmt.Fprint(c, "box")
					c.Close()
				}
			}()
			go func() {
				for b := make([]byte, 10); ; {
					_, from, err := u.ReadFrom(b)
					if err != nil {
						return
					}
					u.WriteTo(b[:1], from)
				}
			}()
		}
		return nil
	})
	return r
}

// answers is what a sweep over the ports of an address finds: whatever is not silent.
func answers(s nfqtest.Space, address string, at []uint16) (found []string) {
	type one struct {
		what string
		err  error
	}
	results := make(chan one, 2*len(at))
	s.Do(func() {
		for _, port := range at {
			to := net.JoinHostPort(address, fmt.Sprint(port))
			c, err := net.Dial("udp", to) // here, so that both are of this namespace
			if err == nil {
				go func() {
					defer c.Close()
					c.Write([]byte("x"))
					c.SetDeadline(time.Now().Add(time.Second))
					_, err := c.Read(make([]byte, 10))
					results <- one{"udp " + to, err}
				}()
			} else {
				results <- one{"udp " + to, err}
			}
		}
	})
	dialed := make(chan struct{}, len(at))
	for _, port := range at {
		go func() {
			defer func() { dialed <- struct{}{} }()
			s.Do(func() {
				to := net.JoinHostPort(address, fmt.Sprint(port))
				c, err := net.DialTimeout("tcp", to, time.Second)
				if err == nil {
					c.Close()
				}
				results <- one{"tcp " + to, err}
			})
		}()
	}
	for range at {
		<-dialed
	}
	for range 2 * len(at) {
		r := <-results
		if ne, timeout := errors.AsType[net.Error](r.err); r.err == nil || !timeout || !ne.Timeout() {
			found = append(found, fmt.Sprintf("%s: %v", r.what, r.err))
		}
	}
	return found
}

// answersPing tells whether an address answers an echo request.
func answersPing(s nfqtest.Space, address string) bool {
	p := pinger{to: netip.MustParseAddr(address), id: 7, network: "ip4:icmp", any: "0.0.0.0", protocol: protocolICMP, request: ipv4.ICMPTypeEcho, reply: ipv4.ICMPTypeEchoReply}
	if p.to.Is6() {
		p.network, p.any, p.protocol, p.request, p.reply = "ip6:ipv6-icmp", "::", protocolICMPv6, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	var err error
	s.Do(func() {
		if p.conn, err = icmp.ListenPacket(p.network, p.any); err != nil {
			return
		}
		defer p.conn.Close()
		_, err = p.once(1)
	})
	return err == nil
}

// TestABoxThatRoutesIsSilentAtItsPorts has both sides try every service at every address of the box, then the topologies change.
func TestABoxThatRoutesIsSilentAtItsPorts(t *testing.T) {
	r := newRouterRig(t)
	s := shape{Topology: config.Routed, Subscribers: []string{"port2"}, Upstream: []string{"port3"}, Addresses: []config.Address{
		{Interface: "port2", Address: "10.1.0.1/16"}, {Interface: "port2", Address: "2001:db8:1::1/64"}, {Interface: "port3", Address: "192.0.2.2/29"}, {Interface: "port3", Address: "2001:db8:2::2/64"}}}
	was := shapeFile
	shapeFile = t.TempDir() + "/network.json"
	defer func() { shapeFile = was }()
	r.inside.Must(func() error {
		return errors.Join(nfqtest.Address("lan0", "10.1.0.2/16", "2001:db8:1::2/64"), shell("ip route add default via 10.1.0.1; ip -6 route add default via 2001:db8:1::1"))
	})
	r.world.Must(func() error {
		return errors.Join(nfqtest.Address("wan0", "192.0.2.1/29", "2001:db8:2::1/64"), shell("ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8:2::2"))
	})
	// As the image comes up: a bridge first.
	r.box.Must(func() error { return r.ports.take(r.ports.bridge(), false) })
	if now := shapeNow(); now == nil || now.routed() {
		t.Errorf("it says that it is %+v", now)
	}
	both := [][2]string{{"10.1.0.1", "2001:db8:1::1"}, {"192.0.2.2", "2001:db8:2::2"}}
	for _, deferred := range []bool{false, true} {
		r.box.Must(func() error { return r.ports.take(s, deferred) })
		r.inside.WaitFor("lan0")
		r.world.WaitFor("wan0")
		for _, from := range []struct {
			name  string
			space nfqtest.Space
			own   int
		}{{"inside", r.inside, 0}, {"world", r.world, 1}} {
			for i, addresses := range both {
				for _, a := range addresses {
					if found := answers(from.space, a, listening); len(found) > 0 {
						t.Errorf("deferred %t: from %s at %s: %s", deferred, from.name, a, strings.Join(found, "; "))
					}
					if got := answersPing(from.space, a); got != (i == from.own) {
						t.Errorf("deferred %t: %s answers a ping from %s: %t", deferred, a, from.name, got)
					}
				}
			}
			for _, a := range []string{"192.168.9.1", "2001:db8:9::1"} {
				if found := answers(from.space, a, listening); len(found) > 0 || answersPing(from.space, a) {
					t.Errorf("deferred %t: from %s the management port's %s answers: %s", deferred, from.name, a, strings.Join(found, "; "))
				}
			}
		}
		for _, a := range []string{"192.168.9.1", "2001:db8:9::1"} { // who the test is worth nothing without
			if found := answers(r.operator, a, listening); len(found) != 2*len(listening) {
				t.Errorf("at the management port %s only: %s", a, strings.Join(found, "; "))
			}
		}
		// Whose session is led to the box hears it, while somebody governs.
		r.box.Must(func() error {
			return shell("nft 'table inet r { chain c { type nat hook prerouting priority -100; tcp dport 25 redirect to :2525; }; }'")
		})
		for _, to := range []string{"203.0.113.5:25", "[2001:db8:ffff::5]:25"} {
			var err error
			r.inside.Do(func() {
				var c net.Conn
				if c, err = net.DialTimeout("tcp", to, time.Second); err == nil {
					c.Close()
				}
			})
			if (err == nil) != deferred {
				t.Errorf("deferred %t: led to the box, %s: %v", deferred, to, err)
			}
		}
		r.box.Must(func() error { return shell("nft delete table inet r") })
	}
	if now := shapeNow(); now == nil || !now.network().SameShape(s.network()) {
		t.Errorf("it says that it is %+v", now)
	}

	// A router that cannot be leaves the one there is.
	wrong := s
	wrong.Upstream = []string{"port9"}
	r.box.Must(func() error {
		if err := r.ports.take(wrong, true); err == nil {
			return errors.New("a port that is not there was taken")
		}
		return nil
	})
	if !answersPing(r.inside, "10.1.0.1") {
		t.Error("the router that there was is gone")
	}

	// Back to the bridge: inside and outside are one network, and the box has no address there.
	r.box.Must(func() error { return r.ports.take(r.ports.bridge(), false) })
	r.world.Must(func() error { return nfqtest.Address("wan0", "10.1.0.3/16") })
	nfqtest.Eventually(t, "the bridge passes", func() bool { return answersPing(r.inside, "10.1.0.3") })
	if answersPing(r.inside, "10.1.0.1") {
		t.Error("the bridge has the router's address")
	}
	r.box.Must(func() error {
		out, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		if err == nil && strings.TrimSpace(string(out)) != "0" {
			err = fmt.Errorf("a bridge forwards: %s", out)
		}
		return err
	})
}

// TestABoxThatBridgesIsSilentAtItsPorts has both sides try every service at the bridge's own address.
func TestABoxThatBridgesIsSilentAtItsPorts(t *testing.T) {
	r := newRouterRig(t)
	was := shapeFile
	shapeFile = t.TempDir() + "/network.json"
	defer func() { shapeFile = was }()
	for _, s := range []struct {
		space nfqtest.Space
		link  string
	}{{r.inside, "lan0"}, {r.world, "wan0"}} {
		s.space.Must(func() error { return nfqtest.Address(s.link) })
	}
	for i, step := range []struct {
		why      string
		do       func() error
		deferred bool
	}{
		{"as the box comes up", func() error { return r.ports.take(r.ports.bridge(), false) }, false},
		{"while somebody governs", func() error { return r.ports.take(r.ports.bridge(), true) }, true},
		{"when that has ended", (&box{ports: r.ports}).guard, false},
	} {
		r.box.Must(step.do)
		if i == 0 {
			r.box.WaitFor("port1", "port2", "port3", bridgeName)
			r.operator.WaitFor("net0")
			r.inside.WaitFor("lan0")
			r.world.WaitFor("wan0")
		}
		own := ""
		r.box.Must(func() error {
			l, err := net.InterfaceByName(bridgeName)
			if err != nil {
				return err
			}
			addresses, err := l.Addrs()
			for _, a := range addresses {
				if n, ok := a.(*net.IPNet); ok && n.IP.IsLinkLocalUnicast() {
					own = n.IP.String()
				}
			}
			return err
		})
		for _, from := range []struct {
			space nfqtest.Space
			link  string
		}{{r.inside, "lan0"}, {r.world, "wan0"}} {
			at := own + "%" + from.link
			nfqtest.Eventually(t, "the bridge's own address answers a ping from "+from.link, func() bool { return answersPing(from.space, at) })
			if found := answers(from.space, at, listening); len(found) > 0 {
				t.Errorf("%s: from %s at %s: %s", step.why, from.link, at, strings.Join(found, "; "))
			}
		}
		for _, a := range []string{"192.168.9.1", "2001:db8:9::1"} { // who the test is worth nothing without
			if found := answers(r.operator, a, listening); len(found) != 2*len(listening) {
				t.Errorf("%s: at the management port %s only: %s", step.why, a, strings.Join(found, "; "))
			}
		}
		// Whose session is led to the box hears it, while somebody governs.
		r.box.Must(func() error {
			return shell("nft 'table inet r { chain c { type nat hook prerouting priority -100; tcp dport 26 redirect to :2525; }; }'")
		})
		if found := answers(r.inside, own+"%lan0", []uint16{26}); (len(found) == 1 && strings.HasSuffix(found[0], ":26: <nil>")) != step.deferred || len(found) > 1 {
			t.Errorf("%s: led to the box: %s", step.why, strings.Join(found, "; "))
		}
		r.box.Must(func() error { return shell("nft delete table inet r") })
	}
}

// TestARouterThatFailsHalfWayLeavesWhatThereWas has the kernel refuse one of the routes, after the bridge has gone.
func TestARouterThatFailsHalfWayLeavesWhatThereWas(t *testing.T) {
	r := newRouterRig(t)
	dir := t.TempDir()
	wasShape, wasPorts := shapeFile, cabled
	shapeFile, cabled = dir+"/network.json", cabling.Dir(dir)
	defer func() { shapeFile, cabled = wasShape, wasPorts }()
	if err := cabled.SaveCards(r.ports.cards); err != nil {
		t.Fatal(err)
	}
	r.inside.Must(func() error { return nfqtest.Address("lan0", "10.1.0.2/16") })
	r.world.Must(func() error { return nfqtest.Address("wan0", "10.1.0.3/16", "192.0.2.1/29") })
	r.box.Must(func() error { return r.ports.take(r.ports.bridge(), false) })
	good := config.Network{Topology: config.Routed, SubscriberInterfaces: []string{"port2"}, UpstreamInterfaces: []string{"port3"},
		Addresses: []config.Address{{Interface: "port2", Address: "10.1.0.1/16"}, {Interface: "port3", Address: "192.0.2.2/29"}}}
	bad := good
	bad.Routes = []config.Route{{To: "198.51.100.0/24", Via: "10.99.0.1", Interface: "port2"}}
	refused := func(n config.Network, want ...string) {
		t.Helper()
		var err error
		r.box.Do(func() { err = Shape(n) })
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("it says %v, and not %s", err, w)
			}
		}
	}
	refused(bad, "the ports stay as they were (bridge)", "network.routes[0].via: 10.99.0.1 at port2")
	nfqtest.Eventually(t, "the bridge passes again", func() bool { return answersPing(r.inside, "10.1.0.3") })
	if answersPing(r.inside, "10.1.0.1") {
		t.Error("the bridge has the router's address")
	}

	r.box.Must(func() error { return Shape(good) })
	nfqtest.Eventually(t, "the router is there", func() bool { return answersPing(r.inside, "10.1.0.1") })
	bad.Addresses = []config.Address{{Interface: "port2", Address: "10.1.0.9/16"}, {Interface: "port3", Address: "192.0.2.2/29"}}
	refused(bad, "the ports stay as they were (routed, port2 10.1.0.1/16, port3 192.0.2.2/29)", "10.99.0.1")
	if !answersPing(r.inside, "10.1.0.1") || answersPing(r.inside, "10.1.0.9") {
		t.Error("the router is not again what it was")
	}

	// The box's own link-local address is no router: with or without a bridge it is known, and nothing is tried.
	own := ""
	r.box.Must(func() error {
		l, err := net.InterfaceByName("port3")
		if err == nil {
			a, _ := l.Addrs()
			for _, one := range a {
				if n, ok := one.(*net.IPNet); ok && n.IP.IsLinkLocalUnicast() {
					own = n.IP.String()
				}
			}
		}
		return err
	})
	for _, shape := range []config.Network{good, {Topology: config.Bridge}} {
		r.box.Must(func() error { return Shape(shape) })
		bad := good
		bad.Routes = []config.Route{{To: "default", Via: own, Interface: "port3"}}
		var found config.Problems
		r.box.Do(func() { found = Fits(bad) })
		if want := "network.routes[0].via: " + own + " is the box itself (port3); name the router"; own == "" || len(found) != 1 || found[0].Key+": "+found[0].Message != want {
			t.Errorf("%v, want %s", found, want)
		}
	}
}

// TestWhatIsThereGoesOnWithoutAPortThatIsMissing takes a port out of a router, and of a bridge.
func TestWhatIsThereGoesOnWithoutAPortThatIsMissing(t *testing.T) {
	r := newRouterRig(t)
	was := shapeFile
	shapeFile = t.TempDir() + "/network.json"
	defer func() { shapeFile = was }()
	third := nfqtest.NewSpace(t)
	third.Must(func() error { return nfqtest.Veth("far0", "port4", r.box) })
	s := shape{Topology: config.Routed, Subscribers: []string{"port2"}, Upstream: []string{"port3", "port4"},
		Addresses: []config.Address{{Interface: "port2", Address: "10.1.0.1/16"}, {Interface: "port3", Address: "192.0.2.2/29"}, {Interface: "port4", Address: "198.51.100.2/24"}},
		Routes:    []config.Route{{To: "default", Via: "198.51.100.1"}, {To: "203.0.113.0/24", Via: "192.0.2.1"}}}
	r.inside.Must(func() error {
		return errors.Join(nfqtest.Address("lan0", "10.1.0.2/16"), shell("ip route add default via 10.1.0.1"))
	})
	r.world.Must(func() error {
		return errors.Join(nfqtest.Address("wan0", "192.0.2.1/29"), shell("ip addr add 203.0.113.5/32 dev lo; ip link set lo up; ip route add default via 192.0.2.2"))
	})
	// As it is on a machine whose fourth card has died.
	third.Must(func() error { return shell("ip link del far0") })
	p := assign(cabling.Cards{Names: []string{"port1", "port2", "port3", "port4"}, Missing: []string{"port4"}})
	if wrong := p.routable(s); len(wrong) > 0 {
		t.Errorf("%v", wrong)
	}
	r.box.Must(func() error { return p.take(p.bridge(), false) })
	r.box.Must(func() error { return p.take(s, true) })
	nfqtest.Eventually(t, "the router passes", func() bool { return answersPing(r.inside, "203.0.113.5") })
	if now := shapeNow(); now == nil || !now.network().SameShape(s.network()) {
		t.Errorf("it says that it is %+v", now)
	}
	// A bridge with one leg passes nothing, and is there when the other comes.
	r.world.Must(func() error { return shell("ip link del wan0") })
	p = assign(cabling.Cards{Names: []string{"port1", "port2", "port3"}, Missing: []string{"port3"}})
	r.box.Must(func() error { return p.take(p.bridge(), true) })
	r.box.Must(func() error { return shell("ip -br link show master " + bridgeName + " | grep -q port2") })
	// Of a router nothing at all: what there is stays, and it is told.
	none := assign(cabling.Cards{Names: []string{"port1", "port2", "port3", "port4"}, Missing: []string{"port2", "port3", "port4"}})
	r.box.Must(func() error {
		if err := none.take(s, true); err == nil || !strings.Contains(err.Error(), "none of the router's ports is there") {
			return fmt.Errorf("it says %v", err)
		}
		return nil
	})
}

func shell(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "sh", "-c", text).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", text, err, out)
	}
	return nil
}
