package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// A bot that sends over STARTTLS is paced, then deferred, then cut, while its
// neighbour on the same box is served as if nothing were; a cut ends running
// sessions, and a release by hand undoes it at once.
func TestTheLadder(t *testing.T) {
	for name, queue := range map[string]string{"both lanes": "fast_lane: auto", "queue, fast reader": "fast_lane: off", "queue, portable reader": "fast_lane: off, reader: portable"} {
		t.Run(name, func(t *testing.T) { ladder(t, queue) })
	}
}

func ladder(t *testing.T, queue string) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Exim, StartTLS: true, Domains: []string{"mx.test"}})
	bot := addHome(t, l, "bot")
	neighbour := addHome(t, l, "neighbour")
	b := newBox(t, ctx, l, config("enforce", `  - name: home
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 10, per: 20s}
      - {of: tls_handshakes, limit: 50, per: 20s}
    ladder: {warn_at: 50, pace_at: 70, defer_at: 100, cut_at: 200, pace_max: 1s, cut_for: 60s, release_after: 5s}
`)+"queue: {"+queue+"}\n", fmt.Sprintf("subscriber,plan,prefixes\nbot,home,%s %s\nneighbour,home,%s %s\n", bot.IPv4, bot.Prefix6, neighbour.IPv4, neighbour.Prefix6))
	b.start()

	send := func(h *lab.Home, ipv6 bool, sessions, atOnce int, linger time.Duration) []lab.Session {
		return h.Send(ctx, lab.Traffic{To: mx.Address(ipv6), From: "a@home.test", Rcpt: "b@mx.test", StartTLS: true,
			Sessions: sessions, Concurrency: atOnce, Linger: linger, Timeout: 30 * time.Second})
	}
	results := func(all []lab.Session) (n map[lab.Result]int) {
		n = map[lab.Result]int{}
		for _, s := range all {
			n[s.Result]++
		}
		return n
	}
	stages := []string{}
	saw := func(stage string) {
		if len(stages) == 0 || stages[len(stages)-1] != stage {
			stages = append(stages, stage)
		}
	}
	var neighbours []lab.Session
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 4 {
			neighbours = append(neighbours, send(neighbour, false, 1, 1, 0)...)
		}
	})
	// Two that run when the cut comes, one from an address that does nothing else.
	running := make(chan []lab.Session, 2)
	for _, ipv6 := range []bool{false, true} {
		go func() { running <- send(bot, ipv6, 1, 1, 40*time.Second) }()
	}
	await(t, 10*time.Second, "the long sessions to run", func() bool { return b.subscriber("bot").Open == 2 })

	held := time.Duration(0)
	for range 12 {
		for _, s := range send(bot, false, 1, 1, 0) {
			if s.Result == lab.Sent {
				held = max(held, s.Greeting)
			}
			if s.Result == lab.Deferred {
				if text := s.Replies[0]; !strings.HasPrefix(text, "421 4.7.0 sessions ") || !strings.Contains(text, "case ") {
					t.Errorf("the bot was told %q", text)
				}
			}
		}
		saw(b.subscriber("bot").Stage)
	}
	if held < 300*time.Millisecond {
		t.Errorf("no greeting of the bot was held: the slowest came after %v", held)
	}
	// Twenty tries of a destination that refused are what a mail server does.
	for range 80 {
		send(bot, false, 1, 1, 0)
		stage := b.subscriber("bot").Stage
		saw(stage)
		if stage == "cut" {
			break
		}
	}
	t.Logf("%s: the bot went %s; slowest greeting %v", queue, strings.Join(stages, " -> "), held.Round(time.Millisecond))
	order := strings.Join(stages, " ")
	for _, want := range []string{"warn", "pace", "defer", "cut"} {
		i := strings.Index(order, want)
		if i < 0 {
			t.Fatalf("the bot was never in stage %s: %s", want, order)
		}
		order = order[i:]
	}

	// The running sessions are over, and new ones get a reset, from the kernel.
	for range 2 {
		select {
		case s := <-running:
			if s[0].Result != lab.Reset {
				t.Errorf("a running session of a cut subscriber: %v, %v", s[0].Result, s[0].Err)
			}
		case <-time.After(20 * time.Second):
			t.Error("a running session of a cut subscriber goes on")
		}
	}
	if n := results(send(bot, false, 5, 1, 0)); n[lab.Reset] != 5 {
		t.Errorf("sessions of a cut subscriber: %v", n)
	}
	if n := results(send(bot, true, 3, 1, 0)); n[lab.Reset] != 3 {
		t.Errorf("sessions of a cut subscriber over IPv6: %v", n)
	}
	before := b.status().Actions.Cut
	if n := results(send(bot, false, 20, 1, 0)); n[lab.Reset] != 20 {
		t.Errorf("sessions of a cut subscriber: %v", n)
	}
	if after := b.status().Actions.Cut; after != before {
		t.Errorf("%d attempts of a cut address still reached user space", after-before)
	}

	wg.Wait()
	for _, s := range neighbours {
		if s.Result != lab.Sent || s.Greeting > time.Second {
			t.Errorf("the neighbour noticed: %v, greeting after %v, %v", s.Result, s.Greeting, s.Err)
		}
	}
	if s := b.subscriber("neighbour"); s.Stage != "observe" {
		t.Errorf("the neighbour is in stage %s: %s", s.Stage, s.Reason)
	}

	// Undone by hand: the next session passes.
	var released any
	b.cli(&released, "release", "bot")
	for _, ipv6 := range []bool{false, true} {
		if n := results(send(bot, ipv6, 1, 1, 0)); n[lab.Sent] != 1 {
			t.Errorf("after release, ipv6=%v: %v", ipv6, n)
		}
	}
	if s := b.subscriber("bot"); s.Stage != "observe" {
		t.Errorf("after release: stage %s", s.Stage)
	}
	got, err := mx.Delivered()
	if err != nil {
		t.Fatal(err)
	}
	for id, n := range got {
		if n != 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
}

// A client that waits for a held greeting when its subscriber is cut is not left
// waiting: it gets the greeting, speaks, and hears the reset.
func TestCutReachesWhoWaitsForAGreeting(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	bot := addHome(t, l, "bot")
	b := newBox(t, ctx, l, config("enforce", `  - name: home
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 4, per: 1h}
    ladder: {warn_at: 25, pace_at: 50, defer_at: 100, cut_at: 200, pace_max: 60s, cut_for: 10m}
`), fmt.Sprintf("subscriber,plan,prefixes\nbot,home,%s\n", bot.IPv4))
	b.start()
	send := func(sessions, atOnce int) []lab.Session {
		return bot.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test",
			Sessions: sessions, Concurrency: atOnce, Timeout: 50 * time.Second})
	}
	send(2, 1)
	waiting := make(chan []lab.Session, 1)
	go func() { waiting <- send(2, 2) }()
	await(t, 10*time.Second, "two held greetings", func() bool { return b.status().Lanes.Queue.Held == 2 })
	for range 60 {
		if send(1, 1); b.subscriber("bot").Stage == "cut" {
			break
		}
	}
	if s := b.subscriber("bot"); s.Stage != "cut" {
		t.Fatalf("stage %s: %s", s.Stage, s.Reason)
	}
	select {
	case all := <-waiting:
		for _, s := range all {
			if s.Result != lab.Reset {
				t.Errorf("%v, %v", s.Result, s.Err)
			}
		}
	case <-time.After(10 * time.Second):
		t.Error("the clients still wait")
	}
}
