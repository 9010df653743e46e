package webadmin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/mailweir/mailweir/web-admin/users"
)

// An admin adds an operator, changes them, resets them and lets them go; the operator keeps their own account meanwhile. All of it by
// the pages' forms, and heard by the audit.
func TestUsersAreManagedOnTheirPages(t *testing.T) {
	t.Parallel()
	audit := &ears{}
	s := startServer(t, Options{Source: busyBox(), Audit: audit.hear})
	anna := enterAs(t, s, "admin", users.Admin)
	given := regexp.MustCompile(`<code class="given" id="given">([^<]+)</code>`)
	secretOn := func(a *http.Response) string {
		t.Helper()
		m := given.FindStringSubmatch(body(t, a))
		if a.StatusCode != 200 || m == nil {
			t.Fatalf("%s shows no secret", a.Status)
		}
		return m[1]
	}
	audit.words()
	for _, c := range []struct {
		why  string
		form url.Values
		says string
	}{
		{"a name with a blank", url.Values{"name": {"olga k"}, "role": {"operator"}}, "1 to 32 of a-z"},
		{"a name that is there", url.Values{"name": {"admin"}, "role": {"operator"}}, "there is a user admin"},
		{"a role that is none", url.Values{"name": {"olga"}, "role": {"root"}}, "one of viewer"},
	} {
		c.form.Set("now", password)
		if a := post(t, s, "/settings/users", c.form, "Cookie", anna); a.StatusCode != 400 || !strings.Contains(body(t, a), c.says) {
			t.Errorf("%s: %s", c.why, a.Status)
		}
	}
	first := secretOn(post(t, s, "/settings/users", url.Values{"name": {"Olga"}, "role": {"operator"}, "now": {password}}, "Cookie", anna))
	audit.mustHear(t, "admin 127.0.0.1 user_added olga > operator")

	// The operator comes, chooses a password, makes a token, and changes the password again.
	olga := cookieFrom(postLogin(t, s, "olga", first))
	a := post(t, s, "/login/password", url.Values{"password": {password}, "again": {password}}, "Cookie", olga)
	if olga = cookieFrom(a); olga == "" || a.Header.Get("Location") != "/" {
		t.Fatalf("the first login: %s to %q", a.Status, a.Header.Get("Location"))
	}
	token := secretOn(post(t, s, "/account/tokens", url.Values{"label": {"backup of lists"}, "role": {"viewer"}, "days": {"30"}, "now": {password}}, "Cookie", olga))
	if a := post(t, s, "/account/tokens", url.Values{"label": {"more"}, "role": {"admin"}, "days": {"30"}, "now": {password}}, "Cookie", olga); a.StatusCode != 400 {
		t.Errorf("a token with more than the own role: %s", a.Status)
	}
	asToken := func(path string) int {
		return get(t, s, path, "Authorization", "Bearer "+token).StatusCode
	}
	if asToken("/api/v1/subscribers") != 200 || asToken("/api/v1/holds") != http.StatusForbidden || asToken("/api/v1/account") != http.StatusForbidden {
		t.Error("a viewer's token does not do what a viewer may")
	}
	other := cookieFrom(postLogin(t, s, "olga", password))
	audit.words()
	const second = "yet another four words"
	if a := post(t, s, "/account/password", url.Values{"now": {"wrong"}, "password": {second}, "again": {second}}, "Cookie", olga); a.StatusCode != 400 {
		t.Errorf("another password without the one of now: %s", a.Status)
	}
	a = post(t, s, "/account/password", url.Values{"now": {password}, "password": {second}, "again": {second}}, "Cookie", olga)
	fresh := cookieFrom(a)
	if fresh == "" || a.Header.Get("Location") != "/account" {
		t.Fatalf("another password: %s", a.Status)
	}
	for _, old := range []string{olga, other} {
		if a := get(t, s, "/", "Cookie", old); a.StatusCode != http.StatusSeeOther {
			t.Errorf("a session of before the change of password: %s", a.Status)
		}
	}
	audit.mustHear(t, "olga 127.0.0.1 password olga > changed, 2 sessions ended", "olga 127.0.0.1 login olga > operator")

	// Sessions are listed, and end one by one.
	postLogin(t, s, "olga", second)
	var account Account
	if err := json.NewDecoder(get(t, s, "/api/v1/account", "Cookie", fresh).Body).Decode(&account); err != nil || len(account.Sessions) != 2 || len(account.Tokens) != 1 {
		t.Fatalf("%+v, %v", account, err)
	}
	for _, l := range account.Sessions {
		if !l.Here {
			post(t, s, "/account/sessions/"+l.ID+"/end", nil, "Cookie", fresh)
		}
	}
	if left := s.logins.of("olga"); len(left) != 1 {
		t.Errorf("%d sessions left", len(left))
	}

	// A second factor, of the own will, and without one again.
	page := body(t, get(t, s, "/account/factor", "Cookie", fresh))
	_, secret, _ := strings.Cut(page, `<code class="secret">`)
	secret, _, _ = strings.Cut(secret, "<")
	code, err := totp.GenerateCode(strings.ReplaceAll(secret, " ", ""), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if a := post(t, s, "/account/factor", url.Values{"code": {code}, "now": {second}}, "Cookie", fresh); a.StatusCode != 200 || strings.Count(body(t, a), "<li><code>") != 10 {
		t.Errorf("a second factor: %s", a.Status)
	}
	audit.words()
	if a := post(t, s, "/account/factor/end", url.Values{"now": {second}}, "Cookie", fresh); a.StatusCode != http.StatusSeeOther {
		t.Errorf("without the second factor again: %s", a.Status)
	}
	audit.mustHear(t, "olga 127.0.0.1 factor_removed olga second factor > none", "olga 127.0.0.1 login olga > operator")

	// The admin changes the role, resets the password and removes the user; the token goes along.
	if a := post(t, s, "/settings/users/olga", url.Values{"role": {"viewer"}, "factor": {"1"}, "now": {password}}, "Cookie", anna); a.Header.Get("Location") != "/settings/users/olga" {
		t.Errorf("another role: %s", a.Status)
	}
	secretOn(post(t, s, "/settings/users/olga/password", url.Values{"now": {password}}, "Cookie", anna))
	if a := post(t, s, "/settings/users/admin", url.Values{"role": {"viewer"}, "now": {password}}, "Cookie", anna); a.StatusCode != 400 || !strings.Contains(body(t, a), "last admin") {
		t.Errorf("the last admin goes: %s", a.Status)
	}
	if a := post(t, s, "/settings/users/olga/remove", url.Values{"now": {password}}, "Cookie", anna); a.StatusCode != http.StatusSeeOther || asToken("/api/v1/status") != http.StatusUnauthorized {
		t.Errorf("removed: %s, and the token answers %d", a.Status, asToken("/api/v1/status"))
	}
	audit.mustHear(t, "admin 127.0.0.1 user_changed olga operator > viewer, second factor needed", "admin 127.0.0.1 password_reset olga >", "admin 127.0.0.1 user_removed olga viewer, second factor needed >")
	for _, path := range []string{"/settings/users/olga", "/settings/users/olga/password"} {
		a := get(t, s, path, "Cookie", anna)
		if strings.HasSuffix(path, "password") {
			a = post(t, s, path, url.Values{"now": {password}}, "Cookie", anna)
		}
		if a.StatusCode != 404 {
			t.Errorf("%s of nobody: %s", path, a.Status)
		}
	}
}

// The API does what the pages do.
func TestUsersAreManagedByTheAPI(t *testing.T) {
	t.Parallel()
	audit := &ears{}
	s := startServer(t, Options{Source: busyBox(), Audit: audit.hear})
	auth := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	person(t, s, boss, users.Admin)
	call := func(method, path, sent string, want int, header ...string) map[string]any {
		t.Helper()
		if header == nil {
			header = auth
		}
		a := ask(t, s, method, "/api/v1"+path, sent, append(header, "Content-Type", "application/json")...)
		text := body(t, a)
		var v map[string]any
		if err := json.Unmarshal([]byte(text), &v); a.StatusCode != want || err != nil {
			t.Fatalf("%s %s %s: %s %s", method, path, sent, a.Status, text)
		}
		return v
	}
	call("POST", "/users", `{"name":"olga","role":"operator","password":"short"}`, 400)
	call("POST", "/users", `{"name":"olga","role":"operator"}`, 400)
	made := call("POST", "/users", `{"name":"olga","role":"operator","password":""}`, 200)
	first, _ := made["password"].(string)
	if len(first) != 23 || made["user"].(map[string]any)["must_change_password"] != true {
		t.Errorf("%v", made)
	}
	if a := postLogin(t, s, "olga", first); a.Header.Get("Location") != "/login/password?next=%2Frecords" {
		t.Errorf("the password does not work: %s", a.Status)
	}
	call("PUT", "/users/olga", `{"role":"admin","disabled":false,"second_factor_needed":false}`, 200)
	call("PUT", "/users/olga", `{"role":"admin","disabled":"no","second_factor_needed":false}`, 400)
	call("PUT", "/users/nobody", `{"role":"admin","disabled":false,"second_factor_needed":false}`, 404)
	call("DELETE", "/users/admin", "", 200)
	call("DELETE", "/users/olga", "", 400)
	call("POST", "/users/olga/password", `{"password":"words that I was told"}`, 200)
	call("DELETE", "/users/olga/sessions", "", 200)
	call("DELETE", "/users/olga/second-factor", "", 200)
	audit.mustHear(t, "admin.token 127.0.0.1 user_added olga > operator", "admin.token 127.0.0.1 user_changed olga operator > admin", "admin.token 127.0.0.1 user_removed admin admin >",
		"admin.token 127.0.0.1 password_reset olga >", "admin.token 127.0.0.1 sessions_ended olga 0 > 0")

	olga := cookieFrom(postLogin(t, s, "olga", "words that I was told"))
	olga = cookieFrom(post(t, s, "/login/password", url.Values{"password": {password}, "again": {password}}, "Cookie", olga))
	own := []string{"Cookie", olga, "Sec-Fetch-Site", "same-origin"}
	call("POST", "/account/tokens", `{"now":"`+password+`","label":"x","role":"operator","expires":"2020-01-01T00:00:00Z"}`, 400, own...)
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	token := call("POST", "/account/tokens", `{"now":"`+password+`","label":"x","role":"operator","expires":"`+until+`"}`, 200, own...)
	secret, _ := token["secret"].(string)
	call("GET", "/holds", "", 200, "Authorization", "Bearer "+secret)
	call("GET", "/users", "", 403, "Authorization", "Bearer "+secret)
	call("DELETE", "/account/tokens/nothing", "", 404, own...)
	call("DELETE", "/account/tokens/"+token["token"].(map[string]any)["id"].(string), "", 200, own...)
	call("GET", "/holds", "", 401, "Authorization", "Bearer "+secret)
	offer := call("POST", "/account/second-factor", "", 200, own...)
	code, err := totp.GenerateCode(offer["secret"].(string), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	call("PUT", "/account/second-factor", `{"now":"`+password+`","code":"000"}`, 400, own...)
	if codes := call("PUT", "/account/second-factor", `{"now":"`+password+`","code":"`+code+`"}`, 200, own...); len(codes["codes"].([]any)) != 10 {
		t.Errorf("%v", codes)
	}
	call("DELETE", "/account/second-factor", `{"now":"wrong"}`, 400, own...)
	call("POST", "/account/password", `{"now":"`+password+`","password":"the last words of all"}`, 200, own...)
	call("GET", "/account", "", 401, own...)
}

// Who finds a browser open makes no token and puts no second factor of theirs in place of the one there is: both would outlive the login.
func TestAnOpenBrowserGivesNothingThatStays(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox()})
	found := enter(t, s)
	secret, _, err := s.enrolling(actor{name: boss, cookie: strings.TrimPrefix(found, cookieName+"=")})
	if err != nil {
		t.Fatal(err)
	}
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	const now = "a guess at the words"
	for path, form := range map[string]url.Values{
		"/account/tokens": {"label": {"mine"}, "role": {"admin"}, "days": {"365"}, "now": {now}},
		"/account/factor": {"code": {code}, "now": {now}},
	} {
		if a := post(t, s, path, form, "Cookie", found); a.StatusCode != 400 || !strings.Contains(body(t, a), "is wrong") {
			t.Errorf("%s with the password %q: %s", path, now, a.Status)
		}
	}
	for what, sent := range map[string]string{
		"POST /api/v1/account/tokens":       `{"label":"mine","role":"admin","expires":"` + until + `","now":"` + now + `"}`,
		"PUT /api/v1/account/second-factor": `{"code":"` + code + `","now":"` + now + `"}`,
	} {
		method, path, _ := strings.Cut(what, " ")
		a := ask(t, s, method, path, sent, "Content-Type", "application/json", "Cookie", found, "Sec-Fetch-Site", "same-origin")
		if text := body(t, a); a.StatusCode != 400 || !strings.Contains(text, `"now"`) {
			t.Errorf("%s with the password %q: %s %s", what, now, a.Status, text)
		}
	}
	if u, _ := s.users.Find(boss); u.HasFactor || len(u.Tokens) > 0 {
		t.Errorf("%+v", u)
	}
}

// Who finds an admin's browser open adds nobody, gives no role, no password and no way around a second factor, and removes nobody: not on the pages, and not
// by the API with the session. Wrong passwords are counted as at a login. A token has no password to be asked for.
func TestAnOpenBrowserMakesNobodyMore(t *testing.T) {
	t.Parallel()
	audit := &ears{}
	s := startServer(t, Options{Source: busyBox(), Audit: audit.hear})
	found := enter(t, s)
	person(t, s, "olga", users.Operator)
	if _, err := s.users.SetFactor("olga", "JBSWY3DPEHPK3PXP", codeAt(t, "JBSWY3DPEHPK3PXP", time.Now())); err != nil {
		t.Fatal(err)
	}
	before := s.users.List()
	audit.words()
	pages := []struct {
		path  string
		form  url.Values
		field string // that the error leads to
	}{
		{"/settings/users", url.Values{"name": {"mine"}, "role": {"admin"}}, "now"},
		{"/settings/users/olga", url.Values{"role": {"admin"}}, "now-set"},
		{"/settings/users/olga/password", url.Values{}, "now-reset"},
		{"/settings/users/olga/factor/end", url.Values{}, "now-factor"},
		{"/settings/users/olga/remove", url.Values{}, "now-remove"},
	}
	refused := func(why string) {
		t.Helper()
		if now := s.users.List(); !reflect.DeepEqual(now, before) {
			t.Errorf("%s changed the users: %+v", why, now)
		}
		if heard := audit.words(); len(heard) != 0 {
			t.Errorf("%s: the audit heard %q", why, heard)
		}
		forgiven(s)
	}
	for _, p := range pages {
		for _, now := range []string{"", "a guess at the words"} {
			p.form.Set("now", now)
			a := post(t, s, p.path, p.form, "Cookie", found)
			page := body(t, a)
			if a.StatusCode != 400 || !strings.Contains(page, `<a href="#`+p.field+`">Your password</a>: is wrong`) || !strings.Contains(page, `id="`+p.field+`"`) {
				t.Errorf("%s with the password %q: %s", p.path, now, a.Status)
			}
			if p.field != "now" && p.field != "now-set" && !strings.Contains(page, `id="do-`+strings.TrimPrefix(p.field, "now-")+`" open`) {
				t.Errorf("%s: the form in which it was is closed", p.path)
			}
			refused(p.path)
		}
	}
	calls := []struct{ method, path, sent string }{
		{"POST", "/users", `"name":"mine","role":"admin","password":""`},
		{"PUT", "/users/olga", `"role":"admin","disabled":false,"second_factor_needed":false`},
		{"POST", "/users/olga/password", `"password":"words that I chose myself"`},
		{"DELETE", "/users/olga/second-factor", ``},
		{"DELETE", "/users/olga", ``},
	}
	body400 := func(method, path, sent string) string {
		t.Helper()
		a := ask(t, s, method, "/api/v1"+path, sent, "Content-Type", "application/json", "Cookie", found, "Sec-Fetch-Site", "same-origin")
		text := body(t, a)
		if a.StatusCode != 400 {
			t.Errorf("%s %s %s: %s %s", method, path, sent, a.Status, text)
		}
		return text
	}
	for _, c := range calls {
		if text := body400(c.method, c.path, "{"+c.sent+"}"); !strings.Contains(text, `"now"`) {
			t.Errorf("%s %s says nothing of now: %s", c.method, c.path, text)
		}
		refused(c.path)
		if text := body400(c.method, c.path, "{"+strings.TrimPrefix(c.sent+`,"now":"a guess at the words"`, ",")+"}"); !strings.Contains(text, "is not the password of now") {
			t.Errorf("%s %s: %s", c.method, c.path, text)
		}
		refused(c.path)
	}
	body400("DELETE", "/users/olga", "[]")
	// Guesses are slowed down.
	for range triesAtOnce {
		post(t, s, "/settings/users", url.Values{"name": {"mine"}, "role": {"admin"}, "now": {"a guess"}}, "Cookie", found)
	}
	for _, p := range pages {
		p.form.Set("now", password)
		if a := post(t, s, p.path, p.form, "Cookie", found); a.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%s after too many guesses: %s", p.path, a.Status)
		}
	}
	refused("guessing")
	// Who has the password does all of it; a token is asked for none.
	own := []string{"Content-Type", "application/json", "Cookie", found, "Sec-Fetch-Site", "same-origin"}
	token := []string{"Content-Type", "application/json", "Authorization", "Bearer " + tokenOf(t, s)}
	for i, c := range calls {
		header, now := own, `,"now":"`+password+`"`
		if i%2 == 1 {
			header, now = token, ""
		}
		sent := "{" + strings.TrimPrefix(c.sent+now, ",") + "}"
		if a := ask(t, s, c.method, "/api/v1"+c.path, sent, header...); a.StatusCode != 200 {
			t.Errorf("%s %s: %s %s", c.method, c.path, a.Status, body(t, a))
		}
	}
}

func codeAt(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// forgiven takes all wrong tries away.
func forgiven(s *Server) {
	for _, t := range []*throttle[string]{s.accounts, s.codes} {
		t.mu.Lock()
		t.fullAt = nil
		t.mu.Unlock()
	}
	s.doors.mu.Lock()
	defer s.doors.mu.Unlock()
	s.doors.fullAt = nil
}
