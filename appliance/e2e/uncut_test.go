package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// Messages that are only estimated bring their sender up the ladder to defer and no further, however hard he tries again.
// In clear the same is cut, and so is who hides some more inside TLS.
func TestAnEstimateAloneCutsNobody(t *testing.T) {
	for name, queue := range bothLanes {
		t.Run(name, func(t *testing.T) { sealedUncut(t, queue) })
	}
}

func sealedUncut(t *testing.T, queue string) {
	const messages, attempts = 6, 60 // of the attempts twenty are a mail server's retries, and ten more would cut
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})
	list := "subscriber,plan,prefixes\n"
	homes := map[string]*lab.Home{}
	for _, name := range []string{"sealed", "clear", "both"} {
		homes[name] = addHome(t, l, name)
		list += fmt.Sprintf("%s,home,%s\n", name, homes[name].IPv4)
	}
	b := newBox(t, ctx, l, config("enforce", `  - name: home
    highest_stage: cut
    budgets:
      - {of: messages, limit: 30, per: 1h, burst: 4}
    ladder: {warn_at: 25, pace_at: 50, defer_at: 100, cut_at: 300, pace_max: 200ms, cut_for: 10m}
`)+"queue: {"+queue+"}\n", list)
	b.start()
	send := func(name string, tls bool, sessions, messages int) []lab.Session {
		return homes[name].Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", StartTLS: tls, Sessions: sessions, Messages: messages, Size: 5000, Timeout: 30 * time.Second})
	}
	for _, first := range []struct {
		name     string
		tls      bool
		messages int
	}{{"sealed", true, messages}, {"clear", false, messages}, {"both", true, 2}, {"both", false, messages}} {
		if s := send(first.name, first.tls, 1, first.messages)[0]; s.Result != lab.Sent || len(s.Accepted) != first.messages {
			t.Fatalf("%s: %v, %d accepted: %v", first.name, s.Result, len(s.Accepted), s.Err)
		}
	}
	await(t, 10*time.Second, "the SESSION records", func() bool { return len(b.records("kind=SESSION&limit=100")) == 4 })
	line := b.records("kind=SESSION&subscriber=sealed")[0].Line
	if lo := number(t, line, "messages_lo"); lo < messages-1 || param(line, "messages") != "" && param(line, "messages") != "0" {
		t.Fatalf("not enough was estimated: %s", line)
	}
	for _, r := range b.records("kind=SESSION&subscriber=both") {
		if lo := number(t, r.Line, "messages_lo"); param(r.Line, "tls") == "starttls" && lo < 1 {
			t.Fatalf("of both a message inside TLS is to be estimated at least: %s", r.Line)
		}
	}

	want := map[string]string{"sealed": "defer", "clear": "cut", "both": "cut"}
	for name, stage := range want {
		n := map[lab.Result]int{}
		for _, s := range send(name, name == "sealed", attempts, 1) {
			n[s.Result]++
			if s.Result == lab.Deferred && !strings.HasPrefix(s.Replies[0], "421 4.7.0 messages ") {
				t.Errorf("%s was told %q", name, s.Replies[0])
			}
		}
		got := b.subscriber(name)
		if got.Stage != stage || n[lab.Deferred] == 0 || n[lab.Reset] > 0 != (stage == "cut") || n[lab.Deferred]+n[lab.Reset] != attempts {
			t.Errorf("%s is in stage %s, want %s: %v, %s", name, got.Stage, stage, n, got.Reason)
		}
		var stages []string
		for _, r := range b.records("kind=STAGE&limit=100&subscriber=" + name) {
			stages = append([]string{param(r.Line, "to")}, stages...)
		}
		t.Logf("%s: %v, %s", name, n, strings.Join(stages, " -> "))
		if name == "sealed" && strings.Join(stages, " ") != "warn pace defer" {
			t.Errorf("sealed went %v, want warn, pace, defer", stages)
		}
		for _, r := range b.records("kind=DECISION&limit=1000&subscriber=" + name) {
			if param(r.Line, "action") == "cut" && stage != "cut" {
				t.Errorf("%s", r.Line)
			}
		}
	}
}
