package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// json sends JSON to the API and decodes what it answers.
func (b *box) json(method, path string, body, out any) {
	b.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(b.ctx, method, "http://box/api/v1/"+path, bytes.NewReader(text))
	if err != nil {
		b.t.Fatal(err)
	}
	a, err := b.api().Do(r)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer a.Body.Close()
	var said bytes.Buffer
	said.ReadFrom(a.Body)
	if a.StatusCode != http.StatusOK {
		b.t.Fatalf("%s %s: %s %s", method, path, a.Status, said.String())
	}
	if err := json.Unmarshal(said.Bytes(), out); err != nil {
		b.t.Fatalf("%s %s: %v in %s", method, path, err, said.String())
	}
}

// What waits for a restart is taken by one, in the same process, and budgets go on; what does not come up is undone, and everything that was changed
// with it stays.
func TestARestartTakesWhatWaits(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	text := config("enforce", `  - name: home
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 1, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`)
	b := newBox(t, ctx, l, text, fmt.Sprintf("subscriber,plan,prefixes\nhome,home,%s\n", home.IPv4))
	b.start()
	pid := b.cmd.Process.Pid
	expect := func(why string, want lab.Result) {
		t.Helper()
		if got := home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 1})[0].Result; got != want {
			t.Errorf("%s: %v, want %v", why, got, want)
		}
	}
	expect("the first", lab.Sent)
	expect("the second", lab.Deferred)

	change := func(from, to string) webadmin.ConfigOutcome {
		t.Helper()
		next := strings.Replace(text, from, to, 1)
		if next == text {
			t.Fatalf("%q changes nothing", from)
		}
		text = next
		var o webadmin.ConfigOutcome
		b.json("PUT", "config", map[string]string{"config": text, "revision": ""}, &o)
		return o
	}
	waits := func() bool {
		return slices.ContainsFunc(b.status().Problems, func(p webadmin.Problem) bool { return strings.Contains(p.What, "waits for a restart") })
	}
	again := func(why string) {
		t.Helper()
		lives := len(b.records("kind=CONFIG&limit=1000"))
		var answer struct{ Restarting bool }
		b.json("POST", "restart", struct{}{}, &answer)
		await(t, 20*time.Second, why, func() bool {
			a, err := b.api().Get("http://box/api/v1/status")
			if err != nil {
				return false
			}
			defer a.Body.Close()
			var st webadmin.Status
			return json.NewDecoder(a.Body).Decode(&st) == nil && st.Ready && time.Duration(st.Uptime) < 19*time.Second && len(b.records("kind=CONFIG&limit=1000")) > lives
		})
	}

	if o := change("upstream_interfaces: [wan0]", "upstream_interfaces: [wan0]\n  counted_ports: [587]"); strings.Join(o.Waiting, " ") != "network.counted_ports" || !waits() {
		t.Errorf("%+v", o)
	}
	again("a new life")
	rules, err := l.Box.Command(ctx, "nft", "list", "ruleset").Output()
	if err != nil || !bytes.Contains(rules, []byte("587")) || waits() {
		t.Errorf("the port is not in the rules: %v\n%s", err, rules)
	}
	expect("after the restart", lab.Deferred)

	change(`listen: "127.0.0.1:8443"`, `listen: "127.0.0.1:9443"`)
	change("help: https://isp.example/mail", "help: https://isp.example/help")
	taken, err := l.Box.Listen("tcp", "127.0.0.1:9443")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	again("back to what worked")
	var now struct{ Text string }
	b.json("GET", "config", struct{}{}, &now)
	if !strings.Contains(now.Text, "127.0.0.1:8443") || !strings.Contains(now.Text, "isp.example/help") || !strings.Contains(now.Text, "[587]") || waits() {
		t.Errorf("%s", now.Text)
	}
	expect("after a restart that failed", lab.Deferred)
	if b.cmd.Process.Pid != pid {
		t.Error("another process")
	}
	select {
	case <-b.done:
		t.Errorf("it ended: %v", b.err)
	default:
	}
}
