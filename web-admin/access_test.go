package webadmin

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/web-admin/users"
)

func body(t *testing.T, a *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNothingIsSeenWithoutTheToken(t *testing.T) {
	t.Parallel()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "mailweir_up 1\n") })
	s := startServer(t, Options{Source: busyBox(), Metrics: metrics, MetricsMasked: metrics})
	person(t, s, boss, users.Admin)
	n := 0
	for _, rt := range routes() {
		if rt.access == everybody {
			continue
		}
		n++
		path := strings.NewReplacer("{$}", "", "{id}", "S-1044", "{name}", "admin").Replace(rt.path)
		for _, header := range [][]string{nil, {"Cookie", cookieName + "=" + strings.Repeat("A", 43)}, {"Authorization", "Bearer " + strings.Repeat("A", 43)}, {"Authorization", "Bearer "}, {"Authorization", "Basic YWRtaW46YWRtaW4="}} {
			a := ask(t, s, rt.method, path, "", header...)
			text := body(t, a)
			toLogin := a.StatusCode == http.StatusSeeOther && strings.HasPrefix(a.Header.Get("Location"), "/login")
			if a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusTooManyRequests && !toLogin {
				t.Errorf("%s %s with %q: %s", rt.method, path, header, a.Status)
			}
			for _, secret := range []string{"Elm Street", "edge-1", "mailweir_up", "182,314"} {
				if strings.Contains(text, secret) {
					t.Errorf("%s %s with %q tells %q", rt.method, path, header, secret)
				}
			}
		}
	}
	if a := get(t, s, "/nothing"); strings.Contains(body(t, a), "edge-1") {
		t.Error("the page of a wrong address tells the box's name")
	}
	t.Logf("%d routes are closed", n)
}

func TestTheTokenOpensTheAPIAndMetrics(t *testing.T) {
	t.Parallel()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "mailweir_up 1\n") })
	s := startServer(t, Options{Source: busyBox(), Metrics: metrics, MetricsMasked: metrics})
	bearer := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	for _, path := range []string{"/metrics", "/api/v1/status", "/api/v1/subscribers/S-1044"} {
		if a := get(t, s, path, bearer...); a.StatusCode != 200 {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
	for _, scheme := range []string{"bearer ", "BEARER ", "Bearer   "} { // RFC 9110 section 11.1: the scheme's case is free
		if a := get(t, s, "/api/v1/status", "Authorization", scheme+tokenOf(t, s)); a.StatusCode != 200 {
			t.Errorf("scheme %q: %s", scheme, a.Status)
		}
	}
	// A token is for programs: pages want a session.
	if a := get(t, s, "/", bearer...); a.StatusCode != http.StatusSeeOther {
		t.Errorf("a page by bearer token: %s", a.Status)
	}
	if a := get(t, s, "/api/v1/status", "Cookie", enter(t, s)); a.StatusCode != 200 {
		t.Errorf("the API by session: %s", a.Status)
	}
	public := startServer(t, Options{Source: busyBox(), MetricsMasked: metrics, MetricsPublic: true})
	if a := get(t, public, "/metrics"); a.StatusCode != 200 {
		t.Errorf("public metrics: %s", a.Status)
	}
	none := startServer(t, Options{Source: busyBox(), MetricsPublic: true})
	if a := get(t, none, "/metrics"); a.StatusCode != 404 {
		t.Errorf("metrics that are off: %s", a.Status)
	}
}

func TestOtherSitesChangeNothing(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	const release = "/api/v1/subscribers/S-1044/release"
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		for _, path := range []string{release, "/logout", "/login"} {
			if a := ask(t, s, "POST", path, "", append(header, "Cookie", cookie)...); a.StatusCode != http.StatusForbidden {
				t.Errorf("POST %s with %q: %s", path, header, a.Status)
			}
		}
	}
	if len(box.by) != 0 {
		t.Errorf("released by another site: %v", box.by)
	}
	if a := ask(t, s, "POST", release, "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin"); a.StatusCode != 200 {
		t.Errorf("released by the own site: %s %s", a.Status, body(t, a))
	}
	if got := strings.Join(box.by, ", "); got != "admin 127.0.0.1 release S-1044" {
		t.Errorf("released by %q", got)
	}
	// Nothing is changed by reading: every route answers GET, and the box stays as it was.
	before, _ := json.Marshal(box.subs)
	for _, rt := range routes() {
		if strings.HasSuffix(rt.path, "/events") {
			continue
		}
		get(t, s, strings.NewReplacer("{$}", "", "{id}", "S-1102", "{name}", "admin", "{file}", "admin.css").Replace(rt.path), "Cookie", cookie)
	}
	if after, _ := json.Marshal(box.subs); !bytes.Equal(before, after) {
		t.Error("a GET changed a subscriber")
	}
	if a := get(t, s, "/", "Cookie", cookie); a.StatusCode != 200 {
		t.Errorf("a GET ended the session: %s", a.Status)
	}
}

func TestEveryAnswerHasStrictHeaders(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	cookie := enter(t, s)
	s.pages["overview"] = s.pages["error"] // executes, with the wrong view
	paths := []string{"/", "/login", "/nothing", "/api/v1/nothing", "/subscribers/nobody", "/static/admin.css", "/static/nothing", "/metrics", "/api/v1/subscribers?limit=x", "/records?kind=" + strings.Repeat("k", 300)}
	for _, rt := range routes() {
		if !strings.HasSuffix(rt.path, "/events") {
			paths = append(paths, strings.NewReplacer("{$}", "", "{id}", "S-1044", "{name}", "nobody-here", "{file}", "admin.js").Replace(rt.path))
		}
	}
	for _, p := range paths {
		for _, method := range []string{"GET", "HEAD", "DELETE"} {
			a := ask(t, s, method, p, "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
			h := a.Header
			csp := h.Get("Content-Security-Policy")
			if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s %s (%d): policy %q", method, p, a.StatusCode, csp)
			}
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "same-origin" || h.Get("X-Frame-Options") != "DENY" {
				t.Errorf("%s %s (%d): %v", method, p, a.StatusCode, h)
			}
			if h.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s (%d) may be kept: %s", method, p, a.StatusCode, h.Get("Cache-Control"))
			}
			if h.Get("Strict-Transport-Security") != "" {
				t.Errorf("%s %s: HSTS with a self-signed certificate locks people out", method, p)
			}
			if method == "DELETE" && a.StatusCode != 405 && a.StatusCode != 404 && a.StatusCode != 400 && a.StatusCode != 409 && !slices.ContainsFunc(routes(), func(rt route) bool { return rt.method == method && rt.path == p }) {
				t.Errorf("DELETE %s: %s", p, a.Status)
			}
		}
	}
}

func TestAPanicIsAnAnswer(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	broken := s.outer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }))
	for path, want := range map[string]string{"/": "This page broke", "/api/v1/status": `"status":500`} {
		w := newRecorder()
		r, _ := http.NewRequest("GET", path, nil)
		broken.ServeHTTP(w, r)
		if w.code != 500 || !strings.Contains(w.String(), want) || strings.Contains(w.String(), "boom") {
			t.Errorf("%s: %d %s", path, w.code, w.String())
		}
	}
}

type recorder struct {
	bytes.Buffer
	header http.Header
	code   int
}

func newRecorder() *recorder             { return &recorder{header: http.Header{}, code: 200} }
func (r *recorder) Header() http.Header  { return r.header }
func (r *recorder) WriteHeader(code int) { r.code = code }

func TestLoginLeadsOnlyToOwnPages(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"/records?kind=STAGE": "/records?kind=STAGE", "/subscribers/100.64.9.9%2F32": "/subscribers/100.64.9.9%2F32", "": "/", "//evil.example": "/", "https://evil.example": "/",
		"/\\evil.example": "/", "\\\\evil.example": "/", "javascript:alert(1)": "/", "/\t/evil.example": "/", "evil": "/", "/%0d%0aSet-Cookie:a=b": "/%0d%0aSet-Cookie:a=b",
	} {
		if got := ownPage(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}
