package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// A subscriber within budget must not notice us: what Postfix sends with
// STARTTLS arrives, the certificate it sees is the server's own (it is pinned),
// and the median session takes no more than 50 ms longer than through a box that
// only forwards.
func TestWithinBudgetNobodyNoticesUs(t *testing.T) {
	const messages = 100
	l, ctx := startLab(t)
	out, err := l.AddMailServer(ctx, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"v4.test", "v6.test"}})
	if err != nil {
		t.Fatal(err)
	}
	from, err := l.AddMailServer(ctx, "business", lab.ServerOptions{
		Software: lab.Postfix, Side: lab.Subscribers,
		Routes: []lab.Route{out.RouteTo("v4.test", false, lab.TLSPinned), out.RouteTo("v6.test", true, lab.TLSPinned)},
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0 // attempts of earlier rounds in the log
	round := func(domain string, messages int) (median time.Duration) {
		t.Helper()
		ids, err := from.Send(ctx, messages, "me@business.test", "you@"+domain)
		if err != nil {
			t.Fatal(err)
		}
		await(t, 2*time.Minute, fmt.Sprintf("%d messages to %s", messages, domain), func() bool {
			got, err := out.Delivered()
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				if got[id] == 0 {
					return false
				}
				if got[id] > 1 {
					t.Fatalf("%s was delivered %d times", id, got[id])
				}
			}
			return true
		})
		var took []time.Duration
		await(t, 10*time.Second, "the log of the sender", func() bool {
			all, err := from.Attempts()
			if err != nil {
				t.Fatal(err)
			}
			took = took[:0]
			for _, a := range all[seen:] {
				if a.To.IsValid() && a.Status == "sent" {
					took = append(took, a.Took)
				} else if a.To.IsValid() {
					t.Fatalf("attempt %+v", a)
				}
			}
			if len(took) == messages {
				seen = len(all)
				return true
			}
			return false
		})
		slices.Sort(took)
		return took[len(took)/2]
	}
	round("v4.test", 20) // both servers' first processes and files
	plain4, plain6 := round("v4.test", messages), round("v6.test", messages)

	b := newBox(t, ctx, l, config("enforce", `  - name: mailserver
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 1500, per: 1h, burst: 600}
      - {of: tls_handshakes, limit: 1500, per: 1h, burst: 600}
      - {of: concurrent_sessions, limit: 200}
`), fmt.Sprintf("subscriber,plan,prefixes\nS-1,mailserver,%s %s\n", from.IPv4, from.Prefix6))
	b.start()
	box4, box6 := round("v4.test", messages), round("v6.test", messages)
	t.Logf("median delivery: IPv4 %v through forwarding alone, %v through mailweir; IPv6 %v and %v", plain4, box4, plain6, box6)
	for _, d := range []time.Duration{box4 - plain4, box6 - plain6} {
		if d > 50*time.Millisecond {
			t.Errorf("the median message was delayed by %v", d)
		}
	}

	peers, err := from.TLSPeers()
	if err != nil {
		t.Fatal(err)
	}
	pinned := 0
	for _, p := range peers {
		if p.Fingerprint != out.Fingerprint() || !p.Pinned {
			t.Fatalf("the sender saw another certificate than the server's own: %+v", p)
		}
		pinned++
	}
	if pinned == 0 {
		t.Fatal("no session over TLS was seen in the sender's log")
	}

	s := b.status()
	if s.Acted != 0 || s.Actions.Paced+s.Actions.Deferred+s.Actions.Cut != 0 {
		t.Errorf("something was done to a subscriber within budget: %+v", s.Actions)
	}
	sub := b.subscriber("S-1")
	sessions, handshakes := budget(t, sub, "sessions"), budget(t, sub, "tls_handshakes")
	t.Logf("S-1: %d sessions counted, budget sessions %d, tls_handshakes %d", s.Sessions.Total, sessions.Value, handshakes.Value)
	if sessions.Value == 0 || handshakes.Value == 0 {
		t.Errorf("the box saw nothing of it: sessions %+v, handshakes %+v", sessions, handshakes)
	}
	if sub.Stage != "observe" {
		t.Errorf("stage %s: %s", sub.Stage, sub.Reason)
	}
}
