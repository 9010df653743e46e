package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// SIGHUP takes a good configuration at once, and refuses a bad one with file,
// line and key while the running one goes on judging.
func TestReload(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	plans := func(limit int) string {
		return fmt.Sprintf(`  - name: home
    highest_stage: defer
    budgets:
      - {of: sessions, limit: %d, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`, limit)
	}
	b := newBox(t, ctx, l, config("enforce", plans(2)), fmt.Sprintf("subscriber,plan,prefixes\nhome,home,%s\n", home.IPv4))
	b.start()
	send := func() lab.Result {
		t.Helper()
		return home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: 1})[0].Result
	}
	expect := func(why string, want lab.Result) {
		t.Helper()
		if got := send(); got != want {
			t.Errorf("%s: %v, want %v", why, got, want)
		}
	}
	expect("first of two", lab.Sent)
	expect("second of two", lab.Sent)
	expect("third of two", lab.Deferred)

	reload := func() {
		t.Helper()
		if err := b.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	bad := []struct{ why, from, to, key string }{
		{"unknown key", "mode: enforce", "mode: enforce\nmoed: observe", "moed"},
		{"unknown word", "mode: enforce", "mode: enforced", "mode"},
		{"no unit", "per: 24h", "per: 24", "per"},
		{"out of range", "limit: 2,", "limit: -1,", "limit"},
		{"null", "limit: 2,", "limit: ,", "limit"},
		{"ladder out of order", "pace_at: 100", "pace_at: 101", "pace_at"},
	}
	for _, row := range bad {
		text := strings.Replace(config("enforce", plans(2)), row.from, row.to, 1)
		if text == config("enforce", plans(2)) {
			t.Fatalf("%s: the row changes nothing", row.why)
		}
		b.write(text)
		var stderr bytes.Buffer
		check := exec.CommandContext(ctx, binary, "check", "--config", b.config)
		check.Stderr = &stderr
		if err := check.Run(); check.ProcessState.ExitCode() != 2 {
			t.Errorf("%s: check ended with %v: %s", row.why, err, stderr.String())
		}
		if said := stderr.String(); !strings.Contains(said, "mailweir.yaml:") || !strings.Contains(said, row.key) || strings.Count(said, "\n") != 1 {
			t.Errorf("%s: check said %q", row.why, said)
		}
		refused := len(b.records("kind=CONFIG&limit=1000"))
		reload()
		await(t, 5*time.Second, row.why+": a CONFIG record", func() bool { return len(b.records("kind=CONFIG&limit=1000")) > refused })
		if r := b.records("kind=CONFIG&limit=1")[0]; !strings.Contains(r.Line, `what="refused"`) || !strings.Contains(r.Line, row.key) {
			t.Errorf("%s: %s", row.why, r.Line)
		}
		expect(row.why+": the old configuration goes on", lab.Deferred)
	}

	b.write(config("enforce", plans(5)))
	reload()
	await(t, 5*time.Second, "the new limit", func() bool { return budget(t, b.subscriber("home"), "sessions").Limit == 5 })
	expect("third of five", lab.Sent)
	if v := budget(t, b.subscriber("home"), "sessions").Value; v != 3 {
		t.Errorf("what was used before the reload counts: %d used, want 3", v)
	}
	later := collectUDP(t, l)
	b.write(config("observe", plans(2)) + "syslog: {targets: [{url: \"udp://127.0.0.1:5514\"}]}\n")
	reload()
	await(t, 5*time.Second, "mode observe", func() bool { return b.status().Mode == "observe" })
	expect("mode observe", lab.Sent)
	await(t, 5*time.Second, "records at the collector that the reload added", func() bool { return later.has("SESSION", `mode="observe"`) })
}
