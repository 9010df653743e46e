package netconf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// childVariable has the directory of the child that this test program is when it is set: a port's keeper has to have all of its threads in
// the namespace.
const childVariable = "MAILWEIR_NETCONF_TEST"

func TestMain(m *testing.M) {
	dir := os.Getenv(childVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	p := Port{Name: "port1", Dir: Dir(dir), Resolv: filepath.Join(dir, "resolv.conf"), Say: func(err error) { fmt.Fprintln(os.Stderr, err) },
		Settings: func() config.Management {
			c, err := config.Load(filepath.Join(dir, "mailweir.yaml"))
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return config.Default().Management
			}
			return c.Management
		},
		Fresh: func() bool { _, err := os.Stat(filepath.Join(dir, "fresh")); return err == nil },
	}
	if err := p.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// rig is a box with a management port, and the network that it is in: port1 there, net0 here.
type rig struct {
	t        *testing.T
	box, net nfqtest.Space
	dir      Dir
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, box: nfqtest.NewSpace(t), net: nfqtest.NewSpace(t), dir: Dir(t.TempDir())}
	r.net.Must(func() error { return nfqtest.Veth("net0", "port1", r.box) })
	r.net.Must(func() error { return nfqtest.Address("net0", "192.0.2.1/24", "2001:db8::1/64") })
	return r
}

// settings writes the configuration.
func (r *rig) settings(management string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(string(r.dir), "mailweir.yaml"), []byte("management: "+management+"\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// run starts the keeper; stop ends it.
func (r *rig) run() (stop func()) {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	var out strings.Builder
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVariable+"="+string(r.dir))
	cmd.Stdout, cmd.Stderr = &out, &out
	r.box.Must(cmd.Start)
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cmd.Process.Signal(unix.SIGTERM)
		if err := cmd.Wait(); err != nil {
			r.t.Errorf("the keeper: %v", err)
		}
		if r.t.Failed() {
			r.t.Logf("the keeper said: %s", out.String())
		}
	}
	r.t.Cleanup(stop)
	return stop
}

// has waits until the port has just these addresses.
func (r *rig) has(what string, want ...string) {
	r.t.Helper()
	var got []string
	defer func() {
		if r.t.Failed() {
			r.t.Logf("%s: it has %v", what, got)
		}
	}()
	nfqtest.Eventually(r.t, what, func() bool {
		s, err := r.dir.State()
		if err != nil {
			r.t.Fatal(err)
		}
		got = nil
		if s != nil {
			for _, a := range s.Addresses {
				got = append(got, a.String())
			}
		}
		return slices.Equal(got, want)
	})
}

// reaches tells whether the network reaches the box at an address.
func (r *rig) reaches(address string) bool {
	var err error
	r.net.Do(func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", net.JoinHostPort(address, "9"), time.Second); err == nil {
			c.Close()
		}
	})
	return errors.Is(err, unix.ECONNREFUSED) // nobody listens there, and that is an answer
}

// routes are the box's default routes.
func (r *rig) routes() (all []string) {
	r.t.Helper()
	r.box.Must(func() error {
		list, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
		for _, one := range list {
			if one.Gw != nil && (one.Dst == nil || one.Dst.IP.IsUnspecified()) {
				all = append(all, one.Gw.String())
			}
		}
		return err
	})
	slices.Sort(all)
	return all
}

func (r *rig) file(name string) string {
	text, err := os.ReadFile(filepath.Join(string(r.dir), name))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

func TestStaticAddressesOfBothKinds(t *testing.T) {
	r := newRig(t)
	r.settings("{ipv4: 192.0.2.10/24, ipv4_gateway: 192.0.2.1, ipv6: '2001:db8::10/64', ipv6_gateway: '2001:db8::1', dns: [192.0.2.53, '2001:db8::53']}")
	r.run()
	r.has("both are there", "192.0.2.10/24", "2001:db8::10/64")
	for _, a := range []string{"192.0.2.10", "2001:db8::10"} {
		if !r.reaches(a) {
			t.Errorf("%s is not reached", a)
		}
	}
	if got := r.routes(); !slices.Equal(got, []string{"192.0.2.1", "2001:db8::1"}) {
		t.Errorf("routes: %v", got)
	}
	if got := r.file("resolv.conf"); got != "nameserver 192.0.2.53\nnameserver 2001:db8::53\n" {
		t.Errorf("resolv.conf: %q", got)
	}
	// Another address takes the place of the first, and what is not said any more goes.
	r.settings("{ipv4: 192.0.2.11/24, ipv6: off}")
	r.has("another", "192.0.2.11/24")
	if r.reaches("192.0.2.10") || r.reaches("2001:db8::10") || !r.reaches("192.0.2.11") {
		t.Error("the old addresses answer, or the new one does not")
	}
	if got := r.routes(); len(got) != 0 {
		t.Errorf("routes: %v", got)
	}
	if got := r.file("resolv.conf"); got != "" {
		t.Errorf("resolv.conf: %q", got)
	}
}

// tag makes the network's side of VLAN 7; unknown: this kernel cannot.
func tag() (unknown bool, err error) {
	l, err := netlink.LinkByName("net0")
	if err != nil {
		return false, err
	}
	if err := netlink.LinkAdd(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "net0.7", ParentIndex: l.Attrs().Index}, VlanId: 7}); err != nil {
		return errors.Is(err, unix.EOPNOTSUPP), err
	}
	return false, nfqtest.Address("net0.7", "198.51.100.1/24")
}

func TestAnAddressInAVLANAndOutOfIt(t *testing.T) {
	r := newRig(t)
	var unknown bool
	var err error
	r.net.Do(func() { unknown, err = tag() })
	if unknown {
		t.Skip("this kernel has no VLANs (8021q)")
	}
	if err != nil {
		t.Fatal(err)
	}
	r.settings("{vlan: 7, ipv4: 198.51.100.10/24, ipv6: off}")
	r.run()
	r.has("the tagged one", "198.51.100.10/24")
	if !r.reaches("198.51.100.10") {
		t.Error("it is not reached through the VLAN")
	}
	r.settings("{ipv4: 192.0.2.10/24, ipv6: off}")
	r.has("untagged again", "192.0.2.10/24")
	if !r.reaches("192.0.2.10") || r.reaches("198.51.100.10") {
		t.Error("the VLAN is left, or the port is not reached")
	}
}

// serve starts dnsmasq in the network: router advertisements, or DHCP with an NTP server.
func (r *rig) serve(arguments ...string) {
	r.t.Helper()
	const path = "/usr/sbin/dnsmasq"
	if _, err := os.Stat(path); err != nil {
		r.t.Fatalf("%v: the Debian package dnsmasq-base is missing; run: make setup", err)
	}
	var out strings.Builder
	dir := r.t.TempDir()
	cmd := exec.Command(path, append([]string{"--keep-in-foreground", "--no-resolv", "--no-hosts", "--port=0", "--user=root", "--group=root", "--interface=net0", "--conf-file=/dev/null",
		"--dhcp-leasefile=" + dir + "/leases", "--pid-file=" + dir + "/pid", "--log-facility=-", "--dhcp-authoritative", "--no-ping"}, arguments...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	r.net.Must(cmd.Start)
	r.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if r.t.Failed() {
			r.t.Logf("dnsmasq: %s", out.String())
		}
	})
}

func TestAddressesFromDHCPAndRouters(t *testing.T) {
	r := newRig(t)
	r.serve("--dhcp-range=192.0.2.50,192.0.2.50,2m", "--dhcp-option=option:ntp-server,192.0.2.1", "--dhcp-option=option:dns-server,192.0.2.1",
		"--enable-ra", "--dhcp-range=2001:db8::,ra-only")
	r.settings("{}")
	r.run()
	var slaac netip.Prefix
	nfqtest.Eventually(t, "an address of each kind", func() bool {
		s, err := r.dir.State()
		if err != nil || s == nil || len(s.Addresses) != 2 || s.Addresses[0].String() != "192.0.2.50/24" {
			return false
		}
		slaac = s.Addresses[1]
		return netip.MustParsePrefix("2001:db8::/64").Contains(slaac.Addr())
	})
	if !r.reaches("192.0.2.50") || !r.reaches(slaac.Addr().String()) {
		t.Error("an address is not reached")
	}
	if got := r.routes(); len(got) != 2 || got[0] != "192.0.2.1" || !strings.HasPrefix(got[1], "fe80:") {
		t.Errorf("routes: %v", got)
	}
	if got := r.file("ntp-servers"); got != "192.0.2.1" {
		t.Errorf("NTP servers: %q", got)
	}
	if got := r.file("resolv.conf"); got != "nameserver 192.0.2.1\n" {
		t.Errorf("resolv.conf: %q", got)
	}
	r.settings("{ipv4: 192.0.2.10/24, ipv6: off}")
	r.has("static", "192.0.2.10/24")
	if got := r.file("ntp-servers"); got != "" {
		t.Errorf("DHCP's NTP servers stay: %q", got)
	}
}

func TestWithoutDHCPThereIsAnAddress(t *testing.T) {
	r := newRig(t)
	r.settings("{ipv6: off}")
	r.run()
	r.has("the fallback", Fallback.String())
	r.serve("--dhcp-range=192.0.2.50,192.0.2.50,2m")
	nfqtest.Eventually(t, "DHCP is asked on", func() bool { // every ten seconds
		s, err := r.dir.State()
		return err == nil && slices.Equal(s.Addresses, []netip.Prefix{netip.MustParsePrefix("192.0.2.50/24")})
	})
}

func TestATrialIsTakenBackByItself(t *testing.T) {
	r := newRig(t)
	r.settings("{ipv4: 192.0.2.10/24, ipv6: off}")
	stop := r.run()
	r.has("as configured", "192.0.2.10/24")
	tried := config.Management{IPv4: "192.0.2.99/24", IPv6: config.Off}
	try := func(id string, lasts time.Duration) {
		t.Helper()
		if _, err := r.dir.Try(id, tried, 100*time.Millisecond, lasts); err != nil {
			t.Fatal(err)
		}
	}
	try("one", 3*time.Second)
	r.has("the trial", "192.0.2.99/24")
	if s, err := r.dir.State(); err != nil || s.Trial != "one" {
		t.Errorf("%+v, %v", s, err)
	}
	r.has("taken back", "192.0.2.10/24")
	if tr, err := r.dir.Trial(); err != nil || tr != nil {
		t.Errorf("the trial is left: %+v, %v", tr, err)
	}

	// A keeper that dies and comes back goes on with it, and it ends at its time.
	try("two", 5*time.Second)
	r.has("the second", "192.0.2.99/24")
	stop()
	r.run()
	r.has("taken back, too", "192.0.2.10/24")

	// What was confirmed is in the configuration before the trial is ended.
	try("three", time.Hour)
	r.has("the third", "192.0.2.99/24")
	r.settings("{ipv4: 192.0.2.99/24, ipv6: off}")
	if err := r.dir.EndTrial("two"); err != nil {
		t.Fatal(err)
	}
	if tr, err := r.dir.Trial(); err != nil || tr == nil || tr.ID != "three" {
		t.Fatalf("another's end ended it: %+v, %v", tr, err)
	}
	if err := r.dir.EndTrial("three"); err != nil {
		t.Fatal(err)
	}
	nfqtest.Eventually(t, "it stays", func() bool { s, err := r.dir.State(); return err == nil && s.Trial == "" })
	r.has("it stays", "192.0.2.99/24")
}
