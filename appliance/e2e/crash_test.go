package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// kill -9 in the middle of 32 running sessions fails none of them, new ones pass
// while nobody judges, and a restart under traffic governs again within 2 s with
// the budgets it had.
func TestKillMinusNine(t *testing.T) {
	for _, tls := range []bool{false, true} {
		for _, lane := range []string{"auto", "off"} {
			t.Run(fmt.Sprintf("starttls=%v/fast_lane=%s", tls, lane), func(t *testing.T) { killed(t, tls, lane, lab.Routing) })
		}
	}
	t.Run("on a bridge/fast_lane=auto", func(t *testing.T) { killed(t, true, "auto", lab.BehindRouter) })
	t.Run("on a bridge/fast_lane=off", func(t *testing.T) { killed(t, false, "off", lab.BeforeRouter) })
}

func killed(t *testing.T, tls bool, lane string, place lab.Place) {
	const atOnce = 32
	l, ctx := startLabAt(t, place)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	other := addHome(t, l, "other")
	text := config("enforce", `  - name: big
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 1000, per: 24h}
  - name: small
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 4, per: 24h}
    ladder: {pace_at: 100, pace_max: 0s}
`) + "queue: {fast_lane: " + lane + "}\n"
	if place != lab.Routing {
		text = asBridge(text)
	}
	b := newBox(t, ctx, l, text, fmt.Sprintf("subscriber,plan,prefixes\nhome,big,%s %s\nother,small,%s\n", home.IPv4, home.Prefix6, other.IPv4))
	b.start()

	send := func(h *lab.Home, sessions, atOnce int, linger time.Duration) []lab.Session {
		return h.Send(ctx, lab.Traffic{To: mx.Address(false), From: "a@home.test", Rcpt: "b@mx.test", StartTLS: tls,
			Sessions: sessions, Concurrency: atOnce, Linger: linger, Size: 20000})
	}
	must := func(why string, all []lab.Session, want lab.Result) {
		t.Helper()
		for _, s := range all {
			if s.Result != want {
				t.Errorf("%s: %v (%v), want %v", why, s.Result, s.Err, want)
			}
		}
	}
	must("the small budget's first", send(other, 4, 1, 0), lab.Sent)
	must("over the small budget", send(other, 1, 1, 0), lab.Deferred)

	running := make(chan []lab.Session, 1)
	go func() { running <- send(home, atOnce, atOnce, 8*time.Second) }()
	await(t, 20*time.Second, "32 sessions to run", func() bool { return b.subscriber("home").Open == atOnce })
	before := budget(t, b.subscriber("home"), "sessions")
	await(t, 10*time.Second, "the budgets to be saved", func() bool { return b.status().Store.WrittenToday > 0 })
	time.Sleep(6 * time.Second) // the stated save interval of 5 s, and up to a second more: what a crash may forget
	b.kill()

	// Nobody judges: everybody passes, also who was over budget.
	must("new sessions while it is dead", send(home, 5, 5, 0), lab.Sent)
	must("over the small budget while it is dead", send(other, 1, 1, 0), lab.Sent)

	begin := time.Now()
	b.start()
	back := time.Since(begin)
	must("over the small budget after the restart", send(other, 1, 1, 0), lab.Deferred)
	governs := time.Since(begin)
	t.Logf("ready %v after the start, the first deferral was complete at %v", back.Round(time.Millisecond), governs.Round(time.Millisecond))
	if governs > 2*time.Second {
		t.Errorf("it governed again only after %v", governs)
	}
	if after := budget(t, b.subscriber("home"), "sessions"); after.Value != before.Value {
		t.Errorf("budget of home: %d used before, %d after", before.Value, after.Value)
	}
	if s := b.subscriber("other"); s.Stage != "defer" {
		t.Errorf("stage of other after the restart: %s", s.Stage)
	}
	all := <-running
	must("running sessions", all, lab.Sent)
	must("new sessions after the restart", send(home, 5, 5, 0), lab.Sent)
	const sent = 4 + atOnce + 5 + 1 + 5
	await(t, 20*time.Second, "every accepted message in the mailbox", func() bool {
		got, err := mx.Delivered()
		if err != nil {
			t.Fatal(err)
		}
		for id, n := range got {
			if n != 1 {
				t.Fatalf("%s arrived %d times", id, n)
			}
		}
		return len(got) == sent
	})
}

// The same with a client that nobody here wrote: 32 swaks at once, each of which
// says by its exit code whether its mail was taken.
func TestKillMinusNineUnderSwaks(t *testing.T) {
	const atOnce = 32
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"mx.test"}})
	home := addHome(t, l, "home")
	b := newBox(t, ctx, l, config("enforce", `  - name: big
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 1000, per: 24h}
`), fmt.Sprintf("subscriber,plan,prefixes\nhome,big,%s\n", home.IPv4))
	b.start()
	body := bytes.Repeat([]byte("a line of a message of some length\n"), 60000)
	round := func(name string) {
		t.Helper()
		var wg sync.WaitGroup
		for i := range atOnce {
			message := filepath.Join(l.Dir, fmt.Sprintf("%s-%d", name, i))
			head := fmt.Sprintf("From: a@home.test\nTo: b@mx.test\nSubject: %s\nMessage-ID: <%s.%d@home.test>\n\n", name, name, i)
			if err := os.WriteFile(message, append([]byte(head), body...), 0o600); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				out, err := home.Namespace.Command(ctx, "swaks", "--server", mx.IPv4.String(), "--from", "a@home.test", "--to", "b@mx.test",
					"--helo", "home.test", "--tls", "--timeout", "60", "--data", "@"+message, "--silent", "1").CombinedOutput()
				if err != nil {
					t.Errorf("swaks %d: %v: %.500s", i, err, out)
				}
			})
		}
		if b.cmd != nil {
			// They come one after the other, as fast as the machine starts programs in Perl, and a session that is over
			// is not counted as open any more: few of them are open at any moment.
			await(t, 60*time.Second, "sessions to run", func() bool { s := b.status().Sessions; return s.Open >= 2 && s.Total >= 4 })
			b.kill()
		}
		wg.Wait()
	}
	round("killed-in-the-middle")
	round("nobody-there")
	b.start()
	await(t, 20*time.Second, "every message in the mailbox", func() bool {
		got, err := mx.Delivered()
		if err != nil {
			t.Fatal(err)
		}
		return len(got) == 2*atOnce
	})
}
