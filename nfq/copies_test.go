package nfq

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/ruleset"
	"github.com/mailweir/mailweir/nfq/session"
)

// copying is a rig whose box has the kernel copy what servers say inside TLS.
type copying struct {
	*rig
	box    *inTheBox
	policy *policy
	server *net.TCPListener
}

func newCopying(t testing.TB, cfg Config, queues uint16) *copying {
	t.Helper()
	c := &copying{rig: newRig(t, queues), policy: &policy{}}
	cfg.Policy, cfg.Copies = c.policy, true
	c.begin(cfg, queues, serverTLS(t))
	if !c.box.Copies() {
		t.Fatal("the kernel gives no copies")
	}
	return c
}

// begin starts the box and the server.
func (c *copying) begin(cfg Config, queues uint16, config *tls.Config) {
	cfg.Count = queues
	c.steer(queues, func(o *ruleset.Options) { o.Copies = cfg.Copies })
	c.box = c.run(cfg)
	c.server = c.inter.listen(25)
	go c.serve(config)
}

// serve is a mail server in Postfix's words.
func (c *copying) serve(config *tls.Config) {
	for {
		conn, err := c.server.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			answer(conn, config)
		}()
	}
}

// answer talks to one client until it says QUIT or goes.
func answer(conn net.Conn, config *tls.Config) {
	say := func(lines ...string) { _, _ = conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n")) }
	say("220 mx.example.net ESMTP Postfix")
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.TrimSpace(line)); {
		case strings.HasPrefix(verb, "EHLO"):
			say("250-mx.example.net", "250-SIZE 10240000", "250-STARTTLS", "250-ENHANCEDSTATUSCODES", "250 8BITMIME")
		case verb == "STARTTLS":
			say("220 2.0.0 Ready to start TLS")
			conn = tls.Server(conn, config)
			r = bufio.NewReader(conn)
		case strings.HasPrefix(verb, "MAIL"), verb == "NOOP":
			say("250 2.1.0 Ok")
		case strings.HasPrefix(verb, "RCPT"):
			say("250 2.1.5 Ok")
		case verb == "DATA":
			say("354 End data with <CR><LF>.<CR><LF>")
			for line != ".\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			say("250 2.0.0 Ok: queued as 4XyZ1234567")
		case verb == "QUIT":
			say("221 2.0.0 Bye")
			return
		}
	}
}

// mailer is a client inside TLS.
type mailer struct {
	t    testing.TB
	raw  net.Conn
	conn *tls.Conn
	r    *bufio.Reader
}

func (c *copying) dial(to netip.Addr) *mailer {
	c.t.Helper()
	raw, err := c.sub.dial(to, 25, 5*time.Second)
	if err != nil {
		c.t.Fatal(err)
	}
	return begin(c.t, raw)
}

// begin begins a session inside TLS.
func begin(t testing.TB, raw net.Conn) *mailer {
	t.Helper()
	m := &mailer{t: t, raw: raw, r: bufio.NewReader(raw)}
	if err := raw.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	m.expect("220")
	m.ask("EHLO mail.example.org", "250")
	m.ask("STARTTLS", "220")
	m.conn = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	m.r = bufio.NewReader(m.conn)
	m.ask("EHLO mail.example.org", "250")
	return m
}

func (m *mailer) write(text string) error {
	if m.conn != nil {
		_, err := m.conn.Write([]byte(text))
		return err
	}
	_, err := m.raw.Write([]byte(text))
	return err
}

func (m *mailer) tryAsk(line, code string) error {
	if err := m.write(line + "\r\n"); err != nil {
		return err
	}
	return m.answered(code)
}

func (m *mailer) answered(code string) error {
	for {
		line, err := m.r.ReadString('\n')
		switch {
		case err != nil:
			return err
		case !strings.HasPrefix(line, code):
			return fmt.Errorf("answered %q, want %s", line, code)
		case line[3] == ' ':
			return nil
		}
	}
}

func (m *mailer) expect(code string) {
	m.t.Helper()
	if err := m.answered(code); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mailer) ask(line, code string) {
	m.t.Helper()
	if err := m.tryAsk(line, code); err != nil {
		m.t.Fatalf("%s: %v", line, err)
	}
}

// send sends messages of some kilobytes, one after the other.
func (m *mailer) send(n int) {
	m.t.Helper()
	for range n {
		m.ask("MAIL FROM:<alice.liddell@example.org>", "250")
		m.ask("RCPT TO:<bob.dodgson@example.net>", "250")
		m.ask("DATA", "354")
		m.ask(strings.Repeat(strings.Repeat("x", 70)+"\r\n", 60)+".", "250")
	}
}

func (m *mailer) quit() {
	m.t.Helper()
	m.ask("QUIT", "221")
	_ = m.raw.Close()
}

// closed waits for the end of n sessions.
func (c *copying) closed(n int) []closing {
	c.t.Helper()
	nfqtest.Eventually(c.t, fmt.Sprintf("%d sessions end", n), func() bool { return len(c.policy.closed()) == n })
	return c.policy.closed()
}

// Inside TLS the server's packets pass, copies tell the estimate all that it needs, and what is queued does not grow
// with the number of messages.
func TestInsideTLSCopiesDo(t *testing.T) {
	t.Parallel()
	for _, to := range []netip.Addr{server4, server6} {
		for _, queues := range []uint16{1, 4} {
			t.Run(fmt.Sprintf("%s, %d queues", to, queues), func(t *testing.T) {
				t.Parallel()
				c := newCopying(t, Config{}, queues)
				queued := func() (n uint64) {
					for _, q := range c.box.Stats().Queues {
						n += q.Packets
					}
					return n
				}
				var before uint64
				for i, messages := range []int{1, 20} {
					m := c.dial(to)
					m.send(messages)
					m.quit()
					got := c.closed(i + 1)[i]
					if got.EndReason != session.EndFIN || got.Gaps != 0 || got.MessagesLo > messages || got.MessagesHi < messages || got.MessagesHi-got.MessagesLo > 1 {
						t.Errorf("%d messages: %+v", messages, got.Facts)
					}
					now := queued()
					t.Logf("%d messages: estimated %d..%d, %d packets queued", messages, got.MessagesLo, got.MessagesHi, now-before)
					if now-before > 24 {
						t.Errorf("%d messages: %d packets were queued", messages, now-before)
					}
					before = now
				}
				s := c.box.Stats().Copies
				if s.Copies < 80 || s.Lost+s.Unparsed+s.Unmarked != 0 {
					t.Errorf("copies: %+v", *s)
				}
				nfqtest.Eventually(t, "no flow is copied any more", func() bool { return c.box.Stats().Copies.Flows == 0 })
			})
		}
	}
}

// A session that is to be paced inside TLS goes back to the queue, where its server's answers can be held.
func TestInsideTLSIsPacedAllTheSame(t *testing.T) {
	t.Parallel()
	const wait = 300 * time.Millisecond
	c := newCopying(t, Config{}, 2)
	c.policy.event = func(_ Flow, e session.Event) time.Duration {
		if e.Estimated {
			return wait
		}
		return 0
	}
	m := c.dial(server4)
	messages := 0
	nfqtest.Eventually(t, "the session goes back to the queue", func() bool { // copies are read a moment later
		m.send(1)
		messages++
		return c.box.Stats().Copies.Remarked == 1
	})
	start := time.Now()
	const more = 4
	m.send(more)
	m.quit()
	messages += more
	took, got := time.Since(start), c.closed(1)[0]
	// Each wait begins when its message was told, somewhat before the answer that is held.
	if least := (more - 1) * wait; took < least || got.Held < least {
		t.Errorf("%d messages took %s, and %s was held; want %s and more", more, took, got.Held, least)
	}
	if s := c.box.Stats().Copies; s.Remarked != 1 || s.Unmarked != 0 {
		t.Errorf("copies: %+v", *s)
	}
	if got.MessagesLo > messages || got.MessagesHi < messages {
		t.Errorf("%d messages: %+v", messages, got.Facts)
	}
}

// A reset reaches a session of which nothing but copies comes to us.
func TestInsideTLSIsResetAllTheSame(t *testing.T) {
	t.Parallel()
	c := newCopying(t, Config{}, 1)
	m, other := c.dial(server4), c.dial(server6)
	m.send(1)
	c.box.Reset(func(f Flow, _ any) bool { return f.Server.Addr() == server4 })
	nfqtest.Eventually(t, "the client hears of it", func() bool { return isReset(m.tryAsk("NOOP", "250")) })
	other.send(1)
	other.quit()
}

// Copies that were lost never make a message, and what is not known is said to be unknown. A session of which the last copies were lost
// ends like all others.
func TestLostCopiesAreKnownToBeLost(t *testing.T) {
	t.Parallel()
	const messages = 60
	for _, row := range []struct {
		why  string
		last bool // the answer to QUIT is lost, too
	}{{"in the middle", false}, {"up to the end", true}} {
		t.Run(row.why, func(t *testing.T) {
			t.Parallel()
			c := newCopying(t, Config{SocketBuffer: 4096}, 1)
			m := c.dial(server4)
			m.send(1)
			reader := c.box.copies
			reader.reading.Lock() // nobody reads
			m.send(messages - 1)
			if row.last {
				m.quit()
				reader.reading.Unlock()
			} else {
				reader.reading.Unlock()
				reader.catchUp()
				m.quit()
			}
			got := c.closed(1)[0]
			s := c.box.Stats().Copies
			if s.Lost == 0 {
				t.Fatalf("nothing was lost: %+v", *s)
			}
			t.Logf("%d of %d copies lost: %d..%d of %d messages", s.Lost, s.Copies+s.Lost, got.MessagesLo, got.MessagesHi, messages)
			if got.EndReason != session.EndFIN || got.Gaps == 0 || got.MessagesLo > messages || got.MessagesHi >= 0 && got.MessagesHi < messages {
				t.Errorf("%d messages of which much was lost: %+v", messages, got.Facts)
			}
		})
	}
}

// Who dies does not take sessions along, and the next life knows nothing of them.
func TestInsideTLSSurvivesUs(t *testing.T) {
	t.Parallel()
	c := newCopying(t, Config{}, 1)
	m := c.dial(server4)
	m.send(1)
	if err := c.box.stop(); err != nil {
		t.Fatal(err)
	}
	m.send(1)
	next := c.run(Config{Policy: &policy{}, Copies: true})
	m.send(1)
	m.quit()
	again := c.dial(server4)
	again.send(1)
	again.quit()
	nfqtest.Eventually(t, "the new session is copied", func() bool { return next.Stats().Copies.Copies > 0 })
}

// Somebody else may have the group: then everything goes through the queue.
func TestWithoutCopiesTheQueueDoes(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	c := &copying{rig: r, policy: &policy{}}
	first := r.open(Config{First: 7, Policy: &policy{}, Copies: true})
	defer first.Close()
	c.begin(Config{Policy: c.policy, Copies: true}, 1, serverTLS(t))
	if c.box.Copies() {
		t.Fatal("two have one group")
	}
	m := c.dial(server4)
	m.send(5)
	m.quit()
	if got := c.closed(1)[0]; got.MessagesLo > 5 || got.MessagesHi < 5 || got.Gaps != 0 {
		t.Errorf("5 messages: %+v", got.Facts)
	}
	if c.box.Stats().Copies != nil {
		t.Error("there are figures of copies")
	}
}

// The kernel is asked first whether it changes marks at all, and says so of what is no connection.
func TestMarkerKnowsItsKernel(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.Must(func() error {
		m, err := openMarker(marks)
		if err != nil {
			return err
		}
		defer m.close()
		if err := m.set(Flow{netip.AddrPortFrom(subscriber6, 1), netip.AddrPortFrom(server6, 25)}, marks, ruleset.Up); err == nil {
			return errors.New("the mark of a connection that is none was changed")
		}
		return nil
	})
}

// serverTLS is a server's with a certificate of its own.
func serverTLS(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// BenchmarkSTARTTLS is a session of one message with STARTTLS from end to end, both ends and the box in one process:
// with copies inside TLS, and with all that its server says there in the queue.
func BenchmarkSTARTTLS(b *testing.B) {
	config := serverTLS(b)
	for _, copies := range []bool{true, false} {
		b.Run(fmt.Sprintf("copies=%t", copies), func(b *testing.B) {
			queues := uint16(runtime.NumCPU())
			c := &copying{rig: newRig(b, queues)}
			c.begin(Config{Policy: quiet{}, Copies: copies}, queues, config)
			var before, after unix.Rusage
			if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
				b.Fatal(err)
			}
			b.SetParallelism(8)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					m := c.dial(server4)
					m.send(1)
					m.quit()
				}
			})
			b.StopTimer()
			if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
				b.Fatal(err)
			}
			used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
			b.ReportMetric(float64(used)/1e3/float64(b.N), "cpu-us/session")
		})
	}
}
