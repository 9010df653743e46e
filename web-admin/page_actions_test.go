package webadmin

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/mailweir/mailweir/web-admin/browsertest"
	"github.com/mailweir/mailweir/web-admin/users"
)

func TestFormsActOrSayWhyNot(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	for _, row := range []struct {
		why, path, form string
		status          int
		leads           string   // where it leads when it has acted
		shows, not      []string // parts of the page otherwise
	}{
		{"an exemption of nothing", "S-1044/exemption", "", 400, "", []string{"Nothing was changed", `<a href="#until">Until the end of</a> is missing`, `<a href="#reason">Reason</a> is missing`, `id="do-exempt" name="action" open`}, []string{"data-live"}},
		{"an exemption that has ended, with what was typed", "S-1044/exemption", "until=2026-11-17&reason=Christmas+%3Cb%3Emailing", 400, "", []string{"must be in the future", `value="2026-11-17"`, `value="Christmas &lt;b&gt;mailing"`}, []string{"is missing"}},
		{"an exemption for ever", "S-1044/exemption", "until=2036-11-17&reason=x", 400, "", []string{"at most 366 days ahead"}, nil},
		{"no day", "S-1044/exemption", "until=soon&reason=x", 400, "", []string{"a day like 2026-11-25"}, nil},
		{"a reason of two lines", "S-1044/exemption", "until=2026-12-01&reason=a%0D%0Ab", 400, "", []string{"one line of text"}, nil},
		{"the end of none", "S-1044/exemption/end", "", 404, "", []string{"The exemption was not ended. This subscriber has no exemption."}, nil},
		{"an exemption until tonight", "S-1044/exemption", "until=2026-11-18&reason=+asked+by+phone+", 303, "/subscribers/S-1044", nil, nil},
		{"its end", "S-1044/exemption/end", "", 303, "/subscribers/S-1044", nil, nil},
		{"a plan that is not there", "S-1044/plan", "plan=rich", 400, "", []string{`<a href="#plan">Plan</a> there is no plan`, `id="do-plan" name="action" open`}, nil},
		{"a plan", "S-1044/plan", "plan=office", 303, "/subscribers/S-1044", nil, nil},
		{"the list's plan", "S-1044/plan", "plan=", 303, "/subscribers/S-1044", nil, nil},
		{"no release to take back", "S-1044/release/undo", "", 409, "", []string{"The release was not taken back. A release can be taken back once, within a quarter of an hour"}, []string{"undo-release"}},
		{"release", "100.64.77.15%2F32/release", "", 303, "/subscribers/100.64.77.15%2F32", nil, nil},
		{"a release, taken back", "100.64.77.15%2F32/release/undo", "", 303, "/subscribers/100.64.77.15%2F32", nil, nil},
		{"release of nobody", "S-0/release", "", 404, "", []string{"No such subscriber"}, nil},
	} {
		a := ask(t, s, "POST", "/subscribers/"+row.path, row.form, "Cookie", cookie, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
		page := body(t, a)
		if a.StatusCode != row.status || a.Header.Get("Location") != row.leads {
			t.Errorf("%s: %s to %q", row.why, a.Status, a.Header.Get("Location"))
		}
		for _, want := range row.shows {
			if !strings.Contains(page, want) {
				t.Errorf("%s: the page lacks %q", row.why, want)
			}
		}
		for _, not := range row.not {
			if strings.Contains(page, not) {
				t.Errorf("%s: the page has %q", row.why, not)
			}
		}
	}
	const who = "admin 127.0.0.1 "
	if got, want := strings.Join(box.by, ", "), who+"exempt S-1044, "+who+"unexempt S-1044, "+who+"plan S-1044, "+who+"plan S-1044, "+who+"release 100.64.77.15/32, "+who+"unrelease 100.64.77.15/32"; got != want {
		t.Errorf("done: %s\nwant: %s", got, want)
	}
	// Another site's page does none of it.
	for _, path := range []string{"release", "release/undo", "exemption", "exemption/end", "plan"} {
		if a := ask(t, s, "POST", "/subscribers/S-1044/"+path, "", "Cookie", cookie, "Sec-Fetch-Site", "cross-site"); a.StatusCode != 403 {
			t.Errorf("%s by another site: %s", path, a.Status)
		}
	}
}

func TestALineOffersWhatCanBeDone(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	for _, row := range []struct{ why, path, has, lacks string }{
		{"a line that is cut", "S-1044", "do-release do-exempt do-plan", "do-end"},
		{"a quiet line", "S-2001", "do-exempt do-plan", "do-release do-end"},
		{"an exempt line", "S-0871", "do-exempt do-end do-plan", ""},
		{"a source that is nobody's: its plan is the one for those", "100.64.77.15%2F32", "do-release do-exempt", "do-plan"},
	} {
		page := body(t, get(t, s, "/subscribers/"+row.path, "Cookie", cookie))
		for _, id := range strings.Fields(row.has) {
			if !strings.Contains(page, `id="`+id+`"`) {
				t.Errorf("%s lacks %s", row.why, id)
			}
		}
		for _, id := range strings.Fields(row.lacks) {
			if strings.Contains(page, `id="`+id+`"`) {
				t.Errorf("%s has %s", row.why, id)
			}
		}
	}
	page := body(t, get(t, s, "/subscribers/S-1102", "Cookie", cookie))
	for _, want := range []string{"office (set by hand; the list says residential)", "a retry, which does not count towards a cut", `<option value="office" selected>`, `<option value="">as the list says: residential`} {
		if !strings.Contains(page, want) {
			t.Errorf("a line whose plan was changed lacks %q", want)
		}
	}
}

// A release says until when it can be taken back, to whoever may do that, and one button does it.
func TestAReleaseIsTakenBackOnThePage(t *testing.T) {
	ctx := browser(t)
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	logIn(t, ctx, s)
	said := browsertest.Complaints(ctx)
	var see, stands string
	text := func(into *string, css string) chromedp.Action[chromedp.Void] {
		return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) (err error) {
			*into, err = chromedp.TextContent(chromedp.CSS(css))(ctx, tab)
			return err
		})
	}
	if err := chromedp.Do(ctx,
		chromedp.Navigate(s.URL()+"subscribers/S-1044"),
		chromedp.Click(chromedp.CSS("#do-release summary")),
		chromedp.Click(chromedp.CSS("#do-release button")),
		chromedp.WaitVisible(chromedp.CSS("#undo-release")),
		text(&see, "#undo-release"),
		chromedp.Click(chromedp.CSS("#undo-release button")),
		chromedp.WaitNotPresent(chromedp.CSS("#undo-release")),
		text(&stands, ".standing"),
	); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(see, "Released: 12:04. Until 12:19 that can be taken back") || !strings.Contains(stands, "cut") {
		t.Errorf("%q, and then %q", see, stands)
	}
	if _, err := box.Release("S-1044", "admin"); err != nil {
		t.Fatal(err)
	}
	if page := body(t, get(t, s, "/subscribers/"+s.veil.ids.hide("S-1044"), "Cookie", enterAs(t, s, "vera", users.Viewer))); strings.Contains(page, "undo-release") {
		t.Error("a viewer is offered it")
	}
	for _, m := range said() {
		t.Errorf("the browser complains: %s", m)
	}
}

func TestTheSearchFindsCasesAndAddressesThen(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	for q, leads := range map[string]string{
		"K7Q2X":                     "/subscribers/S-1044",
		"k7a1b":                     "/cases/K7A1B", // an old one
		"100.64.3.7":                "/subscribers/S-1044",
		"100.64.3.7 yesterday 3:12": "/lookup?address=100.64.3.7&at=2026-11-17+03%3A12%3A00",
		"nothing":                   "",
	} {
		a := get(t, s, "/subscribers?q="+url.QueryEscape(q), "Cookie", cookie)
		if got := a.Header.Get("Location"); got != leads {
			t.Errorf("%q leads to %q (%s), want %q", q, got, a.Status, leads)
		}
	}
	page := body(t, get(t, s, "/lookup?address=100.64.3.7&at=2026-11-17+03%3A12%3A00", "Cookie", cookie))
	for _, want := range []string{"Elm Street 12", "RADIUS", "yesterday 03:12:00", "still"} {
		if !strings.Contains(page, want) {
			t.Errorf("the lookup lacks %q", want)
		}
	}
}

func TestAnExemptLineNeedsNoLook(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	page := body(t, get(t, s, "/", "Cookie", enter(t, s)))
	if strings.Contains(page, "Bakery") || !strings.Contains(page, "Mill Lane") || !strings.Contains(page, `<a href="/subscribers?exempt=1">1 exempt</a>`) {
		t.Error("the overview shows the exempt bakery, or not how many are exempt")
	}
}

func TestRecordsSayWhatWasDone(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		want, kind, text string
		params           []Param
	}{
		{"admin 192.0.2.7: plan S-1044 · residential → office", "AUDIT", "admin 192.0.2.7: plan S-1044", []Param{{"before", "residential"}, {"after", "office"}}},
		{"admin 192.0.2.7: login refused · wrong token", "AUDIT", "admin 192.0.2.7: login refused", []Param{{"after", "wrong token"}}},
		{"admin: login", "AUDIT", "admin: login", nil},
		{"deferred · sessions 9/5 · a retry · case K7Q4M", "DECISION", "", []Param{{"action", "defer"}, {"acted", "1"}, {"reason", "sessions 9/5"}, {"retry", "1"}, {"case", "K7Q4M"}}},
		{"would be deferred · sessions 9/5 · exempt: asked", "DECISION", "", []Param{{"action", "defer"}, {"acted", "0"}, {"reason", "sessions 9/5"}, {"exemption", "asked"}}},
		{"what x", "AUDIT", "", []Param{{"what", "x"}, {"seq", "1"}}},
	} {
		if got := recordOf(Record{Kind: row.kind, Text: row.text, Params: row.params}, zone{noon, vienna}).What; got != row.want {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
}

// What somebody is just typing stays while the page keeps itself current, and the exemption comes about.
func TestAnExemptionIsTypedWhileThePageLives(t *testing.T) {
	ctx := browser(t)
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	logIn(t, ctx, s)
	said := browsertest.Complaints(ctx)
	if err := chromedp.Do(ctx,
		chromedp.Navigate(s.URL()+"subscribers/S-1044"),
		chromedp.Click(chromedp.CSS("#do-exempt summary")),
		chromedp.SendKeys(chromedp.CSS("#reason"), "Christmas mailing"),
	); err != nil {
		t.Fatal(err)
	}
	box.mu.Lock()
	box.subs[0].Open = 4711
	box.mu.Unlock()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`document.querySelector(".identity").textContent.includes("4,711")`, chromedp.WithPollingTimeout(10*time.Second))); err != nil {
		t.Fatalf("the page did not change by itself: %v", err)
	}
	if got := evaluate[string](t, ctx, `[document.querySelector("#reason").value, document.querySelector("#do-exempt").open, document.activeElement.id].join("|")`); got != "Christmas mailing|true|reason" {
		t.Errorf("after the page changed: %s", got)
	}
	var see string
	if err := chromedp.Do(ctx,
		chromedp.Click(chromedp.CSS("#do-exempt button")),
		chromedp.WaitVisible(chromedp.CSS(".exempt")),
		chromedp.Func(func(ctx context.Context, tab *chromedp.Target) (err error) {
			see, err = chromedp.TextContent(chromedp.CSS(".exempt"))(ctx, tab)
			return err
		}),
		chromedp.Click(chromedp.CSS("#do-end summary")),
		chromedp.Click(chromedp.CSS("#do-end button")),
		chromedp.WaitNotPresent(chromedp.CSS(".exempt")),
	); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(see, "Exempt until 26 Nov 00:00: Christmas mailing") {
		t.Error(see)
	}
	for _, m := range said() {
		t.Errorf("the browser complains: %s", m)
	}
}

// The list has its lines in the order that somebody asks for, keeps it from page to page and from stage to stage, and tells viewers nothing by it.
func TestSubscribersInOrder(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie, viewer := enter(t, s), enterAs(t, s, "vera", users.Viewer)
	named := regexp.MustCompile(`<a class="name" href="[^"]*"><bdi>([^<]*)</bdi>`)
	names := func(path, cookie string) (all []string, page string) {
		t.Helper()
		page = body(t, get(t, s, path, "Cookie", cookie))
		for _, m := range named.FindAllStringSubmatch(page, -1) {
			all = append(all, m[1])
		}
		return all, page
	}
	usual, _ := names("/subscribers", cookie)
	byName, page := names("/subscribers?sort=name", cookie)
	if len(byName) < 5 || slices.Equal(usual, byName) || !slices.IsSortedFunc(byName, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }) {
		t.Errorf("by name: %q", byName)
	}
	for _, want := range []string{`<a href="/subscribers?sort=name" aria-current="true">name</a>`, `<a href="/subscribers?sort=since">since when</a>`, `href="/subscribers?sort=name&amp;stage=cut"`, `<a href="/subscribers">stage</a>`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page by name lacks %q", want)
		}
	}
	if masked, page := names("/subscribers?sort=name", viewer); len(masked) == 0 || strings.Contains(page, "sort=name") || strings.Contains(page, "sort=id") || !strings.Contains(page, "sort=since") {
		t.Errorf("a viewer's: %q", masked)
	}
	before := body(t, get(t, s, "/api/v1/subscribers?brief=1", "Cookie", viewer))
	for _, order := range []string{"name", "id"} {
		if after := body(t, get(t, s, "/api/v1/subscribers?brief=1&sort="+order, "Cookie", viewer)); after != before {
			t.Errorf("by %s a viewer is told another order", order)
		}
	}
	if a := get(t, s, "/api/v1/subscribers?sort=plan", "Cookie", cookie); a.StatusCode != 400 {
		t.Errorf("an order that there is not: %s", a.Status)
	}
	if page := body(t, get(t, s, "/destinations", "Cookie", cookie)); !strings.Contains(page, `All lines were looked at.`) || !strings.Contains(page, `href="/subscribers?sort=networks"`) {
		t.Error("the destinations do not lead to who contacted many")
	}
}
