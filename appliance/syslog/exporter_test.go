package syslog

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/octetcounting"
	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/spool"
)

// source makes records as the box does, into a spool of their own.
type source struct {
	t     testing.TB
	chain *records.Chain
	spool *spool.Spool
	dir   string // of the spool
}

func newSource(t testing.TB) *source { return newSourceIn(t, spool.Options{Limit: 64 << 20}) }

func newSourceIn(t testing.TB, o spool.Options) *source {
	t.Helper()
	dir := t.TempDir()
	c, err := records.OpenChain(dir+"/records.state", "box-1")
	if err != nil {
		t.Fatal(err)
	}
	c.SetPolicy("observe", "0123456789abcdef")
	o.Dir, o.Facility, o.SyncEvery = dir+"/spool", 20, time.Millisecond
	s, err := spool.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	c.Before(s.Append)
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return &source{t, c, s, o.Dir}
}

func (s *source) next() records.Record {
	return s.chain.Append(records.Session(records.SessionFacts{Subscriber: "S-1001", Plan: "residential", SNI: `quo"te]\`, EndReason: "fin"}), time.Now())
}

func (s *source) some(n int) {
	for range n {
		s.next()
	}
	s.spool.Sync()
}

// collected gathers what arrived.
type collected struct {
	mu    sync.Mutex
	lines []string
	seqs  map[uint64]int
	more  chan struct{}
}

func newCollected() *collected {
	return &collected{seqs: make(map[uint64]int), more: make(chan struct{}, 1)}
}

func (c *collected) add(t testing.TB, m *rfc5424.SyslogMessage, line string) {
	seq, err := strconv.ParseUint((*m.StructuredData)["mailweir@32473"]["seq"], 10, 64)
	if err != nil {
		t.Errorf("seq of %s: %v", line, err)
	}
	c.mu.Lock()
	c.lines = append(c.lines, line)
	c.seqs[seq]++
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// wait returns when done says so of the collected numbers.
func (c *collected) wait(t testing.TB, what string, done func(seqs map[uint64]int) bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		c.mu.Lock()
		ok := done(c.seqs)
		n := len(c.seqs)
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-c.more:
		case <-deadline:
			t.Fatalf("%s: %d different records have come", what, n)
		}
	}
}

func all(from, to uint64) func(map[uint64]int) bool {
	return func(seqs map[uint64]int) bool {
		for i := from; i <= to; i++ {
			if seqs[i] == 0 {
				return false
			}
		}
		return true
	}
}

func parseInto(t testing.TB, c *collected, line []byte) {
	m, err := rfc5424.NewParser().Parse(line)
	if err != nil {
		t.Errorf("%v: %s", err, line)
		return
	}
	c.add(t, m.(*rfc5424.SyslogMessage), string(line))
}

// listenUDP collects datagrams until the test ends or stop is called.
func listenUDP(t testing.TB, address string, c *collected) (addr string, stop func()) {
	t.Helper()
	pc, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			n, _, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			parseInto(t, c, b[:n])
		}
	}()
	stop = sync.OnceFunc(func() { pc.Close(); <-done })
	t.Cleanup(stop)
	return pc.LocalAddr().String(), stop
}

// listenTCP serves each connection with handle until the test ends or stop is called.
func listenTCP(t testing.TB, address string, handle func(n int, conn net.Conn)) (addr string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	running.Go(func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			running.Go(func() { defer conn.Close(); handle(n, conn) })
		}
	})
	stop = sync.OnceFunc(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// frames parses a connection's octet-counted frames with somebody else's parser.
func frames(t testing.TB, r io.Reader, c *collected) {
	octetcounting.NewParser(syslog.WithListener(func(res *syslog.Result) {
		if res.Error != nil {
			return // the connection was cut within a frame; the frame comes again
		}
		c.add(t, res.Message.(*rfc5424.SyslogMessage), "")
	}), syslog.WithMaxMessageLength(1<<16)).Parse(r)
}

// targets are collectors without certificates.
func targets(urls ...string) (all []Target) {
	for _, u := range urls {
		all = append(all, Target{URL: u})
	}
	return all
}

// start runs an exporter until the test ends or stop is called.
func (s *source) start(t testing.TB, cfg Config) (x *Exporter, events func() []Event, stop func()) {
	t.Helper()
	return s.startAfter(t, cfg, func() {})
}

// startAfter runs between after the exporter is made and before it runs, as a reload stops the one before.
func (s *source) startAfter(t testing.TB, cfg Config, between func()) (x *Exporter, events func() []Event, stop func()) {
	t.Helper()
	var mu sync.Mutex
	var seen []Event
	cfg.Spool = s.spool
	cfg.OnEvent = func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, e)
	}
	if cfg.MinPause == 0 {
		cfg.MinPause, cfg.MaxPause = 5*time.Millisecond, 50*time.Millisecond
	}
	x, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	between()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		s.spool.Sync()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return x, func() []Event { mu.Lock(); defer mu.Unlock(); return append([]Event(nil), seen...) }, stop
}

func whats(events []Event) string {
	var w []string
	for _, e := range events {
		w = append(w, e.What)
	}
	return strings.Join(w, " ")
}

func TestUDPAndTCPDeliverInOrder(t *testing.T) {
	udp, tcp := newCollected(), newCollected()
	udpAddr, _ := listenUDP(t, "127.0.0.1:0", udp)
	tcpAddr, _ := listenTCP(t, "[::1]:0", func(_ int, conn net.Conn) { frames(t, conn, tcp) })
	src := newSource(t)
	x, events, stop := src.start(t, Config{Targets: targets("udp://"+udpAddr, "tcp://"+tcpAddr)})
	for i := range uint64(200) {
		src.next()
		if i%20 == 19 { // a datagram socket holds about a hundred records; more at once may be lost, as UDP is
			udp.wait(t, "UDP", all(1, i+1))
		}
	}
	tcp.wait(t, "TCP", all(1, 200))
	stop()
	for i, line := range udp.lines {
		if !strings.Contains(line, ` [mailweir@32473 seq="`+strconv.Itoa(i+1)+`" `) || !strings.HasPrefix(line, "<166>1 ") {
			t.Fatalf("datagram %d is %s", i, line)
		}
	}
	for _, s := range x.Status() {
		if s.Dropped != 0 || s.Behind != 0 || s.Sent != 200 {
			t.Errorf("%+v", s)
		}
	}
	if len(events()) != 0 {
		t.Errorf("%v", events())
	}
	x, _, stop = src.start(t, Config{Targets: targets("udp://"+udpAddr, "tcp://"+tcpAddr)})
	src.some(1)
	udp.wait(t, "UDP", all(1, 201))
	tcp.wait(t, "TCP", all(1, 201))
	stop()
	if s := x.Status(); s[0].Sent != 1 || s[1].Sent != 1 || tcp.seqs[200] != 1 { // the collector had read everything when we stopped
		t.Errorf("after a clean stop: %+v", s)
	}
}

// TestNothingRunsAfterTheStop looks for goroutines of ours after runs that ended in every way.
func TestNothingRunsAfterTheStop(t *testing.T) {
	got := newCollected()
	udp, stopUDP := listenUDP(t, "127.0.0.1:0", got)
	tcp, stopTCP := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) { frames(t, conn, got) })
	src := newSource(t)
	for range 5 {
		_, _, stop := src.start(t, Config{Targets: targets("udp://"+udp, "tcp://"+tcp, "tcp://127.0.0.1:1"), Drain: 20 * time.Millisecond})
		src.some(1)
		stop()
	}
	stopUDP()
	stopTCP()
	var left string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		stacks := make([]byte, 1<<20)
		left = string(stacks[:runtime.Stack(stacks, true)])
		if !strings.Contains(left, "appliance/syslog.(*t") && !strings.Contains(left, "appliance/syslog.(*u") && !strings.Contains(left, "appliance/syslog.newStream") {
			return
		}
	}
	t.Errorf("still running:\n%s", left)
}

func TestBadTargets(t *testing.T) {
	for _, u := range []string{"", "udp://", "http://x", "127.0.0.1:514", "udp://[::1"} {
		if _, err := New(Config{Targets: targets(u)}); err == nil {
			t.Errorf("%q was accepted", u)
		}
	}
	if _, err := New(Config{}); errors.Is(err, io.EOF) || err != nil {
		t.Errorf("no targets: %v", err)
	}
}
