package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/lab"
	"github.com/mailweir/mailweir/web-admin/remote"
)

var (
	linkOf    = regexp.MustCompile(`(?:href|src)="(/[^"#]*)`)
	startedIn = regexp.MustCompile(`execve(?:at)?\([^\n]*`)
)

// Who logs in, follows every link of the web admin of a real box, and asks everything that the API gives, has it start no program; a what-if is the box's own
// binary once more, and nothing else. Who hashes passwords was there before, and so was who makes TLS handshakes.
func TestATourStartsNoProgram(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	log := filepath.Join(t.TempDir(), "strace")
	b := newBox(t, ctx, l, config("enforce", ""), fmt.Sprintf("subscriber,plan,prefixes,name\nhome,free,%s,Elm Street 12\n", home.IPv4))
	b.within = []string{"strace", "-D", "-f", "-qq", "--seccomp-bpf", "-s", "256", "-e", "trace=execve,execveat", "-o", log}
	b.start()
	home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 3})
	programs := func() []string {
		text, err := os.ReadFile(log)
		check(t, err)
		return startedIn.FindAllString(string(text), -1)
	}
	first := programs()
	before := len(first)
	if before < 2 || !strings.Contains(first[before-2], binary) || !strings.Contains(first[before-1], remote.Command) {
		t.Fatalf("strace does not see the box itself begin, and its web admin: %q", first)
	}
	var made struct{ Password string }
	b.cli(&made, "users", "add", "anna", "--role", "admin")
	at := b.browser()
	at.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var err error
	at.Jar, err = cookiejar.New(nil)
	check(t, err)
	ask := func(method, path string, form url.Values) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, method, "https://127.0.0.1:8443"+path, strings.NewReader(form.Encode()))
		check(t, err)
		if method == "POST" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		a, err := at.Do(r)
		check(t, err)
		defer a.Body.Close()
		body, err := io.ReadAll(io.LimitReader(a.Body, 4<<20))
		check(t, err)
		return a.StatusCode, string(body)
	}
	ask("POST", "/login", url.Values{"name": {"anna"}, "password": {made.Password}})
	ask("POST", "/login/password", url.Values{"password": {firstPassword}, "again": {firstPassword}})

	seen, next := map[string]bool{"/": true}, []string{"/"}
	for len(next) > 0 {
		path := next[0]
		next = next[1:]
		code, body := ask("GET", path, nil)
		if code != http.StatusOK {
			t.Errorf("GET %s: %d", path, code)
		}
		for _, m := range linkOf.FindAllStringSubmatch(body, -1) {
			to := strings.ReplaceAll(m[1], "&amp;", "&")
			if !seen[to] && !strings.HasPrefix(to, "/static/") {
				seen[to] = true
				next = append(next, to)
			}
		}
	}
	for _, page := range []string{"/subscribers", "/subscribers/home", "/records", "/records/1", "/api/v1/records.csv", "/destinations", "/clusters", "/plans", "/plans/free", "/wizard/syslog", "/settings/targets", "/settings/users", "/settings/backup", "/account"} {
		if !seen[page] {
			t.Errorf("no link leads to %s", page)
		}
	}
	_, document := ask("GET", "/api/v1/openapi.json", nil)
	var api struct {
		Paths map[string]map[string]json.RawMessage
	}
	check(t, json.Unmarshal([]byte(document), &api))
	asked := 0
	for path, methods := range api.Paths {
		if methods["get"] == nil || strings.HasSuffix(path, "/events") || strings.Contains(path, "{") {
			continue
		}
		if code, body := ask("GET", "/api/v1"+strings.TrimPrefix(path, "/api/v1"), nil); code >= 500 || code == http.StatusUnauthorized {
			t.Errorf("GET %s: %d %s", path, code, body)
		}
		asked++
	}
	if all := programs(); len(all) != before {
		t.Errorf("a tour of %d pages and %d answers of the API started programs:\n%s", len(seen), asked, strings.Join(all, "\n"))
	}
	var report json.RawMessage
	b.json("POST", "what-if", map[string]any{"config": config("enforce", ""), "days": 1}, &report)
	for _, line := range programs()[before:] {
		if !strings.Contains(line, `"what-if"`) && !strings.Contains(line, "/proc/self/exe") && !strings.Contains(line, binary) {
			t.Errorf("a what-if started %s", line)
		}
	}
	if len(programs()) == before {
		t.Error("strace did not see the what-if begin: it sees nothing")
	}
	t.Logf("%d pages, %d answers of the API, %d programs for the what-if", len(seen), asked, len(programs())-before)
}
