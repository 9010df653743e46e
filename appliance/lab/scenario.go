package lab

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// demoConfig is the configuration of the box in the lab: windows so short that
// the whole ladder is walked within a minute.
const demoConfig = `# The lab's configuration: everything acts, within seconds instead of hours.
mode: enforce
network:
  topology: routed
  subscriber_interfaces: [lan0]
  upstream_interfaces: [wan0]
identity:
  subscribers_file: subscribers.csv
  unmapped_plan: unmapped
plans:
  - name: residential
    highest_stage: cut
    budgets:
      - {of: sessions, limit: 30, per: 30s, burst: 10}
      - {of: tls_handshakes, limit: 60, per: 30s, burst: 30}
      - {of: concurrent_sessions, limit: 12}
    ladder: &ladder
      warn_at: 50
      pace_at: 80
      pace_max: 3s
      defer_at: 100
      cut_at: 300
      cut_for: 20s
      release_after: 10s
  - name: mailserver
    highest_stage: pace
    budgets:
      - {of: sessions, limit: 600, per: 60s, burst: 200}
      - {of: concurrent_sessions, limit: 100}
    ladder: *ladder
  - name: unmapped
    highest_stage: defer
    budgets:
      - {of: sessions, limit: 20, per: 60s, burst: 10}
    ladder: *ladder
defer:
  text: "{budget} exceeded; retry in {retry}; case {case}; help: https://isp.example/mail"
admin:
  listen: ":8443"
`

// phase is a while of the bot's day.
type phase struct {
	lasts time.Duration
	rate  float64 // sessions a second
}

// botDay walks the ladder: a session and a half a second is half more than the
// plan lets, which ends in pace and then defer; twelve a second, twice as many as
// a mail server's retries may be, press on to cut; then it lies low, is released,
// and starts again.
var botDay = []phase{{30 * time.Second, 1.5}, {25 * time.Second, 12}, {35 * time.Second, 0.05}}

// member is one subscriber of the scenario, with what it did so far.
type member struct {
	id, what, plan string
	line           Line
	server         *MailServer // nil for a home
	bot            bool

	mu       sync.Mutex
	sessions int
	results  map[Result]int
	sent     map[MessageID]bool // what a server accepted from it
	slowest  time.Duration      // greeting
	held     time.Time          // the first greeting that was held, 421, reset; and the 421's text
	deferred time.Time
	reset    time.Time
	text     string
	bad      string // the first session that did not end well
}

// heldFrom is the greeting time from which a person would say it was held;
// real ones take milliseconds here, but the machine may be busy.
const heldFrom = 700 * time.Millisecond

// report files a light client's session.
func (m *member) report(s Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions++
	m.results[s.Result]++
	for _, id := range s.Accepted {
		m.sent[id] = true
	}
	m.slowest = max(m.slowest, s.Greeting)
	at := s.Start
	switch {
	case s.Greeting >= heldFrom && m.held.IsZero():
		m.held = at
	case s.Result == Deferred && m.deferred.IsZero():
		m.deferred, m.text = at, s.Replies[len(s.Replies)-1]
	case s.Result == Reset && m.reset.IsZero():
		m.reset = at
	}
	if s.Err != nil && m.bad == "" {
		m.bad = fmt.Sprintf("%s: %v", s.Result, s.Err)
	}
}

// handed files what a mail server took over from its own users.
func (m *member) handed(ids []MessageID, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		m.sent[id] = true
	}
	if err != nil && m.bad == "" {
		m.bad = err.Error()
	}
}

// tally is a member's messages: sent, delivered, and delivered more than once.
type tally struct{ sent, delivered, twice int }

func (m *member) tally(delivered map[MessageID]int) (t tally) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t.sent = len(m.sent)
	for id := range m.sent {
		if delivered[id] > 0 {
			t.delivered++
		}
		if delivered[id] > 1 {
			t.twice++
		}
	}
	return t
}

// scenario is who there is and what they do.
type scenario struct {
	lab      *Lab
	servers  []*MailServer // on the internet
	members  []*member
	business *member
	domains  []string        // all that the servers take mail for
	ctx      context.Context // breaks off what still sends
	cancel   context.CancelFunc
	stop     chan struct{} // keeps new sessions from starting
	wg       sync.WaitGroup
}

// newScenario builds four servers on the internet, a business with a Postfix
// of its own, four homes and the bot. The context bounds the building only.
func newScenario(ctx context.Context, l *Lab) (*scenario, error) {
	s := &scenario{lab: l, stop: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	var routes []Route
	for _, x := range []struct {
		name     string
		software Software
		tls      bool
	}{{"mx-postfix", Postfix, true}, {"mx-exim", Exim, true}, {"old-postfix", Postfix, false}, {"old-exim", Exim, false}} {
		srv, err := l.AddMailServer(ctx, x.name, ServerOptions{
			Software: x.software, StartTLS: x.tls, Domains: []string{"v4." + x.name + ".example", "v6." + x.name + ".example"},
		})
		if err != nil {
			return nil, err
		}
		policy := TLSNever
		if x.tls {
			policy = TLSPinned
		}
		for i, d := range srv.Options.Domains {
			routes = append(routes, srv.RouteTo(d, i == 1, policy))
			s.domains = append(s.domains, d)
		}
		s.servers = append(s.servers, srv)
	}
	biz, err := l.AddMailServer(ctx, "hosting", ServerOptions{Software: Postfix, Side: Subscribers, Routes: routes, RetryAfter: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	s.business = s.add("hosting", "business, own Postfix", "mailserver", biz.Line)
	s.business.server = biz
	for _, x := range []struct{ id, what string }{
		{"home-1", "home, STARTTLS, IPv4"}, {"home-2", "home, STARTTLS, IPv6"},
		{"home-3", "home, clear, IPv4"}, {"home-4", "home, clear, IPv6"}, {"bot", "infected home, STARTTLS"},
	} {
		h, err := l.AddHome(x.id)
		if err != nil {
			return nil, err
		}
		s.add(x.id, x.what, "residential", h.Line).bot = x.id == "bot"
	}
	return s, nil
}

func (s *scenario) add(id, what, plan string, line Line) *member {
	m := &member{id: id, what: what, plan: plan, line: line, results: map[Result]int{}, sent: map[MessageID]bool{}}
	s.members = append(s.members, m)
	return m
}

func (s *scenario) member(id string) *member {
	for _, m := range s.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

// subscribersCSV is the subscribers file for the box.
func (s *scenario) subscribersCSV() string {
	var b strings.Builder
	b.WriteString("subscriber,plan,prefixes,name\n")
	for _, m := range s.members {
		fmt.Fprintf(&b, "%s,%s,%s %s,%s\n", m.id, m.plan, netip.PrefixFrom(m.line.IPv4, 32), m.line.Prefix6, strings.ReplaceAll(m.what, ",", ""))
	}
	return b.String()
}

// start lets everybody send until finish.
func (s *scenario) start() {
	mail := func(to *MailServer, ipv6, tls bool) Traffic {
		domain := to.Options.Domains[0]
		if ipv6 {
			domain = to.Options.Domains[1]
		}
		return Traffic{To: to.Address(ipv6), Rcpt: "you@" + domain, StartTLS: tls, Size: 4 << 10, Stop: s.stop}
	}
	homes := map[string]Traffic{
		"home-1": mail(s.servers[0], false, true),
		"home-2": mail(s.servers[1], true, true),
		"home-3": mail(s.servers[3], false, false),
		"home-4": mail(s.servers[2], true, false),
	}
	for id, t := range homes {
		m := s.member(id)
		t.From, t.Rate, t.Concurrency = "me@"+id+".example", 0.25, 2
		s.wg.Go(func() { m.line.Run(s.ctx, t, m.report) })
	}
	s.wg.Go(func() { s.runBusiness() })
	bot := mail(s.servers[0], false, true)
	bot.From, bot.Concurrency = "buy@bot.example", 12
	bot.Timeout = 15 * time.Second // bots do not wait for minutes as RFC 5321 asks
	s.wg.Go(func() { s.runBot(s.member("bot"), bot) })
}

// runBusiness hands a message a second to the business's own Postfix, in turn
// to every domain.
func (s *scenario) runBusiness() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		s.business.handed(s.business.server.Send(s.ctx, 1, "office@hosting.example", "you@"+s.domains[i%len(s.domains)]))
	}
}

// runBot lives the bot's day again and again.
func (s *scenario) runBot(m *member, t Traffic) {
	for i := 0; ; i++ {
		p := botDay[i%len(botDay)]
		t.Rate, t.Sessions = p.rate, max(1, int(p.rate*p.lasts.Seconds()))
		begin := time.Now()
		m.line.Run(s.ctx, t, m.report)
		select {
		case <-s.stop:
			return
		case <-time.After(p.lasts - time.Since(begin)):
		}
	}
}

// finish lets running sessions and the business's queue come to their end, for
// at most as long as ctx.
func (s *scenario) finish(ctx context.Context) error {
	close(s.stop)
	breakOff := context.AfterFunc(ctx, s.cancel)
	s.wg.Wait()
	breakOff()
	for {
		q, err := s.business.server.Queue(ctx)
		if err == nil && len(q) == 0 {
			d, derr := s.delivered()
			if t := s.business.tally(d); derr != nil || t.delivered == t.sent {
				return derr
			}
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// delivered counts every message in the internet's mailboxes.
func (s *scenario) delivered() (map[MessageID]int, error) {
	all := map[MessageID]int{}
	for _, srv := range s.servers {
		d, err := srv.Delivered()
		if err != nil {
			return nil, err
		}
		maps.Copy(all, d)
	}
	return all, nil
}
