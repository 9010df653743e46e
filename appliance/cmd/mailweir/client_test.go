package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	webadmin "github.com/mailweir/mailweir/web-admin"
)

// running is a data directory with somebody at its socket who writes down what it is asked and answers what it is told to.
type running struct {
	dir string

	mu    sync.Mutex
	asked []string // "METHOD path body"
	say   func(r *http.Request) (int, string)
}

func startRunning(t *testing.T, say func(r *http.Request) (int, string)) *running {
	t.Helper()
	dir, err := os.MkdirTemp("", "mailweir") // short: a socket's path has little room
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "mailweir.sock"))
	if err != nil {
		t.Fatal(err)
	}
	run := &running{dir: dir, say: say}
	s := httptest.NewUnstartedServer(run)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return run
}

func (run *running) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	run.mu.Lock()
	defer run.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	run.asked = append(run.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	status, text := run.say(r)
	w.WriteHeader(status)
	io.WriteString(w, text)
}

// mailweir runs a command line at the running one.
func (run *running) mailweir(t *testing.T, argv ...string) (exit int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	exit = Main(t.Context(), append(argv, "--data", run.dir), &out, &errs)
	return exit, out.String(), errs.String()
}

// took is what was asked since the last call.
func (run *running) took() string {
	run.mu.Lock()
	defer run.mu.Unlock()
	asked := strings.Join(run.asked, "\n")
	run.asked = nil
	return asked
}

const line = `{"id":"S-1","name":"Elm Street 12","plan":"office","plan_source":"operator","list_plan":"residential","prefixes":["100.64.0.11/32"],
	"bindings":[{"prefix":"100.64.0.11/32","subscriber":"S-1","source":"radius","from":"2026-11-11T08:00:00.000Z","until":null}],"stage":"defer","since":"2026-11-18T11:00:00.000Z","until":null,
	"reason":"sessions 6/5 at once, 20 per 1h (120%)","case":"00K7Q","open":1,"lane":{"waits":true,"reason":"stage","why":"watched: stage defer","sessions_left":0,"addresses":[]},"budgets":[{"of":"sessions","window_s":3600,"limit":20,"burst":5,"value":6,"ratio":1.2,"pressure":7,"refills_at":null}],
	"exemption":{"since":"2026-11-18T11:00:00.000Z","until":"2027-01-01T00:00:00.000Z","reason":"asked\u001b[2J by phone","by":"admin 192.0.2.7"},
	"decisions":[{"at":"2026-11-18T11:00:00.000Z","action":"defer","acted":true,"wait_s":180,"reason":"sessions 6/5 at once, 20 per 1h (120%)","retry":true},
		{"at":"2026-11-18T11:00:00.000Z","action":"defer","acted":false,"reason":"sessions 6/5 at once, 20 per 1h (120%)","exemption":"asked"}]}`

func TestCommandsAskTheRunningOne(t *testing.T) {
	run := startRunning(t, func(r *http.Request) (int, string) {
		switch path := strings.TrimPrefix(r.URL.Path, "/api/v1/"); {
		case strings.HasPrefix(path, "cases/"):
			return 200, `{"id":"00K7Q","subscriber":"S-1","name":"Elm Street 12","plan":"residential","opened":"2026-11-18T11:00:00.000Z","closed":"2026-11-18T12:00:00.000Z","stage":"defer","highest":"defer",
				"reason":"sessions 6/5","changes":[{"at":"2026-11-18T11:00:00.000Z","from":"observe","to":"defer","reason":"sessions 6/5"}],"decisions":[]}`
		case path == "lookup" && r.URL.Query().Get("address") == "192.0.2.9":
			return 200, `{"address":"192.0.2.9","at":"2026-11-18T11:00:00.000Z","holders":[],"unmapped":"192.0.2.9/32"}`
		case path == "lookup":
			return 200, `{"address":"100.64.0.11","at":"2026-11-18T11:00:00.000Z","holders":[{"subscriber":"S-1","name":"Elm","plan":"office","prefix":"100.64.0.11/32","source":"radius","from":"2026-11-11T08:00:00.000Z","until":null}],"unmapped":""}`
		case path == "unmapped":
			return 200, `{"items":[{"address":"192.0.2.9","subscriber":"192.0.2.9/32","stage":"warn","first_seen":"2026-11-18T11:00:00.000Z","last_seen":"2026-11-18T11:00:00.000Z","sessions":412,"denied":37,"messages":0,"destinations":41,"clients":9,"crowd":"9 TLS fingerprints"}],"next":""}`
		case strings.HasPrefix(path, "subscribers/S-0"):
			return 404, `{"title":"No such subscriber","status":404,"detail":"Nobody has this id."}`
		case strings.HasPrefix(path, "subscribers/bad"):
			return 400, `{"title":"The plan was not changed","status":400,"errors":[{"field":"plan","message":"there is no plan \"rich\""}]}`
		}
		return 200, line
	})
	for _, row := range []struct {
		why    string
		argv   []string
		exit   int
		asked  string
		stdout string
		stderr string
	}{
		{"an exemption by RFC 3339", []string{"exempt", "S-1", "--until", "2099-01-01T00:00:00Z", "--reason", "x"}, 2, "", "", "at most 366 days"},
		{"an exemption that has ended", []string{"exempt", "S-1", "--until", "2020-01-01", "--reason", "x"}, 2, "", "", "must be in the future"},
		{"an exemption of no time", []string{"exempt", "S-1", "--until", "soon", "--reason", "x"}, 2, "", "", `--until "soon": a duration like`},
		{"an exemption of nothing", []string{"exempt", "S-1", "--until", "0s", "--reason", "x"}, 2, "", "", "future"},
		{"an exemption without an end", []string{"exempt", "S-1", "--reason", "x"}, 2, "", "", "without an end"},
		{"an exemption without a reason", []string{"exempt", "S-1", "--until", "7d", "--reason", " "}, 2, "", "", "without a reason"},
		{"an exemption of nobody in particular", []string{"exempt", "--until", "7d", "--reason", "x"}, 2, "", "", "one subscriber ID"},
		{"an end with a reason", []string{"exempt", "S-1", "--end", "--reason", "x"}, 2, "", "", "--end takes neither"},
		{"an end", []string{"exempt", "S-1", "--end"}, 0, "DELETE /api/v1/subscribers/S-1/exemption", "S-1 is exempt no more: plan office applies, stage defer\n", ""},
		{"an exemption of somebody who is not there", []string{"exempt", "S-0", "--end"}, 1, "DELETE /api/v1/subscribers/S-0/exemption", "", "mailweir: No such subscriber: Nobody has this id."},
		{"a plan", []string{"plan", "100.64.0.9/32", "office"}, 0, `PATCH /api/v1/subscribers/100.64.0.9%2F32 {"plan":"office"}`, "S-1 is under plan office; the list says residential\n", ""},
		{"the list's plan", []string{"plan", "--list", "S-1"}, 0, `PATCH /api/v1/subscribers/S-1 {"plan":""}`, "S-1 is under plan office", ""},
		{"a plan and the list's", []string{"plan", "--list", "S-1", "office"}, 2, "", "", "plan takes"},
		{"a plan of nobody", []string{"plan", "S-1"}, 2, "", "", "plan takes"},
		{"a plan that is not there", []string{"plan", "bad", "rich"}, 2, `PATCH /api/v1/subscribers/bad {"plan":"rich"}`, "", `The plan was not changed: plan there is no plan "rich"`},
		{"release", []string{"release", "S-1"}, 0, "POST /api/v1/subscribers/S-1/release", "S-1 is released: stage defer, budgets full\n", ""},
		{"a case", []string{"case", "00k7q"}, 0, "GET /api/v1/cases/00k7q", "case 00K7Q of S-1  Elm Street 12  plan residential\n", ""},
		{"no case", []string{"case"}, 2, "", "", "one case NUMBER"},
		{"whose address", []string{"lookup", "100.64.0.11"}, 0, "GET /api/v1/lookup?address=100.64.0.11", "RADIUS", ""},
		{"whose address then", []string{"lookup", "100.64.0.11", "--at", "2026-11-17T03:12:00+01:00"}, 0, "GET /api/v1/lookup?address=100.64.0.11&at=2026-11-17T02%3A12%3A00Z", "S-1", ""},
		{"nobody's address", []string{"lookup", "192.0.2.9"}, 0, "GET /api/v1/lookup?address=192.0.2.9", "nobody's line; counted as 192.0.2.9/32", ""},
		{"whose address in future", []string{"lookup", "100.64.0.11", "--at", "2099-01-01T00:00:00Z"}, 2, "", "", "has not been yet"},
		{"whose name", []string{"lookup", "Elm"}, 2, "", "", `"Elm" is no IPv4 or IPv6 address`},
		{"strangers", []string{"unmapped"}, 0, "GET /api/v1/unmapped?limit=1000", "9 TLS fingerprints", ""},
		{"everything about one", []string{"subscribers", "S-1"}, 0, "GET /api/v1/subscribers/S-1", "plan office (set by hand; the list says residential)\nat 100.64.0.11/32 by RADIUS since", ""},
		{"its exemption, which moves no cursor", []string{"subscribers", "S-1"}, 0, "GET /api/v1/subscribers/S-1", "by admin 192.0.2.7: asked\ufffd[2J by phone\n", ""},
		{"its retries", []string{"subscribers", "S-1"}, 0, "GET /api/v1/subscribers/S-1", "(120%), a retry\n", ""},
		{"what its next session meets", []string{"subscribers", "S-1"}, 0, "GET /api/v1/subscribers/S-1", "1 sessions open; the next one waits for a verdict: watched: stage defer\n", ""},
		{"its pass by exemption", []string{"subscribers", "S-1"}, 0, "GET /api/v1/subscribers/S-1", "(120%), exempt: asked\n", ""},
	} {
		exit, stdout, stderr := run.mailweir(t, row.argv...)
		asked := run.took()
		if exit != row.exit || asked != row.asked {
			t.Errorf("%s: exit %d, asked %q: %s", row.why, exit, asked, stderr)
		}
		if !strings.Contains(stdout, row.stdout) || row.stdout == "" && stdout != "" || !strings.Contains(stderr, row.stderr) || row.stderr == "" && stderr != "" {
			t.Errorf("%s: stdout %q, stderr %q", row.why, stdout, stderr)
		}
		if strings.Count(stderr, "\n") > 1 {
			t.Errorf("%s: more than a line on stderr: %q", row.why, stderr)
		}
		if row.exit != 0 || row.asked == "" {
			continue
		}
		if _, stdout, _ := run.mailweir(t, append(row.argv, "--json")...); !json.Valid([]byte(stdout)) {
			t.Errorf("%s: --json prints %q", row.why, stdout)
		}
		run.took()
	}
}

func TestTheEndOfAnExemptionIsMeantAsTyped(t *testing.T) {
	now := time.Now()
	for text, want := range map[string]time.Time{
		"7d":   now.Add(7 * 24 * time.Hour),
		"36h":  now.Add(36 * time.Hour),
		"366d": now.Add(366 * 24 * time.Hour),
		now.Add(time.Hour).UTC().Format(time.RFC3339Nano): now.Add(time.Hour),
		now.Format(time.DateOnly):                         time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, time.Local),
	} {
		if got, err := untilTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"367d", "-1h", "1", "2026-02-30", "", "9999999999d"} {
		if got, err := untilTime(text, now); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

// The whole list is asked page by page, each from where the one before ended.
func TestListsAreFollowedToTheirEnd(t *testing.T) {
	run := startRunning(t, func(r *http.Request) (int, string) {
		switch r.URL.Query().Get("cursor") {
		case "":
			return 200, `{"items":[` + line + `],"next":"a b"}`
		case "a b":
			return 200, `{"items":[` + strings.ReplaceAll(line, "S-1", "S-2") + `],"next":""}`
		}
		return 400, `{"title":"lost"}`
	})
	exit, stdout, stderr := run.mailweir(t, "subscribers")
	if exit != 0 || strings.Count(stdout, "\n") != 3 || !strings.Contains(stdout, "S-2") || !strings.Contains(stdout, "until 2027-01-01") {
		t.Errorf("exit %d: %s%s", exit, stdout, stderr)
	}
	exit, stdout, _ = run.mailweir(t, "subscribers", "--json")
	var list struct {
		Items []json.RawMessage
		Next  string
	}
	if err := json.Unmarshal([]byte(stdout), &list); exit != 0 || err != nil || len(list.Items) != 2 || list.Next != "" {
		t.Errorf("exit %d, %v: %d items, next %q", exit, err, len(list.Items), list.Next)
	}
}

func TestAnEmptyListIsJSON(t *testing.T) {
	run := startRunning(t, func(*http.Request) (int, string) { return 200, `{"items":[],"next":""}` })
	for _, command := range []string{"subscribers", "unmapped"} {
		exit, stdout, _ := run.mailweir(t, command, "--json")
		var list struct{ Items []json.RawMessage }
		if err := json.Unmarshal([]byte(stdout), &list); exit != 0 || err != nil || list.Items == nil {
			t.Errorf("%s: exit %d, %v: %q", command, exit, err, stdout)
		}
	}
}

// While it is not known what is held, who asks is not to take what is listed for all there is, or for nothing.
func TestTheListOfHoldsSaysThatThereMayBeMore(t *testing.T) {
	const some = `{"case":"00009","subscriber":"S-9","from":"2026-11-21T12:00:00.000Z","to":null,"reason":"file 12/26","by":"admin","since":null}`
	for _, row := range []struct {
		items, unknown string
		exit           int
	}{{"", "", 0}, {some, "", 0}, {"", "holds.json is damaged", 1}, {some, "holds.json is damaged", 1}} {
		run := startRunning(t, func(*http.Request) (int, string) {
			return 200, `{"items":[` + row.items + `],"next":"","unknown":"` + row.unknown + `"}`
		})
		exit, stdout, stderr := run.mailweir(t, "hold")
		if exit != row.exit || strings.Contains(stdout, "00009") != (row.items != "") || strings.Contains(stdout, "no case is held") != (row.items+row.unknown == "") ||
			(row.unknown != "") != strings.Contains(stderr, "it is not known which cases are held") || !strings.Contains(stderr, row.unknown) {
			t.Errorf("%+v: exit %d: %s%s", row, exit, stdout, stderr)
		}
		exit, stdout, _ = run.mailweir(t, "hold", "--json")
		var list webadmin.Holds
		if err := json.Unmarshal([]byte(stdout), &list); exit != row.exit || err != nil || list.Items == nil || list.Unknown != row.unknown || (len(list.Items) > 0) != (row.items != "") {
			t.Errorf("%+v: exit %d, %v: %q", row, exit, err, stdout)
		}
	}
}

func TestPresetsNeedNoRunningOne(t *testing.T) {
	var out, errs bytes.Buffer
	if exit := Main(t.Context(), []string{"presets"}, &out, &errs); exit != 0 || strings.Count(out.String(), "\n") != 5 {
		t.Errorf("exit %d: %s%s", exit, out.String(), errs.String())
	}
	for name := range strings.Lines(out.String()) {
		name, _, _ = strings.Cut(name, " ")
		var one, asJSON bytes.Buffer
		if exit := Main(t.Context(), []string{"presets", name}, &one, &errs); exit != 0 || !strings.Contains(one.String(), fmt.Sprintf("{name: %s, preset: %[1]s}", name)) {
			t.Errorf("%s: exit %d: %s%s", name, exit, one.String(), errs.String())
		}
		if exit := Main(t.Context(), []string{"presets", "--json", name}, &asJSON, &errs); exit != 0 || !json.Valid(asJSON.Bytes()) {
			t.Errorf("%s as JSON: exit %d: %s", name, exit, asJSON.String())
		}
	}
	if exit := Main(t.Context(), []string{"presets", "rich"}, &out, &errs); exit != 2 || !strings.Contains(errs.String(), "there are residential, office") {
		t.Errorf("exit %d: %s", exit, errs.String())
	}
}
