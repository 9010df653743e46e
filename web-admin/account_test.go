package webadmin

import (
	"encoding/json"
	"net/http"
	"net/url"
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
		if a := post(t, s, "/settings/users", c.form, "Cookie", anna); a.StatusCode != 400 || !strings.Contains(body(t, a), c.says) {
			t.Errorf("%s: %s", c.why, a.Status)
		}
	}
	first := secretOn(post(t, s, "/settings/users", url.Values{"name": {"Olga"}, "role": {"operator"}}, "Cookie", anna))
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
	if a := post(t, s, "/settings/users/olga", url.Values{"role": {"viewer"}, "factor": {"1"}}, "Cookie", anna); a.Header.Get("Location") != "/settings/users/olga" {
		t.Errorf("another role: %s", a.Status)
	}
	secretOn(post(t, s, "/settings/users/olga/password", nil, "Cookie", anna))
	if a := post(t, s, "/settings/users/admin", url.Values{"role": {"viewer"}}, "Cookie", anna); a.StatusCode != 400 || !strings.Contains(body(t, a), "last admin") {
		t.Errorf("the last admin goes: %s", a.Status)
	}
	if a := post(t, s, "/settings/users/olga/remove", nil, "Cookie", anna); a.StatusCode != http.StatusSeeOther || asToken("/api/v1/status") != http.StatusUnauthorized {
		t.Errorf("removed: %s, and the token answers %d", a.Status, asToken("/api/v1/status"))
	}
	audit.mustHear(t, "admin 127.0.0.1 user_changed olga operator > viewer, second factor needed", "admin 127.0.0.1 password_reset olga >", "admin 127.0.0.1 user_removed olga viewer, second factor needed >")
	for _, path := range []string{"/settings/users/olga", "/settings/users/olga/password"} {
		method := map[bool]string{true: "POST", false: "GET"}[strings.HasSuffix(path, "password")]
		if a := ask(t, s, method, path, "", "Cookie", anna); a.StatusCode != 404 {
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
