package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// An operator puts one line under another plan: at once, over restarts, on the
// record, until he goes back to the list's.
func TestPlanOfOneLine(t *testing.T) {
	s := newTiny(t, `  - name: large
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 6, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`)
	s.start()
	s.expect("first of two", lab.Sent)
	s.expect("second of two", lab.Sent)
	s.expect("third of two", lab.Deferred)
	is := func(why, plan, source, list string) {
		t.Helper()
		if v := s.subscriber("home"); v.Plan != plan || v.PlanSource != source || v.ListPlan != list {
			t.Errorf("%s: plan %q by %q, the list says %q", why, v.Plan, v.PlanSource, v.ListPlan)
		}
	}
	is("before", "small", "list", "small")
	var sub webadmin.Subscriber
	s.cli(&sub, "plan", "home", "large")
	is("changed", "large", "operator", "small")
	s.expect("third of six", lab.Sent)
	if v := budget(t, s.subscriber("home"), "sessions"); v.Limit != 6 || v.Value != 3 {
		t.Errorf("what was used stays used: %+v", v)
	}
	s.audited("plan", "large")
	s.kill()
	s.start()
	is("after kill -9", "large", "operator", "small")
	s.expect("fourth of six", lab.Sent)
	s.stop()
	s.start()
	is("after a clean stop", "large", "operator", "small")
	// The list is read again meanwhile.
	s.list(fmt.Sprintf("subscriber,plan,prefixes,name\nhome,small,%s %s,Somebody\n", s.home.IPv4, s.home.Prefix6))
	await(t, 10*time.Second, "the list to be read again", func() bool { return s.subscriber("home").Name == "Somebody" })
	is("after the list was read again", "large", "operator", "small")
	s.expect("fifth of six", lab.Sent)

	for _, body := range []string{`{"plan":"golden"}`, `{}`, `{"plan":7}`, `{"plan":"large","more":1}`} {
		if code, answer := s.ask("PATCH", "/subscribers/home", body); code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, code, answer)
		}
	}
	if code, answer := s.ask("PATCH", "/subscribers/nobody", `{"plan":"large"}`); code != http.StatusNotFound {
		t.Errorf("nobody: %d %s", code, answer)
	}
	is("after refused changes", "large", "operator", "small")
	if code, answer := s.ask("PATCH", "/subscribers/home", `{"plan":""}`); code != http.StatusOK {
		t.Errorf("back to the list's over the API: %d %s", code, answer)
	}
	is("back", "small", "list", "small")
	s.expect("back in the small plan", lab.Deferred)
	s.kill()
	s.start()
	is("back, after kill -9", "small", "list", "small")
	if code, answer := s.ask("PATCH", "/subscribers/home", `{"plan":"large"}`); code != http.StatusOK {
		t.Errorf("over the API: %d %s", code, answer)
	}
	is("again", "large", "operator", "small")
	s.cli(&sub, "plan", "home", "--list")
	is("back by the command", "small", "list", "small")
}

// audited looks for the newest AUDIT record of what was done to home.
func (b *box) audited(what, after string) {
	b.t.Helper()
	for _, r := range b.records("kind=AUDIT&limit=100") {
		if param(r.Line, "what") != what || param(r.Line, "object") != "home" {
			continue
		}
		if !strings.Contains(param(r.Line, "after"), after) || param(r.Line, "who") == "" || param(r.Line, "before") == "" {
			b.t.Errorf("%s", r.Line)
		}
		return
	}
	b.t.Errorf("no AUDIT record of %s", what)
}
