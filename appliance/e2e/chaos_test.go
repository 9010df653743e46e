package e2e

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// Light traffic of four homes within their budgets, in clear and over STARTTLS,
// IPv4 and IPv6, while every 0.7 s something happens to mailweir: a reload, a kill
// -9 with a new start, a stop with a new start. No session fails, no message is
// lost, none arrives twice.
func TestNobodyNoticesWhatHappensToUs(t *testing.T) {
	const lasts, each = 20 * time.Second, 700 * time.Millisecond
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})
	type sender struct {
		*lab.Home
		tls, ipv6 bool
		sessions  []lab.Session
	}
	list := "subscriber,plan,prefixes\n"
	var senders []*sender
	for i := range 4 {
		s := &sender{Home: addHome(t, l, fmt.Sprintf("home-%d", i)), tls: i%2 == 1, ipv6: i/2 == 1}
		list += fmt.Sprintf("home-%d,home,%s %s\n", i, s.IPv4, s.Prefix6)
		senders = append(senders, s)
	}
	b := newBox(t, ctx, l, config("enforce", `  - name: home
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 2000, per: 1h}
      - {of: tls_handshakes, limit: 2000, per: 1h}
      - {of: destinations, limit: 5, per: 1h}
      - {of: messages, limit: 5000, per: 1h}
`), list)
	b.start()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, s := range senders {
		wg.Go(func() {
			// Some sessions are short and some last longer than mailweir does.
			for _, linger := range []time.Duration{0, 1500 * time.Millisecond} {
				wg.Go(func() {
					var mine []lab.Session
					s.Run(ctx, lab.Traffic{To: mx.Address(s.ipv6), From: "a@home.test", Rcpt: "b@mx.test", StartTLS: s.tls, Messages: 2,
						Linger: linger, Size: 20000, Rate: 2, Concurrency: 8, Timeout: 30 * time.Second, Stop: stop},
						func(one lab.Session) { mine = append(mine, one) })
					b.mu.Lock()
					defer b.mu.Unlock()
					s.sessions = append(s.sessions, mine...)
				})
			}
		})
	}
	did := map[string]int{}
	for i, begin := 0, time.Now(); time.Since(begin) < lasts; i++ {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * each)))
		switch i % 3 {
		case 0:
			did["reload"]++
			check(t, b.cmd.Process.Signal(syscall.SIGHUP))
		case 1:
			did["kill -9"]++
			b.kill()
			b.start()
		case 2:
			did["stop"]++
			b.stop()
			b.start()
		}
	}
	close(stop)
	wg.Wait()
	total, accepted, slowest := 0, map[lab.MessageID]bool{}, time.Duration(0)
	for _, s := range senders {
		for _, one := range s.sessions {
			total++
			slowest = max(slowest, one.Greeting)
			if one.Result != lab.Sent {
				t.Errorf("%s, tls=%v ipv6=%v: %v after %v: %v", s.Name, s.tls, s.ipv6, one.Result, one.Took, one.Err)
			}
			for _, id := range one.Accepted {
				accepted[id] = true
			}
		}
		if v := b.subscriber(s.Name); v.Stage != "observe" {
			t.Errorf("%s is in stage %s: %s", s.Name, v.Stage, v.Reason)
		}
	}
	await(t, 20*time.Second, "every accepted message in the mailbox", func() bool {
		got, err := mx.Delivered()
		check(t, err)
		for id, n := range got {
			if n != 1 || !accepted[id] {
				t.Fatalf("%s arrived %d times, accepted: %v", id, n, accepted[id])
			}
		}
		return len(got) == len(accepted)
	})
	t.Logf("%v within %v: %d sessions, %d messages, slowest greeting %v", did, lasts, total, len(accepted), ms(slowest))
	if total < 100 || did["kill -9"] < 5 {
		t.Errorf("too little happened")
	}
}
