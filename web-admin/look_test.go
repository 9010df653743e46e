package webadmin

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/mailweir/mailweir/web-admin/browsertest"
	"github.com/mailweir/mailweir/web-admin/sentences"
	"github.com/mailweir/mailweir/web-admin/users"
)

// fitsAndIsKept looks whether the page that is shown fits a screen of this width, and keeps its picture.
func fitsAndIsKept(t *testing.T, ctx context.Context, width int64, file string) {
	t.Helper()
	name := filepath.Base(file)
	if over := evaluate[[]string](t, ctx, `[...document.querySelectorAll("body *")].filter(e => !e.closest("svg,.skip,thead") &&
		e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.tagName + "." + e.className)`); len(over) > 0 {
		t.Errorf("%s: sticks out to the right: %s", name, strings.Join(over[:min(len(over), 8)], ", "))
	}
	if wide := evaluate[int](t, ctx, `document.documentElement.scrollWidth`); wide > int(width) {
		t.Errorf("%s: scrolls sideways: %d px wide", name, wide)
	}
	// The whole page in one picture, with the bar at the bottom where a phone has it.
	height := evaluate[int64](t, ctx, `document.documentElement.scrollHeight`)
	shot, err := chromedp.Run(ctx, func(ctx context.Context, tab *chromedp.Target) ([]byte, error) {
		if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, min(max(height, 844), 4000))); err != nil {
			return nil, err
		}
		return chromedp.CaptureScreenshot()(ctx, tab)
	})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := os.WriteFile(file, shot, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every page at every size and in both colours: nothing sticks out, nothing is refused by the content policy, and the picture is
// kept for people to look at.
func TestPagesFitTheirScreens(t *testing.T) {
	ctx := browser(t)
	busy := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	watching := busyBox()
	watching.status.Mode, watching.status.Acted, watching.status.WouldHaveActed = "observe", 0, 1294
	observe := startServer(t, Options{Source: watching, Now: func() time.Time { return noon }})
	quiet := startServer(t, Options{Source: quietBox(), Now: func() time.Time { return noon }})
	many := startServer(t, Options{Source: largeBox(), Now: func() time.Time { return noon }})
	troubled := startServer(t, Options{Source: troubledBox(), Now: func() time.Time { return noon }})
	begun := quietBox() // the part that judges packets has just begun again
	begun.status.Ready, begun.status.Uptime, begun.status.Mode = false, Seconds(3*time.Second), "enforce"
	restarting := startServer(t, Options{Source: begun, Now: func() time.Time { return noon }})
	letGo := busyBox() // somebody has just released a line, and callers are told in German
	if _, err := letGo.Release("S-1044", "admin"); err != nil {
		t.Fatal(err)
	}
	released := startServer(t, Options{Source: letGo, Now: func() time.Time { return noon }, Sentences: sentences.Builtin("de")})
	said := browsertest.Complaints(ctx)
	dir := shotDir(t)

	pages := []struct {
		name   string
		server *Server
		path   string
	}{
		{"login", busy, "login"},
		{"overview", busy, ""},
		{"overview-day", busy, "?share=day"},
		{"overview-weeks", busy, "?share=weeks"},
		{"overview-waits", busy, "#waits"},
		{"subscribers", busy, "subscribers"},
		{"subscriber-cut", busy, "subscribers/S-1044"},
		{"subscriber-quiet", busy, "subscribers/S-2004"},
		{"subscriber-hour", busy, "subscribers/S-1044?step=1m"},
		{"subscriber-weeks", busy, "subscribers/S-1044?step=1h"},
		{"subscriber-exempt", busy, "subscribers/S-0871"},
		{"subscriber-by-hand", busy, "subscribers/S-1102"},
		{"subscriber-exempting", busy, "subscribers/S-1044#reason"}, // a browser opens what a fragment leads into
		{"subscriber-changing", busy, "subscribers/S-1102#plan"},
		{"subscribers-exempt", busy, "subscribers?exempt=1"},
		{"unmapped", busy, "unmapped"},
		{"lookup", busy, "lookup?address=100.64.3.7&at=yesterday+03:12"},
		{"lookup-nobody", busy, "lookup?address=100.64.250.1"},
		{"lookup-wrong", busy, "lookup?address=Elm&at=soon"},
		{"case-open", busy, "cases/K7Q2X"},
		{"case-ended", busy, "cases/k7a1b"},
		{"records", busy, "records"},
		{"records-searched", busy, "records?kind=SESSION&q=203.0.113&severity=info&from=yesterday+00:00&to=12:04"},
		{"records-wrong", busy, "records?from=soon&to=later"},
		{"records-none", busy, "records?q=nothing-of-this"},
		{"record-session", busy, "records/182400"},
		{"record-decision", busy, "records/182399"},
		{"destinations", busy, "destinations"},
		{"destinations-day", busy, "destinations?window=24h"},
		{"clusters", busy, "clusters"},
		{"cluster", busy, "clusters/K7"},
		{"cluster-known", busy, "clusters/K2"},
		{"not-found", busy, "nowhere"},
		{"overview-observe", observe, ""},
		{"subscriber-observe", observe, "subscribers/S-1102"},
		{"overview-empty", quiet, ""},
		{"subscribers-empty", quiet, "subscribers"},
		{"unmapped-empty", quiet, "unmapped"},
		{"records-empty", quiet, "records"},
		{"destinations-empty", quiet, "destinations"},
		{"clusters-empty", quiet, "clusters"},
		{"overview-large", many, ""},
		{"subscribers-large", many, "subscribers"},
		{"subscribers-large-found", many, "subscribers?q=Long+Road+123"},
		{"subscribers-large-last", many, "subscribers?cursor=99990"},
		{"subscriber-large", many, strings.TrimPrefix(subscriberLink(largest), "/")},
		{"unmapped-large", many, "unmapped"},
		{"records-large", many, "records"},
		{"overview-troubled", troubled, ""},
		{"subscribers-troubled", troubled, "subscribers"},
		{"subscriber-troubled", troubled, "subscribers/S-2004"},
		{"records-troubled", troubled, "records"},
		{"overview-restarting", restarting, ""},
		{"subscriber-released", released, "subscribers/S-1044"},
		{"subscriber-german", released, "subscribers/S-1102"},
		{"language", released, "settings/language"},
	}
	var last *Server
	for _, p := range pages {
		if p.server != last && p.name != "login" {
			logIn(t, ctx, p.server) // one host, one cookie: the servers share it, the last login counts
		}
		if p.name != "login" {
			last = p.server
		}
		for _, width := range []int64{1440, 768, 360} {
			for _, dark := range []bool{false, true} {
				name := fmt.Sprintf("%s-%d-%s.png", p.name, width, map[bool]string{false: "light", true: "dark"}[dark])
				if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 844), colours(dark), chromedp.Navigate(p.server.URL()+p.path)); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				fitsAndIsKept(t, ctx, width, filepath.Join(dir, name))
			}
		}
	}
	for _, m := range said() {
		if !strings.Contains(m, "404") && !strings.Contains(m, "400") { // what is not there and what is wrong is asked for on purpose
			t.Errorf("the browser complains: %s", m)
		}
	}
}

func TestTheOverviewStaysCurrent(t *testing.T) {
	ctx := browser(t)
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	logIn(t, ctx, s)
	if err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS("#twin-share summary"))); err != nil {
		t.Fatal(err)
	}
	evaluate[bool](t, ctx, `(document.querySelector("#look a").focus(), window.wasHere = true)`)
	box.mu.Lock()
	box.status.Stages.Defer = 77
	box.status.Mode, box.status.WouldHaveActed = "observe", 4242
	box.status.Syslog[1].Up = true
	box.mu.Unlock()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`document.querySelector(".now").textContent.includes("77") && document.querySelector("#mode").textContent.includes("4,242")
		&& document.querySelector("#health").textContent.includes("healthy")`, chromedp.WithPollingTimeout(10*time.Second))); err != nil {
		t.Fatalf("the page did not change by itself: %v", err)
	}
	if !evaluate[bool](t, ctx, `window.wasHere === true && document.querySelector("#twin-share").open && document.activeElement === document.querySelector("#look a")`) {
		t.Error("the page was loaded again, or an opened table closed, or the focus was lost")
	}
	evaluate[bool](t, ctx, `(document.querySelectorAll("#look a")[1].focus(), true)`)
	box.mu.Lock()
	box.subs = box.subs[1:]
	box.mu.Unlock()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`!document.querySelector("#look").textContent.includes("Elm Street")`, chromedp.WithPollingTimeout(10*time.Second))); err != nil {
		t.Fatalf("a row that is gone stays: %v", err)
	}
	if at := evaluate[string](t, ctx, `document.activeElement.textContent`); at != "Mill Lane 3, 2nd floor" {
		t.Errorf("the focus went from Mill Lane to %q", at)
	}
	// Ended on the server, the session sends an open page to the login page.
	s.logins.mu.Lock()
	clear(s.logins.by)
	s.logins.mu.Unlock()
	if err := chromedp.Do(ctx, chromedp.WaitVisible(chromedp.CSS("#password"))); err != nil {
		t.Fatalf("the page stays although the session has ended: %v", err)
	}
}

func TestAPageSaysWhenItsNumbersAreOld(t *testing.T) {
	ctx := browser(t)
	box := busyBox()
	s := startServer(t, Options{Source: box})
	logIn(t, ctx, s)
	box.mu.Lock() // the box answers nothing now
	_, err := chromedp.Run(ctx, chromedp.Poll[bool](`document.body.classList.contains("old") && !document.querySelector("#stale").hidden`, chromedp.WithPollingTimeout(15*time.Second)))
	box.mu.Unlock()
	if err != nil {
		t.Fatalf("nothing says that the numbers are old: %v", err)
	}
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`!document.body.classList.contains("old") && document.querySelector("#stale").hidden`, chromedp.WithPollingTimeout(15*time.Second))); err != nil {
		t.Fatalf("the page does not recover: %v", err)
	}
}

func TestPagesWorkWithoutScript(t *testing.T) {
	ctx := browser(t)
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	person(t, s, boss, users.Admin)
	var see string
	err := chromedp.Do(ctx, scripting(false),
		chromedp.Navigate(s.URL()+"records"), // leads to the login page, and back
		chromedp.SendKeys(chromedp.CSS("#name"), boss),
		chromedp.SendKeys(chromedp.CSS("#password"), password+"\r"),
		chromedp.WaitVisible(chromedp.CSS(".records")),
		chromedp.SendKeys(chromedp.CSS(".search input"), "100.64.3.7\r"), // an address leads to its line
		chromedp.WaitVisible(chromedp.CSS("#sentence")),
		chromedp.Func(func(ctx context.Context, tab *chromedp.Target) (err error) {
			see, err = chromedp.TextContent(chromedp.CSS("#main"))(ctx, tab)
			return err
		}),
		chromedp.Click(chromedp.CSS(".leave button")),
		chromedp.WaitVisible(chromedp.CSS("#password")),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Elm Street 12", "412/20 per 1h", "K7Q2X", "encrypted mail connections"} {
		if !strings.Contains(see, want) {
			t.Errorf("the subscriber's page lacks %q", want)
		}
	}
}

// Names come from customers, servers and clients on the wire. Whatever they hold, it is text.
func TestHostileNamesAreInert(t *testing.T) {
	ctx := browser(t)
	box := busyBox()
	nasty := []string{`"><script>document.title='owned'</script>`, `'"><img src=x onerror="document.title='owned'">`, "javascript:document.title='owned'",
		"=cmd|' /C calc'!A0", "line\r\nSet-Cookie: a=b", "\u202egnp.exe\u202c", "nul\x00byte", strings.Repeat("W", 64<<10), `</details></table><h1>owned</h1>`, "{{.}}", "../../etc/passwd"}
	box.subs, box.records = nil, nil
	for i, n := range nasty {
		box.subs = append(box.subs, Subscriber{ID: n, Name: n, Plan: n, Prefixes: []string{n}, Stage: "defer", Reason: n, Case: n,
			Budgets: []Budget{{Of: n, Limit: 1, Burst: 1, Value: 2, Ratio: 2}}, Decisions: []Decision{{Action: n, Reason: n, Case: n}}, Exemption: &Exemption{Reason: n}})
		box.records = append(box.records, Record{Seq: uint64(100 - i), Kind: "SESSION", Subscriber: n, Line: n, Params: []Param{{"src", n}, {"sni", n}, {n, n}}},
			Record{Seq: uint64(50 - i), Kind: n, Subscriber: n, Line: n, Params: []Param{{n, n}}})
	}
	box.cluster, box.gone, box.dests, box.fault = nil, nil, Destinations{Sessions: 9, Error: 2}, nasty[0]
	for _, n := range nasty {
		box.cluster = append(box.cluster, Cluster{ID: n, JA4: n, JA3: nasty, LooksLike: n, EndReason: n, Ended: At(noon), Why: n, MayBeWrong: nasty, Weights: []ClusterWeight{{Name: n, Text: n}}, Members: []ClusterMember{{Subscriber: n, Name: n}}})
		box.gone = append(box.gone, OfferGone{Server: n, Network: n, Owner: n})
		box.dests.Items = append(box.dests.Items, Destination{Network: n, Owner: n, AS: 64496, Sessions: 3, Error: 1})
	}
	for i := range box.subs {
		box.subs[i].Budgets = append(box.subs[i].Budgets, Budget{Of: "destinations", Limit: 1, Value: 2})
	}
	box.status.Box, box.status.Version, box.status.Lanes.Fast.Why = nasty[0], nasty[1], nasty[8]
	box.status.Syslog = []Syslog{{URL: nasty[0], LastError: nasty[1]}, {URL: nasty[7], LastError: nasty[5]}}
	box.status.Problems = []Problem{{What: nasty[0], Meaning: nasty[1], Do: nasty[7]}}
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	said := browsertest.Complaints(ctx)
	logIn(t, ctx, s)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(390, 844)); err != nil {
		t.Fatal(err)
	}
	paths := []string{"", "subscribers", "records", "subscribers?q=%3Cscript%3Edocument.title%3D'owned'%3C%2Fscript%3E", "login?next=javascript:alert(1)", "nothing%3Cscript%3E",
		"destinations", "clusters", "records?q=%22%3E%3Cscript%3Edocument.title%3D'owned'%3C%2Fscript%3E&subscriber=%3Cimg+src%3Dx%3E&from=%22%3E%3Cimg+src%3Dx%3E"}
	for i, n := range nasty[:7] {
		paths = append(paths, strings.TrimPrefix(subscriberLink(n), "/"), strings.TrimPrefix(clusterLink(n), "/"), fmt.Sprintf("records/%d", 100-i), fmt.Sprintf("records/%d", 50-i))
	}
	paths = append(paths, fmt.Sprintf("records/%d", 100-7)) // 64 KiB of one word
	for _, p := range paths {
		if err := chromedp.Do(ctx, chromedp.Navigate(s.URL()+p)); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if title := evaluate[string](t, ctx, `document.title`); strings.HasPrefix(title, "owned") {
			t.Errorf("/%s ran a script", p)
		}
		if n := evaluate[int](t, ctx, `document.querySelectorAll("main script, main img, main h1 ~ h1").length`); n != 0 {
			t.Errorf("/%s has %d elements made of names", p, n)
		}
		if wide := evaluate[int](t, ctx, `document.documentElement.scrollWidth`); wide > 390 {
			t.Errorf("/%s scrolls sideways: %d px", p, wide)
		}
	}
	for _, m := range said() {
		if !strings.Contains(m, "404") && !strings.Contains(m, "400") { // what is not there and what is wrong is asked for on purpose
			t.Errorf("the browser complains: %s", m)
		}
	}
}

// TestACollectorThatWasNeverTriedIsNotDown looks at a box that had nothing to send yet.
func TestACollectorThatWasNeverTriedIsNotDown(t *testing.T) {
	t.Parallel()
	box := quietBox()
	box.status.Syslog = []Syslog{{URL: "udp://192.0.2.9:514", LastError: "not tried yet"}}
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	page := body(t, get(t, s, "/", "Cookie", enter(t, s)))
	_, row, _ := strings.Cut(page, "udp://192.0.2.9:514")
	row, _, _ = strings.Cut(row, "</tr>")
	if strings.Count(row, "not tried yet") != 1 || strings.Contains(row, "down") || strings.Contains(row, "0001") || strings.Contains(page, "unreachable") {
		t.Errorf("%s", row)
	}
	if got := read[Status](t, s, "/api/v1/status"); len(got.Syslog) != 1 || !got.Syslog[0].Since.IsZero() || got.Syslog[0].LastError != "not tried yet" {
		t.Errorf("%+v", got.Syslog)
	}
}

func get(t *testing.T, s *Server, path string, header ...string) *http.Response {
	t.Helper()
	return ask(t, s, "GET", path, "", header...)
}

// ask makes one request with header name, value pairs; the body is closed with the test.
func ask(t *testing.T, s *Server, method, path, body string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequest(method, strings.TrimSuffix(s.URL(), "/")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Body.Close() })
	return a
}
