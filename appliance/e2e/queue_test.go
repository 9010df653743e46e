package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// faster compresses time: Postfix's own retry schedule (a look at its queue each
// 300 s, a message waits as long as it is old, at least 300 s and at most 4000 s,
// a host that refused is left alone for 300 s) and the plan's windows are divided
// by it. What takes fourteen hours in the world takes three minutes here. The sessions
// themselves are not faster.
const faster = 300

// A mail server that took over more mail within an hour or so than its budget lets
// out in half a day, and retries what waits on its own schedule, is deferred again
// and again and never cut, although its plan could: from 200 messages the queue
// drains as the budget refills, every message arrives, once, and none is sent back.
// One has all its mail for one destination, the other for three; both at the same
// time.
func TestADeferredQueueDrains(t *testing.T) {
	const messages, queued = 232, 200
	l, ctx := startLab(t)
	mx := addServer(t, ctx, l, "mx", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"one.test", "a.test", "c.test"}})
	mx2 := addServer(t, ctx, l, "mx2", lab.ServerOptions{Software: lab.Postfix, StartTLS: true, Domains: []string{"b.test"}})
	queues := []*queue{
		{name: "to-one", routes: []lab.Route{mx.RouteTo("one.test", false, lab.TLSMay)}},
		// Two networks of IPv4 and one of IPv6.
		{name: "to-three", routes: []lab.Route{mx.RouteTo("a.test", false, lab.TLSMay), mx2.RouteTo("b.test", false, lab.TLSMay), mx.RouteTo("c.test", true, lab.TLSMay)}},
	}
	list := "subscriber,plan,prefixes\n"
	for _, q := range queues {
		q.from = addServer(t, ctx, l, q.name, lab.ServerOptions{Software: lab.Postfix, Side: lab.Subscribers, Routes: q.routes, TimesFaster: faster})
		list += fmt.Sprintf("%s,residential,%s %s\n", q.name, q.from.IPv4, q.from.Prefix6)
	}
	hour := time.Hour / faster
	// The contract's residential plan without its budget of a day, which would
	// make this an affair of days, and without that of concurrent sessions, which
	// knows no time: sessions here are not faster than in the world.
	b := newBox(t, ctx, l, config("enforce", fmt.Sprintf(`  - name: residential
    highest_stage: cut
    budgets:
      - {of: sessions,            limit: 20, per: %[1]s, burst: 5}
      - {of: tls_handshakes,      limit: 20, per: %[1]s, burst: 5}
      - {of: tls_failures,        limit: 10, per: %[1]s}
      - {of: destinations,        limit: 5,  per: %[1]s}
      - {of: messages,            limit: 60, per: %[1]s}
    ladder: {warn_at: 50, pace_at: 80, pace_max: %[2]s, defer_at: 100, cut_at: 300, cut_for: %[1]s, release_after: %[3]s}
`, hour, time.Minute/faster, 15*time.Minute/faster)), list)
	b.start()

	begin := time.Now()
	var wg sync.WaitGroup
	for _, q := range queues {
		wg.Go(func() { q.fill(t, messages) })
	}
	wg.Wait()
	for _, q := range queues {
		left, err := q.from.Queue(ctx)
		check(t, err)
		t.Logf("%s: %d messages in the queue of Postfix after %v", q.name, len(left), ms(time.Since(begin)))
		if len(left) < queued {
			t.Errorf("%s: only %d messages in the queue", q.name, len(left))
		}
	}
	deferred := map[string]bool{}
	await(t, 6*time.Minute, "every message to arrive", func() bool {
		arrived, err := mx.Delivered()
		check(t, err)
		more, err := mx2.Delivered()
		check(t, err)
		all := true
		for _, q := range queues {
			q.arrived = 0
			for _, id := range q.ids {
				switch n := arrived[id] + more[id]; {
				case n > 1:
					t.Fatalf("%s: %s arrived %d times", q.name, id, n)
				case n == 1:
					q.arrived++
				}
			}
			if q.arrived/50 > len(q.marks) {
				q.marks = append(q.marks, ms(time.Since(begin)))
			}
			if q.arrived == messages && q.done == 0 {
				q.done = time.Since(begin)
			}
			all = all && q.arrived == messages
			s := b.subscriber(q.name)
			retries := 0
			for _, d := range s.Decisions {
				if d.Retry {
					retries++
				}
			}
			q.retries = max(q.retries, retries)
			switch s.Stage {
			case "cut":
				t.Fatalf("%s was cut with %d of %d messages delivered: %s", q.name, q.arrived, messages, s.Reason)
			case "defer":
				deferred[q.name] = true
			}
		}
		time.Sleep(200 * time.Millisecond) // the machine is for the mail servers
		return all
	})
	for _, q := range queues {
		await(t, 20*time.Second, "an empty queue", func() bool {
			left, err := q.from.Queue(ctx)
			check(t, err)
			return len(left) == 0
		})
		attempts, err := q.from.Attempts()
		check(t, err)
		n := map[string]int{}
		for _, a := range attempts {
			if a.Status == "bounced" {
				t.Errorf("%s: %+v", q.name, a)
			}
			if a.To.IsValid() || strings.Contains(a.Text, " 421 ") {
				n[a.Status]++
			}
		}
		t.Logf("%s: %d messages took %v, %.1f h of the world, each fifty until %v; its log has %v; of its last %d decisions at most %d were retries",
			q.name, messages, ms(q.done), (q.done * faster).Hours(), q.marks, n, len(b.subscriber(q.name).Decisions), q.retries)
		if q.retries == 0 {
			t.Errorf("%s: no refusal is shown as a retry", q.name)
		}
		if !deferred[q.name] || n["deferred"] == 0 {
			t.Errorf("%s was never deferred: this shows nothing", q.name)
		}
		// 5 at once, then one each 0.6 s: faster than that is more than the budget.
		if least := time.Duration(messages-5) * hour / 20; q.done < least*9/10 {
			t.Errorf("%s: done after %v, the budget lets no more than one each %v: %v", q.name, q.done, hour/20, least)
		}
	}
	for _, r := range b.records("kind=STAGE&limit=1000") {
		if param(r.Line, "to") == "cut" {
			t.Errorf("cut: %s", r.Line)
		}
	}
	s := b.status()
	t.Logf("decisions %+v", s.Actions)
	if s.Actions.Cut != 0 {
		t.Errorf("%d sessions were cut", s.Actions.Cut)
	}
}

// queue is one mail server with more mail than its budget lets out.
type queue struct {
	name   string
	from   *lab.MailServer
	routes []lab.Route

	ids     []lab.MessageID
	arrived int
	retries int             // as the subscriber's last decisions say, the most that were seen
	marks   []time.Duration // when 50, 100, 150 ... had arrived
	done    time.Duration
}

// fill hands messages over within 14 s, in turn for each domain: over more than
// Postfix's longest wait, so that not all of it is due at the same time for ever.
func (q *queue) fill(t *testing.T, messages int) {
	begin := time.Now()
	for i := range messages {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * 14 * time.Second / time.Duration(messages))))
		ids, err := q.from.Send(t.Context(), 1, "me@"+q.name+".test", "you@"+q.routes[i%len(q.routes)].Domain)
		if err != nil {
			t.Error(err)
		}
		q.ids = append(q.ids, ids...)
	}
}
