package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance"
	"github.com/mailweir/mailweir/appliance/lab"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// A bot climbs the whole ladder through both lanes, over STARTTLS and in clear, while neighbours send; the box is stopped,
// killed and reloaded meanwhile. Replaying the policies that were in force makes every recorded decision and change of stage
// again, word by word. Another policy comes out otherwise.
func TestTheJournalDecidesAgain(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})
	bot, neighbour, stranger := addHome(t, l, "bot"), addHome(t, l, "neighbour"), addHome(t, l, "stranger")
	plans := func(limit int) string {
		return fmt.Sprintf(`  - name: home
    highest_stage: cut
    budgets:
      - {of: sessions, limit: %d, per: 20s}
      - {of: tls_handshakes, limit: 50, per: 20s}
      - {of: messages, limit: 40, per: 60s}
      - {of: concurrent_sessions, limit: 8}
      - {of: destinations, limit: 5, per: 60s}
    ladder: {warn_at: 50, pace_at: 70, defer_at: 100, cut_at: 200, pace_max: 1s, cut_for: 5s, release_after: 3s}
`, limit)
	}
	text := config("enforce", plans(10))
	b := newBox(t, ctx, l, text, fmt.Sprintf("subscriber,plan,prefixes\nbot,home,%s %s\nneighbour,home,%s %s\n", bot.IPv4, bot.Prefix6, neighbour.IPv4, neighbour.Prefix6))
	send := func(h *lab.Home, tls, ipv6 bool, sessions, atOnce int) {
		h.Send(ctx, lab.Traffic{To: mx.Address(ipv6), From: "a@home.test", Rcpt: "b@mx.test", StartTLS: tls, Sessions: sessions, Concurrency: atOnce, Timeout: 20 * time.Second})
	}
	traffic := func() {
		var wg sync.WaitGroup
		wg.Go(func() { send(bot, true, false, 30, 3) })
		wg.Go(func() { send(bot, false, true, 10, 1) })
		wg.Go(func() { send(neighbour, true, true, 4, 1) })
		wg.Go(func() { send(stranger, false, false, 6, 2) })
		wg.Wait()
	}
	b.start()
	traffic()
	time.Sleep(6 * time.Second) // the cut's time: it comes down the ladder
	var wg sync.WaitGroup
	wg.Go(traffic)
	time.Sleep(time.Second)
	b.kill() // in the middle of it
	b.start()
	wg.Wait()
	var said webadmin.Subscriber
	b.cli(&said, "release", "bot")
	b.cli(&said, "exempt", "neighbour", "--until", "1h", "--reason", "test")
	wg.Go(traffic)
	time.Sleep(500 * time.Millisecond)
	b.write(config("enforce", plans(16)))
	if err := b.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await(t, 10*time.Second, "the new limit", func() bool { return budget(t, b.subscriber("bot"), "sessions").Limit == 16 })
	wg.Wait()
	lanes := b.status().Lanes
	b.stop()
	b.write(text + "queue: {fast_lane: off}\n")
	b.start()
	traffic()
	b.stop()
	if !lanes.Fast.On {
		t.Errorf("the fast lane was off: %s", lanes.Fast.Why)
	}

	dir := filepath.Join(b.data, "journal")
	replay := func(args ...string) (v appliance.WhatIfView) {
		t.Helper()
		out, err := exec.CommandContext(ctx, binary, append([]string{"replay", "--journal", dir, "--json"}, args...)...).Output()
		if err != nil {
			t.Errorf("replay %v: %v\n%s", args, err, out)
		}
		if err := json.Unmarshal(out, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := replay()
	r := v.Recorded
	t.Logf("%d sessions, %d inputs, %d starts; %+v; %+v", v.Sessions, v.Inputs, v.Starts, *r, v.Config)
	if r.OnlyThen+r.OnlyNow+r.Unchecked > 0 || r.Same < 50 || v.Starts != 3 || v.Missing > 0 {
		t.Errorf("%+v\n%s", *r, strings.Join(r.Examples, "\n"))
	}
	if d := v.Config.Decisions; d.Passed == 0 || d.Paced == 0 || d.Deferred == 0 || d.Cut == 0 {
		t.Errorf("the run did not see the whole ladder: %+v", d)
	}
	b.write(config("enforce", plans(1000)))
	if v := replay("--config", b.config); v.Config.Decisions.Deferred >= r.Same || v.Config.Guessed == 0 {
		t.Errorf("under a generous policy: %+v", v.Config)
	}
}
