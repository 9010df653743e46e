package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// A bot with 96 sessions a minute over TLS, under the plan that a home has, is
// deferred within 15 s and cut within 60 s of its first session, in real time. A
// registered mail server that sends 1500 an hour to the same server meanwhile is
// never touched: nothing of it waits, nothing is refused.
func TestBotIsStoppedMailServerIsNot(t *testing.T) {
	const (
		botRate    = 96.0 / 60
		serverRate = 1500.0 / 3600    // one each 2.4 s
		lasts      = 70 * time.Second // at most; it is over ten seconds after the cut, and not before 40 s
	)
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})
	bot := addHome(t, l, "bot")
	server := addServer(t, ctx, l, "server", lab.ServerOptions{Software: lab.Postfix, Side: lab.Subscribers,
		Routes: []lab.Route{mx.RouteTo("mx.test", false, lab.TLSPinned)}})
	// residential and mailserver as they come with mailweir.
	b := newBox(t, ctx, l, config("enforce", `  - {name: residential, preset: residential}
  - {name: mailserver, preset: mailserver}
`), fmt.Sprintf("subscriber,plan,prefixes\nbot,residential,%s %s\nserver,mailserver,%s %s\n", bot.IPv4, bot.Prefix6, server.IPv4, server.Prefix6))
	b.start()

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var sent []lab.MessageID
	wg.Go(func() {
		for i, begin := 0, time.Now(); ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Until(begin.Add(time.Duration(float64(i) / serverRate * float64(time.Second))))):
			}
			ids, err := server.Send(ctx, 1, "me@server.test", "you@mx.test")
			if err != nil {
				t.Error(err)
			}
			sent = append(sent, ids...)
		}
	})
	results := map[lab.Result]int{}
	begin := time.Now()
	first := map[lab.Result]time.Duration{}
	var told string
	wg.Go(func() {
		// Nothing that a bot does waits for an answer of a session before.
		bot.Run(ctx, lab.Traffic{To: mx.Address(false), From: "buy@bot.test", Rcpt: "you@mx.test", StartTLS: true,
			Rate: botRate, Concurrency: 200, Timeout: 15 * time.Second, Stop: stop}, func(s lab.Session) {
			results[s.Result]++
			if _, ok := first[s.Result]; !ok {
				first[s.Result] = s.Start.Add(s.Took).Sub(begin)
			}
			if s.Result == lab.Deferred {
				told = s.Replies[len(s.Replies)-1]
			}
		})
	})
	stages := map[string]time.Duration{}
	over := func() bool {
		cut, ok := stages["cut"]
		return time.Since(begin) > lasts || ok && time.Since(begin) > max(40*time.Second, cut+10*time.Second)
	}
	for !over() {
		s := b.subscriber("bot")
		if _, ok := stages[s.Stage]; !ok {
			stages[s.Stage] = time.Since(begin)
			t.Logf("bot: %s from %v: %s", s.Stage, ms(stages[s.Stage]), s.Reason)
		}
		time.Sleep(100 * time.Millisecond) // how exact the figures are
	}
	took := time.Since(begin)
	close(stop)
	wg.Wait()
	for _, row := range []struct {
		stage  string
		result lab.Result
		within time.Duration
	}{{"defer", lab.Deferred, 15 * time.Second}, {"cut", lab.Reset, 60 * time.Second}} {
		at, ok := stages[row.stage]
		felt, heard := first[row.result]
		if !ok || at > row.within || !heard || felt > row.within+time.Second {
			t.Errorf("%s: stage after %v (%v), first session %v after %v (%v); want both within %v", row.stage, at, ok, row.result, felt, heard, row.within)
		}
	}
	t.Logf("bot: sessions %v, first of each kind after %v; the last 421: %s", results, first, told)

	await(t, 20*time.Second, "the mail server's mail in the mailbox", func() bool {
		got, err := mx.Delivered()
		check(t, err)
		for _, id := range sent {
			if got[id] != 1 {
				return false
			}
		}
		return true
	})
	attempts, err := server.Attempts()
	check(t, err)
	slowest, n := time.Duration(0), 0
	for _, a := range attempts {
		if !a.To.IsValid() {
			continue
		}
		if n++; a.Status != "sent" {
			t.Errorf("the mail server: %+v", a)
		}
		slowest = max(slowest, a.Setup)
	}
	s := b.subscriber("server")
	t.Logf("mail server: %d messages, slowest connection with greeting and STARTTLS %v, stage %s, %d of %d used",
		n, ms(slowest), s.Stage, budget(t, s, "sessions").Value, budget(t, s, "sessions").Burst)
	if n != len(sent) || n < int(took.Seconds()*serverRate) || s.Stage != "observe" || slowest > 2*time.Second {
		t.Errorf("the mail server was touched: %d attempts for %d messages, stage %s, slowest %v", n, len(sent), s.Stage, slowest)
	}
	for _, r := range b.records("kind=DECISION&subscriber=server&limit=10") {
		t.Errorf("a decision about the mail server: %s", r.Line)
	}
	if !strings.Contains(told, "421 4.7.0 ") || !strings.Contains(told, "case ") {
		t.Errorf("the bot was told %q", told)
	}
}
