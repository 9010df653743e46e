package nfq

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/nfq/session"
)

// governed is a policy that asks a real governor and keeps what it said, as package
// appliance does.
type governed struct {
	gov    *governor.Governor
	by     map[string][]string // decisions and ends by subscriber
	passed int
}

func (p *governed) of(client netip.Addr) (id, plan string) {
	b := client.As4()
	return client.String(), []string{"home", "office", "server"}[int(b[3])%3]
}

func (p *governed) note(id string, format string, args ...any) {
	p.by[id] = append(p.by[id], fmt.Sprintf(format, args...))
}

func (p *governed) Open(f Flow, now time.Time) Opening {
	id, plan := p.of(f.Client.Addr())
	to, _ := f.Server.Addr().Prefix(24)
	d := p.gov.Open(governor.Attempt{Subscriber: id, Plan: plan, Destination: to}, now)
	p.note(id, "%v open %v: %v stage %v %s wait %v acted %v retry %v", now.Sub(time.Unix(1_000_000, 0)), f, d.Action, d.Stage, d.Reason(), d.Wait, d.Acted, d.Retry)
	p.change(d.Change)
	if d.LetThrough() {
		p.passed++
	}
	o := Opening{Handle: d}
	switch d.Effective() {
	case governor.ActionDefer:
		o.Action = Defer
	case governor.ActionCut:
		o.Action = Reset
	case governor.ActionPace:
		if d.Wait > 0 {
			o.Action, o.Hold = Hold, d.Wait
		}
	}
	return o
}

func (p *governed) change(c *governor.StageChange) {
	if c != nil {
		p.note(c.Subscriber, "stage %v to %v at %v", c.From, c.To, c.At.Sub(time.Unix(1_000_000, 0)))
	}
}

func (p *governed) Event(f Flow, _ any, e session.Event, now time.Time) time.Duration {
	id, plan := p.of(f.Client.Addr())
	kind := map[session.Kind]governor.Kind{session.ClientHello: governor.TLSHandshakes, session.HandshakeFailed: governor.TLSFailures,
		session.Message: governor.Messages, session.Rejected: governor.Rejected}[e.Kind]
	if kind == governor.Unknown {
		return 0
	}
	d := p.gov.Spend(id, plan, kind, 1, now)
	p.note(id, "%v %v: %v %s wait %v", now.Sub(time.Unix(1_000_000, 0)), e.Kind, d.Action, d.Reason(), d.Wait) // of which flow, see below
	p.change(d.Change)
	if d.Effective() == governor.ActionPace {
		return d.Wait
	}
	return 0
}

func (p *governed) Close(f Flow, handle any, s Summary) {
	id, _ := p.of(f.Client.Addr())
	d, _ := handle.(governor.Decision)
	if !d.LetThrough() {
		return
	}
	if s.EndReason == session.EndTimeout || s.EndReason == session.EndRST && s.BytesUp+s.BytesDown == 0 {
		p.gov.Withdraw(id, d.Receipt, s.End)
	} else {
		p.gov.Close(id, s.End)
	}
	p.note(id, "end %v: %v messages %d recipients %d rejected %d tls %v %v sni %s ja4 %s bytes %d %d gaps %d held %v", f, s.EndReason, s.Messages,
		s.Recipients, s.Rejected, s.TLS, s.Handshake, s.SNI, s.JA4, s.BytesUp, s.BytesDown, s.Gaps, s.Held)
}

func (p *governed) Holder(a netip.Addr) string { id, _ := p.of(a); return id }
func (p *governed) Lease(f Flow, _ any, most int, now time.Time) int {
	return p.gov.Allowance(p.Holder(f.Client.Addr()), most, now)
}

// mixedPolicy has every kind of budget whose numbers a test within an hour can reach.
func mixedPolicy(mode governor.Mode) governor.Policy {
	l := governor.DefaultLadder()
	l.PaceMax = 20 * time.Second
	b := func(of governor.Kind, limit int, burst int) governor.Budget {
		return governor.Budget{Of: of, Limit: limit, Per: time.Hour, Burst: burst}
	}
	return governor.Policy{Mode: mode, Plans: []governor.Plan{
		{Name: "home", HighestStage: governor.StageCut, Ladder: l, Budgets: []governor.Budget{b(governor.Sessions, 60, 12), b(governor.TLSHandshakes, 40, 10),
			{Of: governor.ConcurrentSessions, Limit: 6}, b(governor.Destinations, 20, 8), b(governor.Messages, 100, 20), b(governor.Rejected, 30, 10)}},
		{Name: "office", HighestStage: governor.StageDefer, Ladder: l, Budgets: []governor.Budget{b(governor.Sessions, 200, 40), b(governor.Messages, 90, 15)}},
		{Name: "server", HighestStage: governor.StagePace, Ladder: l, Budgets: []governor.Budget{b(governor.Sessions, 1500, 120), {Of: governor.ConcurrentSessions, Limit: 30}}},
	}}
}

// script is one session: what its client and its server say, in order.
type script struct {
	at   time.Duration
	talk *talk
	next []func() []byte
	wait uint32 // a packet whose verdict is waited for before it goes on
	held []byte // a packet that is waited for before it goes on, through the kernel
}

func (c *talk) script(kind int, tlsFlights [][2]string) []func() []byte {
	var s []func() []byte
	up := func(t string) { s = append(s, func() []byte { return c.say(t) }) }
	down := func(t string) { s = append(s, func() []byte { return c.reply(t) }) }
	both := func(u, d string) { up(u); down(d) }
	s = append(s, c.syn)
	if kind == 0 { // half-open
		return append(s, c.again)
	}
	s = append(s, c.synAck)
	down("220 hi\r\n")
	if kind == 1 { // gives up
		return append(s, c.clientRST)
	}
	both("EHLO c\r\n", "250-hi\r\n250 STARTTLS\r\n")
	message := func(n int) {
		both("MAIL FROM:<a@b>\r\n", "250 ok\r\n")
		both("RCPT TO:<c@d>\r\n", "250 ok\r\n")
		both("DATA\r\n", "354 go\r\n")
		for range n {
			up(string(slices.Repeat([]byte("x"), 1400)) + "\r\n")
		}
		both(".\r\n", "250 taken\r\n")
	}
	switch kind {
	case 2:
		message(0)
	case 3:
		for range 4 {
			message(1)
		}
	case 4: // spam
		for range 3 {
			both("MAIL FROM:<a@b>\r\n", "250 ok\r\n")
			both("RCPT TO:<nobody@d>\r\n", "550 no such user\r\n")
			both("RSET\r\n", "250 ok\r\n")
		}
	case 5: // a large message
		message(40)
	case 6, 7:
		both("STARTTLS\r\n", "220 go\r\n")
		for _, f := range tlsFlights[:len(tlsFlights)-(kind-6)] { // 7: broken off
			if f[0] == "up" {
				up(f[1])
			} else {
				down(f[1])
			}
		}
		return append(s, c.serverFIN, c.clientFIN)
	}
	both("QUIT\r\n", "221 bye\r\n")
	return append(s, c.serverFIN, c.clientFIN)
}

// again is the SYN once more.
func (c *talk) again() []byte {
	c.up--
	return c.syn()
}

// mixedHour is an hour of sessions of sixty clients, some of whom are far over budget.
func mixedHour(seed uint64, flights [][2]string) []*script {
	rnd := rand.New(rand.NewPCG(seed, 7))
	var all []*script
	port := uint16(1024)
	for client := range 60 {
		mean := []time.Duration{10 * time.Minute, 3 * time.Minute, time.Minute, 20 * time.Second, 5 * time.Second}[rnd.IntN(5)]
		to := 1 + rnd.IntN(4)*rnd.IntN(8)
		for at := time.Duration(rnd.ExpFloat64() * float64(mean)); at < time.Hour; at += time.Duration(rnd.ExpFloat64() * float64(mean)) {
			for range 1 + rnd.IntN(3)*rnd.IntN(2) { // some at once
				port++
				c := &talk{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(2 + client)}), max(port, 1024)),
					netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(rnd.IntN(to)), 25}), 25), rnd.Uint32(), rnd.Uint32()}
				all = append(all, &script{at: at, talk: c, next: c.script(rnd.IntN(8), flights)})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *script) int { return int(a.at - b.at) })
	return all
}

// run plays the scripts, a packet of every running session in turn, four rounds a
// second. send gives a packet to the box; what it answers decides whether a session goes
// on: who is turned away stops, and behind a reply that is held nobody speaks.
func (b *bench) run(all []*script, send func(ip []byte) (id uint32, unasked bool), idle func()) {
	var running []*script
	began := b.now
	for len(all) > 0 || len(running) > 0 {
		for len(all) > 0 && all[0].at <= b.now.Sub(began) {
			running, all = append(running, all[0]), all[1:]
		}
		for range 4 {
			running = slices.DeleteFunc(running, func(s *script) bool {
				if s.wait != 0 {
					if b.answer(s.wait) == "none" {
						return false
					}
					s.wait = 0
				}
				id, unasked := send(s.next[0]())
				s.next = s.next[1:]
				if unasked {
					return len(s.next) == 0
				}
				switch b.answer(id) {
				case "deferred", "cut":
					return true
				case "none":
					s.wait = id
				}
				return len(s.next) == 0
			})
			idle()
			b.later(250 * time.Millisecond)
		}
	}
	for range 20 { // until everything has timed out
		idle()
		b.later(time.Minute)
	}
}

// One hour of mixed traffic through the queue alone, and through both lanes with the
// copies read at random moments: the same decisions for everybody at the same times, by
// the same figures, and the same sessions with the same facts. Only what running sessions
// of one subscriber do in the same instant may be noticed in another order.
func TestBothLanesDecideAlike(t *testing.T) {
	flights := recordHandshake(t)
	for _, mode := range []governor.Mode{governor.ModeEnforce, governor.ModeObserve} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("%v seed %d", mode, seed), func(t *testing.T) {
				t.Parallel()
				start := time.Unix(1_000_000, 0)
				queue := &governed{gov: governor.New(mixedPolicy(mode), start), by: map[string][]string{}}
				one := newBench(t, Config{Policy: queue})
				one.run(mixedHour(seed, flights), func(ip []byte) (uint32, bool) { return one.take(ip), false }, func() {})

				both := &governed{gov: governor.New(mixedPolicy(mode), start), by: map[string][]string{}}
				two := &twoLanes{lane: newFakeLane()}
				two.bench = newBench(t, Config{Policy: both, Lane: two.lane})
				rnd := rand.New(rand.NewPCG(seed, 9))
				unasked, packets := 0, 0
				two.run(mixedHour(seed, flights), func(ip []byte) (uint32, bool) {
					if rnd.IntN(3) == 0 {
						two.read()
					}
					way := two.send(ip)
					packets++
					if way == "fast" {
						unasked++
					}
					return two.id, way == "fast"
				}, two.read)

				s := two.q.Stats().Lane
				t.Logf("%d sessions, %d let through; %d of %d packets did not wait; %d sessions began unasked, %d flows were handed over, %d adopted", len(mixedHour(seed, flights)),
					queue.passed, unasked, packets, s.Opened, s.Handed, two.stats().Adopted)
				if s.Late != 0 || s.Losses != 0 {
					t.Errorf("%d sessions too late, copies lost %d times", s.Late, s.Losses)
				}
				if unasked < packets/10 {
					t.Error("hardly anybody used the fast lane")
				}
				alike(t, "queue alone", queue.by, "both lanes", both.by)
			})
		}
	}
}

// recordHandshake is a TLS 1.3 handshake and a few records, flight by flight.
func recordHandshake(t *testing.T) (flights [][2]string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(crand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	var mu sync.Mutex
	record := func(dir string) func([]byte) {
		return func(p []byte) {
			mu.Lock()
			defer mu.Unlock()
			flights = append(flights, [2]string{dir, string(p)})
		}
	}
	server := tls.Server(overheard{b, record("down")}, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(server, server, 5)
		done <- err
	}()
	client := tls.Client(overheard{a, record("up")}, &tls.Config{ServerName: "mx.example", InsecureSkipVerify: true})
	if _, err := client.Write([]byte("EHLO\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(flights)
}

type overheard struct {
	net.Conn
	say func([]byte)
}

func (r overheard) Write(p []byte) (int, error) {
	r.say(p)
	return r.Conn.Write(p)
}
