package webadmin

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/mailweir/mailweir/web-admin/browsertest"
	"github.com/mailweir/mailweir/web-admin/users"
)

// The pages of a box whose clock is not set, and those that say no: at every width and in both colours.
func TestPagesThatSayNoFitTheirScreens(t *testing.T) {
	ctx := browser(t)
	box := busyBox()
	box.status.Clock = unset
	box.status.FailClosed, box.status.Image = true, true
	box.waiting = []string{"network.topology", "network.subscriber_interfaces", "network.upstream_interfaces", "network.limited_ports", "network.counted_ports", "admin.listen"}
	s := startServer(t, Options{Source: box, Now: func() time.Time { return in2036 }})
	person(t, s, boss, users.Admin)
	person(t, s, "olga", users.Operator)
	if _, err := s.users.SetFactor("olga", "JBSWY3DPEHPK3PXP", codeAt(t, "JBSWY3DPEHPK3PXP", in2036)); err != nil {
		t.Fatal(err)
	}
	if err := s.wizard.mark(""); err != nil {
		t.Fatal(err)
	}
	said := browsertest.Complaints(ctx)
	do, look := walk(t, ctx, true)
	open := func(path string) chromedp.Action[chromedp.Void] {
		return chromedp.Navigate(s.URL() + strings.TrimPrefix(path, "/"))
	}
	see := func(css string) chromedp.Action[chromedp.Void] { return chromedp.WaitVisible(chromedp.CSS(css)) }
	click := func(css string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.CSS(css)) }
	typed := func(css, text string) chromedp.Action[chromedp.Void] {
		return chromedp.SendKeys(chromedp.CSS(css), text)
	}

	do("the login", open("/login"), see("#clock-unset"))
	look("no-clock-login")
	do("half way", typed("#name", "olga"), typed("#password", password+"\r"), see("#code"))
	do("a code of the app", typed("#code", "123456\r"), see("#wrong"))
	look("no-clock-code-wrong")
	do("an admin", open("/login"), see("#name"), typed("#name", boss), typed("#password", password+"\r"), see("#mode"))
	for name, path := range map[string]string{"factor": "/account/factor", "certificate": "/settings/certificate", "time": "/wizard/time", "wizard": "/wizard"} {
		do(name, open(path), see("h1"))
		look("no-clock-" + name)
	}
	long := strings.Repeat("a-very-long-name.", 14) + "example"
	do("servers that are refused", open("/wizard/time"), see("#servers"), typed("#servers", "wrong-"+long), click(".go button"), see("#errors"))
	look("wrong-time")
	do("ports that are none", open("/wizard/network"), see("#limited"), typed("#limited", ", twenty-five"), typed("#counted", " x"), click(".go button"), see("#errors"))
	look("wrong-network")
	do("a port that is wrong", open("/wizard/management"), see("#port"), chromedp.SetValue(chromedp.CSS("#port"), "wrong"), click(".go button"), see("#errors"))
	do("no list", open("/wizard/subscribers"), see("#text"), click("button[value=preview]"), see("#errors"))
	look("wrong-subscribers")
	do("no host", open("/wizard/syslog"), see("#host"), click("button[value=add]"), see("#errors"))
	do("a long host", open("/wizard/syslog"), see("#host"), typed("#host", "wrong-"+long), click("button[value=add]"), see("#errors"))
	look("wrong-syslog-long")
	do("one for the page of targets", open("/settings/targets"), see("#do-collector"), click("#do-collector summary"), typed("#host", "wrong-"+long), typed("#now-collector", password), click("#do-collector button"), see("#errors"))
	look("wrong-targets")
	do("passwords that differ", open("/settings/backup"), see("#passphrase"), typed("#now-backup", password), typed("#passphrase", "four words are easier"), typed("#again", "and four are not"), click("section button"), see("#errors"))
	do("a user that cannot be", open("/settings/users"), see("#do-add"), click("#do-add summary"), typed("#name", boss), typed("#now", password), click("#do-add button"), see("#errors"))
	do("the last admin", open("/settings/users/"+boss), see("#role"), chromedp.SetValue(chromedp.CSS("#role"), "viewer"), typed("#now-set", password), click("form.settings button"), see("#errors"))
	look("wrong-user")
	do("a reset with another password", click("#do-reset summary"), typed("#now-reset", "another"), click("#do-reset button"), see(`#errors a[href="#now-reset"]`))
	look("wrong-reset")
	do("a token with another password", open("/account"), see("#do-token"), click("#do-token summary"), typed("#label", "lists"), typed("#now-token", "another"), click("#do-token button"), see("#errors"))
	look("wrong-account")
	do("the words", open("/settings/reset"), see("#confirm"), typed("#now", password), typed("#confirm", "erase"), click("button.danger"), see("#errors"))
	person(t, s, "vera", users.Viewer)
	do("out", click(".leave button"), see("#password"), typed("#name", "vera"), typed("#password", password+"\r"), see("#mode"), open("/settings/network"), see("h1"))
	look("not-yours")
	for _, m := range said() {
		if !strings.Contains(m, "400") && !strings.Contains(m, "401") && !strings.Contains(m, "403") { // what is wrong is sent on purpose
			t.Errorf("the browser complains: %s", m)
		}
	}
}
