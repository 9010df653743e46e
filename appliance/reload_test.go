package appliance

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// without is a configuration without one of its plans.
func without(yaml, plan string) string {
	at := strings.Index(yaml, "  - name: "+plan)
	rest := yaml[at+4:]
	if next := strings.Index(rest, "  - name: "); next >= 0 {
		return yaml[:at] + rest[next:]
	}
	return yaml[:at]
}

// A plan chosen for somebody in the list keeps a configuration from losing it; one
// chosen for who is gone does not, and can be taken back all the same.
func TestAPlanThatWasChosenForWhoIsGone(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	for _, id := range []string{"home", "other", "100.64.9.9/32"} {
		if id == "100.64.9.9/32" {
			d.session(id, "strangers")
		}
		if v, err := s.SetPlan(id, "large", "me"); err != nil || v.Plan != "large" {
			t.Fatal(id, v, err)
		}
	}
	d.write("mailweir.yaml", without(homePlans, "large"))
	ps, ok := errors.AsType[config.Problems](d.reload())
	if !ok || len(ps) != 3 || d.planOf("home") != "large" {
		t.Fatal(ps, d.planOf("home"))
	}
	d.write("subscribers.csv", "subscriber,plan,prefixes\nelse,small,100.64.0.3\n")
	if ps, ok = errors.AsType[config.Problems](d.reload()); !ok || len(ps) != 1 || !strings.Contains(ps[0].Message, "100.64.9.9/32") {
		t.Fatal(ps)
	}
	d.write("mailweir.yaml", homePlans)
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	if v, err := s.SetPlan("home", "", "me"); err != nil || v.ID != "home" || v.PlanSource == "operator" || len(v.Prefixes) != 0 {
		t.Error(v, err)
	}
	if _, err := s.SetPlan("home", "", "me"); !errors.Is(err, webadmin.ErrUnknownSubscriber) {
		t.Error(err)
	}
	if _, err := s.SetPlan("100.64.9.9/32", "", "me"); err != nil {
		t.Error(err)
	}
	d.told(records.KindAudit)
	d.write("mailweir.yaml", without(homePlans, "large"))
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	got := d.told(records.KindAudit)
	if last := got[len(got)-1]; last != "mailweir: plan other | large -> the list's, since the configuration has no plan large" || len(d.who.Plans()) != 0 {
		t.Errorf("%q, %v", last, d.who.Plans())
	}
}

// planOf is the plan in force for a subscriber.
func (d *deaf) planOf(id string) string { return d.who.planOf(id) }

// looks is the time in which a changed list is taken.
func (d *deaf) looks() {
	d.lookAtSubscribers()
	d.lookAtSubscribers()
}

// A list that changes after it was read and before anybody looks at it again is
// read again: at the start, and at a reload.
func TestAListThatChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	holder := func() string { return d.who.of(netip.MustParseAddr("100.64.0.1")).id }
	d.write("subscribers.csv", "subscriber,plan,prefixes\nsomebody,small,100.64.0.1\n")
	if d.looks(); holder() != "somebody" {
		t.Errorf("after the start it is held by %s", holder())
	}
	read := d.listSeen
	if d.looks(); d.listSeen != read {
		t.Error("read again without a change")
	}
	d.write("subscribers.csv", homeList)
	if err := d.reload(); err != nil || holder() != "home" {
		t.Fatal(err, holder())
	}
	if d.listSeen == read {
		t.Error("what the reload read is not known to be read")
	}
	d.write("subscribers.csv", "subscriber,plan,prefixes\nanother,small,100.64.0.1\n")
	if d.looks(); holder() != "another" {
		t.Errorf("after the reload it is held by %s", holder())
	}
	d.write("subscribers.csv", "subscriber,plan,prefixes\nhome,golden,100.64.0.1\n")
	if d.looks(); holder() != "another" {
		t.Errorf("a bad list made it %s's", holder())
	}
	if got := d.told(records.KindConfig); !strings.Contains(got[len(got)-1], "refused") || !strings.Contains(got[len(got)-1], "golden") {
		t.Errorf("%q", got)
	}
}

// A configuration that is refused changes nothing, whatever it is refused for.
func TestARefusedReloadChangesNothing(t *testing.T) {
	t.Parallel()
	good := homePlans + "syslog: {targets: [{url: \"udp://127.0.0.1:9\"}]}\n"
	d := newDeaf(t, good, homeList)
	before, list, policy := d.cfg.Load(), d.who.Table(), d.gov.Stats()
	for _, bad := range []struct{ yaml, csv, why string }{
		{without(homePlans, "large") + "syslog: {targets: [{url: \"udp://127.0.0.2:9\"}]}\n", "", "secret"},
		{homePlans, "subscriber,plan\nhome,golden\n", "golden"},
		{"mode: strict\n", "", "mode"},
	} {
		yaml, csv := bad.yaml, bad.csv
		if bad.why == "secret" {
			yaml = strings.Replace(yaml, "identity: {", "identity: {radius: {listen: \"127.0.0.1:18130\", secret_file: nothing}, ", 1)
		}
		if csv == "" {
			csv = homeList
		}
		d.write("mailweir.yaml", yaml)
		d.write("subscribers.csv", csv)
		if err := d.reload(); err == nil || !strings.Contains(err.Error(), bad.why) {
			t.Errorf("%s: %v", bad.why, err)
		}
		if got := d.syslog.Status(); len(got) != 1 || got[0].URL != "udp://127.0.0.1:9" {
			t.Errorf("%s: collectors %+v", bad.why, got)
		}
		if d.cfg.Load() != before || d.who.Table() != list || d.gov.Stats() != policy {
			t.Errorf("%s: something else is in force", bad.why)
		}
	}
	d.write("subscribers.csv", homeList)
	d.write("mailweir.yaml", strings.Replace(good, "127.0.0.1", "127.0.0.3", 1))
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	if got := d.syslog.Status(); len(got) != 1 || got[0].URL != "udp://127.0.0.3:9" {
		t.Errorf("collectors %+v", got)
	}
}

// check lists what is wrong with a long list; the log of a box that runs gets the first of it.
func TestTheLogGetsFewOfManyProblems(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	d.write("subscribers.csv", "subscriber,plan\n"+strings.Repeat("a b,small\n", 50))
	_, _, err := LoadConfig(filepath.Join(d.dir, "mailweir.yaml"))
	if ps, ok := errors.AsType[config.Problems](err); !ok || len(ps) != 50 || ps[49].Line != 51 {
		t.Errorf("%v", err)
	}
	d.refused("subscribers.csv", err)
	if got := strings.Count(d.log.String(), "subscribers.csv:"); got != LoggedProblems+1 || !strings.Contains(d.log.String(), "mailweir check lists them") {
		t.Errorf("%d lines are named:\n%s", got, d.log)
	}
}

// A list that is empty or gone makes strangers of nobody; who wants none says so.
func TestAListWithoutAnybodyIsRefused(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	for _, list := range []string{"", "subscriber,plan,prefixes\n", "# nothing\nsubscriber,plan,prefixes\n", "gone"} {
		d.write("subscribers.csv", list)
		why := "has no subscriber any more"
		if list == "gone" {
			why = "is not there any more"
			if err := os.Remove(filepath.Join(d.dir, "subscribers.csv")); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.reload(); err == nil || !strings.Contains(err.Error(), why) && list != "" {
			t.Errorf("%q: %v", list, err)
		}
		d.looks()
		if got := d.told(records.KindConfig); len(got) == 0 || !strings.Contains(got[len(got)-1], "refused") || d.who.Table().Len() != 2 {
			t.Errorf("%q: %q, %d subscribers", list, got, d.who.Table().Len())
		}
	}
	d.write("mailweir.yaml", strings.Replace(homePlans, "identity: {", "identity: {subscribers_file: \"\", ", 1))
	if err := d.reload(); err != nil || d.who.Table().Len() != 0 {
		t.Errorf("%v, %d subscribers", err, d.who.Table().Len())
	}
}

// Whoever comes first, nobody is left under a plan that is gone.
func TestAPlanIsChosenWhileItIsTakenAway(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	s := &source{a: d.Appliance}
	for range 20 {
		chosen := make(chan error, 1)
		d.write("mailweir.yaml", without(homePlans, "large"))
		go func() {
			_, err := s.SetPlan("home", "large", "me")
			chosen <- err
		}()
		reloaded := d.reload()
		if err := <-chosen; (err == nil) == (reloaded == nil) {
			t.Fatalf("chosen: %v, reloaded: %v", err, reloaded)
		}
		if names := d.cfg.Load().PlanNames(); !slices.Contains(names, d.planOf("home")) {
			t.Fatalf("home is under %s, and there are %v", d.planOf("home"), names)
		}
		d.write("mailweir.yaml", homePlans)
		if err := d.reload(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.SetPlan("home", "", "me"); err != nil {
			t.Fatal(err)
		}
	}
}

// From enforce to observe nobody stays cut.
func TestModeObserveLetsGoOfEverybody(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	held := netip.MustParseAddr("100.64.0.1")
	k := &fakeKernel{set: map[netip.Addr]time.Duration{held: time.Hour}}
	d.cutter.use(k)
	d.write("mailweir.yaml", strings.Replace(homePlans, "mode: enforce", "mode: observe", 1))
	d.pass(time.Minute)
	if err := d.reload(); err != nil {
		t.Fatal(err)
	}
	if since := *d.since.Load(); !since.Equal(d.time()) || modeOf(d.cfg.Load()) != governor.ModeObserve || k.has(held) {
		t.Errorf("since %v; cut: %v", since, k.has(held))
	}
}

// What cannot change while running waits for a restart and is named; everything else of the same file is in force.
func TestWhatNeedsARestart(t *testing.T) {
	t.Parallel()
	for key, change := range map[string]func(*config.Config){
		"":                      func(c *config.Config) {},
		"network.topology":      func(c *config.Config) { c.Network.Topology = "bridged" },
		"network.limited_ports": func(c *config.Config) { c.Network.LimitedPorts = []uint16{2525} },
		"network.limited_ports network.counted_ports": func(c *config.Config) {
			c.Network.LimitedPorts, c.Network.CountedPorts = []uint16{}, []uint16{25} // the same ports, and the kernel cuts at other ones
		},
		"network.on_failure": func(c *config.Config) { c.Network.OnFailure = "block" },
		"network.mark_mask":  func(c *config.Config) { c.Network.MarkMask++ },
		"queue.length":       func(c *config.Config) { c.Queue.Length++ },
		"admin.listen":       func(c *config.Config) { c.Admin.Listen = "127.0.0.1:1" },
	} {
		old, next := config.Default(), config.Default()
		next.Mode = config.Enforce
		change(next)
		live, waiting := carried(old, next)
		if strings.Join(waiting, " ") != key || live.Mode != config.Enforce {
			t.Errorf("%s: mode %s, waiting %q", key, live.Mode, waiting)
		}
		next = config.Default()
		next.Mode = config.Enforce
		if !reflect.DeepEqual(live, next) {
			t.Errorf("%s: in force is %+v", key, live)
		}
	}
}

// A reload takes what it can, names what waits, goes on doing so with what comes later, and names nothing any more once it is taken back.
func TestAReloadWhileKeysWait(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	text := strings.Replace(homePlans, "mode: enforce", "mode: observe", 1) + "network: {counted_ports: [465]}\n"
	for _, step := range []struct{ text, mode, waiting, record string }{
		{text, "observe", "network.counted_ports", "reloaded, waiting for a restart: network.counted_ports"},
		{strings.Replace(text, "mode: observe", "mode: enforce", 1), "enforce", "network.counted_ports", "reloaded, waiting for a restart: network.counted_ports"},
		{text + "admin: {listen: \"192.0.2.1:443\"}\n", "observe", "network.counted_ports admin.listen", "reloaded, waiting for a restart: network.counted_ports, admin.listen"},
		{homePlans, "enforce", "", "reloaded"},
	} {
		d.write("mailweir.yaml", step.text)
		if err := d.reload(); err != nil {
			t.Fatal(err)
		}
		got := d.told(records.KindConfig)
		if d.cfg.Load().Mode != step.mode || strings.Join(d.waits(), " ") != step.waiting || !strings.HasPrefix(got[len(got)-1], "configuration "+step.record+" |") || len(d.cfg.Load().Network.CountedPorts) != 0 {
			t.Errorf("mode %s, waiting %q, record %q; want %+v", d.cfg.Load().Mode, d.waits(), got[len(got)-1], step)
		}
	}
}

// within fails when do hangs.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal(what + " hangs")
	}
}

// A pipe in the place of the list, or of the configuration, is refused and said: whoever opened it would wait for ever.
func TestAPipeInThePlaceOfAFile(t *testing.T) {
	t.Parallel()
	d := newDeaf(t, homePlans, homeList)
	for _, name := range []string{"subscribers.csv", "mailweir.yaml"} {
		path := filepath.Join(d.dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
			t.Fatal(err)
		}
		within(t, "the look at "+name, d.looks)
		within(t, "the reload of "+name, func() {
			if err := d.reload(); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "not a plain file") {
				t.Errorf("%s: %v", name, err)
			}
		})
		if name == "subscribers.csv" {
			if got := d.told(records.KindConfig); !strings.Contains(got[len(got)-1], "not a plain file") {
				t.Errorf("%q", got)
			}
		}
		if d.who.Table().Len() != 2 {
			t.Error("the list is not in force any more")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		d.write(name, string(good))
		if err := d.reload(); err != nil {
			t.Errorf("%s is there again: %v", name, err)
		}
	}
}

// A plan gets another name while sessions begin: nobody passes unjudged meanwhile, and who is deferred stays so.
func TestAPlanIsRenamedWhileSessionsBegin(t *testing.T) {
	t.Parallel()
	var list strings.Builder
	list.WriteString(homeList)
	for i := range 20_000 {
		fmt.Fprintf(&list, "line-%d,small,10.1.%d.%d\n", i, i>>8, i&255)
	}
	d := newDeaf(t, homePlans, list.String())
	home := netip.MustParseAddr("100.64.0.1")
	open := func() governor.Decision {
		w := d.who.of(home) // as the judge does
		return d.gov.Open(governor.Attempt{Subscriber: w.id, Plan: w.plan, Destination: netip.MustParsePrefix("192.0.2.0/24")}, d.time())
	}
	for open().LetThrough() {
	}
	stop, ended := make(chan struct{}), make(chan int)
	go func() {
		let := 0
		for {
			select {
			case <-stop:
				ended <- let
				return
			default:
				if open().LetThrough() {
					let++
				}
			}
		}
	}()
	old, yaml := "small", homePlans
	for _, next := range []string{"tiny", "little", "small"} {
		yaml = strings.Replace(yaml, "name: "+old, "name: "+next, 1)
		d.write("mailweir.yaml", yaml)
		d.write("subscribers.csv", strings.ReplaceAll(list.String(), ",small,", ","+next+","))
		if err := d.reload(); err != nil {
			t.Error(err)
		}
		if plan := d.planOf("home"); plan != next {
			t.Errorf("home is under %s", plan)
		}
		old = next
	}
	close(stop)
	if let, unknown := <-ended, d.gov.Stats().UnknownPlan; let > 0 || unknown > 0 {
		t.Errorf("%d sessions passed, %d attempts were under a plan that nobody knows", let, unknown)
	}
}
