package webadmin

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/mailweir/mailweir/web-admin/users"
)

// stop is one page of the tour: on which server, by whom, and with what status it answers.
type stop struct {
	name   string
	server *Server
	who    login // nobody: at is nowhere
	path   string
	status int64
}

// toVisit are the addresses of routes that have a part to be filled in, and more addresses of others that show something else then. A route that has
// neither a part nor a line here is visited as it is.
func toVisit() map[string][]string {
	all := map[string][]string{
		"/{$}":                   {"/", "/?share=day", "/?share=weeks"},
		"/subscribers":           {"/subscribers", "/subscribers?stage=cut", "/subscribers?exempt=1", "/subscribers?q=nobody-of-this-name", "/subscribers?sort=name"},
		"/subscribers/{id}":      {subscriberLink("S-1044"), subscriberLink("S-1044") + "?step=1h", subscriberLink("S-0871"), subscriberLink("S-1102"), subscriberLink("100.64.77.15/32"), subscriberLink("S-2001")},
		"/lookup":                {"/lookup", "/lookup?address=100.64.3.7&at=yesterday+03:12", "/lookup?address=100.64.250.1", "/lookup?address=Elm&at=soon"},
		"/cases/{id}":            {"/cases/K7Q2X", "/cases/K7A1B"},
		"/records":               {"/records", "/records?kind=AUDIT", "/records?subscriber=nobody", "/records?q=mx.example&severity=info&from=yesterday+00:00", "/records?from=soon"},
		"/records/{id}":          {"/records/182400", "/records/182325"},
		"/destinations":          {"/destinations", "/destinations?window=24h"},
		"/clusters/{id}":         {"/clusters/K7", "/clusters/K2"},
		"/network/{token}":       {"/network/ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
		"/plans/{name}":          {"/plans/residential"},
		"/settings/update":       {"/settings/update", "/settings/update?again=1"},
		"/settings/users/{name}": {"/settings/users/olga", "/settings/users/" + boss},
	}
	for _, step := range wizardSteps() {
		all["/wizard/{name}"] = append(all["/wizard/{name}"], "/wizard/"+step.name)
	}
	return all
}

// tour is every page: each route that answers GET with one, on a box full of life and, where nothing has to be named, on one that was just
// flashed. A new route comes along by itself, and one that this table must know stops the test.
func tour(t *testing.T) []stop { return tourOf(t, busyBox()) }

// tourOf is the tour of a box of the caller's, which has the lines of busyBox.
func tourOf(t *testing.T, box *fakeBox) (stops []stop) {
	t.Helper()
	box.report, box.waiting = triedReport, []string{"network.counted_ports", "admin.listen"}
	for i := range box.subs { // one has just been released
		if box.subs[i].ID == "100.64.77.15/32" {
			box.subs[i].Released = &Released{Since: ago(time.Minute), Until: At(noon.Add(14 * time.Minute))}
		}
	}
	busy := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	quiet := startServer(t, Options{Source: quietBox(), Now: func() time.Time { return noon }})
	fresh := startServer(t, Options{Source: quietBox(), Now: func() time.Time { return noon }}) // nobody was there yet
	for _, s := range []*Server{busy, quiet} {
		person(t, s, boss, users.Admin)
	}
	person(t, busy, "olga", users.Operator)
	if _, _, err := busy.users.AddToken(boss, "backup of the lists", users.Viewer, noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	elsewhere := loginOf(busy, boss, inside)
	elsewhere.agent = "Mozilla/5.0 (somewhere else)"
	busy.logins.begin(elsewhere)
	if err := busy.wizard.mark("network"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(busy.draftPath(), []byte("subscriber,plan,prefixes\nS-1,residential,100.64.0.1\nS-2,golden,100.64.0.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addresses, halves := toVisit(), map[string]step{}
	for at, path := range stepPages {
		halves[path] = at
	}
	seen := map[string]bool{}
	add := func(of string, s *Server, at step, path string, status int64) {
		who := loginOf(s, boss, at)
		who.agent = "the tour"
		stops = append(stops, stop{of + " " + path, s, who, path, status})
	}
	for _, rt := range routes() {
		if rt.method != "GET" || rt.api != nil || rt.path == "/metrics" || rt.path == "/static/{file}" { // those are no pages
			continue
		}
		paths, known := addresses[rt.path]
		if seen[rt.path] = true; !known {
			paths = []string{rt.path}
		}
		for _, path := range paths {
			if strings.Contains(path, "{") {
				t.Errorf("GET %s is a page that nobody visits: write an address of it into toVisit", rt.path)
				continue
			}
			status := int64(http.StatusOK)
			if strings.Contains(path, "=soon") {
				status = http.StatusBadRequest
			}
			switch {
			case rt.access == halfway:
				add("busy", busy, halves[rt.path], path, status)
			case rt.path == "/setup":
				add("fresh", fresh, nowhere, path, status)
			case rt.access == everybody:
				add("busy", busy, nowhere, path, status)
			default:
				add("busy", busy, inside, path, status)
				if !strings.Contains(rt.path, "{id}") && rt.path != "/settings/users/{name}" {
					add("quiet", quiet, inside, path, status)
				}
			}
		}
	}
	for path := range addresses {
		if !seen[path] {
			t.Errorf("toVisit has %s, and no page is there", path)
		}
	}
	add("busy", busy, inside, "/nothing-here", http.StatusNotFound)
	add("busy", busy, nowhere, "/nothing-here", http.StatusNotFound)
	return stops
}

// visit opens a page as somebody who is logged in already, and makes sure that it is the one that was asked for.
func visit(t *testing.T, ctx context.Context, p stop) {
	t.Helper()
	yes := true
	answer, err := chromedp.Run(ctx, func(ctx context.Context, tab *chromedp.Target) (*network.Response, error) {
		// The page before would notice that its visitor is logged out, and go to the login page in the middle of this.
		if _, err := chromedp.Navigate("about:blank")(ctx, tab); err != nil {
			return nil, err
		}
		if _, err := chromedp.Call(ctx, network.ClearBrowserCookies, cdp.Empty{}); err != nil {
			return nil, err
		}
		if p.who.at != nowhere {
			if _, err := chromedp.Call(ctx, network.SetCookie, network.SetCookieParams{Name: cookieName, Value: p.server.logins.begin(p.who), URL: p.server.URL(), Path: "/", Secure: &yes, HTTPOnly: &yes}); err != nil {
				return nil, err
			}
		}
		return chromedp.NavigateResponse(strings.TrimSuffix(p.server.URL(), "/")+p.path)(ctx, tab)
	})
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	at, err := url.Parse(answer.URL)
	if err != nil {
		t.Fatal(err)
	}
	if want, _, _ := strings.Cut(p.path, "?"); answer.Status != p.status || at.EscapedPath() != want {
		t.Fatalf("%s answers %d at %s, want %d", p.name, answer.Status, answer.URL, p.status)
	}
}
