package webadmin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func body(t *testing.T, a *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// enter logs in and returns the Cookie header of the session.
func enter(t *testing.T, s *Server) string {
	t.Helper()
	a := postToken(t, s, tokenOf(t, s))
	if a.StatusCode != http.StatusSeeOther || len(a.Cookies()) != 1 {
		t.Fatalf("login answers %s with %d cookies", a.Status, len(a.Cookies()))
	}
	return cookieName + "=" + a.Cookies()[0].Value
}

func postToken(t *testing.T, s *Server, token string, header ...string) *http.Response {
	t.Helper()
	return ask(t, s, "POST", "/login", url.Values{"token": {token}, "next": {"/records"}}.Encode(),
		append([]string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"}, header...)...)
}

func TestNothingIsSeenWithoutTheToken(t *testing.T) {
	t.Parallel()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "mailweir_up 1\n") })
	s := startServer(t, Options{Source: busyBox(), Metrics: metrics})
	open := map[string]bool{"GET /login": true, "POST /login": true, "GET /static/{file}": true}
	n := 0
	for _, rt := range routes() {
		if open[rt.method+" "+rt.path] {
			continue
		}
		n++
		path := strings.NewReplacer("{$}", "", "{id}", "S-1044").Replace(rt.path)
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
	s := startServer(t, Options{Source: busyBox(), Metrics: metrics})
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
	public := startServer(t, Options{Source: busyBox(), Metrics: metrics, MetricsPublic: true})
	if a := get(t, public, "/metrics"); a.StatusCode != 200 {
		t.Errorf("public metrics: %s", a.Status)
	}
	none := startServer(t, Options{Source: busyBox(), MetricsPublic: true})
	if a := get(t, none, "/metrics"); a.StatusCode != 404 {
		t.Errorf("metrics that are off: %s", a.Status)
	}
}

func TestTheSessionCookieIsStrict(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var heard []AuditEvent
	s := startServer(t, Options{Source: busyBox(), Audit: func(e AuditEvent) { mu.Lock(); heard = append(heard, e); mu.Unlock() }})
	a := postToken(t, s, tokenOf(t, s))
	if a.Header.Get("Location") != "/records" {
		t.Errorf("login leads to %q", a.Header.Get("Location"))
	}
	raw := a.Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Strict", "; Max-Age=43200"} {
		if !strings.Contains(raw, want) {
			t.Errorf("the cookie lacks %q: %s", want, raw)
		}
	}
	if strings.Contains(raw, "Domain") {
		t.Errorf("the cookie has a domain: %s", raw)
	}
	first := cookieName + "=" + a.Cookies()[0].Value

	// A login makes a new session and ends the one it came with: what somebody planted is worth nothing.
	b := postToken(t, s, tokenOf(t, s), "Cookie", first)
	second := cookieName + "=" + b.Cookies()[0].Value
	if first == second {
		t.Error("the cookie is not changed by a login")
	}
	if a := get(t, s, "/", "Cookie", first); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the session before the login still works: %s", a.Status)
	}
	if a := get(t, s, "/", "Cookie", second); a.StatusCode != 200 {
		t.Errorf("the session after it does not: %s", a.Status)
	}

	// Logout ends it on the server, not only in the browser.
	if a := ask(t, s, "POST", "/logout", "", "Cookie", second); a.StatusCode != http.StatusSeeOther {
		t.Errorf("logout: %s", a.Status)
	}
	if a := get(t, s, "/api/v1/status", "Cookie", second); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("after logout: %s", a.Status)
	}
	postToken(t, s, "wrong")
	mu.Lock()
	defer mu.Unlock()
	var words []string
	for _, e := range heard {
		if e.From != "127.0.0.1" {
			t.Errorf("audit of %s from %q", e.What, e.From)
		}
		words = append(words, strings.TrimSpace(e.What+" "+e.Why))
	}
	if got := strings.Join(words, ", "); got != "login, login, logout, login refused wrong token" {
		t.Errorf("audit heard: %s", got)
	}
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	now := noon
	l := &logins{now: func() time.Time { return now }}
	idle, busy := l.begin(), l.begin()
	for range 50 {
		now = now.Add(14 * time.Minute)
		busyStill := l.valid(busy, true)
		if want := now.Sub(noon) < sessionLife; busyStill != want {
			t.Fatalf("after %v of use: %v", now.Sub(noon), busyStill)
		}
		if now.Sub(noon) >= sessionIdle && l.valid(idle, true) {
			t.Fatalf("unused for %v and still there", now.Sub(noon))
		}
	}
	// Looking does not count as use.
	c := l.begin()
	now = now.Add(10 * time.Minute)
	if !l.valid(c, false) {
		t.Error("ended too early")
	}
	now = now.Add(6 * time.Minute)
	if l.valid(c, false) {
		t.Error("kept alive by an event stream")
	}
	// The table is bounded, and the newest stays.
	var last string
	for range maxSessions + 50 {
		last = l.begin()
		now = now.Add(time.Millisecond)
	}
	if len(l.by) > maxSessions || !l.valid(last, true) {
		t.Errorf("%d sessions, the newest valid: %v", len(l.by), l.valid(last, true))
	}
}

func TestWrongTokensAreThrottled(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	codes := make(chan int, 200)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			r, _ := http.NewRequest("POST", s.URL()+"login", strings.NewReader("token=guess"))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			a, err := client().Do(r)
			if err != nil {
				codes <- 0
				return
			}
			a.Body.Close()
			codes <- a.StatusCode
		})
	}
	wg.Wait()
	close(codes)
	count := map[int]int{}
	for c := range codes {
		count[c]++
	}
	if count[401] != triesAtOnce || count[429] != 200-triesAtOnce {
		t.Errorf("200 wrong tokens at once: %v, want %d times 401 and the rest 429", count, triesAtOnce)
	}
	a := postToken(t, s, tokenOf(t, s))
	if a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
		t.Errorf("the right token right after: %s, Retry-After %q", a.Status, a.Header.Get("Retry-After"))
	}
	// A program with its token is another matter.
	if a := get(t, s, "/api/v1/status", "Authorization", "Bearer "+tokenOf(t, s)); a.StatusCode != 200 {
		t.Errorf("the API meanwhile: %s", a.Status)
	}
}

func TestThrottleStory(t *testing.T) {
	t.Parallel()
	now := noon
	th := &throttle{now: func() time.Time { return now }}
	a := netip.MustParseAddr
	for _, c := range []struct {
		why   string
		at    time.Duration
		from  string
		right bool
		wait  time.Duration
	}{
		{"a wrong one", 0, "192.0.2.1", false, 0},
		{"the second", 0, "192.0.2.1", false, 0},
		{"the third", 0, "192.0.2.1", false, 0},
		{"the fourth", 0, "192.0.2.1", false, 0},
		{"the fifth", 0, "192.0.2.1", false, 0},
		{"the sixth waits", 0, "192.0.2.1", false, tryEvery},
		{"also as a mapped address", 0, "::ffff:192.0.2.1", false, tryEvery},
		{"also when right", 0, "192.0.2.1", true, tryEvery},
		{"waiting does not make it longer", 20 * time.Second, "192.0.2.1", false, 10 * time.Second},
		{"a neighbour is not meant", 20 * time.Second, "192.0.2.2", false, 0},
		{"one more after 30 s", 30 * time.Second, "192.0.2.1", false, 0},
		{"and only one", 30 * time.Second, "192.0.2.1", false, tryEvery},
		{"right ones cost nothing", 60 * time.Second, "192.0.2.1", true, 0},
		{"so this one counts", 60 * time.Second, "192.0.2.1", false, 0},
		{"a /64 is one source", 70 * time.Second, "2001:db8::1", false, 0},
		{"2", 70 * time.Second, "2001:db8::2", false, 0},
		{"3", 70 * time.Second, "2001:db8::3", false, 0},
		{"4", 70 * time.Second, "2001:db8::4", false, 0},
		{"5", 70 * time.Second, "2001:db8::5", false, 0},
		{"6", 70 * time.Second, "2001:db8::6", false, tryEvery},
		{"the next /64 is another", 70 * time.Second, "2001:db8:0:1::1", false, 0},
		{"all is forgotten in time", 10 * time.Minute, "192.0.2.1", false, 0},
	} {
		now = noon.Add(c.at)
		if got := th.admit(a(c.from), c.right); got != c.wait {
			t.Errorf("%s: waits %v, want %v", c.why, got, c.wait)
		}
	}
	for i := range 3 * maxTriers {
		th.admit(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), false)
	}
	if len(th.fullAt) > maxTriers+1 {
		t.Errorf("a flood fills the table: %d", len(th.fullAt))
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
		get(t, s, strings.NewReplacer("{$}", "", "{id}", "S-1102", "{file}", "admin.css").Replace(rt.path), "Cookie", cookie)
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
			paths = append(paths, strings.NewReplacer("{$}", "", "{id}", "S-1044", "{file}", "admin.js").Replace(rt.path))
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
			if method == "DELETE" && a.StatusCode != 405 && a.StatusCode != 404 && !slices.ContainsFunc(routes(), func(rt route) bool { return rt.method == method && rt.path == p }) {
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

func TestTheSocketNeedsNoTokenAndIsTheOwnersOnly(t *testing.T) {
	t.Parallel()
	box := busyBox()
	dir := shortDir(t)
	s := startServer(t, Options{Source: box, DataDir: dir})
	path := filepath.Join(dir, "mailweir.sock")
	for file, mode := range map[string]os.FileMode{path: 0o600, s.TokenFile(): 0o600, filepath.Join(dir, "tls", "key.pem"): 0o600, filepath.Join(dir, "tls"): 0o700} {
		st, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", file, st.Mode().Perm(), mode)
		}
	}
	local := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }, DisableKeepAlives: true}}
	a, err := local.Get("http://box/api/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != 200 {
		t.Errorf("status over the socket: %s", a.Status)
	}
	a, err = local.Post("http://box/api/v1/subscribers/S-1044/release", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != 200 || strings.Join(box.by, ",") != "local release S-1044" {
		t.Errorf("release over the socket: %s, by %v", a.Status, box.by)
	}
	a, err = local.Get("http://box/")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != 404 {
		t.Errorf("pages over the socket: %s", a.Status)
	}
	if _, err := New(Options{Source: box, DataDir: dir}); err == nil || !strings.Contains(err.Error(), "another mailweir") {
		t.Errorf("a second one on the same directory: %v", err)
	}
}

func TestASocketLeftBehindIsReplaced(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	path := filepath.Join(dir, "mailweir.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close() // as after kill -9
	s, err := New(Options{Source: busyBox(), DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
	if left, _ := os.ReadDir(dir); len(left) != 2 { // admin.token, tls
		t.Errorf("left behind: %v", left)
	}
	if s.URL() != "" {
		t.Errorf("no address, but a URL: %s", s.URL())
	}
	_, err = New(Options{Source: busyBox(), DataDir: filepath.Join(dir, "nowhere")})
	if err == nil {
		t.Error("a directory that does not exist is taken")
	}
}

func TestTheTokenIsMadeOnceAndMustBeLong(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "admin.token")
	first, err := loadToken(path)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(path)
	if !first.is(strings.TrimSpace(string(b))) || first.is("") || len(b) != 44 {
		t.Errorf("made %q", b)
	}
	if again, err := loadToken(path); err != nil || again != first {
		t.Errorf("made again: %v", err)
	}
	for _, bad := range []string{"", "admin", "  \n"} {
		os.WriteFile(path, []byte(bad), 0o600)
		if _, err := loadToken(path); err == nil {
			t.Errorf("%q is taken as a token", bad)
		}
	}
}

func TestTheSelfSignedPairIsKeptAndRenewed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortDir(t), "tls")
	now := noon
	clock := func() time.Time { return now }
	k, err := selfSigned(dir, clock)
	if err != nil {
		t.Fatal(err)
	}
	first := k.fingerprint()
	again, err := selfSigned(dir, clock)
	if err != nil || again.fingerprint() != first {
		t.Errorf("a restart makes another pair: %v", err)
	}
	leaf := k.pair.Leaf
	if err := leaf.VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
	if err := leaf.VerifyHostname("localhost"); err != nil {
		t.Error(err)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 398*24*time.Hour {
		t.Errorf("browsers refuse a certificate for %v", life)
	}
	now = noon.Add(300 * 24 * time.Hour)
	if k.fingerprint() != first {
		t.Error("renewed too early")
	}
	now = noon.Add(380 * 24 * time.Hour)
	second := k.fingerprint()
	if second == first {
		t.Error("not renewed in its last month")
	}
	// A box without a clock of its own starts in 1970; NTP then steps it to today.
	now = time.Unix(100, 0)
	early, err := selfSigned(filepath.Join(shortDir(t), "tls"), clock)
	if err != nil {
		t.Fatal(err)
	}
	before := early.fingerprint()
	now = noon
	if early.fingerprint() == before {
		t.Error("an expired certificate is kept after the clock was set")
	}
	// Damage is mended.
	os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("not a certificate"), 0o600)
	if _, err := selfSigned(dir, clock); err != nil {
		t.Errorf("a damaged pair stops the start: %v", err)
	}
}

func TestTheOperatorsPairBringsHSTS(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	cert, key, err := makePair(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	os.WriteFile(certFile, cert, 0o600)
	os.WriteFile(keyFile, key, 0o600)
	s := startServer(t, Options{Source: busyBox(), CertFile: certFile, KeyFile: keyFile})
	if a := get(t, s, "/login"); a.Header.Get("Strict-Transport-Security") == "" {
		t.Error("no HSTS with the operator's own certificate")
	}
	if _, err := New(Options{Source: busyBox(), DataDir: shortDir(t), CertFile: certFile}); err == nil || !strings.Contains(err.Error(), "admin.tls") {
		t.Errorf("half a pair: %v", err)
	}
}

func TestPlainHTTPIsSentToHTTPS(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	host := strings.TrimSuffix(strings.TrimPrefix(s.URL(), "https://"), "/")
	a, err := client().Get("http://" + host + "/records?kind=STAGE")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusPermanentRedirect || a.Header.Get("Location") != "https://"+host+"/records?kind=STAGE" {
		t.Errorf("%s to %q", a.Status, a.Header.Get("Location"))
	}
	for _, junk := range []string{"hello\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nLocation: b\r\n\r\n"} {
		c, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, junk)
		c.(*net.TCPConn).CloseWrite()
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		b, err := io.ReadAll(c)
		c.Close()
		if err != nil {
			t.Errorf("%q: %v", junk, err)
		}
		if len(b) > 0 && !bytes.HasPrefix(b, []byte("HTTP/1.1 308")) {
			t.Errorf("%q is answered %q", junk, b)
		}
	}
}

func TestAnAddressInUseIsToldAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	host := strings.TrimSuffix(strings.TrimPrefix(s.URL(), "https://"), "/")
	dir := shortDir(t)
	_, err := New(Options{Source: busyBox(), DataDir: dir, Listen: host})
	if err == nil || !strings.Contains(err.Error(), "admin.listen "+host) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "mailweir.sock")); err == nil {
		t.Error("the socket stays behind")
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &pipeListener{conns: make(chan net.Conn)}
		door := &frontDoor{Listener: l}
		let := make(chan net.Conn)
		go func() {
			for {
				c, err := door.Accept()
				if err != nil {
					close(let)
					return
				}
				let <- c
			}
		}()
		var inside []net.Conn
		for range maxConnections {
			_, theirs := net.Pipe()
			l.conns <- theirs
			inside = append(inside, <-let)
		}
		ours, theirs := net.Pipe()
		l.conns <- theirs
		if _, err := ours.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("one too many: %v", err)
		}
		inside[0].Close()
		inside[0].Close()
		_, theirs = net.Pipe()
		l.conns <- theirs
		if c := <-let; c == nil {
			t.Error("nobody is let in after one has left")
		}
		close(l.conns)
		<-let
	})
}

type pipeListener struct{ conns chan net.Conn }

func (l *pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l *pipeListener) Close() error   { return nil }
func (l *pipeListener) Addr() net.Addr { return nil }
