package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance"
	"github.com/mailweir/mailweir/appliance/lab"
)

// ringEnv makes of the test's own binary a `mailweir run` whose fast lane has so many bytes
// for copies, and which breaks it at SIGUSR1; no option of mailweir's does that.
const ringEnv = "MAILWEIR_E2E_RING"

func runWithRing(ring string) int {
	ctx, end := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer end()
	breaks := make(chan os.Signal, 1)
	signal.Notify(breaks, syscall.SIGUSR1)
	go func() {
		for range breaks {
			fmt.Fprintln(os.Stderr, "broke:", breakRing())
		}
	}()
	bytes, err := strconv.Atoi(ring)
	if err == nil { // run --config FILE --data DIR
		err = appliance.Run(ctx, appliance.Options{
			ConfigFile: os.Args[3], DataDir: os.Args[5], LaneRing: bytes, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
			Ready: func() { fmt.Fprintln(os.Stderr, "mailweir: ready") },
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// The smallest ring that there can be, and more mail at once than fits: copies are lost.
// It is noticed and told, whose copies were lost goes on through the queue, no mail fails,
// and in the end exactly the sessions that there were have been charged.
func TestLostCopiesLeaveTheBooksRight(t *testing.T) {
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, Domains: []string{"mx.test"}})
	loud, other := addHome(t, l, "loud"), addHome(t, l, "other")
	b := newBox(t, ctx, l, config("enforce", `  - name: busy
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 1000, burst: 10000, per: 24h}
      - {of: messages, limit: 1000, burst: 10000, per: 24h}
      - {of: concurrent_sessions, limit: 200}
`), fmt.Sprintf("subscriber,plan,prefixes\nloud,busy,%s %s\nother,busy,%s %s\n", loud.IPv4, loud.Prefix6, other.IPv4, other.Prefix6))
	self, err := os.Executable()
	check(t, err)
	b.binary, b.env = self, []string{ringEnv + "=262144"}
	b.start()

	var sent [2]atomic.Int64
	send := func(i, sessions, at, size int) {
		t.Helper()
		for _, s := range []*lab.Home{loud, other}[i].Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", Sessions: sessions, Concurrency: at, Size: size}) {
			if s.Result == lab.Sent {
				sent[i].Add(1)
			} else {
				t.Errorf("%v: %v", s.Result, s.Err)
			}
		}
	}
	send(0, 1, 1, 0) // known to the lane from here on
	for round := 0; b.status().Lanes.Fast.CopiesLost == 0; round++ {
		if round == 20 {
			t.Fatal("nothing was lost")
		}
		var wg sync.WaitGroup
		wg.Go(func() { send(0, 40, 40, 1<<20) })
		wg.Go(func() { send(1, 5, 1, 0) })
		wg.Wait()
	}
	await(t, 10*time.Second, "the loss to be told", func() bool { return b.healthOf("copies_lost", "fast lane") > 0 })
	await(t, 10*time.Second, "all sessions to be over", func() bool { return b.status().Sessions.Open == 0 })
	s := b.status()
	t.Logf("%d copies, %d lost; %d sessions began unasked, %d handed over; waited: %v", s.Lanes.Fast.Copies, s.Lanes.Fast.CopiesLost, s.Lanes.Fast.Sessions, s.Lanes.Fast.Handed, s.Lanes.Fast.Waited)
	if s.Lanes.Fast.Handed == 0 {
		t.Error("no session was handed over to the queue")
	}
	if all := sent[0].Load() + sent[1].Load(); s.Sessions.Total != all {
		t.Errorf("%d sessions are counted, there were %d", s.Sessions.Total, all)
	}
	for i, id := range []string{"loud", "other"} {
		who := b.subscriber(id)
		charged, messages, open := budget(t, who, "sessions").Value, budget(t, who, "messages").Value, budget(t, who, "concurrent_sessions").Value
		t.Logf("%s: %d sessions, each with a message; charged: %d sessions, %d messages", id, sent[i].Load(), charged, messages)
		if int64(charged) != sent[i].Load() || int64(messages) > sent[i].Load() || open != 0 {
			t.Errorf("%s: %d sessions were charged and %d messages, of %d each; %d are running", id, charged, messages, sent[i].Load(), open)
		}
	}

	before := s.Lanes.Fast.Sessions
	send(0, 5, 1, 0)
	if n := b.status().Lanes.Fast.Sessions - before; n < 4 {
		t.Errorf("when the books are right again %d of 5 sessions begin unasked", n)
	}
}
