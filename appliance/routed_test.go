package appliance

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/config"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

const someAddresses = `[{"interface": "lan0", "address": "10.1.0.1/16"}, {"interface": "wan0", "address": "192.0.2.2/29"}]`

// A router's addresses, routes and ports change together, with a restart; if that cannot be, the box comes up with those of before.
func TestWhatTheImagesPortsAreWaitsForARestart(t *testing.T) {
	t.Parallel()
	f := newFlashed(t)
	s := &source{a: f.Appliance}
	set := func(keys ...webadmin.ConfigKey) webadmin.ConfigOutcome {
		t.Helper()
		o, err := s.SetConfig(webadmin.ConfigChange{Keys: keys}, "me")
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	o := set(key("network.addresses", someAddresses), key("network.routes", `[{"to": "default", "via": "192.0.2.1"}]`), key("network.subscriber_interfaces", `["lan0", "lan7"]`))
	if want := []string{"network.subscriber_interfaces", "network.addresses", "network.routes"}; !slices.Equal(o.Waiting, want) {
		t.Errorf("what waits is %q, want %q", o.Waiting, want)
	}
	if n := f.cfg.Load().Network; len(n.Addresses) != 0 || len(n.Routes) != 0 || slices.Contains(n.SubscriberInterfaces, "lan7") {
		t.Errorf("in force: %+v", n)
	}
	if v := f.routerView(f.cfg.Load()); v == nil || len(v.Addresses) != 0 {
		t.Errorf("status says %+v", v)
	}
	back, err := config.Parse("a", f.fallback())
	if err != nil || len(back.Network.Addresses) != 0 || len(back.Network.Routes) != 0 || slices.Contains(back.Network.SubscriberInterfaces, "lan7") {
		t.Errorf("fallback %s: %v", f.fallback(), err)
	}

	// What this box cannot be is refused where it was typed.
	f.opt.Image.Fits = func(n config.Network) (wrong config.Problems) {
		if slices.Contains(n.UpstreamInterfaces, "port1") {
			wrong = append(wrong, config.Problem{Key: "network.upstream_interfaces[0]", Message: "port1 is this box's management port"})
		}
		return wrong
	}
	was := f.read("mailweir.yaml")
	var wrong webadmin.WrongConfig
	if _, err := s.SetConfig(webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("network.upstream_interfaces", `["port1", "wan0"]`)}}, "me"); !errors.As(err, &wrong) || wrong[0].Key != "network.upstream_interfaces[0]" || wrong[0].Line == 0 || f.read("mailweir.yaml") != was {
		t.Errorf("%+v", err)
	}
	set(key("defer.text", `"later"`)) // and nobody is asked who changes something else

	// The next life asks for just that, and a box that cannot be so says why.
	_, next, err := f.onDisk()
	if err != nil {
		t.Fatal(err)
	}
	var asked config.Network
	f.opt.Image.Shape = func(n config.Network) error { asked = n; return errors.New("this box has no port lan7") }
	if err := f.shapePorts(next); err == nil || !strings.Contains(err.Error(), "this box has no port lan7") || !asked.SameShape(next.Network) {
		t.Errorf("%v, asked for %+v", err, asked)
	}
	f.cfg.Store(next)
	if v := f.routerView(f.cfg.Load()); v == nil || len(v.Addresses) != 2 || v.Addresses[1].Address != "192.0.2.2/29" || len(v.Routes) != 1 || v.Routes[0].Via != "192.0.2.1" {
		t.Errorf("status says %+v", v)
	}
}

// A backup of a box with other ports is put back, and which of them are not here is said before.
func TestABackupOfABoxWithOtherPortsSaysSo(t *testing.T) {
	t.Parallel()
	f := newFlashed(t)
	s := &source{a: f.Appliance}
	f.opt.Image.Fits = func(n config.Network) (wrong config.Problems) {
		if slices.Contains(n.UpstreamInterfaces, "port4") {
			wrong = append(wrong, config.Problem{Key: "network.upstream_interfaces[0]", Message: "this box has no port port4; it has port2, port3"})
		}
		return wrong
	}
	const missing = "network.upstream_interfaces[0] this box has no port port4; it has port2, port3"
	for text, want := range map[string]bool{
		homePlans: false,
		homePlans + "network: {topology: routed, subscriber_interfaces: [port2], upstream_interfaces: [port4], addresses: [{interface: port2, address: 10.1.0.1/16}]}\n": true,
	} {
		o, err := s.Restore(backupOf(t, text, nil), true, true, "olga")
		if err != nil {
			t.Fatal(err)
		}
		said := slices.ContainsFunc(o.Config.Warnings, func(p webadmin.ConfigProblem) bool { return p.Key+" "+p.Message == missing && p.Line > 0 })
		if said != want {
			t.Errorf("%s\nit says %+v", text, o.Config.Warnings)
		}
	}
}

func TestElsewhereAddressesAreNotGiven(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("mailweir.yaml", []byte("network:\n  addresses: [{interface: lan0, address: 10.1.0.1/16}]\n  routes: [{to: default, via: 10.1.0.2}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := RoutingWarnings(cfg, false)
	if len(got) != 2 || !strings.HasPrefix(got[0], "mailweir.yaml:2: network.addresses: does nothing on this machine") || !strings.HasPrefix(got[1], "mailweir.yaml:3: network.routes: does nothing on this machine") {
		t.Errorf("%q", got)
	}
	if got := append(RoutingWarnings(cfg, true), RoutingWarnings(config.Default(), false)...); len(got) != 0 {
		t.Errorf("%q", got)
	}
	if v := newDeaf(t, homePlans, homeList).routerView(cfg); v != nil {
		t.Errorf("status says %+v", v)
	}
}
