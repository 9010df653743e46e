package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// From his first session up to where he is watched, a subscriber can be asked what his next
// session meets, and why.
func TestItIsSaidWhoWaitsAndWhy(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	plans := `  - name: home
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 10, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`
	b := newBox(t, ctx, l, config("enforce", plans), fmt.Sprintf("subscriber,plan,prefixes\nhome,home,%s %s\n", home.IPv4, home.Prefix6))
	b.start()
	send := func(n int) {
		home.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: n, Concurrency: 1})
	}
	for _, row := range []struct {
		why  string
		send int
		word string
		says string
		left int
	}{
		{"nobody has seen him", 0, "asks_first", "not known to the fast lane yet: the first session asks", 0},
		{"his first session waited", 1, "lease", "9 sessions may begin so", 9},
		{"he has begun some unasked", 4, "lease", "5 sessions may begin so", 5},
		{"his budget is used up", 6, "stage", "watched: stage defer, sessions 11/10 per 24h (110%)", 0},
	} {
		if row.send > 0 {
			send(row.send)
		}
		await(t, 5*time.Second, row.why, func() bool { return b.subscriber("home").Lane.Reason == row.word })
		got := b.subscriber("home").Lane
		if got.Why != row.says || got.Sessions != row.left || got.Waits != (row.left == 0) {
			t.Errorf("%s: %+v, want %q", row.why, got, row.says)
		}
		if row.left > 0 && (len(got.Addresses) != 1 || got.Addresses[0] != home.IPv4.String()) {
			t.Errorf("%s: from %v", row.why, got.Addresses)
		}
	}
	await(t, 5*time.Second, "the census knows it", func() bool { return b.status().Lanes.Fast.Next["stage"] == 1 })
	if w := b.status().Lanes.Fast.Waiting; len(w) != 1 || w[0].Subscriber != "home" || w[0].Reason != "stage" {
		t.Errorf("who waits: %+v", w)
	}
	metrics := b.metrics()
	for _, want := range []string{`mailweir_fast_lane_next_session{reason="stage"} 1`, `mailweir_fast_lane_next_session{reason="lease"} 0`} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}

	b.stop()
	b.write(config("enforce", plans) + "queue: {fast_lane: off}\n")
	b.start()
	if got := b.subscriber("home").Lane; !got.Waits || got.Reason != "off" || got.Why != "the fast lane is off: queue.fast_lane is off" {
		t.Errorf("switched off: %+v", got)
	}
}
