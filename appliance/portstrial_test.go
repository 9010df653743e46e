package appliance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/cabling"
	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/netconf"
	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

const (
	bridgePlans = "# ours\nnetwork: # of the box\n  topology: bridge\n  subscriber_interfaces: [port2]\n  upstream_interfaces: [port3]\n" + homePlans
	routerPlans = "# ours\nnetwork: # of the box\n  topology: routed\n  subscriber_interfaces: [port2]\n  upstream_interfaces: [port3]\n" +
		"  addresses: [{interface: port2, address: 10.1.0.1/16}, {interface: port3, address: 192.0.2.2/29}]\n  routes: [{to: default, via: 192.0.2.1}]\n" + homePlans
)

var errPower = errors.New("the power fails")

// plugged is a box with the image's ports, whose process 1 is played: what it keeps outlives a power cut, and what the ports are does not.
type plugged struct {
	*deaf
	kept    config.Network // beside the loader
	is      config.Network // the ports
	refuses error          // of the kernel
	cutAt   string         // "before shape", "after shape", "before keep", "after keep"
}

func newPlugged(t *testing.T) *plugged {
	t.Helper()
	p := &plugged{deaf: newDeaf(t, bridgePlans, homeList)}
	p.kept = p.cfg.Load().Network
	p.write("data/"+webadmin.UsersFile, "{}") // somebody can log in
	p.power()
	return p
}

// power has the box start after a power cut: process 1 has the ports be what is kept, and the first life begins.
func (p *plugged) power() {
	p.t.Helper()
	p.image = &Image{
		Shape: func(n config.Network) error {
			p.fails("before shape")
			if p.refuses != nil && !n.SamePorts(p.kept) {
				return p.refuses
			}
			p.is = n
			p.fails("after shape")
			return nil
		},
		Kept: func() (*config.Network, error) { n := p.kept; return &n, nil },
		Keep: func(n config.Network) error {
			p.fails("before keep")
			p.kept = n
			p.fails("after keep")
			return nil
		},
		Ports: cabling.Dir(p.t.TempDir()),
	}
	p.is = p.kept
	p.begin()
}

func (p *plugged) fails(at string) {
	if p.cutAt == at {
		p.cutAt = ""
		panic(errPower)
	}
}

// begin is the begin of a life.
func (p *plugged) begin() {
	p.t.Helper()
	p.cut()
	if err := p.start(); err != nil {
		p.t.Fatal(err)
	}
}

// start is a life that may not come up; the power may fail meanwhile.
func (p *plugged) start() (err error) {
	defer func() {
		if failed := recover(); failed != nil {
			if failed != any(errPower) {
				panic(failed)
			}
			err = errPower
		}
	}()
	p.deaf.start()
	p.opt.Management = netconf.Dir(p.t.TempDir())
	if err := p.shapePorts(p.cfg.Load()); err != nil {
		return err
	}
	p.countPorts() // the web admin answers
	return nil
}

// said are the records of the ports and the configuration.
func (p *plugged) said() (all []string) {
	p.t.Helper()
	for _, one := range p.told(records.KindAudit) {
		if strings.Contains(one, "network_") || strings.Contains(one, ": config ") {
			all = append(all, one)
		}
	}
	return all
}

func (p *plugged) token() string {
	p.t.Helper()
	if tr := p.portsTrial(); tr != nil {
		return tr.Token
	}
	return ""
}

func (p *plugged) confirms() error {
	return (&source{a: p.Appliance}).confirm(p.token(), "anna")
}

// confirm is ConfirmNetwork of the ports, without a management port.
func (s *source) confirm(token, who string) error {
	s.a.changing.Lock()
	defer s.a.changing.Unlock()
	if p := s.a.tried.Load(); p == nil || p.ID != token {
		return errors.New("nothing is tried")
	}
	return s.a.confirmPorts(who)
}

// isBridge tells what is not as it was before anything was tried.
func (p *plugged) isBridge(when string) {
	p.t.Helper()
	bridge, err := config.Parse("was", []byte(bridgePlans))
	if err != nil {
		p.t.Fatal(err)
	}
	now, err := config.Load(filepath.Join(p.dir, "mailweir.yaml"))
	if err != nil {
		p.t.Fatal(err)
	}
	if !now.Network.SameShape(bridge.Network) || !p.is.SamePorts(bridge.Network) || !p.kept.SamePorts(bridge.Network) || !p.cfg.Load().Network.SameShape(bridge.Network) || p.portsTrial() != nil {
		p.t.Errorf("%s: the file %+v\nthe ports %+v\nkept %+v\ntried %+v", when, now.Network, p.is, p.kept, p.portsTrial())
	}
	if text := p.read("mailweir.yaml"); !strings.Contains(text, "# ours\n") || !strings.Contains(text, "# of the box") || !strings.Contains(text, "name: strangers") {
		p.t.Errorf("%s: something else was lost: %s", when, text)
	}
	p.told(records.KindAudit)
	if _, err := os.Stat(filepath.Join(p.dir, "data", portsFile)); !os.IsNotExist(err) {
		p.t.Errorf("%s: %s stays: %v", when, portsFile, err)
	}
}

func (p *plugged) isRouter(when string) {
	p.t.Helper()
	now, err := config.Load(filepath.Join(p.dir, "mailweir.yaml"))
	if err != nil {
		p.t.Fatal(err)
	}
	if now.Network.Topology != config.Routed || !p.is.SameShape(now.Network) || !p.kept.SameShape(now.Network) || p.portsTrial() != nil {
		p.t.Errorf("%s: the file %+v\nthe ports %+v\nkept %+v\ntried %+v", when, now.Network, p.is, p.kept, p.portsTrial())
	}
	if _, err := os.Stat(filepath.Join(p.dir, "data", portsFile)); !os.IsNotExist(err) {
		p.t.Errorf("%s: %s stays: %v", when, portsFile, err)
	}
}

func TestPortsThatAreKeptStay(t *testing.T) {
	t.Parallel()
	p := newPlugged(t)
	p.isBridge("at first")
	if said := p.said(); len(said) != 0 {
		t.Errorf("nothing was tried, and it says %q", said)
	}
	p.write("mailweir.yaml", routerPlans)
	p.begin()
	tr := p.portsTrial()
	if tr == nil || tr.Left <= 0 || time.Duration(tr.Left) > trialTime || tr.Before != "bridge; subscribers at port2; internet at port3" ||
		tr.After != "routed; subscribers at port2 10.1.0.1/16; internet at port3 192.0.2.2/29; route to default via 192.0.2.1" {
		t.Fatalf("%+v", tr)
	}
	if p.is.Topology != config.Routed || p.kept.Topology != config.Bridge {
		t.Errorf("the ports %+v, kept %+v", p.is, p.kept)
	}
	if err := p.confirms(); err != nil {
		t.Fatal(err)
	}
	p.isRouter("kept")
	want := []string{"mailweir: network_tried ports | " + tr.Before + " -> " + tr.After + "; taken back in 60 s unless confirmed", "anna: network_confirmed ports | " + tr.Before + " -> " + tr.After}
	if said := p.said(); !slices.Equal(said, want) {
		t.Errorf("it says %q", said)
	}
	p.power()
	p.isRouter("after a power cut")
	if said := p.said(); len(said) != 0 {
		t.Errorf("it says %q", said)
	}
}

func TestPortsThatNobodyKeepsAreTakenBack(t *testing.T) {
	t.Parallel()
	for why, ends := range map[string]func(p *plugged){
		"nobody kept them in time": func(p *plugged) { // process 1 ends this life
			if err := errors.Join(p.image.Ports.SayWhy("nobody kept them in time"), p.image.Ports.EndTrial()); err != nil {
				t.Fatal(err)
			}
			p.is = p.kept
			p.begin()
		},
		"the box or its program began again before anybody kept them": func(p *plugged) { p.begin() },
	} {
		p := newPlugged(t)
		p.write("mailweir.yaml", routerPlans)
		p.begin()
		token := p.token()
		// What else is changed meanwhile stays.
		if _, err := (&source{a: p.Appliance}).SetConfig(webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("defer.text", `"later"`)}}, "me"); err != nil {
			t.Fatal(err)
		}
		p.told(records.KindAudit)
		ends(p)
		said := p.said()
		p.isBridge(why)
		if text := p.read("mailweir.yaml"); !strings.Contains(text, "later") {
			t.Errorf("what else was changed is lost: %s", text)
		}
		const before, after = "bridge; subscribers at port2; internet at port3", "routed; subscribers at port2 10.1.0.1/16; internet at port3 192.0.2.2/29; route to default via 192.0.2.1"
		if len(said) != 2 || said[0] != "mailweir: network_reverted ports | "+after+" -> "+before+"; "+why ||
			!strings.HasPrefix(said[1], "mailweir: config mailweir.yaml | network.topology: routed; ") || !strings.Contains(said[1], "network.routes") || !strings.Contains(said[1], "taken back: "+why+" (revision ") {
			t.Errorf("it says %q", said)
		}
		if err := (&source{a: p.Appliance}).confirm(token, "late"); err == nil {
			t.Error("kept too late")
		}
		p.begin()
		p.isBridge("one life more")
		if said := p.said(); len(said) != 0 {
			t.Errorf("told again: %q", said)
		}
	}
}

// The power fails before and after each step; what there is then is whole, the old shape or, once it was confirmed, the new one.
func TestAPowerCutInTheTrialOfPorts(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"before shape", "after shape"} {
		p := newPlugged(t)
		p.write("mailweir.yaml", routerPlans)
		p.cut()
		if p.cutAt = at; !errors.Is(p.start(), errPower) {
			t.Fatalf("%s: the power did not fail", at)
		}
		p.power()
		p.isBridge("as it begins, " + at)
	}
	for _, at := range []string{"before shape", "after shape", "before keep"} { // and once more while it is taken back
		p := newPlugged(t)
		p.write("mailweir.yaml", routerPlans)
		p.begin()
		p.cut()
		if p.cutAt = at; !errors.Is(p.start(), errPower) {
			t.Fatalf("%s: the power did not fail", at)
		}
		p.power()
		p.isBridge("while it is taken back, " + at)
	}
	for at, kept := range map[string]bool{"before keep": false, "after keep": true} {
		p := newPlugged(t)
		p.write("mailweir.yaml", routerPlans)
		p.begin()
		func() {
			defer func() {
				if failed := recover(); failed != any(errPower) {
					t.Fatalf("%s: %v", at, failed)
				}
			}()
			p.cutAt = at
			t.Error(p.confirms())
		}()
		p.changing.TryLock()
		p.changing.Unlock()
		p.power()
		if kept {
			p.isRouter("as it is confirmed, " + at)
		} else {
			p.isBridge("as it is confirmed, " + at)
		}
	}
}

func TestPortsThatCannotBeAreNotTriedTwice(t *testing.T) {
	t.Parallel()
	p := newPlugged(t)
	p.refuses = errors.New("network.routes[0].via: no route to host")
	p.write("mailweir.yaml", routerPlans)
	p.cut()
	if err := p.start(); err == nil || !strings.Contains(err.Error(), "no route to host") {
		t.Fatalf("%v", err)
	}
	p.begin()
	said := p.said()
	p.isBridge("after they could not be")
	if len(said) != 2 || !strings.Contains(said[0], "; they cannot be: network.routes[0].via: no route to host") {
		t.Errorf("it says %q", said)
	}
}

func TestAnotherShapeIsRefusedWhileOneIsTried(t *testing.T) {
	t.Parallel()
	p := newPlugged(t)
	p.write("mailweir.yaml", routerPlans)
	p.begin()
	s := &source{a: p.Appliance}
	const want = "other ports are tried now, so they cannot change again: first keep them on the page Settings, Network, or wait until they are taken back"
	refused := func(how string, err error) {
		t.Helper()
		var wrong webadmin.WrongConfig
		var problems config.Problems
		switch {
		case errors.As(err, &wrong) && wrong[0].Key == "network.topology" && wrong[0].Message == want && wrong[0].Line == 3:
		case errors.As(err, &problems) && problems[0].Message == want:
		default:
			t.Errorf("%s: %v", how, err)
		}
	}
	_, err := s.SetConfig(webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("network.routes", `[]`)}}, "me")
	refused("by a key", err)
	_, err = s.Restore(backupOf(t, bridgePlans, nil), false, true, "me")
	refused("by a backup", err)
	p.write("mailweir.yaml", strings.Replace(routerPlans, "10.1.0.1", "10.1.0.9", 1))
	refused("by the file", p.reload())
	p.write("mailweir.yaml", routerPlans)
	if err := p.confirms(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetConfig(webadmin.ConfigChange{Keys: []webadmin.ConfigKey{key("network.routes", `[]`)}}, "me"); err != nil {
		t.Errorf("once they are kept: %v", err)
	}
}

// Which of a bridge's ports is the subscribers' is in force at once, and what comes back is what was there last.
func TestTheSidesOfABridgeAreNotTried(t *testing.T) {
	t.Parallel()
	p := newPlugged(t)
	p.write("mailweir.yaml", strings.NewReplacer("[port2]", "[port3]", "[port3]", "[port2]").Replace(bridgePlans))
	p.begin()
	if p.portsTrial() != nil || !slices.Equal(p.kept.SubscriberInterfaces, []string{"port3"}) {
		t.Errorf("tried %+v, kept %+v", p.portsTrial(), p.kept)
	}
	p.write("mailweir.yaml", routerPlans)
	p.begin()
	p.begin()
	if n := p.cfg.Load().Network; n.Topology != config.Bridge || !slices.Equal(n.SubscriberInterfaces, []string{"port3"}) {
		t.Errorf("taken back: %+v", n)
	}
}

// What is changed of a bridge while it is tried confirms nothing.
func TestTheSidesOfABridgeThatIsTriedConfirmNothing(t *testing.T) {
	t.Parallel()
	p := newPlugged(t)
	p.write("mailweir.yaml", routerPlans)
	p.begin()
	if err := p.confirms(); err != nil {
		t.Fatal(err)
	}
	p.write("mailweir.yaml", bridgePlans)
	p.begin()
	p.keepPorts(p.cfg.Load().Network) // as the reload of other sides does
	if p.portsTrial() == nil || p.kept.Topology != config.Routed {
		t.Errorf("tried %+v, kept %+v", p.portsTrial(), p.kept)
	}
	p.power()
	if p.kept.Topology != config.Routed || p.is.Topology != config.Routed || len(p.cfg.Load().Network.Addresses) != 2 || len(p.cfg.Load().Network.Routes) != 1 {
		t.Errorf("the router is not back: %+v, %+v", p.is, p.cfg.Load().Network)
	}
}

// A disk that keeps no shape has nothing to come back to, and without a management port nobody could confirm: then it is as it always was.
func TestWhereNothingCanComeBackNothingIsTried(t *testing.T) {
	t.Parallel()
	p := newPlugged(t)
	for why, kept := range map[string]func() (*config.Network, error){
		"nothing is kept": func() (*config.Network, error) { return nil, nil },
		"not readable":    func() (*config.Network, error) { return nil, errors.New("input/output error") },
	} {
		p.write("mailweir.yaml", routerPlans)
		p.image.Kept = kept
		p.begin()
		if p.portsTrial() != nil || p.is.Topology != config.Routed {
			t.Errorf("%s: tried %+v, the ports %+v", why, p.portsTrial(), p.is)
		}
	}
}

// Before there is a user nobody can log in to keep anything: a router's backup on a fresh box makes it that router.
func TestBeforeThereIsAUserNothingIsTried(t *testing.T) {
	t.Parallel()
	p := newPlugged(t)
	if err := os.Remove(filepath.Join(p.dir, "data", webadmin.UsersFile)); err != nil {
		t.Fatal(err)
	}
	p.write("mailweir.yaml", routerPlans)
	p.begin()
	p.isRouter("without a user")
}

// What cannot be noted is not tried, and mail is judged all the same.
func TestWhatCannotBeNotedIsNotTried(t *testing.T) {
	t.Parallel()
	p := newPlugged(t)
	p.write("mailweir.yaml", routerPlans)
	at := filepath.Join(p.dir, "data", portsFile)
	if err := os.MkdirAll(filepath.Join(at, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.image.Kept = func() (*config.Network, error) {
		n := p.kept
		return &n, nil
	}
	p.begin()
	if p.is.Topology != config.Bridge || p.cfg.Load().Network.Topology != config.Bridge || p.portsTrial() != nil {
		t.Errorf("the ports %+v, governed %+v, tried %+v", p.is, p.cfg.Load().Network, p.portsTrial())
	}
	if p.read("mailweir.yaml") != routerPlans {
		t.Error("what the operator wrote was changed")
	}
}

// Where the configuration cannot be put back, the ports are all the same, and stay so.
func TestPortsAreTakenBackWithoutTheConfiguration(t *testing.T) {
	t.Parallel()
	p := newPlugged(t)
	p.write("mailweir.yaml", routerPlans)
	p.begin()
	if err := p.confirms(); err != nil {
		t.Fatal(err)
	}
	p.write("mailweir.yaml", bridgePlans)
	p.begin()
	if p.portsTrial() == nil {
		t.Fatal("the bridge is not tried")
	}
	p.write("mailweir.yaml", bridgePlans+"management: {ipv4: 10.1.0.9/16}\n") // a network of the router that comes back
	for life := range 3 {
		p.begin()
		if p.is.Topology != config.Routed || p.kept.Topology != config.Routed || p.cfg.Load().Network.Topology != config.Routed || p.portsTrial() != nil {
			t.Errorf("life %d: the ports %+v, governed %+v, tried %+v", life, p.is, p.cfg.Load().Network, p.portsTrial())
		}
	}
	p.write("mailweir.yaml", bridgePlans)
	p.begin()
	if now, err := config.Load(filepath.Join(p.dir, "mailweir.yaml")); err != nil || now.Network.Topology != config.Routed {
		t.Errorf("once it can be, the configuration is not put back: %+v, %v", now, err)
	}
}

// A configuration that was put in the place of the tried one meanwhile is not taken back: it is tried itself.
func TestOtherPortsThatCameMeanwhileAreTried(t *testing.T) {
	t.Parallel()
	p := newPlugged(t)
	p.write("mailweir.yaml", routerPlans)
	p.begin()
	other := strings.ReplaceAll(routerPlans, "10.1.0.1/16", "10.77.0.1/16")
	p.write("mailweir.yaml", other)
	p.begin()
	if tr := p.portsTrial(); tr == nil || !strings.Contains(tr.After, "10.77.0.1/16") || p.read("mailweir.yaml") != other {
		t.Errorf("tried %+v", tr)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "data", portsFile)); err != nil {
		t.Errorf("nothing notes that: %v", err)
	}
	p.power()
	p.isBridge("after a power cut")
}

func TestAPortThatIsMissingIsTold(t *testing.T) {
	t.Parallel()
	p := newPlugged(t)
	const text = "port3 is missing: its network card 52:54:00:00:00:03 was not found"
	if err := p.image.Ports.SaveCards(cabling.Cards{Names: []string{"port1", "port2", "port3"}, Missing: []string{"port3"}, MACs: map[string]string{"port3": "52:54:00:00:00:03"},
		Other: []cabling.Other{{Port: "port2", Was: "a", Is: "b"}}, Unknown: true}); err != nil {
		t.Fatal(err)
	}
	for life := range 2 {
		p.begin()
		var want []string
		if life == 0 {
			want = []string{"ports good " + cabling.UnknownText, "ports bad port2 has another network card than before: it was a and is b", "ports bad " + text}
		}
		var got []string
		p.told(records.KindHealth)
		for _, r := range p.recent.Select(100, func(r *records.Record) bool { return r.Kind == records.KindHealth && r.Value("what") == "ports" }) {
			got = append([]string{fmt.Sprintf("ports %s %s", map[bool]string{true: "good", false: "bad"}[r.Severity == records.Notice], r.Value("detail"))}, got...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("life %d: %q", life, got)
		}
	}
	if missing := p.missingPorts(); len(missing) != 1 || missing["port3"] != "52:54:00:00:00:03" {
		t.Errorf("%v", missing)
	}
}
