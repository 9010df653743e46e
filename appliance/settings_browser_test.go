package appliance

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
	"github.com/mailweir/mailweir/web-admin/browsertest"
)

// What a person does, in short.
var open, see, click, reads, typed, chosen, sends = browsertest.Open, browsertest.See, browsertest.Click, browsertest.Read, browsertest.Type, browsertest.Choose, browsertest.Send

// unplugged is the source of a box without network, of which there are no packets to count.
type unplugged struct{ *source }

func (u unplugged) Status() webadmin.Status {
	st := webadmin.Status{Box: u.a.box, Mode: u.a.cfg.Load().Mode, Ready: true, Store: webadmin.Store{OK: true}, Notices: u.a.noticeTargets()}
	for _, t := range u.a.syslog.Status() {
		st.Syslog = append(st.Syslog, webadmin.Syslog{URL: t.URL, Up: t.Up, Since: webadmin.At(u.a.syslog.since(t.URL)), Behind: int64(t.Behind), LastError: t.LastError})
	}
	return st
}

// here is the web admin of a box that has it in this process.
func (d *deaf) here() *webadmin.Server { return d.web.(*webadmin.Server) }

// serve starts the web admin of a box without network, and leaves it to end.
func serve(t *testing.T, d *deaf, listen string) (end func() error) {
	t.Helper()
	o := d.webOptions(d.cfg.Load())
	o.Listen, o.Source = listen, unplugged{&source{a: d.Appliance}}
	web, err := webadmin.New(o)
	if err != nil {
		t.Fatal(err)
	}
	d.web = web
	return background(context.Background(), d.web.Run)
}

// recording has the records of a box without network made and kept, until the test ends.
func recording(t *testing.T, d *deaf) {
	ends := []func() error{background(context.Background(), d.writer.Run), background(context.Background(), d.journal.Run)}
	t.Cleanup(func() {
		for _, end := range ends {
			if err := end(); err != nil {
				t.Error(err)
			}
		}
	})
}

// browse opens the web admin of a box without network, in a browser without scripts.
func browse(t *testing.T, d *deaf) *browsertest.Person {
	t.Helper()
	recording(t, d)
	end := serve(t, d, "127.0.0.1:0")
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	return browsertest.New(t, d.here().URL())
}

// collector is a syslog server that takes everything over TCP, and passes it on.
func collector(t *testing.T, to io.Writer) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); io.Copy(to, c) }()
		}
	}()
	return l.Addr().(*net.TCPAddr)
}

// freePort is a port that nobody has at this moment.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

const browserPassword = "four words are easier"

// From the first visit to a box that observes and sends its records: what a step says to be in force at once is, on a real box, what it says to wait waits, and
// somebody who leaves in the middle finds where they were.
func TestTheWizardSetsUpABox(t *testing.T) {
	d := newDeaf(t, "# Written by hand.\nmode: enforce # too early\n", "subscriber,plan\n")
	p := browse(t, d)
	p.Do("the first visit", open(p.URL), see("#code"), typed("#code", d.here().SetupCode()), typed("#password", browserPassword), typed("#again", browserPassword+"\r"), see(".steps"))
	p.Do("the first step", click("main .button"), see("#limited"))
	p.Do("a port that is none", typed("#counted", "465, 587, 70000"), click(".go button"), see("#errors"))
	if said := p.Text("#errors"); !strings.Contains(said, "Counted ports: 70000 is out of range; allowed: 1 to 65535") {
		t.Errorf("%q", said)
	}
	if said := p.Text("#force"); !strings.Contains(said, "ports wait for a restart") {
		t.Errorf("%q", said)
	}
	p.Do("the ports", typed("#counted", "465, 587"), click(".go button"), see("select[name=host]"))
	if said := p.Text("#waiting"); len(d.cfg.Load().Network.CountedPorts) != 0 || !strings.Contains(said, "network.counted_ports waits for a restart") {
		t.Errorf("ports that are to wait: %v in force, and the page says %q", d.cfg.Load().Network.CountedPorts, said)
	}
	p.Do("left", open(p.URL), see("#setup-left"))
	if said := p.Text("#setup-left"); !strings.Contains(said, "6 steps are left") {
		t.Errorf("%q", said)
	}
	port := fmt.Sprint(freePort(t))
	p.Do("resumed", click("#setup-left a"), see(".steps"), click("main .button"), see("select[name=host]"), typed("#port", port), click(".go button"), see(".facts"))
	p.Do("the time", click(".go button"), see("#presets"))
	if said := p.Text("#waiting"); d.cfg.Load().Admin.Listen == ":"+port || !strings.Contains(said, "admin.listen") {
		t.Errorf("an address that is to wait: %s in force, and the page says %q", d.cfg.Load().Admin.Listen, said)
	}
	p.Do("plans", click("input[value=hosting]"), click(".go button"), see("#text"))
	if !slices.Contains(d.cfg.Load().PlanNames(), "hosting") {
		t.Error("plans that are to be in force at once are not")
	}
	p.Do("a list with an error", typed("#text", "subscriber,plan,prefixes\nS-1,residential,100.64.0.1\nS-2,golden,100.64.0.2\nS-3,hosting,100.64.0.300\n"), click("button[value=preview]"), see("#bad-lines"))
	if said := p.Text("#bad-lines"); !strings.Contains(said, `3unknown plan "golden"`) || !strings.Contains(said, "golden") || !strings.Contains(said, "S-3,hosting,100.64.0.300") {
		t.Errorf("%q", said)
	}
	file := filepath.Join(d.dir, "upload.csv")
	d.write("upload.csv", "subscriber,plan,prefixes\r\nS-1,residential,100.64.0.1\r\nS-2,office,100.64.0.2\r\nS-3,hosting,100.64.0.3\r\n")
	p.Do("a good one, left", sends("#file", file), click("button[value=preview]"), see("button[value=take]"), open(p.URL), see("#setup-left"))
	if n := d.who.Table().Len(); n != 0 {
		t.Errorf("%d subscribers before the list is taken", n)
	}
	p.Do("and taken", open(p.URL+"wizard/subscribers"), see("#preview"), click("button[value=take]"), see("#transport"))
	if n := d.who.Table().Len(); n != 3 {
		t.Errorf("%d subscribers after it was taken", n)
	}
	at := collector(t, io.Discard)
	p.Do("a collector", chosen("#transport", "tcp"), typed("#host", "127.0.0.1"), typed("#port", fmt.Sprint(at.Port)), click("button[value=add]"), see("button[value=test]"))
	p.Do("tested", click("button[value=test]"), see("#tested"))
	if said := p.Text("#tested"); !strings.Contains(said, "has it") || strings.Contains(said, "does not") {
		t.Errorf("%q", said)
	}
	p.Do("the mode", click("button[value=keep]"), see("#mode-choice"), click("input[value=observe]"), click(".go button"), see("#finished"))
	if said := p.Text("#finished") + p.Text("#waiting"); !strings.Contains(said, "mode observe, 3 subscribers, 1 collector") || !strings.Contains(said, "Ports that are only counted network.counted_ports; Address of the web admin admin.listen wait") {
		t.Errorf("%q", said)
	}
	p.Do("done", open(p.URL), see("#mode"))
	if p.Count("#setup-left") != 0 {
		t.Error("the overview still says that it is not finished")
	}

	// What came of it is what `mailweir check` reads.
	cfg, table, err := LoadConfig(filepath.Join(d.dir, "mailweir.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Mode != "observe" || !slices.Equal(cfg.Network.CountedPorts, []uint16{465, 587}) || cfg.Admin.Listen != ":"+port || !slices.Contains(cfg.PlanNames(), "hosting") ||
		len(cfg.Syslog.Targets) != 1 || table.Len() != 3 || d.cfg.Load().Mode != "observe" || d.syslog.Status()[0].URL != cfg.Syslog.Targets[0].URL {
		t.Errorf("%+v", cfg)
	}
	if text := d.read("mailweir.yaml"); !strings.HasPrefix(text, "# Written by hand.\nmode: observe # too early\n") {
		t.Errorf("%s", text)
	}
	changes := d.recent.Select(recentRecords, func(r *records.Record) bool {
		after := r.Value("after") // a long change has several records
		return r.Kind == records.KindAudit && (r.Value("what") == "config" || r.Value("what") == "subscribers") && (!strings.Contains(after, ", part ") || strings.Contains(after, ", part 1 of "))
	})
	if len(changes) != 6 || !strings.HasPrefix(changes[0].Value("who"), "admin 127.0.0.1") || !strings.Contains(changes[0].Value("before"), "mode: enforce") || !strings.Contains(changes[0].Value("after"), "mode: observe") {
		t.Errorf("%d changes on record, the last %q -> %q", len(changes), changes[0].Value("before"), changes[0].Value("after"))
	}
}

// A plan is changed once it was seen whom that would have hit; and a backup takes it back.
func TestAPlanIsChangedWithAWhatIfAndRestored(t *testing.T) {
	d := newTrying(t)
	d.sends("100.64.0.1", 3)
	d.journaled()
	p := browse(t, d)
	p.Do("the first visit", open(p.URL), see("#code"), typed("#code", d.here().SetupCode()), typed("#password", browserPassword), typed("#again", browserPassword+"\r"), see(".steps"))
	backup, err := (&source{a: d.Appliance}).Backup("me")
	if err != nil {
		t.Fatal(err)
	}
	plan := d.cfg.Load().Plans[0]
	page := p.URL + "plans/" + plan.Name
	p.Do("a limit that is none", open(page), see("#plan"), typed("#limit-0", "0"), click("button[value=try]"), see("#errors"))
	if said := p.Text("#errors"); !strings.Contains(said, "Budget 1: 0 is out of range") {
		t.Errorf("%q", said)
	}
	p.Do("a low one", typed("#limit-0", "3"), typed("#burst-0", "1"), click("button[value=try]"), see("#what-if"))
	if said := p.Text("#what-if"); !strings.Contains(said, "Of 3 sessions") || !strings.Contains(said, "1 subscriber would have been deferred or cut who was not") || !strings.Contains(said, "home") {
		t.Errorf("%q", said)
	}
	if d.cfg.Load().Plans[0].Budgets[0].Limit != plan.Budgets[0].Limit {
		t.Error("it is in force before it was saved")
	}
	p.Do("another one, of which nothing was seen", typed("#limit-0", "4"), click("button[value=save]"), reads("#what-if", "4 per 1h"))
	if d.cfg.Load().Plans[0].Budgets[0].Limit != plan.Budgets[0].Limit {
		t.Error("saved unseen")
	}
	p.Do("saved", click("button[value=save]"), see(".done"))
	if b := d.cfg.Load().Plans[0].Budgets[0]; b.Limit != 4 || b.Burst != 1 {
		t.Errorf("in force: %+v", b)
	}
	file := filepath.Join(d.dir, "backup.zip")
	if err := os.WriteFile(file, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	p.Do("what the backup would change", open(p.URL+"settings/backup"), see("#file"), sends("#file", file), click("button[value=look]"), see("#looked"))
	if said := p.Text("#looked"); !strings.Contains(said, "Plan small, budget 1: limit") || !strings.Contains(said, "plans[0].budgets[0].limit") || d.cfg.Load().Plans[0].Budgets[0].Limit != 4 {
		t.Errorf("%q", said)
	}
	p.Do("restored", sends("#file", file), typed("#now-restore", browserPassword), click("button[value=restore]"), reads("#looked", "Restored"))
	if d.cfg.Load().Plans[0].Budgets[0].Limit != plan.Budgets[0].Limit {
		t.Error("not restored")
	}
}
