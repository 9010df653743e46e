package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// Over budget with highest_stage defer: the customer's own mail server says in
// its queue why and until when, and once the budget refills every message
// arrives, none bounced, none lost, none twice.
func TestOverBudgetMailWaitsAndArrives(t *testing.T) {
	for _, software := range []lab.Software{lab.Postfix, lab.Exim} {
		for _, ipv6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/ipv6=%v", software, ipv6), func(t *testing.T) {
				overBudget(t, software, ipv6)
			})
		}
	}
}

var explained = regexp.MustCompile(`421 4\.7\.0 sessions \d+/3 per 12s \(\d+%\) exceeded; retry in \d+ seconds?; case [0-9A-Z]{5}; help: https://isp\.example/mail`)

func overBudget(t *testing.T, software lab.Software, ipv6 bool) {
	const messages = 8
	l, ctx := startLab(t)
	// Every message to a server of its own domain, so that each takes a session.
	var domains []string
	for i := range messages {
		domains = append(domains, fmt.Sprintf("d%d.test", i))
	}
	out := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: domains})
	var routes []lab.Route
	for _, d := range domains {
		routes = append(routes, out.RouteTo(d, ipv6, lab.TLSMay))
	}
	from := addServer(t, ctx, l, "business", lab.ServerOptions{
		Software: software, Side: lab.Subscribers, Routes: routes, RetryAfter: 5 * time.Second,
	})
	// 3 sessions at once, then one each 4 s; nothing is paced, so that whatever
	// is late is late because of a 421.
	b := newBox(t, ctx, l, config("enforce", `  - name: small
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 3, per: 12s}
    ladder: {warn_at: 50, pace_at: 100, defer_at: 100, pace_max: 0s, cut_at: 300, cut_for: 10m, release_after: 5s}
`), fmt.Sprintf("subscriber,plan,prefixes\nS-1,small,%s %s\n", from.IPv4, from.Prefix6))
	b.start()

	ids := map[lab.MessageID]bool{}
	for _, d := range domains {
		sent, err := from.Send(ctx, 1, "me@business.test", "you@"+d)
		if err != nil {
			t.Fatal(err)
		}
		ids[sent[0]] = true
	}
	var reasons []string
	await(t, 20*time.Second, "a 421 in the queue of the sender", func() bool {
		reasons = refusals(t, ctx, from)
		return len(reasons) > 0
	})
	t.Logf("in the queue: %s", reasons[0])
	for _, r := range reasons {
		if !explained.MatchString(r) {
			t.Errorf("the queue does not say it in our words: %q", r)
		}
	}
	sub := b.subscriber("S-1")
	if sub.Stage != "defer" || sub.Case == "" || !strings.Contains(reasons[0], "421") {
		t.Errorf("stage %s, case %q while the queue says %q", sub.Stage, sub.Case, reasons[0])
	}

	var got map[lab.MessageID]int
	await(t, 3*time.Minute, "every message to arrive", func() bool {
		now, err := out.Delivered()
		if err != nil {
			t.Fatal(err)
		}
		got = now
		return len(got) == messages
	})
	for id, n := range got {
		if n != 1 || !ids[id] {
			t.Errorf("message %s arrived %d times, sent by us: %v", id, n, ids[id])
		}
	}
	await(t, 20*time.Second, "an empty queue", func() bool {
		q, err := from.Queue(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return len(q) == 0
	})
	attempts, err := from.Attempts()
	if err != nil {
		t.Fatal(err)
	}
	deferred := 0
	for _, a := range attempts {
		switch a.Status {
		case "bounced":
			t.Errorf("bounced: %+v", a)
		case "deferred":
			deferred++
		}
	}
	s := b.status()
	t.Logf("%d messages, %d attempts deferred, decisions %+v", messages, deferred, s.Actions)
	if s.Actions.Deferred == 0 || s.Actions.Cut != 0 || s.Acted != s.Actions.Deferred {
		t.Errorf("decisions %+v, acted %d", s.Actions, s.Acted)
	}
}

// refusals is what the sender's queue says about each message that we refused.
// Exim does not try every message itself: once its host has refused one, the
// others just wait, and their reason says so.
func refusals(t *testing.T, ctx context.Context, from *lab.MailServer) []string {
	t.Helper()
	q, err := from.Queue(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	for _, e := range q {
		if e.Reason != "" && !strings.Contains(e.Reason, "retry time not reached for any host") {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}
