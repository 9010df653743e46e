package webadmin

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/mailweir/mailweir/web-admin/users"
)

// The people of every test. Their password is the same.
const (
	password = "four words are easier"
	boss     = "admin"
)

// person makes sure that there is a user of this name and role who needs nothing more than the password.
func person(t *testing.T, s *Server, name string, role users.Role) {
	t.Helper()
	if _, there := s.users.Find(name); there {
		return
	}
	if !s.users.Any() && name != boss {
		person(t, s, boss, users.Admin)
	}
	if _, err := s.users.Add(name, role, password, false); err != nil {
		t.Fatal(err)
	}
}

// enter logs the admin in and returns the Cookie header of the session.
func enter(t *testing.T, s *Server) string {
	t.Helper()
	return enterAs(t, s, boss, users.Admin)
}

func enterAs(t *testing.T, s *Server, name string, role users.Role) string {
	t.Helper()
	person(t, s, name, role)
	a := postLogin(t, s, name, password)
	if a.StatusCode != http.StatusSeeOther || cookieFrom(a) == "" {
		t.Fatalf("login answers %s with %d cookies", a.Status, len(a.Cookies()))
	}
	return cookieFrom(a)
}

// loginOf is a login of a user that has come so far.
func loginOf(s *Server, name string, at step) login {
	u, _ := s.users.Find(name)
	return login{user: name, as: u, at: at}
}

// cookieFrom is the Cookie header that goes on with the session of an answer; empty: it gives none.
func cookieFrom(a *http.Response) string {
	for _, c := range a.Cookies() {
		if c.Name == cookieName && c.Value != "" {
			return cookieName + "=" + c.Value
		}
	}
	return ""
}

func postLogin(t *testing.T, s *Server, name, password string, header ...string) *http.Response {
	t.Helper()
	return post(t, s, "/login", url.Values{"name": {name}, "password": {password}, "next": {"/records"}}, header...)
}

// post sends a form as a page of ours does.
func post(t *testing.T, s *Server, path string, form url.Values, header ...string) *http.Response {
	t.Helper()
	return ask(t, s, "POST", path, form.Encode(), append([]string{"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"}, header...)...)
}

// ears collects what is told for the audit.
type ears struct {
	mu    sync.Mutex
	heard []AuditEvent
}

func (e *ears) hear(a AuditEvent) { e.mu.Lock(); defer e.mu.Unlock(); e.heard = append(e.heard, a) }

func (e *ears) words() (all []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range e.heard {
		all = append(all, strings.Join(strings.Fields(strings.Join([]string{a.Who, a.What, a.Object, a.Before, ">", a.After}, " ")), " "))
	}
	e.heard = nil
	return all
}

func (e *ears) mustHear(t *testing.T, want ...string) {
	t.Helper()
	if got := e.words(); !slices.Equal(got, want) {
		t.Errorf("the audit heard\n\t%s\nand should have heard\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestTheSessionCookieIsStrict(t *testing.T) {
	t.Parallel()
	audit := &ears{}
	s := startServer(t, Options{Source: busyBox(), Audit: audit.hear})
	person(t, s, boss, users.Admin)
	a := postLogin(t, s, boss, password)
	if a.Header.Get("Location") != "/records" {
		t.Errorf("login leads to %q", a.Header.Get("Location"))
	}
	if len(a.Header.Values("Set-Cookie")) != 2 {
		t.Errorf("cookies: %q", a.Header.Values("Set-Cookie"))
	}
	for i, raw := range a.Header.Values("Set-Cookie") {
		for _, want := range []string{"__Host-mailweir", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Strict", []string{"; Max-Age=43200", "; Max-Age=15552000"}[i]} {
			if !strings.Contains(raw, want) {
				t.Errorf("the cookie lacks %q: %s", want, raw)
			}
		}
		if strings.Contains(raw, "Domain") {
			t.Errorf("the cookie has a domain: %s", raw)
		}
	}
	first := cookieFrom(a)

	// A login makes a new session and ends the one it came with: what somebody planted is worth nothing.
	second := cookieFrom(postLogin(t, s, boss, password, "Cookie", first))
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
	postLogin(t, s, boss, "wrong")
	postLogin(t, s, "hunter2 typed into the name", "wrong")
	audit.mustHear(t, "admin 127.0.0.1 login admin > admin", "admin 127.0.0.1 login admin > admin", "admin 127.0.0.1 logout admin >",
		"admin 127.0.0.1 login_refused admin > wrong name or password", "nobody 127.0.0.1 login_refused nobody > wrong name or password")
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	now := noon
	l := &logins{now: func() time.Time { return now }}
	valid := func(cookie string, use bool) bool { _, ok := l.valid(cookie, use); return ok }
	idle, busy, half := l.begin(login{at: inside}), l.begin(login{at: inside}), l.begin(login{at: byCode})
	for range 50 {
		now = now.Add(14 * time.Minute)
		if want := now.Sub(noon) < sessionLife; valid(busy, true) != want {
			t.Fatalf("after %v of use: %v", now.Sub(noon), !want)
		}
		if now.Sub(noon) >= sessionIdle && valid(idle, true) {
			t.Fatalf("unused for %v and still there", now.Sub(noon))
		}
		if now.Sub(noon) >= halfLife && valid(half, true) {
			t.Fatalf("a login waits for its code for %v", now.Sub(noon))
		}
	}
	// Looking does not count as use.
	c := l.begin(login{at: inside})
	now = now.Add(10 * time.Minute)
	if !valid(c, false) {
		t.Error("ended too early")
	}
	now = now.Add(6 * time.Minute)
	if valid(c, false) {
		t.Error("kept alive by an event stream")
	}
	// The table is bounded, and the newest stays.
	var last string
	for range maxSessions + 50 {
		last = l.begin(login{at: inside})
		now = now.Add(time.Millisecond)
	}
	if len(l.by) > maxSessions || !valid(last, true) {
		t.Errorf("%d sessions, the newest valid: %v", len(l.by), valid(last, true))
	}
}

// An old session is worth nothing once something about its user has changed.
func TestSessionsEndWithWhatTheyStoodOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why  string
		does func(s *Server, a actor) error
	}{
		{"another role", func(s *Server, a actor) error {
			_, err := s.setUser(a, "olga", users.Settings{Role: users.Viewer})
			return err
		}},
		{"disabled", func(s *Server, a actor) error {
			_, err := s.setUser(a, "olga", users.Settings{Role: users.Operator, Disabled: true})
			return err
		}},
		{"a factor needed", func(s *Server, a actor) error {
			_, err := s.setUser(a, "olga", users.Settings{Role: users.Operator, NeedsFactor: true})
			return err
		}},
		{"password reset", func(s *Server, a actor) error { _, _, err := s.resetPassword(a, "olga", ""); return err }},
		{"ended by an admin", func(s *Server, a actor) error { _, err := s.endSessions(a, "olga"); return err }},
		{"removed", func(s *Server, a actor) error { _, err := s.removeUser(a, "olga"); return err }},
	} {
		s := startServer(t, Options{Source: busyBox()})
		cookie := enterAs(t, s, "olga", users.Operator)
		if a := get(t, s, "/", "Cookie", cookie); a.StatusCode != 200 {
			t.Fatalf("%s: before: %s", c.why, a.Status)
		}
		if err := c.does(s, actor{who: "test"}); err != nil {
			t.Fatalf("%s: %v", c.why, err)
		}
		if a := get(t, s, "/api/v1/status", "Cookie", cookie); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: the old session answers %s", c.why, a.Status)
		}
		if a := get(t, s, "/", "Cookie", cookie); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/login" {
			t.Errorf("%s: the old session's page answers %s", c.why, a.Status)
		}
	}
}

// An open event stream ends with its session's right.
func TestAnEventStreamEndsWithTheRole(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	stream := get(t, s, "/api/v1/events", "Cookie", enterAs(t, s, "olga", users.Operator))
	if stream.StatusCode != 200 {
		t.Fatal(stream.Status)
	}
	if _, err := s.setUser(actor{}, "olga", users.Settings{Role: users.Viewer}); err != nil {
		t.Fatal(err)
	}
	body(t, stream) // comes to its end, or the client's time is over
}

// From the box's console to a login with a second factor.
func TestTheFirstVisit(t *testing.T) {
	t.Parallel()
	now, mu := noon, sync.Mutex{}
	pass := func(d time.Duration) { mu.Lock(); now = now.Add(d); mu.Unlock() }
	audit := &ears{}
	s := startServer(t, Options{Source: busyBox(), Audit: audit.hear, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	if a := get(t, s, "/login"); a.Header.Get("Location") != "/setup" {
		t.Errorf("without a user the login page leads to %q", a.Header.Get("Location"))
	}
	form := func(code, name, word string) url.Values {
		return url.Values{"code": {code}, "name": {name}, "password": {word}, "again": {word}}
	}
	for _, wrong := range []url.Values{form("aaaaa-bbbbb-ccccc", "anna", password), form("", "anna", password), form(s.SetupCode(), "anna", "short"), form(s.SetupCode(), "Anna Maria", password)} {
		if a := post(t, s, "/setup", wrong); a.StatusCode/100 != 4 || cookieFrom(a) != "" || s.users.Any() {
			t.Errorf("%v: %s", wrong, a.Status)
		}
	}
	code := s.SetupCode()
	a := post(t, s, "/setup", form(strings.ToUpper(strings.ReplaceAll(code, "-", " ")), "anna", password))
	cookie := cookieFrom(a)
	if a.StatusCode != http.StatusSeeOther || cookie == "" {
		t.Fatalf("with the code: %s %s", a.Status, body(t, a))
	}
	if a := get(t, s, "/", "Cookie", cookie); a.StatusCode != 200 {
		t.Errorf("the first admin's overview: %s", a.Status)
	}
	if s.SetupCode() != "" {
		t.Error("the code is still shown")
	}
	if a := post(t, s, "/setup", form(code, "eve", password)); a.Header.Get("Location") != "/login" || len(s.users.List()) != 1 {
		t.Errorf("the code works twice: %s, %v", a.Status, s.users.List())
	}
	audit.words()

	// An operator with a password that the admin knows, and no login without a second factor.
	if _, given, err := s.addUser(actor{who: "anna 127.0.0.1"}, "olga", users.Operator, ""); err != nil {
		t.Fatal(err)
	} else if _, err := s.setUser(actor{who: "anna 127.0.0.1"}, "olga", users.Settings{Role: users.Operator, NeedsFactor: true}); err != nil {
		t.Fatal(err)
	} else {
		a = postLogin(t, s, "olga", given)
	}
	first := cookieFrom(a)
	if a.Header.Get("Location") != "/login/password?next=%2Frecords" {
		t.Fatalf("a password that others know leads to %q", a.Header.Get("Location"))
	}
	// Half a login opens nothing.
	for _, path := range []string{"/", "/records", "/login/factor", "/login/code", "/subscribers"} {
		if a := get(t, s, path, "Cookie", first); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/login/password" {
			t.Errorf("%s with half a login: %s to %q", path, a.Status, a.Header.Get("Location"))
		}
	}
	if a := get(t, s, "/api/v1/status", "Cookie", first); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("the API with half a login: %s", a.Status)
	}
	mine := "words of my own choice"
	a = post(t, s, "/login/password", url.Values{"password": {mine}, "again": {mine}, "next": {"/records"}}, "Cookie", first)
	second := cookieFrom(a)
	if a.Header.Get("Location") != "/login/factor?next=%2Frecords" || second == first || second == "" {
		t.Fatalf("the new password leads to %q", a.Header.Get("Location"))
	}
	page := body(t, get(t, s, "/login/factor", "Cookie", second))
	_, secret, _ := strings.Cut(page, `<code class="secret">`)
	secret, _, _ = strings.Cut(secret, "<")
	secret = strings.ReplaceAll(secret, " ", "")
	if len(secret) != 32 || !strings.Contains(page, "<svg class=\"qr\"") {
		t.Fatalf("no secret and QR code on the page: %s", page)
	}
	codeNow := func() string {
		mu.Lock()
		defer mu.Unlock()
		c, err := totp.GenerateCode(secret, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if a := post(t, s, "/login/factor", url.Values{"code": {"000000"}}, "Cookie", second); a.StatusCode != 400 {
		t.Errorf("a code that is none: %s", a.Status)
	}
	used := codeNow()
	a = post(t, s, "/login/factor", url.Values{"code": {used}, "next": {"/records"}}, "Cookie", second)
	page = body(t, a)
	if a.StatusCode != 200 || strings.Count(page, "<li><code>") != 10 || get(t, s, "/records", "Cookie", cookieFrom(a)).StatusCode != 200 {
		t.Fatalf("the second factor: %s %s", a.Status, page)
	}
	_, recovery, _ := strings.Cut(page, "<li><code>")
	recovery, _, _ = strings.Cut(recovery, "<")

	// From now on the password is half of it; a code counts once.
	login := func() string {
		t.Helper()
		a := postLogin(t, s, "olga", mine)
		if a.Header.Get("Location") != "/login/code?next=%2Frecords" {
			t.Fatalf("the password leads to %q", a.Header.Get("Location"))
		}
		return cookieFrom(a)
	}
	half := login()
	if a := post(t, s, "/login/code", url.Values{"code": {used}}, "Cookie", half); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a code twice: %s", a.Status)
	}
	pass(time.Minute)
	if a := post(t, s, "/login/code", url.Values{"code": {codeNow()}, "next": {"/records"}}, "Cookie", half); a.Header.Get("Location") != "/records" {
		t.Errorf("the code of now: %s", a.Status)
	}
	half = login()
	if a := post(t, s, "/login/code", url.Values{"code": {strings.ToUpper(recovery)}}, "Cookie", half); a.Header.Get("Location") != "/" {
		t.Errorf("a recovery code: %s", a.Status)
	}
	half = login()
	pass(codeTryEvery) // for the wrong one above
	for i := range maxCodes {
		a = post(t, s, "/login/code", url.Values{"code": {recovery}}, "Cookie", half)
		if wantEnd := i == maxCodes-1; wantEnd != (a.StatusCode == http.StatusSeeOther) {
			t.Errorf("wrong code %d: %s", i+1, a.Status)
		}
	}
	if a := get(t, s, "/login/code", "Cookie", half); a.Header.Get("Location") != "/login" {
		t.Errorf("after too many wrong codes: %s to %q", a.Status, a.Header.Get("Location"))
	}
	audit.mustHear(t,
		"anna 127.0.0.1 user_added olga > operator", "anna 127.0.0.1 user_changed olga operator > operator, second factor needed",
		"olga 127.0.0.1 password olga > changed, 1 session ended", "olga 127.0.0.1 factor_set olga > second factor", "olga 127.0.0.1 login olga > operator",
		"olga 127.0.0.1 login_refused olga > wrong code", "olga 127.0.0.1 login olga > operator",
		"olga 127.0.0.1 recovery_code olga > 9 codes left", "olga 127.0.0.1 login olga > operator",
		"olga 127.0.0.1 login_refused olga > wrong code", "olga 127.0.0.1 login_refused olga > wrong code", "olga 127.0.0.1 login_refused olga > wrong code",
		"olga 127.0.0.1 login_refused olga > wrong code", "olga 127.0.0.1 login_refused olga > wrong code")
}
