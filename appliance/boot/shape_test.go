package boot

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/cabling"
	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/image/layout"
)

// portsNamed are ports whose cards are there.
func portsNamed(names ...string) ports { return assign(cabling.Cards{Names: names}) }

func aRouter() shape {
	return shape{Topology: config.Routed, Subscribers: []string{"port2"}, Upstream: []string{"port3"},
		Addresses: []config.Address{{Interface: "port2", Address: "10.1.0.1/16"}, {Interface: "port3", Address: "2001:db8:2::2/64"}},
		Routes:    []config.Route{{To: "default", Via: "fe80::1", Interface: "port3"}, {To: "10.9.0.0/16", Via: "10.1.0.2"}}}
}

// A box whose settings are lost stays the router that it was, under a configuration that the rules take.
func TestARouterWithoutSettingsStaysOne(t *testing.T) {
	t.Parallel()
	file, p, s := filepath.Join(t.TempDir(), "mailweir.yaml"), portsNamed("port1", "port2", "port3"), aRouter()
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
	p := portsNamed("port1", "port2", "port3", "port4")
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

func TestABridgeOfOtherPortsIsTold(t *testing.T) {
	t.Parallel()
	p := portsNamed("port1", "port2", "port3", "port4")
	swapped := shape{Topology: config.Bridge, Subscribers: []string{"port3"}, Upstream: []string{"port2"}}
	if wrong := append(p.bridgeable(p.bridge()), p.bridgeable(swapped)...); len(wrong) > 0 {
		t.Errorf("%v", wrong)
	}
	wrong := p.bridgeable(shape{Topology: config.Bridge, Subscribers: []string{"port2", "port9"}, Upstream: []string{"port1"}})
	if len(wrong) != 2 || wrong[0].Key != "network.subscriber_interfaces[1]" || wrong[0].Message != "port9 is none of this box's bridge, which has port2 and port3" || wrong[1].Key != "network.upstream_interfaces[0]" {
		t.Errorf("%v", wrong)
	}
}

// A port that comes or goes while the box runs gives no other one its work.
func TestThePortsAreThoseOfTheStart(t *testing.T) {
	was := cabled
	cabled = cabling.Dir(t.TempDir())
	defer func() { cabled = was }()
	if _, err := portsHere(); err == nil {
		t.Error("ports that nobody has found are known")
	}
	if err := cabled.SaveCards(portsNamed("port1", "port2", "port3", "port4").cards); err != nil {
		t.Fatal(err)
	}
	p, err := portsHere()
	if err != nil || p.management != "port1" || p.subscribers != "port2" || p.upstream != "port3" || len(p.spare) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestTheConsoleSaysWhatTheRouterHas(t *testing.T) {
	t.Parallel()
	s := aRouter()
	three := portsNamed("port1", "port2", "port3", "port4")
	three.address = map[string]string{"port2": "eth1, 52:54:00:00:00:02"}
	for text, want := range map[string][]string{
		three.with(&s):                        {"port2 (eth1, 52:54:00:00:00:02): subscribers, routed, 10.1.0.1/16\n", ": internet, routed, 2001:db8:2::2/64\n", "port4 (): not used", "route to default via fe80::1 port3\n", "route to 10.9.0.0/16 via 10.1.0.2"},
		three.with(nil):                       {"port2 (eth1, 52:54:00:00:00:02): subscribers, bridged\n", "port4 (): not used"},
		portsNamed("port1", "port2").with(&s): {"There is no management port: the box is set up at the console only."},
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
	macs := map[string]string{"port1": "52:54:00:00:00:01", "port2": "52:54:00:00:00:02", "port3": "52:54:00:00:00:03"}
	bridge := portsNamed("port1", "port2", "port3").bridge()
	if err := keepIn(file, keptShape{bridge, macs}); err != nil {
		t.Errorf("a bridge on a disk from before: %v", err)
	}
	if err := keepIn(file, keptShape{aRouter(), macs}); err == nil || !strings.Contains(err.Error(), "flash it anew") {
		t.Errorf("a router on a disk from before: %v", err)
	}
	if err := os.WriteFile(file, make([]byte, layout.KeptSize), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		why  string
		s    shape
		macs map[string]string
	}{{"a fresh bridge", bridge, macs}, {"a router", aRouter(), macs}, {"one with another card", aRouter(), map[string]string{"port1": "52:54:00:00:00:99"}}, {"cards without an address", bridge, nil}} {
		if err := keepIn(file, keptShape{row.s, row.macs}); err != nil {
			t.Fatal(err)
		}
		was, err := os.ReadFile(file)
		if err != nil || len(was) != layout.KeptSize {
			t.Fatalf("%d bytes, %v", len(was), err)
		}
		got, known := readKept(layout.Kept(was))
		if got == nil || !got.network().SameShape(row.s.network()) || !maps.Equal(known, row.macs) {
			t.Errorf("%s: %+v, %v", row.why, got, known)
		}
		if err := keepIn(file, keptShape{row.s, row.macs}); err != nil {
			t.Fatal(err)
		}
		if is, _ := os.ReadFile(file); !bytes.Equal(was, is) {
			t.Errorf("%s: the same again was written", row.why)
		}
	}
	for _, bad := range []string{"", "nonsense", "{}", `{"topology": "hub"}`} {
		if s, macs := readKept([]byte(bad)); s != nil || macs != nil {
			t.Errorf("%q is read as %+v, %v", bad, s, macs)
		}
	}
	// As the version before kept it, and of hardware addresses that cannot be read at least the shape.
	for _, old := range []string{`{"topology":"routed","subscriber_interfaces":["port2"],"upstream_interfaces":["port3"],"addresses":[{"Interface":"port2","Address":"10.1.0.1/16"}],"routes":null}`,
		`{"topology":"routed","subscriber_interfaces":["port2"],"upstream_interfaces":["port3"],"addresses":[{"Interface":"port2","Address":"10.1.0.1/16"}],"routes":null,"macs":7}`} {
		if s, macs := readKept([]byte(old)); s == nil || !s.routed() || s.Addresses[0].Address != "10.1.0.1/16" || macs != nil {
			t.Errorf("%s is read as %+v, %v", old, s, macs)
		}
	}
}

// The builder made the file as long as it is: the longest shape that a configuration may have fits, with the cards of as many ports as are looked at.
func TestTheLongestShapeFits(t *testing.T) {
	t.Parallel()
	s, macs := shape{Topology: config.Routed}, map[string]string{}
	for n := 1; n <= portsMost; n++ {
		macs[portName(n)] = "52:54:00:00:00:01"
		s.Subscribers = append(s.Subscribers, portName(n))
		s.Upstream = append(s.Upstream, portName(n))
	}
	for range config.MaxAddresses {
		s.Addresses = append(s.Addresses, config.Address{Interface: "port64.mailweir", Address: "2001:0db8:1111:2222:3333:4444:5555:6666/128"})
	}
	for range config.MaxRoutes {
		s.Routes = append(s.Routes, config.Route{To: "2001:0db8:1111:2222:3333:4444:5555:6666/128", Via: "2001:0db8:1111:2222:3333:4444:5555:7777", Interface: "port64.mailweir"})
	}
	file := filepath.Join(t.TempDir(), "network")
	if err := os.WriteFile(file, make([]byte, layout.KeptSize), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keepIn(file, keptShape{s, macs}); err != nil {
		t.Error(err)
	}
}

func TestACardStaysThePortThatItWas(t *testing.T) {
	t.Parallel()
	of := func(macs ...string) (cards []card) {
		for _, m := range macs {
			cards = append(cards, card{mac: m})
		}
		return cards
	}
	abc := map[string]string{"port1": "a", "port2": "b", "port3": "c"}
	for _, row := range []struct {
		why     string
		found   []card
		macs    map[string]string
		named   []string
		want    string // which port each card is
		missing string
		says    []string
	}{
		{"a fresh box", of("a", "b", "c"), nil, nil, "port1 port2 port3", "", nil},
		{"the same again", of("a", "b", "c"), abc, nil, "port1 port2 port3", "", nil},
		{"the buses are numbered otherwise", of("c", "a", "b"), abc, nil, "port3 port1 port2", "", nil},
		{"one is gone, and the others stay what they were", of("a", "c"), abc, nil, "port1 port3", "port2", []string{"port2 is missing: its network card b was not found"}},
		{"the management port is gone", of("b", "c"), abc, nil, "port2 port3", "port1", []string{"port1 is missing: its network card a was not found"}},
		{"one was replaced", of("a", "x", "c"), abc, nil, "port1 port2 port3", "", []string{"port2 has another network card than before: it was b and is x"}},
		{"one was added before the others", of("x", "a", "b", "c"), abc, nil, "port4 port1 port2 port3", "", nil},
		{"another machine", of("x", "y"), abc, []string{"port2", "port3"}, "port1 port2", "", []string{"none of the network cards was here at the last start, so the ports are numbered anew, in the order of the machine's buses"}},
		{"a router of the version before", of("a", "b", "c"), nil, []string{"port2", "port4"}, "port1 port2 port3", "port4", []string{
			"the version that ran before kept no hardware addresses: the ports are numbered in the order of the machine's buses, and from now on each card stays the port that it is",
			"port4 is missing: the box has no network card for it"}},
		{"cards without an address", of("", "b", ""), map[string]string{"port2": "b"}, nil, "port1 port2 port3", "", nil},
		{"two cards with the same address", of("a", "x", "x"), nil, nil, "port1 port2 port3", "", nil},
		{"the same again, of a version that kept them", of("a", "x", "x"), map[string]string{"port1": "a", "port2": "x", "port3": "x"}, nil, "port1 port2 port3", "", nil},
		{"one more with the address of the first", of("a", "a", "c"), abc, nil, "port1 port2 port3", "", []string{"port2 has another network card than before: it was b and is one without a permanent hardware address"}},
		{"no card at all", nil, abc, nil, "", "", []string{"none of the network cards was here at the last start, so the ports are numbered anew, in the order of the machine's buses"}},
	} {
		which, c := numbered(row.found, row.macs, row.named)
		if got := strings.Join(which, " "); got != row.want || strings.Join(c.Missing, " ") != row.missing || !slices.Equal(c.Text(), row.says) {
			t.Errorf("%s: %s, missing %q, says %q", row.why, got, c.Missing, c.Text())
		}
	}
	// What is missing has its work still.
	_, c := numbered(of("b", "c"), abc, nil)
	if p := assign(c); p.management != "port1" || p.has("port1") || p.subscribers != "port2" || p.upstream != "port3" || !slices.Equal(p.there(p.data()...), []string{"port2", "port3"}) {
		t.Errorf("%+v", p)
	}
	// A spare port that is gone is forgotten, unless the router needs it.
	_, c = numbered(of("a", "b", "c"), map[string]string{"port1": "a", "port2": "b", "port3": "c", "port4": "d"}, nil)
	p, s := assign(c), aRouter()
	if got := p.macs(s); !maps.Equal(got, abc) {
		t.Errorf("kept: %v", got)
	}
	s.Subscribers = append(s.Subscribers, "port4")
	if got := p.macs(s); got["port4"] != "d" {
		t.Errorf("kept: %v", got)
	}
}

// What is damaged is not taken for a box of which nothing is known, which is a bridge.
func TestADamagedFileIsNoBridge(t *testing.T) {
	blank := make([]byte, layout.KeptSize)
	if s, _, err := readWhole(blank); s != nil || err != nil {
		t.Errorf("of a box that was never anything: %+v, %v", s, err)
	}
	text, err := json.Marshal(keptShape{shape: aRouter()})
	if err != nil {
		t.Fatal(err)
	}
	half, at, err := layout.Keep(blank, text)
	if err != nil {
		t.Fatal(err)
	}
	copy(blank[at:], half)
	if s, _, err := readWhole(blank); err != nil || s == nil || !s.routed() {
		t.Errorf("whole: %+v, %v", s, err)
	}
	blank[at+100]++
	if s, _, err := readWhole(blank); err == nil || s != nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged: %+v, %v", s, err)
	}
}
