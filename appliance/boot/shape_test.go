package boot

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/image/layout"
)

func aRouter() shape {
	return shape{Topology: config.Routed, Subscribers: []string{"port2"}, Upstream: []string{"port3"},
		Addresses: []config.Address{{Interface: "port2", Address: "10.1.0.1/16"}, {Interface: "port3", Address: "2001:db8:2::2/64"}},
		Routes:    []config.Route{{To: "default", Via: "fe80::1", Interface: "port3"}, {To: "10.9.0.0/16", Via: "10.1.0.2"}}}
}

// A box whose settings are lost stays the router that it was, under a configuration that the rules take.
func TestARouterWithoutSettingsStaysOne(t *testing.T) {
	t.Parallel()
	file, p, s := filepath.Join(t.TempDir(), "mailweir.yaml"), assign([]string{"port1", "port2", "port3"}), aRouter()
	for range 2 { // the next start finds its own
		if err := configure(file, p, &s); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if c.Mode != config.Observe || !c.Network.SameShape(s.network()) {
			t.Errorf("%+v", c.Network)
		}
	}
	// A bridge that nobody has changed is no settings lost.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for _, last := range []*shape{nil, &s} {
		if err := configure(file, p, last); err != nil {
			t.Fatal(err)
		}
		if c, err := config.Load(file); err != nil || c.Network.Topology != config.Bridge {
			t.Errorf("last %v: %v", last, err)
		}
	}
	// Another box's is of no use here.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.Upstream = []string{"port7"}
	if err := configure(file, p, &s); err != nil {
		t.Fatal(err)
	}
	if c, err := config.Load(file); err != nil || c.Network.Topology != config.Bridge {
		t.Errorf("%v", err)
	}
}

func TestWhatIsInTheWayOfARouterIsTold(t *testing.T) {
	t.Parallel()
	p := assign([]string{"port1", "port2", "port3", "port4"})
	for _, row := range []struct {
		why    string
		change func(*shape)
		want   string
	}{
		{"nothing", func(*shape) {}, ""},
		{"a spare port", func(s *shape) { s.Subscribers = append(s.Subscribers, "port4") }, ""},
		{"the management port", func(s *shape) { s.Upstream = []string{"port1"} }, "network.upstream_interfaces[0]: port1 is this box's management port; its other ports are port2, port3, port4"},
		{"a port of a larger box", func(s *shape) { s.Subscribers = []string{"port2", "port6"} }, "network.subscriber_interfaces[1]: this box has no port port6; it has port2, port3, port4"},
		{"no address", func(s *shape) { s.Addresses = nil }, "network.addresses: is empty, and a router without an address routes nothing; give each port one, or write topology: bridge"},
	} {
		s := aRouter()
		row.change(&s)
		got := ""
		if wrong := p.routable(s); len(wrong) > 0 {
			got = wrong[0].Key + ": " + wrong[0].Message
		}
		if got != row.want {
			t.Errorf("%s: %q, want %q", row.why, got, row.want)
		}
	}
}

// A port that comes or goes while the box runs gives no other one its work.
func TestThePortsAreThoseOfTheStart(t *testing.T) {
	t.Parallel()
	p, err := portsOf([]byte(strings.Join(assign([]string{"port1", "port2", "port3", "port4"}).names, "\n")), nil)
	if err != nil || p.management != "port1" || p.subscribers != "port2" || p.upstream != "port3" || len(p.spare) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := portsOf(nil, os.ErrNotExist); err == nil {
		t.Error("ports that nobody has found are known")
	}
}

func TestTheConsoleSaysWhatTheRouterHas(t *testing.T) {
	t.Parallel()
	s := aRouter()
	three := assign([]string{"port1", "port2", "port3", "port4"})
	three.address = map[string]string{"port2": "eth1, 52:54:00:00:00:02"}
	for text, want := range map[string][]string{
		three.with(&s):  {"port2 (eth1, 52:54:00:00:00:02): subscribers, routed, 10.1.0.1/16\n", ": internet, routed, 2001:db8:2::2/64\n", "port4 (): not used", "route to default via fe80::1 port3\n", "route to 10.9.0.0/16 via 10.1.0.2"},
		three.with(nil): {"port2 (eth1, 52:54:00:00:00:02): subscribers, bridged\n", "port4 (): not used"},
		assign([]string{"port1", "port2"}).with(&s): {"There is no management port: the box is set up at the console only."},
	} {
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("no %q in\n%s", w, text)
			}
		}
	}
}

func TestTheShapeIsKeptBesideTheLoader(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "network")
	bridge := assign([]string{"port1", "port2", "port3"}).bridge()
	if err := keepIn(file, bridge); err != nil {
		t.Errorf("a bridge on a disk from before: %v", err)
	}
	if err := keepIn(file, aRouter()); err == nil || !strings.Contains(err.Error(), "flash it anew") {
		t.Errorf("a router on a disk from before: %v", err)
	}
	if err := os.WriteFile(file, make([]byte, layout.KeptSize), 0o600); err != nil {
		t.Fatal(err)
	}
	says := func() *shape {
		b, err := os.ReadFile(file)
		if err != nil || len(b) != layout.KeptSize {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		return readShape(layout.Kept(b), nil)
	}
	for _, row := range []struct {
		why   string
		s     shape
		known bool
	}{{"a box that was never anything else", bridge, false}, {"a router", aRouter(), true}, {"a bridge again", bridge, true}} {
		if err := keepIn(file, row.s); err != nil {
			t.Fatal(err)
		}
		got := says()
		if (got != nil) != row.known || got != nil && !got.network().SameShape(row.s.network()) {
			t.Errorf("%s: %+v", row.why, got)
		}
		was, _ := os.ReadFile(file)
		if err := keepIn(file, row.s); err != nil {
			t.Fatal(err)
		}
		if is, _ := os.ReadFile(file); !bytes.Equal(was, is) {
			t.Errorf("%s: the same again was written", row.why)
		}
	}
	for _, bad := range []string{"", "nonsense", "{}", `{"topology": "hub"}`} {
		if s := readShape([]byte(bad), nil); s != nil {
			t.Errorf("%q is read as %+v", bad, s)
		}
	}
}
