package webadmin

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// An admin of a box that observes is led to where it begins to act, sees on whom, and has to press there; nobody else is led there.
func TestEnforcingIsStartedOnAPageOfItsOwn(t *testing.T) {
	t.Parallel()
	box := busyBox()
	box.status.Mode, box.status.WouldHaveActed = "observe", 14
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	const link = `<a class="whole" href="/mode">Start enforcing…</a>`
	if !strings.Contains(body(t, get(t, s, "/", "Cookie", cookie)), link) {
		t.Error("the overview does not lead an admin there")
	}
	if strings.Contains(body(t, get(t, s, "/", "Cookie", enterAs(t, s, "olga", users.Operator))), "/mode") {
		t.Error("the overview leads an operator there")
	}
	page := body(t, get(t, s, "/mode", "Cookie", cookie))
	for _, want := range []string{"<b>14</b> of 182,314 decisions", "12 subscribers</a>: replies come later", "3 subscribers</a>: new sessions", "1 subscriber</a>: new sessions are reset", `name="mode" value="enforce"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if box.done() != "" {
		t.Error("looking changed something")
	}
	form := url.Values{"mode": {"enforce"}, "revision": {"another"}}
	if a := send(t, s, cookie, "/mode", form); a.StatusCode != http.StatusBadRequest || box.done() != "" {
		t.Errorf("from another configuration: %s", a.Status)
	}
	form.Set("revision", fakeRevision(fakeConfig))
	if a := send(t, s, cookie, "/mode", form); a.Header.Get("Location") != "/" || box.done() != "admin 127.0.0.1 config mode" {
		t.Errorf("started: %s", a.Status)
	}
	box.mu.Lock()
	box.status.Mode = "enforce"
	box.mu.Unlock()
	if page := body(t, get(t, s, "/mode", "Cookie", cookie)); !strings.Contains(page, `name="mode" value="observe"`) || strings.Contains(page, link) {
		t.Error("there is no way back, or the way there is still shown")
	}
	if a := send(t, s, cookie, "/mode", url.Values{"mode": {"wrong"}}); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a mode that is none: %s", a.Status)
	}
}
