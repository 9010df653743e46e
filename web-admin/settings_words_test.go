package webadmin

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// Whoever follows a link to a page of an admin's reads which role it needs, and who can help: whole, with the way back, on every one of them.
func TestPagesOfAdminsSayWhoMay(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box})
	n := 0
	for role, cookie := range map[users.Role]string{users.Viewer: enterAs(t, s, "vera", users.Viewer), users.Operator: enterAs(t, s, "olga", users.Operator)} {
		for _, rt := range routes() {
			if rt.method != "GET" || rt.access != administering || rt.api != nil {
				continue
			}
			n++
			path := strings.ReplaceAll(rt.path, "{name}", "network")
			a := get(t, s, path, "Cookie", cookie)
			page := body(t, a)
			for _, want := range []string{"<h1>Your role does not allow this</h1>", fmt.Sprintf("This page needs the role admin; yours is %s. An admin can do there what you want done", role), `<a href="/">To the overview</a>`, "</html>"} {
				if !strings.Contains(page, want) {
					t.Errorf("%s at %s lacks %q: %s", role, path, want, page)
				}
			}
			if a.StatusCode != http.StatusForbidden || strings.Contains(page, "Nothing was changed") {
				t.Errorf("%s at %s: %s", role, path, a.Status)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d pages were looked at", n)
	}
}

// Each step of the set-up says what is in force when; what a restart does to mail is said as on_failure has it.
func TestTheSetUpSaysWhatIsInForceWhen(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.waiting = []string{"network.counted_ports"}
	box.status.Clock = told
	s := startServer(t, Options{Source: box})
	cookie := enter(t, s)
	of := func(path string) string {
		t.Helper()
		a := get(t, s, path, "Cookie", cookie)
		if a.StatusCode != 200 {
			t.Fatalf("%s: %s", path, a.Status)
		}
		return body(t, a)
	}
	for step, want := range map[string]string{
		"":            "Topology, ports and the management address wait for a restart",
		"network":     "Topology, addresses and routes wait for a restart of mailweir, and the ports of a router do",
		"management":  "A change waits for a restart of mailweir; until then the web admin answers where it does now",
		"time":        "Servers are asked some seconds after they are saved",
		"plans":       "In force as soon as it is saved",
		"subscribers": "A list that is taken is in force at once",
		"syslog":      "gets records at once",
		"mode":        "In force as soon as it is saved",
	} {
		page := of(strings.TrimSuffix("/wizard/"+step, "/"))
		_, said, found := strings.Cut(page, `id="force">`)
		if said, _, _ = strings.Cut(said, "</p>"); !found || !strings.Contains(said, want) {
			t.Errorf("step %q says %q, want %q", step, said, want)
		}
		if strings.Contains(page, "Each step is in force") {
			t.Errorf("step %q says that all is in force at once", step)
		}
	}
	if missing := len(wizardSteps()) + 1 - 8; missing != 0 {
		t.Errorf("%d steps are not looked at", missing)
	}
	for _, path := range []string{"/wizard", "/settings/targets", "/settings/sources", "/settings/backup"} {
		for _, closed := range []bool{false, true} { // closed stays for the page of the restart
			want := "Mail passes unjudged for some seconds; sessions"
			if closed {
				want = "Mail passes unjudged for some seconds, although <code>network.on_failure</code> is closed"
			}
			box.mu.Lock()
			box.status.FailClosed = closed
			box.mu.Unlock()
			if page := of(path); !strings.Contains(page, want) {
				t.Errorf("%s with closed %v lacks %q", path, closed, want)
			}
		}
	}
	if page := body(t, post(t, s, "/settings/restart", nil, "Cookie", cookie)); !strings.Contains(page, "is closed: the rules that would stop it are taken away in order") {
		t.Errorf("the page of the restart: %s", page)
	}
}

// The image has neither a shell nor a service: there the console's menu is named, and elsewhere the log of the service and the command.
func TestThePlaceOfTheLogIsNamed(t *testing.T) {
	t.Parallel()
	for foreign, want := range map[bool]struct{ login, setup, broken string }{
		false: {"item 4", "item 2 of its menu", "The details are in the log: item 6 of the menu at the box&#39;s console."},
		true:  {"mailweir users reset NAME", "mailweir users setup-code", "The details are in the log of the service."},
	} {
		box := busyBox()
		box.foreign = foreign
		s := startServer(t, Options{Source: box})
		if page := body(t, get(t, s, "/setup")); !strings.Contains(page, want.setup) {
			t.Errorf("foreign %v: the first visit lacks %q", foreign, want.setup)
		}
		person(t, s, boss, users.Admin)
		if page := body(t, get(t, s, "/login")); !strings.Contains(page, want.login) {
			t.Errorf("foreign %v: the login lacks %q", foreign, want.login)
		}
		w := newRecorder()
		r, _ := http.NewRequest("GET", "/", nil)
		s.outer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") })).ServeHTTP(w, r)
		if !strings.Contains(w.String(), want.broken) {
			t.Errorf("foreign %v: a page that broke says %s", foreign, w.String())
		}
	}
}

// Whom the box asks for the time is set where it keeps its clock by itself, and only there.
func TestTimeServersAreNamedInTheSetUp(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.status.Clock = unset
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	page := body(t, get(t, s, "/wizard/time", "Cookie", cookie))
	if !strings.Contains(page, "18 Nov 2026 12:04:40") {
		t.Errorf("who is to say whether the time is right does not see the date: %s", page)
	}
	if !strings.Contains(page, `name="servers"`) || !strings.Contains(page, "not set since the box came up") || strings.Contains(page, "The time is right") {
		t.Errorf("a clock that is not set: %s", page)
	}
	a := send(t, s, cookie, "/wizard/time", map[string][]string{"revision": {fakeRevision(fakeConfig)}, "servers": {"wrong.example, 192.0.2.1"}})
	if page := body(t, a); a.StatusCode != 400 || !strings.Contains(page, `<a href="#servers">NTP servers</a>`) || !strings.Contains(page, `value="wrong.example, 192.0.2.1"`) {
		t.Errorf("one that is refused: %s %s", a.Status, page)
	}
	a = send(t, s, cookie, "/wizard/time", map[string][]string{"revision": {fakeRevision(fakeConfig)}, "servers": {"ntp.isp.example,192.0.2.1"}})
	if c, err := box.Config(); a.StatusCode != http.StatusSeeOther || err != nil || !strings.Contains(c.Text, `"ntp":{"servers":["ntp.isp.example","192.0.2.1"]}`) {
		t.Errorf("two: %s, %s %v", a.Status, c.Text, err)
	}
	box.mu.Lock()
	box.status.Clock = kept
	box.mu.Unlock()
	if page := body(t, get(t, s, "/wizard/time", "Cookie", cookie)); strings.Contains(page, `name="servers"`) || !strings.Contains(page, "The time is right: go on") {
		t.Errorf("a clock that another program keeps: %s", page)
	}
}
