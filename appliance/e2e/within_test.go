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
// and the median message takes no more than 50 ms longer than through a box that
// only forwards. Rounds with and without mailweir alternate, and the sender uses
// two connections at a time: with more, two cores that hold both ends as well
// measure themselves.
func TestWithinBudgetNobodyNoticesUs(t *testing.T) {
	for _, lane := range []string{"auto", "off"} {
		t.Run("fast_lane="+lane, func(t *testing.T) { within(t, lane) })
	}
}

func within(t *testing.T, lane string) {
	const rounds, messages = 2, 50
	l, ctx := startLab(t)
	out := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"v4.test", "v6.test"}})
	from := addServer(t, ctx, l, "business", lab.ServerOptions{
		Software: lab.Postfix, Side: lab.Subscribers, Concurrency: 2,
		Routes: []lab.Route{out.RouteTo("v4.test", false, lab.TLSPinned), out.RouteTo("v6.test", true, lab.TLSPinned)},
	})
	seen := 0 // attempts of earlier rounds in the log
	round := func(domain string, messages int) (took []time.Duration) {
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
		return took
	}
	b := newBox(t, ctx, l, config("enforce", `  - name: mailserver
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 1500, per: 1h, burst: 600}
      - {of: tls_handshakes, limit: 1500, per: 1h, burst: 600}
      - {of: concurrent_sessions, limit: 200}
`)+"queue: {fast_lane: "+lane+"}\n", fmt.Sprintf("subscriber,plan,prefixes\nS-1,mailserver,%s %s\n", from.IPv4, from.Prefix6))

	round("v4.test", 20) // both servers' first processes and files
	plain, through := map[string][]time.Duration{}, map[string][]time.Duration{}
	for i := range rounds {
		for _, domain := range []string{"v4.test", "v6.test"} {
			plain[domain] = append(plain[domain], round(domain, messages)...)
		}
		b.start()
		for _, domain := range []string{"v4.test", "v6.test"} {
			through[domain] = append(through[domain], round(domain, messages)...)
		}
		if i < rounds-1 {
			b.stop()
		}
	}
	for _, domain := range []string{"v4.test", "v6.test"} {
		p, m := plain[domain], through[domain]
		slices.Sort(p)
		slices.Sort(m)
		half := len(p) / 2
		t.Logf("%s: a message took %v / %v / %v (min, median, max of %d) through forwarding alone, %v / %v / %v through mailweir",
			domain, p[0], p[half], p[len(p)-1], len(p), m[0], m[half], m[len(m)-1])
		if added := m[half] - p[half]; added > 50*time.Millisecond {
			t.Errorf("%s: the median message was delayed by %v", domain, added)
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
