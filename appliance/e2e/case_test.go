package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// The number that a mail server is told is the one in the records and that of the
// case; it is the same until the subscriber is back at observe, over restarts, and
// what happened under it is told afterwards as well.
func TestCaseNumber(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, config("enforce", `  - name: small
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 2, per: 10s}
    ladder: {warn_at: 50, pace_at: 100, pace_max: 0s, release_after: 2s}
`), fmt.Sprintf("subscriber,plan,prefixes\nhome,small,%s\n", home.IPv4))
	b.start()
	send := func() lab.Session {
		return home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test"})[0]
	}
	number := regexp.MustCompile(`; case ([0-9A-Z]+);`)
	told := func() string {
		t.Helper()
		for range 6 {
			s := send()
			if s.Result != lab.Deferred {
				continue
			}
			if m := number.FindStringSubmatch(s.Replies[0]); m != nil {
				return m[1]
			}
			t.Fatalf("no case in %q", s.Replies[0])
		}
		t.Fatal("never deferred")
		return ""
	}
	first := told()
	if again := told(); again != first {
		t.Errorf("told %s, then %s", first, again)
	}
	var c webadmin.Case
	same := func(why string) {
		t.Helper()
		if v := b.subscriber("home"); v.Case != first || v.Stage != "defer" {
			t.Errorf("%s: the subscriber's case %q, stage %s", why, v.Case, v.Stage)
		}
		c = b.caseOf(first)
		if c.ID != first || c.Subscriber != "home" || c.Stage != "defer" || c.Highest != "defer" || !c.Closed.IsZero() || len(c.Changes) == 0 || c.Reason == "" {
			t.Errorf("%s: case %+v", why, c)
		}
	}
	same("at once")
	opened := c.Opened
	for _, kind := range []string{"STAGE", "DECISION"} {
		with := 0
		for _, r := range b.records("limit=1000&subscriber=home&kind=" + kind) {
			if got := param(r.Line, "case"); got == first {
				with++
			} else if got != "" {
				t.Errorf("another case: %s", r.Line)
			}
		}
		if with == 0 {
			t.Errorf("no %s has case %s", kind, first)
		}
	}
	told() // keeps it where it is while we restart
	time.Sleep(1500 * time.Millisecond)
	b.kill()
	b.start()
	if again := told(); again != first {
		t.Errorf("after kill -9 told %s, was %s", again, first)
	}
	same("after kill -9")
	if !c.Opened.Equal(opened.Time) {
		t.Errorf("opened %v, after kill -9 %v", opened, c.Opened)
	}

	await(t, 60*time.Second, "the case to be closed", func() bool { return !b.caseOf(first).Closed.IsZero() })
	if v := b.subscriber("home"); v.Case != "" || v.Stage != "observe" {
		t.Errorf("when its case is closed: stage %s, case %q", v.Stage, v.Case)
	}
	closed := func(why string) {
		t.Helper()
		c := b.caseOf(first)
		if c.ID != first || c.Closed.IsZero() || c.Highest != "defer" || !c.Opened.Equal(opened.Time) {
			t.Errorf("%s: case %+v", why, c)
		}
		stages := []string{}
		for _, x := range c.Changes {
			stages = append(stages, x.To)
		}
		if way := strings.Join(stages, " "); !strings.Contains(way, "defer") || !strings.HasSuffix(way, "observe") {
			t.Errorf("%s: its way was %q", why, way)
		}
	}
	closed("closed")
	second := told()
	if second == first {
		t.Errorf("a new case has the number %s of the one that is closed", first)
	}
	time.Sleep(1500 * time.Millisecond)
	b.kill()
	b.start()
	closed("closed, after kill -9")
	if c := b.caseOf(second); c.ID != second || !c.Closed.IsZero() {
		t.Errorf("the open one, after kill -9: %+v", c)
	}
	if code, answer := b.ask("GET", "/cases/ZZZZZ", ""); code != http.StatusNotFound {
		t.Errorf("a case that never was: %d %s", code, answer)
	}
}

// caseOf is what the API says of a case, and what the command line says, which
// must be the same.
func (b *box) caseOf(id string) (c webadmin.Case) {
	b.t.Helper()
	code, answer := b.ask("GET", "/cases/"+id, "")
	if code != http.StatusOK {
		b.t.Fatalf("case %s: %d %s", id, code, answer)
	}
	check(b.t, json.Unmarshal([]byte(answer), &c))
	var cli webadmin.Case
	b.cli(&cli, "case", id)
	if cli.ID != c.ID || cli.Opened != c.Opened {
		b.t.Errorf("the API says %+v, the command %+v", c, cli)
	}
	return c
}
