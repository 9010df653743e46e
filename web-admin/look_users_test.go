package webadmin

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"

	"github.com/mailweir/mailweir/web-admin/browsertest"
	"github.com/mailweir/mailweir/web-admin/users"
)

// walk is for a way through the pages: do goes on, and look sees whether the page fits at every width and in both colours, keeps its picture, and
// has axe look at the narrowest and the widest. Pages have their scripts, or not.
func walk(t *testing.T, ctx context.Context, scripts bool) (do func(why string, actions ...chromedp.Action[chromedp.Void]), look func(name string)) {
	t.Helper()
	dir := shotDir(t)
	do = func(why string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		step, cancel := context.WithTimeout(ctx, 2*time.Minute) // what never comes into view is said, and does not keep all others waiting
		defer cancel()
		if err := chromedp.Do(step, actions...); err != nil {
			t.Fatalf("%s: %v", why, err)
		}
	}
	return do, func(name string) {
		t.Helper()
		finds := axeHere(t, ctx)
		for _, width := range []int64{360, 768, 1440} {
			for _, dark := range []bool{false, true} {
				do(name, chromedp.EmulateViewport(width, 844), colours(dark))
				file := fmt.Sprintf("%s-%d-%s.png", name, width, map[bool]string{false: "light", true: "dark"}[dark])
				fitsAndIsKept(t, ctx, width, filepath.Join(dir, file))
				if width == 768 {
					continue
				}
				do("axe needs scripts", scripting(true)) // the page's own do not begin by that
				for _, v := range finds(dark) {
					t.Errorf("%s: %s", file, v)
				}
				do("as before", scripting(scripts))
			}
		}
		do(name, chromedp.EmulateViewport(1440, 900), colours(false))
	}
}

// From the first visit to an operator with a second factor, in a browser without scripts, at every width and in both colours: each page
// on the way fits, nothing is refused by the content policy, and its picture is kept.
func TestUsersComeInWithoutScript(t *testing.T) {
	ctx := browser(t)
	s := startServer(t, Options{Source: busyBox()})
	said := browsertest.Complaints(ctx)
	do, look := walk(t, ctx, false)
	see := func(css string) chromedp.Action[chromedp.Void] { return chromedp.WaitVisible(chromedp.CSS(css)) }
	typed := func(css, text string) chromedp.Action[chromedp.Void] {
		return chromedp.SendKeys(chromedp.CSS(css), text)
	}
	click := func(css string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.CSS(css)) }
	open := func(path string) chromedp.Action[chromedp.Void] {
		return chromedp.Navigate(s.URL() + strings.TrimPrefix(path, "/"))
	}
	text := func(css string) string {
		t.Helper()
		v, err := chromedp.Run(ctx, chromedp.TextContent(chromedp.CSS(css)))
		if err != nil {
			t.Fatalf("%s: %v", css, err)
		}
		return strings.TrimSpace(v)
	}
	do("no scripts", scripting(false))
	do("the first visit", open("/"), see("#code"))
	look("setup")
	do("a wrong code", typed("#code", "aaaaa-bbbbb-ccccc"), typed("#password", password), typed("#again", password+"\r"), see("#wrong"))
	do("the code", typed("#code", s.SetupCode()), typed("#password", password), typed("#again", password+"\r"), see("#mode"))
	do("settings", click(`.rail a[href="/settings/targets"]`), click(`.tabs a[href="/settings/users"]`), see("#do-add"))
	do("a new user", click("#do-add summary"), typed("#name", "olga"), click("input[name=factor]"))
	look("users-adding")
	do("a wrong password", typed("#now", "not this one"), click("#do-add button"), see("#errors"))
	look("users-wrong-password")
	do("added", typed("#now", password), click("#do-add button"), see("#given"))
	look("user-given")
	first := text("#given")
	for name, role := range map[string]users.Role{"maria_from_the_desk": users.Viewer, "night": users.Operator} {
		person(t, s, name, role)
	}
	do("their pages", open("/settings/users"), see(".rows"))
	look("users")
	do("one of them", open("/settings/users/olga"), see(".settings"))
	look("user")
	do("a reset", click("#do-reset summary"), see("#now-reset"))
	look("user-reset")

	do("out", click(".leave button"), see("#password"))
	look("login-user")
	do("wrong", typed("#name", "olga"), typed("#password", "wrong\r"), see("#wrong"))
	look("login-wrong")
	do("right", typed("#password", first+"\r"), see("#again"))
	look("login-choose")
	do("chosen", typed("#password", password), typed("#again", password+"\r"), see(".qr"))
	look("login-factor")
	code, err := totp.GenerateCode(strings.ReplaceAll(text(".secret"), " ", ""), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	do("the app", typed("#code", code+"\r"), see(".codes"))
	look("recovery")
	recovery := text(".codes li")
	do("inside", click("main .button"), see("#mode"))
	do("out again", click(".leave button"), see("#name"))
	do("half", typed("#name", "olga"), typed("#password", password+"\r"), see("#code"))
	look("login-code")
	do("recovered", typed("#code", recovery+"\r"), see("#mode"))
	do("account", click(".me"), see("#do-token"))
	look("account-empty")
	do("a token", click("#do-token summary"), typed("#label", "backup of the lists"), typed("#now-token", password))
	look("account-token")
	do("made", click("#do-token button"), see("#given"))
	postLogin(t, s, "olga", password) // somewhere else
	do("account again", click("main .button"), see("#do-password"), click("#do-password summary"))
	look("account")
	do("no page of an admin's", open("/settings/users"), see("h1"))
	if got := text("h1"); !strings.Contains(got, "role") {
		t.Errorf("an operator at the users' page reads %q", got)
	}

	do("the viewer", click(".leave button"), see("#name"), typed("#name", "maria_from_the_desk"), typed("#password", password+"\r"), see("#mode"))
	look("viewer-overview")
	do("a viewer's lines", open("/subscribers"), see(".rows"))
	look("viewer-subscribers")
	do("a viewer's line", open("/subscribers/"+s.veil.ids.hide("S-1044")), see("#sentence"))
	look("viewer-subscriber")
	do("a viewer's records", open("/records"), see(".records"))
	look("viewer-records")
	for _, m := range said() {
		if !strings.Contains(m, "403") && !strings.Contains(m, "401") && !strings.Contains(m, "400") { // what is refused is asked for on purpose
			t.Errorf("the browser complains: %s", m)
		}
	}
}
