package appliance

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/netconf"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/nfq/nfqtest"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// port is a management port with real addresses, and the box whose configuration says which.
type port struct {
	t   *testing.T
	dir netconf.Dir
	box *deaf
	s   *source
}

const portPlans = "management: {ipv4: 192.0.2.10/24, ipv6: off}\n" + homePlans

func newPort(t *testing.T) *port {
	t.Helper()
	p := &port{t: t, dir: netconf.Dir(t.TempDir()), box: newDeaf(t, portPlans, homeList)}
	p.begin()
	space, net := nfqtest.NewSpace(t), nfqtest.NewSpace(t)
	net.Must(func() error { return nfqtest.Veth("net0", "port1", space) })
	net.Must(func() error { return nfqtest.Address("net0", "192.0.2.1/24") })
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	file := filepath.Join(p.box.dir, "mailweir.yaml")
	go func() {
		var err error
		space.Do(func() { // with static addresses all of its work is done in this thread
			k := netconf.Port{Fresh: func() bool { return false }, Name: "port1", Dir: p.dir, Resolv: filepath.Join(string(p.dir), "resolv.conf"), Say: func(err error) { t.Log(err) },
				Settings: func() config.Management {
					c, err := config.Load(file)
					if err != nil {
						return config.Default().Management
					}
					return c.Management
				}}
			err = k.Run(ctx)
		})
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	p.has("192.0.2.10/24")
	return p
}

// begin has the box, or its next life, know of the port.
func (p *port) begin() {
	p.box.opt.Management = p.dir
	p.s = &source{a: p.box.Appliance}
}

func (p *port) has(address string) {
	p.t.Helper()
	nfqtest.Eventually(p.t, "the port has "+address, func() bool {
		s, err := p.dir.State()
		return err == nil && s != nil && len(s.Addresses) == 1 && s.Addresses[0].String() == address
	})
}

// audits are the last records of the port.
func (p *port) audits() (all []string) {
	p.box.watchNetwork()
	for _, one := range p.box.told(records.KindAudit) {
		if strings.Contains(one, "network_") {
			all = append(all, one)
		}
	}
	return all
}

func (p *port) try(address string) webadmin.NetworkTrial {
	p.t.Helper()
	t, err := p.s.TryNetwork(webadmin.NetworkSettings{IPv4: address, IPv6: "off"}, "anna 192.0.2.1")
	if err != nil {
		p.t.Fatal(err)
	}
	p.has(address)
	return t
}

// hurry ends the trial as if its time had gone by: a test does not wait for a minute.
func (p *port) hurry() {
	p.t.Helper()
	t, err := p.dir.Trial()
	if err == nil && t != nil {
		_, err = p.dir.Try(t.ID, t.Settings, 0, 0)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func TestAConfirmedAddressStays(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	tr := p.try("192.0.2.99/24")
	if text := p.box.read("mailweir.yaml"); text != portPlans {
		t.Errorf("the configuration was changed before anybody confirmed: %s", text)
	}
	var refused webadmin.Refused
	if err := p.s.ConfirmNetwork(tr.Token, netip.MustParseAddr("192.0.2.10"), "anna"); !errors.As(err, &refused) || !strings.Contains(refused.Message, "none of the port's addresses") {
		t.Errorf("confirmed from the old address: %v", err)
	}
	if err := p.s.ConfirmNetwork("GUESSED", netip.MustParseAddr("192.0.2.99"), "eve"); !errors.As(err, &refused) {
		t.Errorf("confirmed with another token: %v", err)
	}
	if _, err := p.s.TryNetwork(webadmin.NetworkSettings{IPv4: "192.0.2.98/24", IPv6: "off"}, "olga"); !errors.As(err, &refused) || !strings.Contains(refused.Message, "another change is tried now") {
		t.Errorf("two at once: %v", err)
	}
	if err := p.s.ConfirmNetwork(tr.Token, netip.MustParseAddr("192.0.2.99"), "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	if text := p.box.read("mailweir.yaml"); !strings.Contains(text, "192.0.2.99/24") {
		t.Errorf("the configuration does not have it: %s", text)
	}
	nfqtest.Eventually(t, "the trial is over", func() bool { s, err := p.dir.State(); return err == nil && s.Trial == "" })
	p.has("192.0.2.99/24")
	got := p.audits()
	if len(got) != 2 || !strings.HasPrefix(got[0], "anna 192.0.2.1: network_tried management | ipv4 192.0.2.10/24, ipv6 off -> ipv4 192.0.2.99/24, ipv6 off; taken back in ") ||
		got[1] != "192.0.2.1: network_confirmed management | ipv4 192.0.2.10/24, ipv6 off -> ipv4 192.0.2.99/24, ipv6 off" {
		t.Errorf("%q", got)
	}
}

func TestAnAddressThatNobodyConfirmsIsTakenBack(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	tr := p.try("192.0.2.99/24")
	if tr.Left < webadmin.Seconds(trialTime) || p.s.Network().Trial == nil {
		t.Errorf("it lasts %v", time.Duration(tr.Left))
	}
	p.hurry()
	p.has("192.0.2.10/24")
	if text := p.box.read("mailweir.yaml"); text != portPlans {
		t.Errorf("the configuration was changed: %s", text)
	}
	const reverted = "mailweir: network_reverted management | ipv4 192.0.2.99/24, ipv6 off -> ipv4 192.0.2.10/24, ipv6 off; nobody confirmed what anna 192.0.2.1 tried"
	if got := p.audits(); len(got) != 2 || got[1] != reverted {
		t.Errorf("%q", got)
	}
	if got := p.audits(); len(got) != 2 {
		t.Errorf("told again: %q", got)
	}
	if err := p.s.ConfirmNetwork(tr.Token, netip.MustParseAddr("192.0.2.99"), "late"); err == nil {
		t.Error("confirmed too late")
	}

	// The web admin dies meanwhile: who keeps the addresses takes them back all the same, and the next life tells.
	p.try("192.0.2.77/24")
	p.box.cut()
	p.hurry()
	p.has("192.0.2.10/24")
	p.box.start()
	p.begin()
	if got := p.audits(); len(got) != 1 || !strings.Contains(got[0], "network_reverted management | ipv4 192.0.2.77/24") {
		t.Errorf("after a crash: %q", got)
	}

	// A restart of the box: the trial was in memory.
	p.try("192.0.2.66/24")
	p.box.cut()
	if err := os.Remove(filepath.Join(string(p.dir), "management.trial")); err != nil {
		t.Fatal(err)
	}
	p.has("192.0.2.10/24")
	p.box.start()
	p.begin()
	if got := p.audits(); len(got) != 1 || !strings.Contains(got[0], "network_reverted management | ipv4 192.0.2.66/24") {
		t.Errorf("after a restart: %q", got)
	}
}

func TestAddressesThatCannotBeAreNotTried(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	for why, n := range map[string]webadmin.NetworkSettings{
		"no address at all":   {IPv4: "off", IPv6: "off"},
		"no length":           {IPv4: "192.0.2.99", IPv6: "off"},
		"a router far away":   {IPv4: "192.0.2.99/24", IPv4Gateway: "198.51.100.1", IPv6: "off"},
		"what is there":       {IPv4: "192.0.2.10/24", IPv6: "off"},
		"a VLAN out of range": {VLAN: 5000, IPv4: "192.0.2.99/24", IPv6: "off"},
	} {
		_, err := p.s.TryNetwork(n, "anna")
		var wrong webadmin.WrongConfig
		var refused webadmin.Refused
		if !errors.As(err, &wrong) && !errors.As(err, &refused) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if tr, err := p.dir.Trial(); tr != nil || err != nil || len(p.audits()) != 0 {
		t.Errorf("%+v, %v, %q", tr, err, p.audits())
	}
	if none := (&source{a: newDeaf(t, homePlans, homeList).Appliance}); none.Network() != nil {
		t.Error("a machine whose addresses are not ours has a management port")
	}
}

func TestAWebAdminThatWouldNotBeHeardAtTheNewAddressIsFoundOut(t *testing.T) {
	t.Parallel()
	static := func(a string) config.Management { return config.Management{IPv4: a, IPv6: config.Off} }
	for _, row := range []struct {
		why, listen string
		was, next   config.Management
		good        bool
	}{
		{"at all addresses", ":8443", static("192.0.2.10/24"), static("192.0.2.11/24"), true},
		{"at all of IPv6's", "[::]:8443", static("192.0.2.10/24"), static("192.0.2.11/24"), true},
		{"at the old one", "192.0.2.10:8443", static("192.0.2.10/24"), static("192.0.2.11/24"), false},
		{"at the old one, which stays", "192.0.2.10:8443", static("192.0.2.10/24"), static("192.0.2.10/25"), true},
		{"at one that DHCP gave", "192.0.2.50:8443", config.Management{IPv4: config.DHCP, IPv6: config.Auto}, static("192.0.2.11/24"), false},
		{"at one that DHCP gave, and only name servers differ", "192.0.2.50:8443", config.Management{IPv4: config.DHCP}, config.Management{IPv4: config.DHCP, DNS: []string{"192.0.2.1"}}, true},
	} {
		if err := stillHeard(row.listen, row.was, row.next); (err == nil) != row.good {
			t.Errorf("%s: %v", row.why, err)
		}
	}
}
