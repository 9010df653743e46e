package webadmin

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/mailweir/mailweir/web-admin/browsertest"
	"github.com/mailweir/mailweir/web-admin/users"
)

// stoppedBox is a box that governs nothing.
type stoppedBox struct {
	*fakeBox
	now Standstill // guarded by mu
}

func (b *stoppedBox) Standstill() Standstill {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *stoppedBox) Govern(who string) error   { return b.did(who + " govern") }
func (b *stoppedBox) PowerOff(who string) error { return b.did(who + " power off") }

func (b *stoppedBox) did(what string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failing == nil {
		b.by = append(b.by, what)
	}
	return b.failing
}

func (b *stoppedBox) becomes(now Standstill) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = now
}

// crashed is a box in safe mode, since governing ended again and again.
func crashed() *stoppedBox {
	return &stoppedBox{fakeBox: busyBox(), now: Standstill{State: StateSafe, Why: "Governing ended 5 times in 5m0s.", Since: ago(4 * time.Minute), Until: At(noon.Add(11 * time.Minute)), Again: true,
		Lines: []string{"time=2026-11-18T12:00:40 level=INFO msg=\"budgets restored\"", "panic: runtime error: index out of range [7] with length 7"}}}
}

func startStopped(t *testing.T, box *stoppedBox) *Server {
	t.Helper()
	return startServer(t, Options{Recovery: box, Now: func() time.Time { return noon }})
}

func TestTheRecoveryPageIsBehindTheLogin(t *testing.T) {
	t.Parallel()
	box := crashed()
	s := startStopped(t, box)
	admin := enter(t, s)
	operator, viewer := enterAs(t, s, "olga", users.Operator), enterAs(t, s, "vera", users.Viewer)
	if a := get(t, s, "/"); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/login" {
		t.Errorf("without a login: %s, to %q", a.Status, a.Header.Get("Location"))
	}
	if page := body(t, get(t, s, "/login")); strings.Contains(page, "panic") || strings.Contains(page, "ended 5 times") || !strings.Contains(page, `id="password"`) {
		t.Error("the page of login tells what is for who is logged in, or asks for no password")
	}
	for _, row := range []struct {
		who, cookie  string
		lines, grips bool
	}{{"admin", admin, true, true}, {"operator", operator, true, false}, {"viewer", viewer, false, false}} {
		a := get(t, s, "/", "Cookie", row.cookie)
		page := body(t, a)
		for _, want := range []string{"<h1>Safe mode</h1>", "SAFE MODE", "Mail passes unjudged", "for 4\u00a0min", "Governing ended 5 times in 5m0s.", "12:15", "governs nothing"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: the page lacks %q", row.who, want)
			}
		}
		if strings.Contains(page, "index out of range") != row.lines {
			t.Errorf("%s sees the lines: %v", row.who, !row.lines)
		}
		for _, grip := range []string{"/recovery/govern", "/recovery/off", "/settings/update", "/settings/backup", "/settings/reset", "Try governing again"} {
			if strings.Contains(page, grip) != row.grips {
				t.Errorf("%s has %s: %v", row.who, grip, !row.grips)
			}
		}
		for _, gone := range []string{"/subscribers", "/account", `type="search"`, "OBSERVE", "ENFORCE"} {
			if strings.Contains(page, gone) {
				t.Errorf("%s: the page has %q", row.who, gone)
			}
		}
		if a.StatusCode != http.StatusOK || !strings.Contains(a.Header.Get("Content-Security-Policy"), "default-src 'none'") || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s %v", row.who, a.Status, a.Header)
		}
	}
	for _, path := range []string{"/recovery/govern", "/recovery/off", "/settings/update/reboot", "/settings/reset", "/settings/restore"} {
		for who, cookie := range map[string]string{"operator": operator, "viewer": viewer} {
			if a := send(t, s, cookie, path, nil); a.StatusCode != http.StatusForbidden {
				t.Errorf("%s at %s: %s", who, path, a.Status)
			}
		}
		if a := send(t, s, "", path, nil); a.StatusCode != http.StatusSeeOther {
			t.Errorf("nobody at %s: %s", path, a.Status)
		}
		if a := ask(t, s, "POST", path, "", "Cookie", admin, "Sec-Fetch-Site", "cross-site"); a.StatusCode != http.StatusForbidden {
			t.Errorf("another site's page at %s: %s", path, a.Status)
		}
	}
	if did := box.done(); did != "" {
		t.Fatalf("it did %s", did)
	}
	for n := 0; ; n++ { // who guesses is slowed down as ever
		if postLogin(t, s, boss, "wrong").StatusCode == http.StatusTooManyRequests {
			break
		}
		if n > 10 {
			t.Fatal("guesses are not slowed down")
		}
	}
}

func TestWhatAnAdminDoesInSafeMode(t *testing.T) {
	t.Parallel()
	box := crashed()
	s := startStopped(t, box)
	cookie := enter(t, s)
	for _, plain := range []string{"", "1"} { // with scripts, and without
		a := send(t, s, cookie, "/recovery/govern", url.Values{"again": {plain}})
		if page := body(t, a); a.StatusCode != http.StatusOK || box.done() != "admin 127.0.0.1 govern" || !strings.Contains(page, `data-back="/"`) || (a.Header.Get("Refresh") == "20; url=/") != (plain != "") {
			t.Errorf("%s, Refresh %q: %s", a.Status, a.Header.Get("Refresh"), page)
		}
	}
	if a := send(t, s, cookie, "/recovery/off", nil); a.StatusCode != http.StatusOK || box.done() != "admin 127.0.0.1 power off" {
		t.Errorf("power off: %s", a.Status)
	}
	if a := send(t, s, cookie, "/settings/update/reboot", nil); a.StatusCode != http.StatusOK || box.done() != "admin 127.0.0.1 reboot" {
		t.Errorf("restart: %s", a.Status)
	}
	form, kind := formWith(t, "v11.mwu", soundUpdate)
	if a := ask(t, s, "POST", "/settings/update", form, "Cookie", cookie, "Content-Type", kind); a.StatusCode != http.StatusSeeOther || box.done() != "admin 127.0.0.1 update of 6 bytes" {
		t.Errorf("update: %s", a.Status)
	}
	for _, path := range []string{"/", "/settings/update"} {
		if page := body(t, get(t, s, path, "Cookie", cookie)); !strings.Contains(page, "<b>Version v11 (build 11) is in slot b</b>") || !strings.Contains(page, `id="do-reboot"`) {
			t.Errorf("%s says nothing of the update that waits", path)
		}
	}
	page := body(t, get(t, s, "/settings/backup", "Cookie", cookie))
	if strings.Contains(page, "Make a backup") || !strings.Contains(page, "for when the box governs again") || !strings.Contains(page, `aria-label="Recovery"`) {
		t.Error("the page of backups is not that of a box that governs nothing")
	}
	if a := upload(t, s, cookie, "/settings/restore", []byte("PK backup"), map[string]string{"do": "restore", "now": password}); a.StatusCode != http.StatusOK || box.done() != "admin 127.0.0.1 restore dry false" {
		t.Errorf("restore: %s", a.Status)
	}
	if page := body(t, get(t, s, "/settings/reset", "Cookie", cookie)); !strings.Contains(page, "No collector has a record of it") {
		t.Error("the page of the factory reset promises a record")
	}
	if a := send(t, s, cookie, "/settings/reset", url.Values{"now": {password}, "confirm": {resetWords}, "anyway": {"1"}}); a.StatusCode != http.StatusOK || box.done() != "admin 127.0.0.1 factory reset" {
		t.Errorf("reset: %s", a.Status)
	}

	box.mu.Lock()
	box.failing = errors.New("no such process")
	box.mu.Unlock()
	for _, path := range []string{"/recovery/govern", "/recovery/off"} {
		if a := send(t, s, cookie, path, nil); a.StatusCode != http.StatusInternalServerError || !strings.Contains(body(t, a), "no such process") {
			t.Errorf("%s that cannot be ordered: %s", path, a.Status)
		}
	}
	box.mu.Lock()
	box.failing, box.now.Again = nil, false
	box.mu.Unlock()
	if a := send(t, s, cookie, "/recovery/govern", nil); a.StatusCode != http.StatusConflict || box.done() != "" {
		t.Errorf("where trying again is of no use: %s", a.Status)
	}
	if page := body(t, get(t, s, "/", "Cookie", cookie)); strings.Contains(page, "/recovery/govern") {
		t.Error("the page offers it all the same")
	}
}

func TestBypassIsEndedThere(t *testing.T) {
	t.Parallel()
	box := crashed()
	box.becomes(Standstill{State: StateBypass, Why: "Bypass was switched on at the console.", Since: ago(3 * time.Hour), Again: true})
	s := startStopped(t, box)
	page := body(t, get(t, s, "/", "Cookie", enter(t, s)))
	for _, want := range []string{"<h1>Bypass</h1>", "BYPASS", "since 09:04", "End bypass", "It has said nothing"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "tried again by itself") {
		t.Error("it promises what does not happen")
	}
	if a := get(t, s, "/api/v1/status"); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body(t, a), "The box is in bypass") {
		t.Errorf("%s", a.Status)
	}
}

func TestEverythingElseAnswersThatNothingIsGoverned(t *testing.T) {
	t.Parallel()
	s := startStopped(t, crashed())
	cookie := enter(t, s)
	for _, key := range alsoStopped {
		if !slices.ContainsFunc(routes(), func(rt route) bool { return rt.method+" "+rt.path == key }) {
			t.Errorf("there is no route %s", key)
		}
	}
	refused := 0
	for _, rt := range routes() {
		if slices.Contains(alsoStopped, rt.method+" "+rt.path) || rt.path == "/{$}" || rt.path == "/setup" || rt.path == "/settings/backup" {
			continue
		}
		a := ask(t, s, rt.method, someone.Replace(rt.path), "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
		said := body(t, a)
		refused++
		api := rt.api != nil || rt.path == "/metrics"
		switch {
		case api:
			var p problemDetails
			if err := json.Unmarshal([]byte(said), &p); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Content-Type") != "application/problem+json" || err != nil || p.Title != "The box is in safe mode" || !strings.Contains(p.Detail, "ended 5 times") {
				t.Errorf("%s %s: %s %s", rt.method, rt.path, a.Status, said)
			}
		case rt.method == "GET":
			if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/" {
				t.Errorf("%s: %s", rt.path, a.Status)
			}
		case a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(said, "Nothing was changed"):
			t.Errorf("%s %s: %s", rt.method, rt.path, a.Status)
		}
	}
	t.Logf("%d routes are not answered", refused)

	path := filepath.Join(s.opt.DataDir, "mailweir.sock")
	local := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }, DisableKeepAlives: true}}
	for path, status := range map[string]int{"status": 503, "setup-code": 503, "config": 503, "users": 200, "recovery": 200, "update": 200} {
		a, err := local.Get("http://box/api/v1/" + path)
		if err != nil {
			t.Fatal(err)
		}
		if a.Body.Close(); a.StatusCode != status {
			t.Errorf("%s over the socket: %s, want %d", path, a.Status, status)
		}
	}
}

func TestTheAPITellsHowItStands(t *testing.T) {
	t.Parallel()
	stopped := startStopped(t, crashed())
	if got := read[Standstill](t, stopped, "/api/v1/recovery"); got.State != "safe" || !got.Again || len(got.Lines) != 2 || !got.Since.Equal(ago(4*time.Minute).Time) || got.Until.IsZero() {
		t.Errorf("%+v", got)
	}
	if said := body(t, get(t, stopped, "/api/v1/recovery", "Cookie", enterAs(t, stopped, "vera", users.Viewer))); !strings.Contains(said, `"lines":[]`) || !strings.Contains(said, `"state":"safe"`) {
		t.Errorf("a viewer reads %s", said)
	}
	if a := get(t, stopped, "/api/v1/recovery"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("nobody: %s", a.Status)
	}
	governing := startServer(t, Options{Source: busyBox()})
	if said := body(t, get(t, governing, "/api/v1/recovery", "Authorization", "Bearer "+tokenOf(t, governing))); said != `{"state":"governing","why":"","since":null,"until":null,"again":false,"lines":[]}`+"\n" {
		t.Errorf("%s", said)
	}
}

func TestTheAPIHasItGovernAgainOrPowersItOff(t *testing.T) {
	t.Parallel()
	box := crashed()
	s := startStopped(t, box)
	token := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	a := post(t, s, "/api/v1/recovery/govern", nil, token...)
	if said := body(t, a); a.StatusCode != http.StatusOK || !strings.Contains(said, `"state":"safe"`) || !strings.HasSuffix(box.done(), " govern") {
		t.Errorf("%s %s", a.Status, said)
	}
	if a := post(t, s, "/api/v1/recovery/off", nil, token...); a.StatusCode != http.StatusOK || !strings.HasSuffix(box.done(), " power off") {
		t.Errorf("%s", a.Status)
	}
	box.becomes(Standstill{State: StateSafe, Why: "There are not two ports."})
	if a := post(t, s, "/api/v1/recovery/govern", nil, token...); a.StatusCode != http.StatusConflict || !strings.Contains(body(t, a), "There are not two ports.") || box.done() != "" {
		t.Errorf("where it cannot help: %s", a.Status)
	}
	governing := startServer(t, Options{Source: busyBox()})
	for _, what := range []string{"govern", "off"} {
		if a := post(t, governing, "/api/v1/recovery/"+what, nil, "Authorization", "Bearer "+tokenOf(t, governing)); a.StatusCode != http.StatusConflict || !strings.Contains(body(t, a), "The box governs") {
			t.Errorf("%s of a box that governs: %s", what, a.Status)
		}
	}
}

// Nobody can log in at a box that nobody has set up, and nothing there makes a user.
func TestABoxThatIsNotSetUpSaysOnlyWhy(t *testing.T) {
	t.Parallel()
	s := startStopped(t, crashed())
	if a := get(t, s, "/login"); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/setup" {
		t.Errorf("the login: %s, to %q", a.Status, a.Header.Get("Location"))
	}
	a := get(t, s, "/setup")
	page := body(t, a)
	if a.StatusCode != http.StatusOK || !strings.Contains(page, "Not set up yet") || !strings.Contains(page, "Governing ended 5 times") || !strings.Contains(page, "the box is in safe mode") {
		t.Errorf("%s %s", a.Status, page)
	}
	for _, much := range []string{"<form", "<input", "panic", s.SetupCode()} {
		if strings.Contains(page, much) {
			t.Errorf("the page has %q", much)
		}
	}
	if a := send(t, s, "", "/setup", url.Values{"code": {s.SetupCode()}, "name": {boss}, "password": {password}, "again": {password}}); a.StatusCode != http.StatusMethodNotAllowed || s.users.Any() {
		t.Errorf("a first user is made: %s", a.Status)
	}
	person(t, s, boss, users.Admin)
	if a := get(t, s, "/setup"); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/login" {
		t.Errorf("with a user: %s", a.Status)
	}
}

func TestAServerHasABoxThatGovernsOrOneThatDoesNot(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{DataDir: shortDir(t)}, {DataDir: shortDir(t), Source: busyBox(), Recovery: crashed()}} {
		if s, err := New(o); err == nil {
			s.Close()
			t.Errorf("%+v is taken", o)
		}
	}
}

// In a browser without scripts, at every width and in both colours; what the program said that governs is text, whatever it is.
func TestTheRecoveryPageInABrowser(t *testing.T) {
	ctx := browser(t)
	box := crashed()
	box.now.Lines = append(box.now.Lines, `"><script>document.title='owned'</script>`, `</bdi></pre><h1>owned</h1><img src=x onerror="document.title='owned'">`, "\u202egnp.exe\u202c", "nul\x00byte\x1b[31mred", strings.Repeat("W", 64<<10), "\tgoroutine 1 [running]:", "{{.}}")
	s := startStopped(t, box)
	said := browsertest.Complaints(ctx)
	do, look := walk(t, ctx, false)
	see := func(css string) chromedp.Action[chromedp.Void] { return chromedp.WaitVisible(chromedp.CSS(css)) }
	typed := func(css, text string) chromedp.Action[chromedp.Void] {
		return chromedp.SendKeys(chromedp.CSS(css), text)
	}
	click := func(css string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.CSS(css)) }
	do("no scripts", scripting(false))
	do("nobody was there yet", chromedp.Navigate(s.URL()), see("#why"))
	look("stopped-unset")
	person(t, s, boss, users.Admin)
	person(t, s, "vera", users.Viewer)
	do("the login", chromedp.Navigate(s.URL()), typed("#name", boss), typed("#password", password+"\r"), see("#standing"))
	look("stopped")
	if title := evaluate[string](t, ctx, `document.title`); title != "Safe mode · mailweir" {
		t.Errorf("the page is called %q", title)
	}
	if n := evaluate[int](t, ctx, `document.querySelectorAll("main script, main img, main h1 ~ h1").length`); n != 0 {
		t.Errorf("%d elements are made of lines", n)
	}
	if n := evaluate[int](t, ctx, `document.querySelectorAll("#lines bdi").length`); n != len(box.now.Lines) {
		t.Errorf("%d lines, want %d", n, len(box.now.Lines))
	}
	do("the grips", click("#do-govern summary"), click("#do-reboot summary"), click("#do-off summary"), see("#do-off button"))
	look("stopped-grips")
	for name, page := range map[string]string{"update": "#file", "backup": "#opens", "reset": "#confirm"} {
		do(name, click(`main a[href="/settings/`+name+`"]`), see(page))
		look("stopped-" + name)
		do("back", click(`.tabs a[href="/"]`), see("#standing"))
	}
	evaluate[bool](t, ctx, `(document.querySelector("#do-govern [data-plain]").remove(), true)`) // else the page goes on while it is looked at
	do("again", click("#do-govern summary"), click("#do-govern button"), see("#begins"))
	look("stopped-begins")
	if did := box.done(); did != "admin 127.0.0.1 govern" {
		t.Errorf("it did %q", did)
	}
	do("off", chromedp.Navigate(s.URL()), click("#do-off summary"), click("#do-off button"), see("#off"))
	look("stopped-off")
	box.becomes(Standstill{State: StateBypass, Why: "Bypass was switched on at the console.", Since: ago(3 * time.Hour), Again: true})
	do("a viewer", click(".leave button"), see("#name"), typed("#name", "vera"), typed("#password", password+"\r"), see("#who"))
	look("stopped-viewer")
	for _, m := range said() {
		t.Errorf("the browser complains: %s", m)
	}
}
