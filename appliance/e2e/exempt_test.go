package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A deferred home that is exempted sends, what would have been done stands in the
// records with acted 0 and the reason of the exemption; it stays exempt over a
// kill -9, and when the exemption ends, by hand or by time, its plan applies again.
// None is granted without an end or without a reason.
func TestExemption(t *testing.T) {
	s := newTiny(t, "")
	s.start()
	s.expect("first of two", lab.Sent)
	s.expect("second of two", lab.Sent)
	s.expect("third of two", lab.Deferred)

	year := time.Now().AddDate(1, 0, 10).Format(time.DateOnly)
	for _, row := range []struct {
		why  string
		args []string
	}{
		{"no end", []string{"exempt", "home", "--reason", "newsletter"}},
		{"no reason", []string{"exempt", "home", "--until", "1h"}},
		{"a blank reason", []string{"exempt", "home", "--until", "1h", "--reason", " "}},
		{"an end in the past", []string{"exempt", "home", "--until", "2020-01-01", "--reason", "newsletter"}},
		{"more than 366 days", []string{"exempt", "home", "--until", year, "--reason", "newsletter"}},
		{"no time at all", []string{"exempt", "home", "--until", "soon", "--reason", "newsletter"}},
	} {
		if code, said := s.exit(row.args...); code != 2 || strings.Count(said, "\n") != 1 {
			t.Errorf("%s: exit %d, %q", row.why, code, said)
		}
	}
	for _, body := range []string{`{}`, `{"reason":"newsletter"}`, `{"until":"2099-01-01T00:00:00Z"}`, `{"until":null,"reason":"newsletter"}`,
		`{"until":"2099-01-01T00:00:00Z","reason":"newsletter"}`, `{"until":"2001-01-01T00:00:00Z","reason":"newsletter"}`} {
		if code, answer := s.ask("POST", "/subscribers/home/exemption", body); code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", body, code, answer)
		}
	}
	if sub := s.subscriber("home"); sub.Exemption != nil {
		t.Fatalf("exempt all the same: %+v", sub.Exemption)
	}
	s.expect("after refused exemptions", lab.Deferred)

	var sub webadmin.Subscriber
	s.cli(&sub, "exempt", "home", "--until", "1h", "--reason", "the newsletter of the club")
	if x := sub.Exemption; x == nil || x.Reason != "the newsletter of the club" || x.By == "" || time.Until(x.Until.Time) < 59*time.Minute || time.Until(x.Until.Time) > time.Hour {
		t.Fatalf("exemption %+v", x)
	}
	acted := s.status().Acted
	for range 3 {
		s.expect("exempt", lab.Sent)
	}
	if now := s.status(); now.Acted != acted || now.Exempt != 1 {
		t.Errorf("acted %d, was %d; %d exempt", now.Acted, acted, now.Exempt)
	}
	speak := func() (all []string) {
		for _, r := range s.records("kind=DECISION&subscriber=home&limit=100") {
			if param(r.Line, "exemption") != "" {
				all = append(all, r.Line)
			}
		}
		return all
	}
	await(t, 10*time.Second, "the decisions that speak of the exemption", func() bool { return len(speak()) >= 3 })
	lines := speak()
	for _, line := range lines {
		if param(line, "exemption") != "the newsletter of the club" || param(line, "acted") != "0" || param(line, "action") != "defer" {
			t.Errorf("a decision while exempt: %s", line)
		}
	}
	if len(lines) != 3 {
		t.Errorf("%d decisions speak of the exemption, want 3", len(lines))
	}
	s.audited("exempt", "the newsletter of the club")

	// It was saved before the command ended: a crash right after forgets nothing.
	s.kill()
	s.start()
	if x := s.subscriber("home").Exemption; x == nil || x.Reason != "the newsletter of the club" {
		t.Fatalf("after kill -9: %+v", x)
	}
	s.expect("exempt, after kill -9", lab.Sent)
	s.stop()
	s.start()
	s.expect("exempt, after a clean stop", lab.Sent)

	sub = webadmin.Subscriber{}
	s.cli(&sub, "exempt", "home", "--end")
	if n := s.status().Exempt; sub.Exemption != nil || n != 0 {
		t.Errorf("after its end: %+v, %d exempt", sub.Exemption, n)
	}
	s.expect("after the end by hand", lab.Deferred)
	s.audited("unexempt", "")
	if code, said := s.exit("exempt", "home", "--end"); code != 1 {
		t.Errorf("an end of none: exit %d, %q", code, said)
	}

	// A short one, through the API: it ends by itself, also when nobody looks.
	until := time.Now().Add(3 * time.Second)
	if code, answer := s.ask("POST", "/subscribers/home/exemption", fmt.Sprintf(`{"until":%q,"reason":"three seconds"}`, until.Format(time.RFC3339Nano))); code != http.StatusOK {
		t.Fatalf("exemption over the API: %d %s", code, answer)
	}
	s.expect("exempt for three seconds", lab.Sent)
	await(t, 10*time.Second, "the exemption to end", func() bool { return s.subscriber("home").Exemption == nil })
	if late := time.Since(until); late < -50*time.Millisecond || late > 2*time.Second {
		t.Errorf("it ended %v after its time", late)
	}
	s.expect("after the end by time", lab.Deferred)
	await(t, 5*time.Second, "a record that it ended", func() bool {
		for _, r := range s.records("kind=AUDIT&limit=100") {
			if strings.Contains(r.Line, "three seconds") && strings.Contains(r.Line, "ended") {
				return true
			}
		}
		return false
	})
}

// exit runs a mailweir command that is to fail: its exit code and what it said on
// stderr.
func (b *box) exit(args ...string) (int, string) {
	b.t.Helper()
	cmd := exec.CommandContext(b.ctx, binary, append(args, "--data", b.data)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), stderr.String()
	}
	check(b.t, err)
	return 0, stderr.String()
}
