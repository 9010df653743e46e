package webadmin

import (
	"bytes"
	"errors"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/web-admin/sealed"
	"github.com/mailweir/mailweir/web-admin/users"
)

// send posts a form as an admin.
func send(t *testing.T, s *Server, cookie, path string, form url.Values) *http.Response {
	t.Helper()
	return post(t, s, path, form, "Cookie", cookie)
}

// upload posts a file beside fields, as a browser does.
func upload(t *testing.T, s *Server, cookie, path string, file []byte, fields map[string]string) *http.Response {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	w, err := m.CreateFormFile("file", "a.file")
	if err == nil {
		_, err = w.Write(file)
	}
	for name, value := range fields {
		err = errors.Join(err, m.WriteField(name, value))
	}
	if err = errors.Join(err, m.Close()); err != nil {
		t.Fatal(err)
	}
	return ask(t, s, "POST", path, b.String(), "Content-Type", m.FormDataContentType(), "Sec-Fetch-Site", "same-origin", "Cookie", cookie)
}

// by is what was done at the box since the last call.
func (f *fakeBox) done() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := strings.Join(f.by, ", ")
	f.by = nil
	return all
}

// The first visit leads into the wizard, which knows after a restart how far it was; whoever made the first user on the box is left alone.
func TestTheWizardIsResumed(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	s := startServer(t, Options{Source: busyBox(), DataDir: dir})
	a := send(t, s, "", "/setup", url.Values{"code": {s.SetupCode()}, "name": {boss}, "password": {password}, "again": {password}})
	cookie := cookieFrom(a)
	if a.Header.Get("Location") != "/wizard" {
		t.Fatalf("the first visit leads to %q", a.Header.Get("Location"))
	}
	if a := send(t, s, cookie, "/wizard/time", nil); a.Header.Get("Location") != "/wizard/plans" {
		t.Errorf("after the time comes %q", a.Header.Get("Location"))
	}
	if page := body(t, get(t, s, "/", "Cookie", cookie)); !strings.Contains(page, "6 steps are left") {
		t.Error("the overview does not say that it is not finished")
	}
	again := &progress{path: s.wizard.path}
	if st := again.read(); !st.Begun || !st.Done["time"] || len(st.Done) != 1 {
		t.Errorf("after a restart: %+v", st)
	}
	if a := get(t, s, "/wizard/nonsense", "Cookie", cookie); a.StatusCode != http.StatusNotFound {
		t.Errorf("a step that there is not: %s", a.Status)
	}
	made := startServer(t, Options{Source: busyBox()})
	if page := body(t, get(t, made, "/", "Cookie", enter(t, made))); strings.Contains(page, "set-up is not finished") {
		t.Error("who made a user on the box is asked to set it up")
	}
	if err := os.WriteFile(s.wizard.path, []byte("{broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if st := (&progress{path: s.wizard.path}).read(); st.Begun || len(st.Done) != 0 {
		t.Errorf("of a damaged file: %+v", st)
	}
}

// Two admins look at two lists: a button takes, or throws away, the list that it stood under, and no other.
func TestOnlyTheListThatWasShownIsTaken(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	anna, otto := enter(t, s), enterAs(t, s, "otto", users.Admin)
	const head = "subscriber,plan,prefixes\n"
	look := func(cookie, lines string) string {
		t.Helper()
		page := body(t, send(t, s, cookie, "/wizard/subscribers", url.Values{"do": {"preview"}, "text": {head + lines}}))
		m := regexp.MustCompile(`name="shown" value="([0-9a-f]+)"`).FindStringSubmatch(page)
		if !strings.Contains(page, "Take this list") {
			t.Fatal("the list is not shown")
		}
		if m == nil {
			return ""
		}
		return m[1]
	}
	three := look(anna, "S-1,residential,100.64.0.1\nS-2,residential,100.64.0.2\nS-3,residential,100.64.0.3\n")
	one := look(otto, "S-9,residential,100.64.0.9\n")
	for _, do := range []string{"take", "discard"} {
		for why, shown := range map[string]string{"the other one": three, "none": ""} {
			a := send(t, s, anna, "/wizard/subscribers", url.Values{"do": {do}, "shown": {shown}})
			if page := body(t, a); a.StatusCode != http.StatusBadRequest || !strings.Contains(page, "another list") || !strings.Contains(page, "1 subscriber") {
				t.Errorf("%s, shown was %s: %s", do, why, a.Status)
			}
		}
	}
	if did := box.done(); did != "" {
		t.Errorf("in force by it: %s", did)
	}
	if a := send(t, s, otto, "/wizard/subscribers", url.Values{"do": {"take"}, "shown": {one}}); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the one that was shown: %s", a.Status)
	}
	if did := box.done(); !strings.HasSuffix(did, "list of 1") {
		t.Errorf("done: %q", did)
	}
}

// Each page changes the keys that were changed on it and no others, as who is logged in.
func TestPagesChangeTheKeysThatWereChanged(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	plan := url.Values{"highest": {"cut"}, "of-0": {"sessions"}, "limit-0": {"20"}, "per-0": {"1h"}, "burst-0": {"5"}, "of-1": {"concurrent_sessions"}, "limit-1": {"3"}, "of-2": {"sessions"},
		"warn_at": {"50"}, "pace_at": {"80"}, "pace_max": {"60s"}, "defer_at": {"100"}, "cut_at": {"300"}, "cut_for": {"1h"}, "release_after": {"15m"}}
	with := func(form url.Values, more ...string) url.Values {
		all := url.Values{}
		for k, v := range form {
			all[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = []string{more[i+1]}
		}
		return all
	}
	network := url.Values{"card": {"lan0", "wan0", "eth2"}, "side-0": {"subscribers"}, "side-1": {"upstream"}, "side-2": {"none"}, "limited": {"25"}, "counted": {"465, 587"}}
	presets := url.Values{"preset": {"residential", "unmapped"}, "unmapped": {"unmapped"}}
	mail := url.Values{"smarthost": {""}, "tls": {"starttls"}, "of": {"stages", "clusters", "health"}}
	for _, c := range []struct {
		why, path string
		form      url.Values
		want      string
	}{
		{"nothing", "/wizard/network", network, ""},
		{"another interface", "/wizard/network", with(network, "side-2", "subscribers"), "config network.subscriber_interfaces"},
		{"ports", "/wizard/network", with(network, "counted", "465", "side-2", "subscribers"), "config network.counted_ports"},
		{"not a port", "/wizard/network", with(network, "limited", "smtp"), ""},
		{"the same address", "/wizard/management", url.Values{"host": {""}, "port": {"8443"}}, ""},
		{"another", "/wizard/management", url.Values{"host": {"203.0.113.2"}, "port": {"8443"}}, "config admin.listen"},
		{"another plan", "/wizard/plans", with(presets, "unmapped", "residential"), "config identity.unmapped_plan"},
		{"a plan more", "/wizard/plans", url.Values{"preset": {"residential", "unmapped", "office"}, "unmapped": {"residential"}}, "config plans[2]"},
		{"two less", "/wizard/plans", url.Values{"unmapped": {"residential"}}, "config plans[2] plans[0]"},
		{"a mode", "/wizard/mode", url.Values{"mode": {"enforce"}}, "config mode"},
		{"a wrong one", "/wizard/mode", url.Values{"mode": {"wrong"}}, ""},
		{"a collector", "/wizard/syslog", url.Values{"do": {"add"}, "transport": {"relp"}, "host": {"2001:db8::9"}}, "config syslog.targets[2]"},
		{"one with a certificate", "/settings/collectors", url.Values{"do": {"add"}, "transport": {"tls"}, "host": {"c.example"}, "port": {"6514"}, "ca": {"-----BEGIN"}, "now": {password}}, "config syslog.targets[3] +collector-ca"},
		{"one less", "/settings/collectors", url.Values{"do": {"remove"}, "index": {"1"}, "url": {"tcp://syslog-2.isp.example:6514"}}, "config syslog.targets[1]"},
		{"another than was seen", "/settings/collectors", url.Values{"do": {"remove"}, "index": {"1"}, "url": {"tcp://syslog-2.isp.example:6514"}}, ""},
		{"a test", "/wizard/syslog", url.Values{"do": {"test"}}, "syslog_test"},
		{"a webhook", "/settings/webhooks", url.Values{"name": {"noc"}, "url": {"https://noc.example/"}, "of": {"health"}, "now": {password}}, "config notices.webhooks[1] +webhook"},
		{"one less", "/settings/webhooks/remove", url.Values{"name": {"desk"}}, "config notices.webhooks[0]"},
		{"no e-mail", "/settings/mail", mail, ""},
		{"e-mail", "/settings/mail", with(mail, "smarthost", "mail.example:587", "user", "box", "password", "geheim", "now", password), "config notices.mail.smarthost notices.mail.user +smarthost-password"},
		{"a test of notices", "/settings/notices/test", nil, "notices_test"},
		{"a restart", "/settings/restart", nil, "restart"},
	} {
		a := send(t, s, cookie, c.path, c.form)
		got := box.done()
		if got != strings.TrimSpace("admin 127.0.0.1 "+c.want) && !(got == "" && c.want == "") {
			t.Errorf("%s: %s came to %q, want %q (%s)", c.why, c.path, got, c.want, a.Status)
		}
		if c.want == "" && strings.HasPrefix(c.why, "a wrong") && a.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", c.why, a.Status)
		}
	}
	box.config = ""
	// A plan is saved once its what-if was seen, and no other than that.
	for _, c := range []struct {
		why  string
		form url.Values
		want string
	}{
		{"as it is", with(plan, "do", "save"), ""},
		{"another limit", with(plan, "do", "save", "limit-0", "30"), ""},
		{"checked only", with(plan, "do", "check", "limit-0", "30"), ""},
		{"a limit that is none", with(plan, "do", "try", "limit-0", "many"), ""},
		{"a limit of nothing", with(plan, "do", "try", "of-2", "", "limit-2", "7"), ""},
	} {
		if a := send(t, s, cookie, "/plans/residential", c.form); box.done() != "" {
			t.Errorf("%s: saved unseen (%s)", c.why, a.Status)
		}
	}
	for list, says := range map[string]string{"in_force": "this goes by the one in force", "recorded": "plans are those that the journal has", "": "Would have been deferred"} {
		box.report = strings.Replace(triedReport, `"config": {`, `"config": {"list": "`+list+`", `, 1)
		page := body(t, send(t, s, cookie, "/plans/residential", with(plan, "do", "try", "limit-0", "30")))
		if !strings.Contains(page, says) || strings.Contains(page, "The list of subscribers") != (list != "") {
			t.Errorf("a what-if by the list %q does not say %q", list, says)
		}
	}
	box.report = ""
	page := body(t, send(t, s, cookie, "/plans/residential", with(plan, "do", "try", "limit-0", "30", "cut_at", "400")))
	_, seen, ok := strings.Cut(page, `name="seen" value="`)
	if seen, _, _ = strings.Cut(seen, `"`); !ok {
		t.Fatal("a what-if was not seen")
	}
	if send(t, s, cookie, "/plans/residential", with(plan, "do", "save", "limit-0", "31000", "seen", seen)); box.done() != "" {
		t.Error("another one is saved than was tried")
	}
	a := send(t, s, cookie, "/plans/residential", with(plan, "do", "save", "limit-0", "30", "cut_at", "400", "seen", seen))
	if got := box.done(); got != "admin 127.0.0.1 config plans[0].budgets plans[0].ladder.cut_at" || a.StatusCode != http.StatusSeeOther {
		t.Errorf("saved: %q, %s", got, a.Status)
	}
	if send(t, s, cookie, "/plans", url.Values{"name": {"webfarm"}, "preset": {"hosting"}}); box.done() != "admin 127.0.0.1 config plans[2]" {
		t.Error("a new plan is not made")
	}
	if send(t, s, cookie, "/plans/webfarm/remove", nil); box.done() != "admin 127.0.0.1 config plans[2]" {
		t.Error("or does not go")
	}
	// Made from a page that is not true any more.
	if a := send(t, s, cookie, "/wizard/mode", url.Values{"mode": {"enforce"}, "revision": {"r1"}}); box.done() != "" || !strings.Contains(body(t, a), "Somebody changed the configuration meanwhile") {
		t.Error("somebody else's change is overwritten")
	}
}

func TestBackupGoesOutAndComesBack(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	for _, now := range []string{"", "a guess of mine, wrong"} { // who finds a browser open takes no secrets away
		if a := send(t, s, cookie, "/settings/backup", url.Values{"now": {now}}); a.StatusCode != http.StatusBadRequest || !strings.Contains(body(t, a), `href="#now-backup"`) || box.done() != "" {
			t.Errorf("with the password %q: %s", now, a.Status)
		}
	}
	sure := url.Values{"now": {password}}
	a := send(t, s, cookie, "/settings/backup", sure)
	file := []byte(body(t, a))
	if box.done() != "admin 127.0.0.1 backup" || string(file) != "PK backup" || !strings.Contains(a.Header.Get("Content-Disposition"), `attachment; filename="mailweir-edge-1-`) {
		t.Errorf("%s %q", a.Status, a.Header)
	}
	if page := body(t, upload(t, s, cookie, "/settings/restore", file, map[string]string{"do": "look"})); box.done() != "admin 127.0.0.1 restore dry true" || !strings.Contains(page, "plans[0].budgets[0].limit") {
		t.Errorf("looked at: %s", page)
	}
	for _, now := range []string{"", "a guess of mine, wrong"} { // who finds a browser open brings no secrets either
		if a := upload(t, s, cookie, "/settings/restore", file, map[string]string{"do": "restore", "now": now}); a.StatusCode != http.StatusBadRequest || !strings.Contains(body(t, a), `href="#now-restore"`) || box.done() != "" {
			t.Errorf("restored with the password %q: %s", now, a.Status)
		}
	}
	if upload(t, s, cookie, "/settings/restore", file, map[string]string{"do": "restore", "now": password}); box.done() != "admin 127.0.0.1 restore dry false" {
		t.Error("not restored")
	}
	const passphrase = "four words are easier"
	for why, form := range map[string]url.Values{"two different ones": {"now": {password}, "passphrase": {passphrase}, "again": {passphrase + "s"}}, "a short one": {"now": {password}, "passphrase": {"short"}, "again": {"short"}}} {
		if a := send(t, s, cookie, "/settings/backup", form); a.StatusCode != http.StatusBadRequest || box.done() != "" || !strings.Contains(body(t, a), `href="#passphrase"`) {
			t.Errorf("%s: %s", why, a.Status)
		}
	}
	a = send(t, s, cookie, "/settings/backup", url.Values{"now": {password}, "passphrase": {passphrase}, "again": {passphrase}})
	locked := []byte(body(t, a))
	if box.done() != "admin 127.0.0.1 backup" || bytes.Contains(locked, file) || !strings.HasSuffix(a.Header.Get("Content-Disposition"), `.zip.age"`) {
		t.Errorf("locked: %s %q", a.Status, a.Header)
	}
	for _, wrong := range []string{"", passphrase + "s"} {
		if a := upload(t, s, cookie, "/settings/restore", locked, map[string]string{"do": "restore", "opens": wrong}); a.StatusCode != http.StatusBadRequest || box.done() != "" || !strings.Contains(body(t, a), `href="#opens"`) {
			t.Errorf("opened with %q: %s", wrong, a.Status)
		}
	}
	if upload(t, s, cookie, "/settings/restore", locked, map[string]string{"do": "restore", "opens": passphrase, "now": password}); box.done() != "admin 127.0.0.1 restore dry false" {
		t.Error("the locked one is not restored")
	}
	bearer := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	for _, header := range [][]string{bearer, append(bearer, passphraseHeader, passphrase+"s")} {
		if a := ask(t, s, "POST", "/api/v1/restore", string(locked), header...); a.StatusCode != http.StatusBadRequest || !strings.Contains(body(t, a), passphraseHeader) || box.done() != "" {
			t.Errorf("the locked one by the API: %s", a.Status)
		}
	}
	if a := ask(t, s, "POST", "/api/v1/restore", string(locked), append(bearer, passphraseHeader, passphrase)...); a.StatusCode != http.StatusOK || !strings.HasSuffix(box.done(), " restore dry false") {
		t.Errorf("the locked one by the API, with its passphrase: %s", a.Status)
	}
	for said, status := range map[string]int{`{"passphrase": "short"}`: 400, `{"passphrase": ""}`: 400, `{"pass": "x"}`: 400, `{}`: 200, ``: 200} {
		if a := ask(t, s, "POST", "/api/v1/backup", said, bearer...); a.StatusCode != status || (status == 200) != (box.done() != "") || status == 200 && body(t, a) != "PK backup" {
			t.Errorf("a backup by the API with %s: %s", said, a.Status)
		}
	}
	for said, status := range map[string]int{``: 400, `{}`: 400, `{"now": "a guess of mine, wrong"}`: 400, `{"now": "` + password + `"}`: 200} {
		if a := ask(t, s, "POST", "/api/v1/backup", said, "Cookie", cookie); a.StatusCode != status || (status == 200) != (box.done() != "") {
			t.Errorf("a backup by the API of a login with %s: %s", said, a.Status)
		}
	}
	again := []byte(body(t, ask(t, s, "POST", "/api/v1/backup", `{"passphrase": "`+passphrase+`"}`, bearer...)))
	if opened, err := sealed.Open(again, passphrase); err != nil || string(opened) != "PK backup" || !strings.HasSuffix(box.done(), " backup") {
		t.Errorf("a locked one by the API: %q, %v", opened, err)
	}
	if a := upload(t, s, cookie, "/settings/restore", []byte("no"), map[string]string{"do": "restore"}); a.StatusCode != http.StatusBadRequest || box.done() != "" {
		t.Errorf("what is no backup: %s", a.Status)
	}
	if a := upload(t, s, cookie, "/settings/restore", bytes.Repeat([]byte("x"), maxListBytes+1), nil); a.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %s", a.Status)
	}
	if a := ask(t, s, "POST", "/api/v1/restore?dry_run=1", string(file), bearer...); a.StatusCode != 200 || !strings.HasPrefix(box.done(), "admin.token") || !strings.Contains(body(t, a), `"waiting_for_restart":[]`) {
		t.Errorf("by the API: %s", a.Status)
	}
}

// The API takes a whole configuration with its revision, and says by line what is wrong.
func TestTheAPIChangesTheConfiguration(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	bearer := []string{"Authorization", "Bearer " + tokenOf(t, s)}
	c := read[struct {
		Text, Revision string
		Values         values
	}](t, s, "/api/v1/config")
	if c.Values.Mode != "observe" || c.Revision == "" {
		t.Fatalf("%+v", c)
	}
	for _, one := range []struct {
		method, path, body string
		status             int
		done               string
	}{
		{"POST", "/api/v1/config/check", `{"config": {"mode": "enforce"}}`, 200, ""},
		{"POST", "/api/v1/config/check", `{"config": "mode: x"}`, 400, ""},
		{"PUT", "/api/v1/config", `{"config": {"mode": "enforce"}, "revision": "old"}`, 409, ""},
		{"PUT", "/api/v1/config", `{"config": {"mode": "enforce"}}`, 400, ""},
		{"PUT", "/api/v1/config", `{"config": {"mode": "enforce"}, "revision": "` + c.Revision + `"}`, 200, "config"},
		{"PUT", "/api/v1/config", `{"config": {"mode": "enforce"}, "revision": "` + c.Revision + `", "files": [{"key": "notices.webhooks[0].secret_file", "content": "whsec_x"}, {"key": "syslog.targets[1].ca_file", "content": "PEM"}]}`, 200, "config +notices_webhooks_0__secret +syslog_targets_1__ca"},
		{"POST", "/api/v1/config/check", `{"config": {"mode": "enforce"}, "files": [{"key": "notices.mail.password_file", "content": "x"}]}`, 200, ""},
		{"PUT", "/api/v1/config", `{"config": {"mode": "enforce"}, "revision": "` + c.Revision + `", "files": [{"key": "mode", "content": "x"}]}`, 400, ""},
		{"PUT", "/api/v1/config", `{"config": {"mode": "enforce"}, "revision": "` + c.Revision + `", "files": [{"key": "notices.mail.password_file"}]}`, 400, ""},
		{"PUT", "/api/v1/config", `{"config": {"mode": "enforce"}, "revision": "` + c.Revision + `", "files": [{"key": "a_file", "content": "x"}, {"key": "a_file", "content": "y"}]}`, 400, ""},
		{"PUT", "/api/v1/config", `{"config": {"mode": "enforce"}, "revision": "` + c.Revision + `", "files": [{"key": "a_file", "content": "x", "mode": 7}]}`, 400, ""},
		{"PUT", "/api/v1/config", `{"config": {"mode": "enforce"}, "revision": "` + c.Revision + `", "files": {}}`, 400, ""},
		{"POST", "/api/v1/config/subscribers/check", `{"csv": "subscriber,plan\nS-1,golden\n"}`, 200, ""},
		{"PUT", "/api/v1/config/subscribers", `{"csv": "subscriber,plan\nS-1,residential\n"}`, 200, "list of 1"},
		{"POST", "/api/v1/restart", `{}`, 200, "restart"},
	} {
		a := ask(t, s, one.method, one.path, one.body, bearer...)
		if got := box.done(); a.StatusCode != one.status || !strings.HasSuffix(got, one.done) || (got == "") != (one.done == "") {
			t.Errorf("%s %s %s: %s, %q", one.method, one.path, one.body, a.Status, got)
		}
	}
}

// How long a list may be goes by the memory; one that is too long is answered with what helps on this machine.
func TestHowLongAListMayBe(t *testing.T) {
	t.Parallel()
	list := []byte("subscriber,plan,prefixes\n" + strings.Repeat("S-1,residential,100.64.0.1\n", 18<<20/27))
	for _, c := range []struct {
		why     string
		room    int64
		foreign bool
		taken   bool
	}{{"little memory", 1 << 20, false, false}, {"little memory, with a shell", 0, true, false}, {"enough", 32 << 20, false, true}} {
		box := busyBox()
		box.foreign = c.foreign
		s := startServer(t, Options{Source: box, ListBytes: c.room})
		a := upload(t, s, enter(t, s), "/wizard/subscribers", list, map[string]string{"do": "preview"})
		page := body(t, a)
		if taken := a.StatusCode == http.StatusOK && strings.Contains(page, "Take this list"); taken != c.taken {
			t.Errorf("%s: %s", c.why, a.Status)
		}
		if !c.taken && (a.StatusCode != http.StatusRequestEntityTooLarge || strings.Contains(page, "copy it to the box") != c.foreign || !strings.Contains(page, "At most 17")) {
			t.Errorf("%s: %s %s", c.why, a.Status, page)
		}
	}
}
