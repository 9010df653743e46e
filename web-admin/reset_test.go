package webadmin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/web-admin/users"
)

func TestAFactoryResetAsksForPasswordAndWords(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	page := body(t, get(t, s, "/settings/reset", "Cookie", cookie))
	for _, want := range []string{"list of subscribers", "now 1,204 records wait, and <b>it does not answer</b>", "the versions in both slots", `aria-current="page">Factory reset`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, row := range []struct {
		why   string
		form  url.Values
		says  []string
		field string
	}{
		{"no words", url.Values{"now": {password}, "anyway": {"1"}}, []string{"type erase everything"}, "confirm"},
		{"other words", url.Values{"now": {password}, "confirm": {"erase"}, "anyway": {"1"}}, []string{"type erase everything"}, "confirm"},
		{"no password", url.Values{"confirm": {resetWords}, "anyway": {"1"}}, []string{"Your password</a>: is wrong"}, "now"},
		{"another password", url.Values{"now": {"wrong"}, "confirm": {resetWords}, "anyway": {"1"}}, []string{"Your password</a>: is wrong"}, "now"},
		{"a collector that is down", url.Values{"now": {password}, "confirm": {resetWords}}, []string{"Collector tcp://syslog-2.isp.example:6514</a>: does not have the record", "connection refused"}, "anyway"},
	} {
		a := send(t, s, cookie, "/settings/reset", row.form)
		page := body(t, a)
		for _, want := range append(row.says, "Nothing was changed", `href="#`+row.field+`"`, `id="`+row.field+`"`) {
			if !strings.Contains(page, want) {
				t.Errorf("%s: the page lacks %q", row.why, want)
			}
		}
		if a.StatusCode != http.StatusBadRequest || box.done() != "" || strings.Contains(page, password) {
			t.Errorf("%s: %s", row.why, a.Status)
		}
	}
	a := send(t, s, cookie, "/settings/reset", url.Values{"now": {password}, "confirm": {" Erase everything "}, "anyway": {"1"}})
	if page := body(t, a); a.StatusCode != http.StatusOK || box.done() != "admin 127.0.0.1 factory reset" || !strings.Contains(page, `id="erasing"`) || strings.Count(page, "does not have it") != 1 {
		t.Errorf("%s %s", a.Status, page)
	}
	box.mu.Lock()
	for i := range box.status.Syslog {
		box.status.Syslog[i].Up = true
	}
	box.mu.Unlock()
	if a := send(t, s, cookie, "/settings/reset", url.Values{"now": {password}, "confirm": {resetWords}}); a.StatusCode != http.StatusOK || box.done() != "admin 127.0.0.1 factory reset" {
		t.Errorf("with all collectors: %s", a.Status)
	}
	box.mu.Lock()
	box.failing = errors.New("the disk has no partition 5")
	box.mu.Unlock()
	if a := send(t, s, cookie, "/settings/reset", url.Values{"now": {password}, "confirm": {resetWords}}); a.StatusCode != http.StatusInternalServerError || !strings.Contains(body(t, a), "has no partition 5") {
		t.Errorf("an order that cannot be given: %s", a.Status)
	}
	// Who guesses is slowed down, as at the login.
	for i := 0; ; i++ {
		a := send(t, s, cookie, "/settings/reset", url.Values{"now": {"guess"}, "confirm": {resetWords}})
		if a.StatusCode == http.StatusTooManyRequests {
			break
		}
		if i > 10 {
			t.Fatal("guesses are not slowed down")
		}
	}
}

func TestAFactoryResetByAPI(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	sends := func(text string, header ...string) (int, string) {
		t.Helper()
		a := ask(t, s, "POST", "/api/v1/factory-reset", text, header...)
		return a.StatusCode, body(t, a)
	}
	const whole = `{"now": "` + password + `", "confirm": "erase everything", "anyway": true}`
	if code, said := sends(whole, "Authorization", "Bearer "+tokenOf(t, s)); code != http.StatusForbidden || box.done() != "" {
		t.Errorf("with a token: %d %s", code, said)
	}
	for _, row := range []struct {
		why, body, says string
		code            int
	}{
		{"nothing", `{}`, `"field":"anyway"`, 400},
		{"other words", strings.Replace(whole, "erase", "keep", 1), "must be erase everything", 400},
		{"another password", strings.Replace(whole, password, "wrong", 1), "is not the password of now", 400},
		{"a collector that is down", strings.Replace(whole, "true", "false", 1), "does not have the record that says so", 409},
	} {
		if code, said := sends(row.body, "Cookie", cookie); code != row.code || !strings.Contains(said, row.says) || box.done() != "" {
			t.Errorf("%s: %d %s", row.why, code, said)
		}
	}
	code, said := sends(whole, "Cookie", cookie)
	var answer resetAnswer
	if err := json.Unmarshal([]byte(said), &answer); err != nil || code != 200 || !answer.Erasing || len(answer.Collectors) != 2 || answer.Collectors[1].OK || box.done() != "admin 127.0.0.1 factory reset" {
		t.Errorf("%d %s, %v", code, said, err)
	}
}

func TestOnlyAnAdminOfTheImageMayReset(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	person(t, s, "olga", users.Operator)
	form := url.Values{"now": {password}, "confirm": {resetWords}, "anyway": {"1"}}
	operator := cookieName + "=" + s.logins.begin(loginOf(s, "olga", inside))
	if a := send(t, s, operator, "/settings/reset", form); a.StatusCode != http.StatusForbidden || box.done() != "" {
		t.Errorf("an operator: %s", a.Status)
	}
	box.mu.Lock()
	box.foreign = true
	box.mu.Unlock()
	if strings.Contains(body(t, get(t, s, "/settings/backup", "Cookie", cookie)), "/settings/reset") {
		t.Error("there is a tab where there is no image")
	}
	for path, a := range map[string]*http.Response{"the page": get(t, s, "/settings/reset", "Cookie", cookie), "its form": send(t, s, cookie, "/settings/reset", form),
		"the API": ask(t, s, "POST", "/api/v1/factory-reset", `{"now": "`+password+`", "confirm": "erase everything", "anyway": true}`, "Cookie", cookie)} {
		if a.StatusCode != http.StatusNotFound || box.done() != "" {
			t.Errorf("%s where there is no image: %s", path, a.Status)
		}
	}
}
