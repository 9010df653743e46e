package routing

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// rig is a box with a management port and two others: operators, subscribers and the internet, each in a namespace of its own. Behind the
// subscribers' router is a customer's network, and behind that of the internet a server.
type rig struct {
	t                            *testing.T
	box, operator, inside, world nfqtest.Space
	plan                         Plan
}

var ports = []string{"port2", "port3", "port4"}

const (
	customer4, customer6 = "198.51.100.7", "2001:db8:8::7"
	server4, server6     = "203.0.113.5", "2001:db8:ffff::5"
	operator4, operator6 = "192.168.9.2", "2001:db8:9::2"
)

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, box: nfqtest.NewSpace(t), operator: nfqtest.NewSpace(t), inside: nfqtest.NewSpace(t), world: nfqtest.NewSpace(t)}
	r.operator.Must(func() error { return nfqtest.Veth("net0", "port1", r.box) })
	r.inside.Must(func() error { return nfqtest.Veth("lan0", "port2", r.box) })
	r.world.Must(func() error { return nfqtest.Veth("wan0", "port3", r.box) })
	r.operator.Must(func() error { return nfqtest.Address("net0", operator4+"/24", operator6+"/64") })
	r.inside.Must(func() error { return nfqtest.Address("lan0", "10.1.0.2/16", "2001:db8:1::2/64", "fe80::7/64") })
	r.inside.Must(func() error { return nfqtest.Address("lo", customer4+"/32", customer6+"/128") })
	r.world.Must(func() error { return nfqtest.Address("wan0", "192.0.2.1/29", "2001:db8:2::1/64") })
	r.world.Must(func() error { return nfqtest.Address("lo", server4+"/32", server6+"/128") })
	for _, s := range []nfqtest.Space{r.inside, r.world} { // the answers of a port that nobody listens at are to come each time
		s.Must(func() error {
			return errors.Join(run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"))
		})
	}
	r.inside.Must(func() error { return run("ip", "route", "add", "default", "via", "10.1.0.1") })
	r.inside.Must(func() error { return run("ip", "route", "add", "default", "via", "2001:db8:1::1") })
	r.world.Must(func() error { return run("ip", "route", "add", "default", "via", "192.0.2.2") })
	r.world.Must(func() error { return run("ip", "route", "add", "default", "via", "2001:db8:2::2") })
	r.operator.Must(func() error { return run("ip", "route", "add", "default", "via", "192.168.9.1") })
	r.operator.Must(func() error { return run("ip", "route", "add", "default", "via", "2001:db8:9::1") })
	// As the keeper of the management port has it: addresses, and a way to everywhere else.
	r.box.Must(func() error { return nfqtest.Address("port1", "192.168.9.1/24", "2001:db8:9::1/64") })
	r.box.Must(func() error { return run("ip", "route", "add", "default", "via", operator4) })
	r.box.Must(func() error { return run("ip", "route", "add", "default", "via", operator6) })
	r.box.Must(func() error {
		return run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
	})
	r.plan = parsed(t, whole)
	r.box.Must(func() error {
		return Management([]netip.Prefix{netip.MustParsePrefix("192.168.9.1/24"), netip.MustParsePrefix("2001:db8:9::1/64")})
	})
	r.box.Must(func() error { return r.plan.Apply(ports[:2]) })
	r.inside.WaitFor("lan0")
	r.world.WaitFor("wan0")
	r.operator.WaitFor("net0")
	r.box.WaitFor("port1", "port2", "port3")
	return r
}

func run(words ...string) error {
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, out)
	}
	return nil
}

// listen has a server there say its space's name, and the address of who asks.
func (r *rig) listen(s nfqtest.Space, name string) {
	r.t.Helper()
	var l net.Listener
	s.Must(func() (err error) { l, err = net.Listen("tcp", ":25"); return err })
	r.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s", name, c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	}()
}

// ask is what is said at port 25 of an address, asked from another one; "": the kernel chooses that.
func ask(s nfqtest.Space, from, to string, most time.Duration) (said string, err error) {
	s.Do(func() {
		d := net.Dialer{Timeout: most}
		if from != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		}
		var c net.Conn
		if c, err = d.Dial("tcp", net.JoinHostPort(to, "25")); err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(most))
		b := make([]byte, 100)
		n, e := c.Read(b)
		said, err = string(b[:n]), e
	})
	return said, err
}

const soon = 5 * time.Second

func TestMailPassesARouter(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.listen(r.world, "world")
	r.listen(r.inside, "inside")
	for _, row := range []struct {
		why      string
		at       nfqtest.Space
		from, to string
		want     string
	}{
		{"a subscriber at the port", r.inside, "10.1.0.2", server4, "world 10.1.0.2"},
		{"one behind a router of his", r.inside, customer4, server4, "world " + customer4},
		{"IPv6", r.inside, "2001:db8:1::2", server6, "world 2001:db8:1::2"},
		{"IPv6, behind a link-local router", r.inside, customer6, server6, "world " + customer6},
		{"from the internet", r.world, server4, customer4, "inside " + server4},
		{"from the internet, IPv6", r.world, server6, customer6, "inside " + server6},
	} {
		if got, err := ask(row.at, row.from, row.to, soon); err != nil || got != row.want {
			t.Errorf("%s: %q, %v", row.why, got, err)
		}
	}
}

func TestTheManagementPortIsNoWayAround(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, s := range []struct {
		space nfqtest.Space
		name  string
	}{{r.world, "world"}, {r.inside, "inside"}, {r.operator, "operator"}, {r.box, "box"}} {
		r.listen(s.space, s.name)
	}
	for _, row := range []struct {
		why string
		at  nfqtest.Space
		to  string
	}{
		{"operator to a subscriber", r.operator, customer4}, {"operator to a subscriber, IPv6", r.operator, customer6},
		{"operator to the port's network", r.operator, "10.1.0.2"},
		{"operator to the internet", r.operator, server4}, {"operator to the internet, IPv6", r.operator, server6},
		{"subscriber to an operator", r.inside, operator4}, {"subscriber to an operator, IPv6", r.inside, operator6},
		{"internet to an operator", r.world, operator4}, {"internet to an operator, IPv6", r.world, operator6},
	} {
		if got, err := ask(row.at, "", row.to, 300*time.Millisecond); err == nil {
			t.Errorf("%s: it is answered: %q", row.why, got)
		}
	}
	// The box itself is reached there, and goes there by itself, as ever.
	for _, row := range []struct {
		why, to string
		at      nfqtest.Space
		want    string
	}{
		{"operator to the box", "192.168.9.1", r.operator, "box " + operator4}, {"operator to the box, IPv6", "2001:db8:9::1", r.operator, "box " + operator6},
		{"the box to an operator", operator4, r.box, "operator 192.168.9.1"}, {"the box to an operator, IPv6", operator6, r.box, "operator 2001:db8:9::1"},
	} {
		if got, err := ask(row.at, "", row.to, soon); err != nil || got != row.want {
			t.Errorf("%s: %q, %v", row.why, got, err)
		}
	}
	// Beyond the operator's router, too: a collector is not looked for at the ports.
	r.operator.Must(func() error {
		return nfqtest.Address("lo", server4+"/32", server6+"/128", "192.0.2.5/32", "2001:db8:2::5/128")
	})
	for _, to := range []string{server4, server6, "192.0.2.5", "2001:db8:2::5"} { // the last two are of a port's network, too
		if got, err := ask(r.box, "", to, soon); err != nil || !strings.HasPrefix(got, "operator ") {
			t.Errorf("the box to %s: %q, %v", to, got, err)
		}
	}
}

// TestWhereNoRouteLeadsNothingGoes: a router without a default sends nobody to the management port's.
func TestWhereNoRouteLeadsNothingGoes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.listen(r.operator, "operator")
	r.plan.Routes = r.plan.Routes[2:]
	r.box.Must(func() error { return r.plan.Apply(ports[:2]) })
	r.operator.Must(func() error {
		return errors.Join(run("ip", "route", "replace", "10.1.0.0/16", "via", "192.168.9.1"), run("ip", "route", "replace", "2001:db8:1::/64", "via", "2001:db8:9::1"))
	})
	for _, row := range [][2]string{{"10.1.0.2", operator4}, {"2001:db8:1::2", operator6}} {
		if got, err := ask(r.inside, row[0], row[1], soon); !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) {
			t.Errorf("from %s to %s: %q, %v", row[0], row[1], got, err)
		}
	}
}

// TestAManagementPortThatClashesIsReached: what the box was given by DHCP may be of a network that is behind its ports.
func TestAManagementPortThatClashesIsReached(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.listen(r.box, "box")
	r.operator.Must(func() error { return nfqtest.Address("net0", "10.1.7.2/24") })
	r.box.Must(func() error { return nfqtest.Address("port1", "10.1.7.1/24") })
	if got, err := ask(r.operator, "10.1.7.2", "10.1.7.1", 300*time.Millisecond); err == nil {
		t.Errorf("%q: the test is not of what it says", got)
	}
	r.box.Must(func() error { return Management([]netip.Prefix{netip.MustParsePrefix("10.1.7.1/24")}) })
	if got, err := ask(r.operator, "10.1.7.2", "10.1.7.1", soon); err != nil || got != "box 10.1.7.2" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestWhatTheBoxSaysOfOthersGoesByThePorts: ICMP errors, which path MTU discovery lives by, and resets in the name of either end.
func TestWhatTheBoxSaysOfOthersGoesByThePorts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, row := range []struct {
		why      string
		at       nfqtest.Space
		from, to string
	}{
		{"to a subscriber behind a router", r.inside, customer4, server4}, {"the same, IPv6", r.inside, customer6, server6},
		{"to the internet", r.world, server4, customer4}, {"to the internet, IPv6", r.world, server6, customer6},
	} {
		var err error
		row.at.Do(func() { err = expire(row.from, row.to) })
		if !errors.Is(err, unix.EHOSTUNREACH) {
			t.Errorf("time exceeded, %s: %v", row.why, err)
		}
	}
	r.listen(r.world, "world")
	r.listen(r.inside, "inside")
	r.box.Must(func() error {
		return run("nft", "table inet t { chain c { type filter hook prerouting priority -300; tcp dport 25 reject with tcp reset; }; }")
	})
	for _, row := range []struct {
		why      string
		at       nfqtest.Space
		from, to string
	}{
		{"to a subscriber behind a router", r.inside, customer4, server4}, {"the same, IPv6", r.inside, customer6, server6},
		{"to a server", r.world, server4, customer4}, {"to a server, IPv6", r.world, server6, customer6},
	} {
		if said, err := ask(row.at, row.from, row.to, soon); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("a reset, %s: %q, %v", row.why, said, err)
		}
	}
}

// expire sends a packet that may go one step, and returns what comes of it.
func expire(from, to string) error {
	a, b := netip.MustParseAddr(from), netip.MustParseAddr(to)
	c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(b, 9)))
	if err != nil {
		return err
	}
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var bad error
	err = raw.Control(func(fd uintptr) {
		if a.Is4() {
			bad = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 1), unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1))
		} else {
			bad = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 1), unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1))
		}
	})
	if err := errors.Join(err, bad); err != nil {
		return err
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(soon))
	_, err = c.Read(make([]byte, 10))
	return err
}

// state is all that this package may touch.
func (r *rig) state() (text string) {
	r.t.Helper()
	r.box.Must(func() error {
		for _, words := range [][]string{{"-4", "addr"}, {"-6", "addr"}, {"-4", "rule"}, {"-6", "rule"}, {"-4", "route", "show", "table", "all"}, {"-6", "route", "show", "table", "all"}} {
			out, err := exec.Command("ip", words...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%v: %w: %s", words, err, out)
			}
			text += fmt.Sprintf("%v\n%s", words, out)
		}
		for _, dir := range []string{"ipv4", "ipv6"} {
			out, err := exec.Command("sh", "-c", "grep -r . /proc/sys/net/"+dir+"/conf/*/forwarding /proc/sys/net/"+dir+"/conf/port*/accept_r* /proc/sys/net/"+dir+"/conf/port*/rp_filter 2>/dev/null; true").CombinedOutput()
			if err != nil {
				return err
			}
			text += string(out)
		}
		return nil
	})
	return text
}

func TestDoneTwiceItChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, port := range []string{"port1", "port2", "port3"} { // what the kernel itself gives comes when it finds a carrier
		nfqtest.Eventually(t, port+" takes part in IPv6", func() bool {
			is := r.state()
			return strings.Contains(is, "multicast ff00::/8 dev "+port+" ") && (port == "port1" || strings.Contains(is, "anycast fe80:: dev "+port+" ")) && !strings.Contains(is, "tentative")
		})
	}
	before := r.state()
	var said []byte
	r.box.Must(func() error {
		monitor := exec.Command("timeout", "2", "ip", "monitor", "address", "route", "rule")
		out, err := monitor.StdoutPipe()
		if err != nil {
			return err
		}
		if err := monitor.Start(); err != nil {
			return err
		}
		// It listens when it tells of something.
		for b := make([]byte, 1000); ; {
			if err := run("ip", "addr", "replace", "192.168.9.99/24", "dev", "port1"); err != nil {
				return err
			}
			if n, err := out.Read(b); err != nil || n > 0 {
				break
			}
		}
		if err := errors.Join(r.plan.Apply(ports[:2]), r.plan.Apply(ports[:2])); err != nil {
			return err
		}
		b := make([]byte, 1<<16)
		for {
			n, err := out.Read(b)
			said = append(said, b[:n]...)
			if err != nil {
				monitor.Wait() // ended by its time
				return run("ip", "addr", "del", "192.168.9.99/24", "dev", "port1")
			}
		}
	})
	for line := range strings.Lines(string(said)) {
		if !strings.Contains(line, "192.168.9.99") && !strings.Contains(line, "valid_lft") && strings.TrimSpace(line) != "" {
			t.Errorf("the kernel tells of a change: %s", line)
		}
	}
	after := strings.Split(r.state(), "\n")
	for _, line := range strings.Split(before, "\n") {
		if !slices.Contains(after, line) {
			t.Errorf("gone: %s", line)
		}
	}
	for _, line := range after {
		if !strings.Contains(before, line+"\n") {
			t.Errorf("new: %s", line)
		}
	}
}

func TestWhatIsNoLongerWantedGoesAndNothingElse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.inside.Must(func() error { return nfqtest.Veth("lan1", "port4", r.box) })
	others := []string{"172.31.0.1/24", "172.30.0.0/24", "pref 777", "172.29.0.0/24"}
	r.box.Must(func() error {
		return errors.Join(run("ip", "addr", "add", "172.31.0.1/24", "dev", "port2"), run("ip", "route", "add", "172.30.0.0/24", "via", operator4),
			run("ip", "rule", "add", "pref", "777", "from", "172.28.0.0/16", "lookup", "main"), run("ip", "route", "add", "172.29.0.0/24", "via", operator4, "table", "226"))
	})
	before := r.state()
	next := parsed(t, `  addresses:
    - {interface: port2, address: 10.7.0.1/16}
    - {interface: port3, address: 192.0.2.3/29}
  routes:
    - {to: default, via: 192.0.2.1}
`)
	r.box.Must(func() error { return next.Apply(ports) })
	is := r.state()
	for _, gone := range []string{"10.1.0.1", "192.0.2.2/29", "2001:db8:1::1", "198.51.100.0/24", "2001:db8:8::/48", "default via 2001:db8:2::1", "from 10.1.0.0/16"} {
		if strings.Contains(is, gone) {
			t.Errorf("%s is still there:\n%s", gone, is)
		}
	}
	for _, there := range []string{"10.7.0.1/16", "192.0.2.3/29", "default via 192.0.2.1 dev port3 table 225", "from 192.168.9.1"} {
		if !strings.Contains(is, there) {
			t.Errorf("%s is not there:\n%s", there, is)
		}
	}
	r.box.Must(func() error { return r.plan.Apply(ports) })
	for _, o := range others {
		if !strings.Contains(before, strings.TrimPrefix(o, "pref ")) || !strings.Contains(is, strings.TrimPrefix(o, "pref ")) {
			t.Errorf("somebody else's %s is not there any more:\n%s", o, is)
		}
	}
	r.box.Must(func() error { return Remove(ports) })
	is = r.state()
	for _, gone := range []string{"10.1.0.1", "192.0.2.2/29", "2001:db8:1::1", "table 225", "lookup 225", "unreachable", "forwarding:1"} {
		if strings.Contains(is, gone) {
			t.Errorf("after its end %s is still there:\n%s", gone, is)
		}
	}
	for _, o := range append(others, "from 192.168.9.1") {
		if !strings.Contains(is, strings.TrimPrefix(o, "pref ")) {
			t.Errorf("after its end somebody else's %s is not there any more:\n%s", o, is)
		}
	}
}

// TestAnAddressThatChangesWithinItsNetworkIsTheSource: the kernel leaves a route of our table as it is when its source goes, unless that was the port's last.
func TestAnAddressThatChangesWithinItsNetworkIsTheSource(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const two = `  addresses:
    - {interface: port2, address: 10.1.0.1/16}
    - {interface: port2, address: 10.7.0.1/16}
    - {interface: port3, address: 192.0.2.2/29}
`
	r.box.Must(func() error { return parsed(t, two).Apply(ports[:2]) })
	next := parsed(t, strings.Replace(two, "10.1.0.1", "10.1.0.9", 1))
	r.box.Must(func() error { return next.Apply(ports[:2]) })
	is := r.state()
	for _, there := range []string{"10.1.0.0/16 dev port2 table 225 proto 225 scope link src 10.1.0.9", "10.7.0.0/16 dev port2 table 225 proto 225 scope link src 10.7.0.1"} {
		if !strings.Contains(is, there) {
			t.Errorf("%s is not there:\n%s", there, is)
		}
	}
	if strings.Contains(is, "10.1.0.1 ") {
		t.Errorf("the address that is gone is still there:\n%s", is)
	}
}

// TestABridgeAgainTakesNobodysRedirects: the kernel takes them where it does not forward.
func TestABridgeAgainTakesNobodysRedirects(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.box.Must(func() error {
		return errors.Join(run("sysctl", "-qw", "net.ipv4.conf.all.accept_redirects=0"), Remove(ports[:2]), run("sh", "-c", "[ $(cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/all/accept_redirects | tr -d '\\n') = 00 ]"))
	})
}

// TestARouterThatIsNotReachedIsTold by its key and its value.
func TestARouterThatIsNotReachedIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.plan.Routes[2].Via = netip.MustParseAddr("10.99.0.1")
	r.box.Must(func() error {
		if err := r.plan.Apply(ports[:2]); err == nil || !strings.HasPrefix(err.Error(), "network.routes[2].via: 10.99.0.1 at port2: route to 198.51.100.0/24: ") {
			return fmt.Errorf("it says %v", err)
		}
		return nil
	})
}

// TestASourceThatIsNotBehindThePortDoesNotComeIn: a subscriber cannot speak for the internet, nor for one at another port.
func TestASourceThatIsNotBehindThePortDoesNotComeIn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.inside.Must(func() error { return nfqtest.Address("lo", "192.0.2.6/32", "203.0.113.77/32") })
	var in *net.UDPConn
	r.world.Must(func() (err error) { in, err = net.ListenUDP("udp", &net.UDPAddr{Port: 9}); return err })
	defer in.Close()
	for _, from := range []string{"192.0.2.6", "203.0.113.77", customer4} { // the last one comes in, so those before it did not
		r.inside.Must(func() error {
			c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.ParseIP(server4), Port: 9})
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("x"))
			return err
		})
	}
	in.SetDeadline(time.Now().Add(soon))
	if _, from, err := in.ReadFromUDP(make([]byte, 10)); err != nil || from.IP.String() != customer4 {
		t.Errorf("the first that came in is from %v, %v", from, err)
	}
	for name, want := range map[string]string{"port2": "1", "port3": "2"} {
		r.box.Must(func() error {
			return run("sh", "-c", "[ $(cat /proc/sys/net/ipv4/conf/"+name+"/rp_filter) = "+want+" ]")
		})
	}
}
