package webadmin

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/mailweir/mailweir/web-admin/browsertest"
	"github.com/mailweir/mailweir/web-admin/users"
)

// triedReport is what a what-if answers of a change that hits some and frees others.
const triedReport = `{"from": "2026-11-11T11:00:00Z", "to": "2026-11-18T11:03:58Z", "sessions": 18231, "missing": 0,
 "config": {"guessed": 12, "decisions": {"passed": 17900, "paced": 200, "deferred": 120, "cut": 11},
  "mail_servers": {"plans": ["mailserver"], "subscribers": 3, "touched": 2, "decisions": {"passed": 4100, "paced": 61, "deferred": 9, "cut": 0}, "messages_lo": 88}},
 "against": {"decisions": {"passed": 18100, "paced": 90, "deferred": 40, "cut": 1},
  "mail_servers": {"plans": ["mailserver"], "subscribers": 3, "touched": 1, "decisions": {"passed": 4163, "paced": 7, "deferred": 0, "cut": 0}, "messages_lo": 7}},
 "subscribers": [
  {"subscriber": "S-1044", "name": "Elm Street 12", "plan": "residential", "highest_stage": "cut", "why": "tls_handshakes 61/20 per 1h (305%)", "stage_seconds": {"defer": 3600, "cut": 7200}, "against": {"plan": "residential", "highest_stage": "pace", "stage_seconds": {"pace": 600}}},
  {"subscriber": "S-1102", "name": "Mill Lane 3, 2nd floor", "plan": "residential", "highest_stage": "defer", "why": "sessions 9/5 at once, 20 per 1h (180%)", "stage_seconds": {"defer": 1800}, "against": {"plan": "residential", "highest_stage": "observe", "stage_seconds": {}}},
  {"subscriber": "S-0871", "name": "Bakery Hinterholz", "plan": "office", "highest_stage": "warn", "why": "", "stage_seconds": {}, "against": {"plan": "office", "highest_stage": "defer", "why": "destinations 31/30 per 1h (103%)", "stage_seconds": {"defer": 5400}}},
  {"subscriber": "S-2004", "plan": "office", "highest_stage": "pace", "why": "", "stage_seconds": {"pace": 60}, "against": {"plan": "office", "highest_stage": "warn", "why": "", "stage_seconds": {}}}]}`

// The pages on which the box is set up, at every width and in both colours, with scripts: each fits, none is refused by the content policy, and a
// plan is looked at while somebody types.
func TestSettingsFitTheirScreens(t *testing.T) {
	ctx := browser(t)
	box := busyBox()
	box.report = triedReport
	box.waiting = []string{"network.counted_ports", "admin.listen"}
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	person(t, s, boss, users.Admin)
	if err := s.wizard.mark("network"); err != nil {
		t.Fatal(err)
	}
	said := browsertest.Complaints(ctx)
	logIn(t, ctx, s)
	do, look := walk(t, ctx, true)
	open := func(path string) chromedp.Action[chromedp.Void] {
		return chromedp.Navigate(s.URL() + strings.TrimPrefix(path, "/"))
	}
	see := func(css string) chromedp.Action[chromedp.Void] { return chromedp.WaitVisible(chromedp.CSS(css)) }
	click := func(css string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.CSS(css)) }

	do("the overview", open("/"), see("#setup-left"))
	do("the wizard", open("/wizard"), see(".steps"))
	look("wizard")
	for _, step := range wizardSteps() {
		do(step.name, open("/wizard/"+step.name), see(".steps"))
		look("wizard-" + step.name)
	}
	do("a list with errors", open("/wizard/subscribers"), chromedp.SendKeys(chromedp.CSS("#text"), "subscriber,plan,prefixes\nS-1,residential,100.64.0.1\nS-2,golden,100.64.0.2\n"), click("button[value=preview]"), see("#bad-lines"))
	look("wizard-subscribers-errors")
	evaluate[bool](t, ctx, `(document.querySelector("#text").value = "subscriber,plan,prefixes\nS-1,residential,100.64.0.1\n", true)`)
	do("a good one", click("button[value=preview]"), see("button[value=take]"))
	look("wizard-subscribers-preview")
	do("collectors tested", open("/wizard/syslog"), click("button[value=test]"), see("#tested"))
	look("wizard-syslog-tested")
	do("plans", open("/plans"), see(".rows"))
	look("plans")
	do("a plan", open("/plans/residential"), see("#plan"))
	look("plan")
	evaluate[bool](t, ctx, `(document.querySelector("#limit-0").value = "", true)`)
	do("while typing", chromedp.SendKeys(chromedp.CSS("#limit-0"), "30"), see("#verdict .rows"))
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`document.querySelector("#verdict").textContent.includes("plans[0].budgets")`, chromedp.WithPollingTimeout(10*time.Second))); err != nil {
		t.Errorf("nothing says what changes: %v", err)
	}
	do("tried", see("#what-if")) // by itself
	look("plan-tried")
	more := make(chan struct{})
	box.mu.Lock()
	box.trial = func(ctx context.Context, q WhatIfQuestion) error {
		err := far(ctx, WhatIfQuestion{Progress: func(p WhatIfProgress) {
			if p.Doing != DoingReport {
				q.Progress(p)
			}
		}})
		<-more
		return err
	}
	box.mu.Unlock()
	evaluate[bool](t, ctx, `(document.querySelector("#limit-0").value = "", true)`)
	do("typed on", chromedp.SendKeys(chromedp.CSS("#limit-0"), "31"), see("#far"))
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`document.querySelector("#far-text").textContent.includes("41") && document.querySelector("#tried").classList.contains("before")`, chromedp.WithPollingTimeout(10*time.Second))); err != nil {
		t.Errorf("nothing says how far it is: %v", err)
	}
	look("plan-trying")
	close(more)
	do("tried again", see(".what-if"), see("button[value=save]:enabled"))
	box.mu.Lock()
	box.trial = func(context.Context, WhatIfQuestion) error { return context.Canceled } // and so no answer
	box.mu.Unlock()
	do("no answer", chromedp.SendKeys(chromedp.CSS("#limit-0"), "2"), see("#far-before"))
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`document.querySelector("#far-before").textContent.includes("did not answer") && document.querySelector("#far").hidden && !!document.querySelector("button[value=save]:disabled")`, chromedp.WithPollingTimeout(10*time.Second))); err != nil {
		t.Errorf("nothing says that there was no answer: %v", err)
	}
	box.mu.Lock()
	box.trial = nil
	box.mu.Unlock()
	do("records and notices", open("/settings/targets"), see("#do-webhook"))
	look("settings-targets")
	do("a webhook", click("#do-webhook summary"), see("#hook-name"))
	look("settings-webhook")
	do("e-mail", click("#do-mail summary"), see("#smarthost"))
	look("settings-mail")
	do("a collector", click("#do-collector summary"), see("#transport"))
	look("settings-collector")
	do("sources of identities", open("/settings/sources"), see("#bound"))
	look("settings-sources")
	do("RADIUS", click("#do-radius summary"), see("#listen"))
	look("settings-radius")
	do("lease files", click("#do-leases summary"), see("#lease-path"))
	look("settings-leases")
	do("the certificate", open("/settings/certificate"), see("#sha256"), click("#do-self-signed summary"), see("#do-self-signed button"))
	look("settings-certificate")
	do("the language", open("/settings/language"), see("#language"))
	look("settings-language")
	do("the mode", open("/mode"), see("main form button"))
	look("mode")
	do("backup", open("/settings/backup"), see("#file"))
	look("settings-backup")
	other := filepath.Join(t.TempDir(), "edge-1.zip")
	if err := os.WriteFile(other, []byte("PK backup"), 0o600); err != nil {
		t.Fatal(err)
	}
	do("a backup of another box", chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{other}), click("button[value=look]"), see("#looked .remarks"))
	look("settings-backup-looked")
	do("network", open("/settings/network"), see("#ipv4"))
	look("settings-network")
	box.mu.Lock()
	box.ports = triedRouter()
	box.mu.Unlock()
	do("ports are tried", open("/settings/network"), see("#tried-ports button"))
	look("settings-network-ports")
	box.mu.Lock()
	box.ports = nil
	box.mu.Unlock()
	do("network again", open("/settings/network"), see("#ipv4"))
	evaluate[bool](t, ctx, `(document.querySelector("#ipv4").value = "static", document.querySelector("#address4").value = "192.0.2.10/24", true)`)
	do("another address", chromedp.SendKeys(chromedp.CSS("#now-network"), password), click("main form button"), see("#tried"))
	look("settings-network-tried")
	do("confirm", open(confirmPath("ABCDEFGHIJKLMNOPQRSTUVWXYZ")), see("main form button"))
	look("confirm")
	do("confirmed", click("main form button"), see("#kept"))
	look("confirmed")
	update := func(content string) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), "mailweir-0.2.0-amd64.mwu")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	choose := func(content string) chromedp.Action[chromedp.Void] {
		return chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{update(content)})
	}
	do("updates", open("/settings/update"), see("#slots"))
	look("settings-update")
	do("a damaged one", choose(damagedUpdate), click("main form[data-upload] button"), see("#refused"))
	look("settings-update-damaged")
	do("a sound one", choose(soundUpdate), click("main form[data-upload] button"), see("#waits"), click("#do-reboot summary"), see("#do-reboot button"))
	look("settings-update-waits")
	do("the box starts again", click("#do-reboot button"), see("#rebooting"))
	look("rebooting")
	box.mu.Lock()
	box.firmware = triedFirmware()
	box.mu.Unlock()
	do("on trial", open("/settings/update"), see("#trial"))
	look("settings-update-trial")
	typed := func(css, text string) chromedp.Action[chromedp.Void] {
		return chromedp.SendKeys(chromedp.CSS(css), text)
	}
	do("a factory reset", open("/settings/reset"), see("#confirm"))
	look("settings-reset")
	do("a collector is down", typed("#now", password), typed("#confirm", resetWords), click("button.danger"), see("#errors"))
	look("settings-reset-down")
	do("all the same", typed("#now", password), typed("#confirm", resetWords), click("#anyway"), click("button.danger"), see("#erasing"))
	look("erasing")
	do("backup again", open("/settings/backup"), see("#waiting"))
	do("restarted", click("#waiting button"), see(`main a[href="/login"]`))
	stay := func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, page.StopLoading, cdp.Empty{})
		return chromedp.Void{}, err
	}
	do("the page stays", stay) // it goes on to the login after some seconds, and looking takes longer
	at := evaluate[string](t, ctx, "location.pathname")
	look("restarting")
	if later := evaluate[string](t, ctx, "location.pathname"); later != at {
		t.Errorf("while %s was looked at it went on to %s", at, later)
	}
	for _, m := range said() {
		if !strings.Contains(m, "400") && !strings.Contains(m, "422") { // what is wrong is sent on purpose
			t.Errorf("the browser complains: %s", m)
		}
	}
}
