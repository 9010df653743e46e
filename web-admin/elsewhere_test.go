package webadmin

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Who finds a browser open does not have records and notices go elsewhere: where they go is changed with the password only, on every page and over the API. What takes a target out, and a
// token, do without.
func TestAnOpenBrowserSendsNothingElsewhere(t *testing.T) {
	t.Parallel()
	box := busyBox()
	now := noon
	s := startServer(t, Options{Source: box, Now: func() time.Time { return now }})
	cookie := enter(t, s)
	for _, c := range []struct {
		why, path, field, open string
		form                   url.Values
	}{
		{"a collector", "/settings/collectors", "now-collector", "do-collector", url.Values{"do": {"add"}, "transport": {"relp"}, "host": {"c.example"}}},
		{"a webhook", "/settings/webhooks", "now-webhook", "do-webhook", url.Values{"name": {"noc"}, "url": {"https://noc.example/"}, "of": {"health"}}},
		{"e-mail", "/settings/mail", "now-mail", "do-mail", url.Values{"smarthost": {"mail.example:587"}, "tls": {"starttls"}, "of": {"health"}, "user": {"box"}}},
	} {
		for _, guess := range []string{"", "a guess of mine, wrong"} {
			c.form.Set("now", guess)
			a := send(t, s, cookie, c.path, c.form)
			page := body(t, a)
			if a.StatusCode != http.StatusBadRequest || box.done() != "" || !strings.Contains(page, `href="#`+c.field+`"`) || !strings.Contains(page, `id="`+c.open+`" open`) {
				t.Errorf("%s with the password %q: %s", c.why, guess, a.Status)
			}
		}
		now = now.Add(5 * time.Minute) // of the throttle
		c.form.Set("now", password)
		if a := send(t, s, cookie, c.path, c.form); a.StatusCode >= 400 || !strings.Contains(box.done(), " config ") {
			t.Errorf("%s: %s", c.why, a.Status)
		}
	}
	if send(t, s, cookie, "/settings/mail", url.Values{"smarthost": {""}, "tls": {"starttls"}, "of": {"health"}}); !strings.Contains(box.done(), "notices.mail.smarthost") {
		t.Error("no e-mail any more needs a password")
	}

	put := func(text, now, auth string) (*http.Response, string) {
		t.Helper()
		if now != "" {
			now = `, "now": "` + now + `"`
		}
		a := ask(t, s, "PUT", "/api/v1/config", `{"config": {"to": "`+text+`"}, "revision": ""`+now+`}`, strings.SplitN(auth, ": ", 2)...)
		return a, body(t, a)
	}
	session, bearer := "Cookie: "+cookie, "Authorization: Bearer "+tokenOf(t, s)
	if a, said := put("elsewhere", "", session); a.StatusCode != http.StatusBadRequest || box.done() != "" || !strings.Contains(said, `"field":"now"`) || !strings.Contains(said, `"field":"syslog.targets[0]"`) {
		t.Errorf("over the API: %s %s", a.Status, said)
	}
	if a, said := put("elsewhere", "a guess of mine, wrong", session); a.StatusCode != http.StatusBadRequest || box.done() != "" || !strings.Contains(said, "is not the password of now") {
		t.Errorf("with a guess: %s %s", a.Status, said)
	}
	for why, row := range map[string][3]string{"with the password": {"elsewhere", password, session}, "nothing goes elsewhere": {"here", "", session}, "a token": {"elsewhere", "", bearer}} {
		if a, said := put(row[0], row[1], row[2]); a.StatusCode != http.StatusOK || box.done() == "" {
			t.Errorf("%s: %s %s", why, a.Status, said)
		}
	}

	// A backup may have somebody else's collectors in it.
	box.mu.Lock()
	box.astray = true
	box.mu.Unlock()
	file := []byte("PK backup")
	for _, guess := range []string{"", "a guess of mine, wrong"} {
		a := upload(t, s, cookie, "/settings/restore", file, map[string]string{"do": "restore", "now": guess})
		if page := body(t, a); a.StatusCode != http.StatusBadRequest || box.done() != "" || !strings.Contains(page, `href="#now-restore"`) {
			t.Errorf("restored with the password %q: %s", guess, a.Status)
		}
	}
	if a := ask(t, s, "POST", "/api/v1/restore", string(file), "Cookie", cookie); a.StatusCode != http.StatusBadRequest || box.done() != "" || !strings.Contains(body(t, a), "syslog.targets[1]") {
		t.Errorf("restored over the API: %s", a.Status)
	}
	now = now.Add(5 * time.Minute)
	if a := upload(t, s, cookie, "/settings/restore", file, map[string]string{"do": "restore", "now": password}); a.StatusCode != http.StatusOK || !strings.HasSuffix(box.done(), "restore dry false") {
		t.Errorf("restored with the password: %s", a.Status)
	}
	if a := ask(t, s, "POST", "/api/v1/restore", string(file), "Cookie", cookie, passwordHeader, password); a.StatusCode != http.StatusOK || !strings.HasSuffix(box.done(), "restore dry false") {
		t.Errorf("restored over the API with the password: %s", a.Status)
	}
}

// At the set-up the password was just given, and is not asked for twice; later, or once that step is done, it is.
func TestTheWizardAsksOnlyLater(t *testing.T) {
	t.Parallel()
	box := busyBox()
	now := noon
	s := startServer(t, Options{Source: box, Now: func() time.Time { return now }})
	cookie := enter(t, s)
	collector := url.Values{"do": {"add"}, "transport": {"relp"}, "host": {"c.example"}}
	add := func(why string, asked bool) {
		t.Helper()
		page := body(t, get(t, s, "/wizard/syslog", "Cookie", cookie))
		a := send(t, s, cookie, "/wizard/syslog", collector)
		if got := box.done(); strings.Contains(page, `id="now-collector"`) != asked || (got == "") != asked {
			t.Errorf("%s: asked %v, and done was %q (%s)", why, !asked, got, a.Status)
		}
	}
	add("nobody is in the wizard", true)
	if err := s.wizard.mark(""); err != nil {
		t.Fatal(err)
	}
	add("just logged in", false)
	for range 3 { // somebody is at it
		now = now.Add(10 * time.Minute)
		get(t, s, "/wizard", "Cookie", cookie)
	}
	add("half an hour later", true)
	collector.Set("now", password)
	if send(t, s, cookie, "/wizard/syslog", collector); box.done() == "" {
		t.Error("not with the password either")
	}
	collector.Del("now")
	cookie = enter(t, s)
	if err := s.wizard.mark("syslog"); err != nil {
		t.Fatal(err)
	}
	add("the step is done", true)
}
