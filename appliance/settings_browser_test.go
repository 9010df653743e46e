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
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/mailweir/mailweir/appliance/records"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// surfer is a person with a headless Chromium at a box.
type surfer struct {
	t   *testing.T
	ctx context.Context
	url string
}

func (p *surfer) do(why string, actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, end := context.WithTimeout(p.ctx, time.Minute)
	defer end()
	if err := chromedp.Do(ctx, actions...); err != nil {
		said, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](`location.href + ": " + document.body.innerText`))
		p.t.Fatalf("%s: %v; the page says: %s", why, err, strings.Join(strings.Fields(said), " "))
	}
}

func (p *surfer) text(css string) string {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.TextContent(chromedp.CSS(css)))
	if err != nil {
		p.t.Fatalf("%s: %v", css, err)
	}
	return strings.Join(strings.Fields(v), " ")
}

func open(url string) chromedp.Action[chromedp.Void]  { return chromedp.Navigate(url) }
func see(css string) chromedp.Action[chromedp.Void]   { return chromedp.WaitVisible(chromedp.CSS(css)) }
func click(css string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.CSS(css)) }

// reads waits until an element says something: the page before may have it, too, with other words.
func reads(css, text string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		said := chromedp.Evaluate[bool](fmt.Sprintf(`!!document.querySelector(%[1]q) && document.querySelector(%[1]q).innerText.includes(%[2]q)`, css, text))
		for {
			if ok, err := said(ctx, tab); err == nil && ok { // an error: the next page is on its way
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s does not say %q: %w", css, text, ctx.Err())
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
}

// typed puts text into a field, in the place of what is there.
func typed(css, text string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		if _, err := chosen(css, "")(ctx, tab); err != nil {
			return err
		}
		_, err := chromedp.SendKeys(chromedp.CSS(css), text)(ctx, tab)
		return err
	})
}

// chosen gives a field a value from outside the page, whose own scripts are off.
func chosen(css, value string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := chromedp.Evaluate[bool](fmt.Sprintf("(document.querySelector(%q).value = %q, true)", css, value))(ctx, tab)
		return err
	})
}

// unplugged is the source of a box without network, of which there are no packets to count.
type unplugged struct{ *source }

func (u unplugged) Status() webadmin.Status {
	st := webadmin.Status{Box: u.a.box, Mode: u.a.cfg.Load().Mode, Ready: true, Store: webadmin.Store{OK: true}, Notices: u.a.noticeTargets()}
	for _, t := range u.a.syslog.Status() {
		st.Syslog = append(st.Syslog, webadmin.Syslog{URL: t.URL, Up: t.Up, Since: webadmin.At(u.a.syslog.since(t.URL)), Behind: int64(t.Behind), LastError: t.LastError})
	}
	return st
}

// browse opens the web admin of a box without network, in a browser without scripts.
func browse(t *testing.T, d *deaf) *surfer {
	t.Helper()
	o := d.webOptions(d.cfg.Load())
	o.Listen, o.Source = "127.0.0.1:0", unplugged{&source{a: d.Appliance}}
	var err error
	if d.web, err = webadmin.New(o); err != nil {
		t.Fatal(err)
	}
	ends := []func() error{background(context.Background(), d.web.Run), background(context.Background(), d.writer.Run), background(context.Background(), d.journal.Run)}
	t.Cleanup(func() {
		for _, end := range ends {
			if err := end(); err != nil {
				t.Error(err)
			}
		}
	})
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), chromedp.ExecPath("/usr/bin/chromium"), chromedp.Headless, chromedp.NoSandbox,
		chromedp.IgnoreCertErrors, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.Flag("disable-dev-shm-usage", true))
	t.Cleanup(cancel)
	ctx, cancelTab := chromedp.NewContext(alloc)
	t.Cleanup(cancelTab)
	ctx, cancelTime := context.WithTimeout(ctx, 6*time.Minute)
	t.Cleanup(cancelTime)
	p := &surfer{t, ctx, d.web.URL()}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1440, 900), chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error { // the browser lives as long as this context
		_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	})); err != nil {
		t.Fatal(err)
	}
	return p
}

// collector is a syslog server that takes everything over TCP.
func collector(t *testing.T) *net.TCPAddr {
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
			go func() { defer c.Close(); io.Copy(io.Discard, c) }()
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

// From the first visit to a box that observes and sends its records: every step is in force on a real box as soon as it is saved, and somebody who
// leaves in the middle finds where they were.
func TestTheWizardSetsUpABox(t *testing.T) {
	d := newDeaf(t, "# Written by hand.\nmode: enforce # too early\n", "subscriber,plan\n")
	p := browse(t, d)
	p.do("the first visit", open(p.url), see("#code"), typed("#code", d.web.SetupCode()), typed("#password", browserPassword), typed("#again", browserPassword+"\r"), see(".steps"))
	p.do("the first step", click("main .button"), see("#limited"))
	p.do("a port that is none", typed("#counted", "465, 587, 70000"), click(".go button"), see("#errors"))
	if said := p.text("#errors"); !strings.Contains(said, "Counted ports: 70000 is out of range; allowed: 1 to 65535") {
		t.Errorf("%q", said)
	}
	p.do("the ports", typed("#counted", "465, 587"), click(".go button"), see("select[name=host]"))
	p.do("left", open(p.url), see("#setup-left"))
	if said := p.text("#setup-left"); !strings.Contains(said, "6 steps are left") {
		t.Errorf("%q", said)
	}
	port := fmt.Sprint(freePort(t))
	p.do("resumed", click("#setup-left a"), see(".steps"), click("main .button"), see("select[name=host]"), typed("#port", port), click(".go button"), see(".facts"))
	p.do("the time", click(".go button"), see("#presets"))
	p.do("plans", click("input[value=hosting]"), click(".go button"), see("#text"))
	p.do("a list with an error", typed("#text", "subscriber,plan,prefixes\nS-1,residential,100.64.0.1\nS-2,golden,100.64.0.2\nS-3,hosting,100.64.0.300\n"), click("button[value=preview]"), see("#bad-lines"))
	if said := p.text("#bad-lines"); !strings.Contains(said, `3unknown plan "golden"`) || !strings.Contains(said, "golden") || !strings.Contains(said, "S-3,hosting,100.64.0.300") {
		t.Errorf("%q", said)
	}
	file := filepath.Join(d.dir, "upload.csv")
	d.write("upload.csv", "subscriber,plan,prefixes\r\nS-1,residential,100.64.0.1\r\nS-2,office,100.64.0.2\r\nS-3,hosting,100.64.0.3\r\n")
	p.do("a good one, left", chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{file}), click("button[value=preview]"), see("button[value=take]"), open(p.url), see("#setup-left"))
	if n := d.who.Table().Len(); n != 0 {
		t.Errorf("%d subscribers before the list is taken", n)
	}
	p.do("and taken", open(p.url+"wizard/subscribers"), see("#preview"), click("button[value=take]"), see("#transport"))
	if n := d.who.Table().Len(); n != 3 {
		t.Errorf("%d subscribers after it was taken", n)
	}
	at := collector(t)
	p.do("a collector", chosen("#transport", "tcp"), typed("#host", "127.0.0.1"), typed("#port", fmt.Sprint(at.Port)), click("button[value=add]"), see("button[value=test]"))
	p.do("tested", click("button[value=test]"), see("#tested"))
	if said := p.text("#tested"); !strings.Contains(said, "has it") || strings.Contains(said, "does not") {
		t.Errorf("%q", said)
	}
	p.do("the mode", click("button[value=keep]"), see("#mode-choice"), click("input[value=observe]"), click(".go button"), see("#finished"))
	if said := p.text("#finished") + p.text("#waiting"); !strings.Contains(said, "mode observe, 3 subscribers, 1 collector") || !strings.Contains(said, "network.counted_ports, admin.listen wait") {
		t.Errorf("%q", said)
	}
	p.do("done", open(p.url), see("#mode"))
	if n, err := chromedp.Run(p.ctx, chromedp.Evaluate[int](`document.querySelectorAll("#setup-left").length`)); err != nil || n != 0 {
		t.Errorf("the overview still says that it is not finished: %d, %v", n, err)
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
		return r.Kind == records.KindAudit && (r.Value("what") == "config" || r.Value("what") == "subscribers")
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
	p.do("the first visit", open(p.url), see("#code"), typed("#code", d.web.SetupCode()), typed("#password", browserPassword), typed("#again", browserPassword+"\r"), see(".steps"))
	backup, err := (&source{a: d.Appliance}).Backup("me")
	if err != nil {
		t.Fatal(err)
	}
	plan := d.cfg.Load().Plans[0]
	page := p.url + "plans/" + plan.Name
	p.do("a limit that is none", open(page), see("#plan"), typed("#limit-0", "0"), click("button[value=try]"), see("#errors"))
	if said := p.text("#errors"); !strings.Contains(said, "Budget 1: 0 is out of range") {
		t.Errorf("%q", said)
	}
	p.do("a low one", typed("#limit-0", "3"), typed("#burst-0", "1"), click("button[value=try]"), see("#what-if"))
	if said := p.text("#what-if"); !strings.Contains(said, "Of 3 sessions") || !strings.Contains(said, "1 subscriber would have been deferred or cut who was not") || !strings.Contains(said, "home") {
		t.Errorf("%q", said)
	}
	if d.cfg.Load().Plans[0].Budgets[0].Limit != plan.Budgets[0].Limit {
		t.Error("it is in force before it was saved")
	}
	p.do("another one, of which nothing was seen", typed("#limit-0", "4"), click("button[value=save]"), reads("#what-if", "4 per 1h"))
	if d.cfg.Load().Plans[0].Budgets[0].Limit != plan.Budgets[0].Limit {
		t.Error("saved unseen")
	}
	p.do("saved", click("button[value=save]"), see(".done"))
	if b := d.cfg.Load().Plans[0].Budgets[0]; b.Limit != 4 || b.Burst != 1 {
		t.Errorf("in force: %+v", b)
	}
	file := filepath.Join(d.dir, "backup.zip")
	if err := os.WriteFile(file, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	p.do("what the backup would change", open(p.url+"settings/backup"), see("#file"), chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{file}), click("button[value=look]"), see("#looked"))
	if said := p.text("#looked"); !strings.Contains(said, "plans[0].budgets[0].limit") || d.cfg.Load().Plans[0].Budgets[0].Limit != 4 {
		t.Errorf("%q", said)
	}
	p.do("restored", chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{file}), click("button[value=restore]"), reads("#looked", "Restored"))
	if d.cfg.Load().Plans[0].Budgets[0].Limit != plan.Budgets[0].Limit {
		t.Error("not restored")
	}
}
