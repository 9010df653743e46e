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

// A collector that goes away takes nothing with it but what it had taken before the overlap; what is sent again is stated.
func TestTCPCollectorThatComesBackGetsEverything(t *testing.T) {
	got := newCollected()
	serve := func(_ int, conn net.Conn) { frames(t, conn, got) }
	addr, stopFirst := listenTCP(t, "127.0.0.1:0", serve)
	src := newSource(t)
	x, events, stop := src.start(t, Config{Targets: targets("tcp://" + addr)})
	src.some(50)
	got.wait(t, "before", all(1, 50))
	for x.Status()[0].Behind > 0 {
		time.Sleep(time.Millisecond)
	}
	stopFirst()
	src.some(50)
	listenTCP(t, addr, serve)
	got.wait(t, "while it was away", all(51, 100))
	src.some(50)
	got.wait(t, "after", all(101, 150))
	stop()
	if w := whats(events()); w != "down again up" {
		t.Errorf("events: %s", w)
	}
	for _, e := range events() {
		if e.What == Again && (e.FirstSeq != 1 || e.LastSeq != 50 || e.Count != 50) {
			t.Errorf("%+v", e)
		}
	}
	for seq, n := range got.seqs {
		if want := map[bool]int{true: 2, false: 1}[seq <= 50]; n != want {
			t.Errorf("record %d came %d times, want %d", seq, n, want)
		}
	}
	if s := x.Status()[0]; s.Dropped != 0 || s.Again != 50 || s.LastError != "" {
		t.Errorf("%+v", s)
	}
}

// A collector that takes the connection, reads nothing and resets it.
func TestTCPSendsAgainWhatWasNotAcknowledged(t *testing.T) {
	got := newCollected()
	full := make(chan struct{})
	addr, _ := listenTCP(t, "127.0.0.1:0", func(n int, conn net.Conn) {
		if n > 0 {
			frames(t, conn, got)
			return
		}
		if err := conn.(*net.TCPConn).SetReadBuffer(2048); err != nil {
			t.Error(err)
		}
		<-full
		if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Error(err)
		}
	})
	src := newSource(t)
	x, _, stop := src.start(t, Config{Targets: targets("tcp://" + addr)})
	const n = 4000
	src.some(n)
	for x.Status()[0].Sent < 200 { // the collector's kernel has what fits into its buffer, ours has some more
		time.Sleep(time.Millisecond)
	}
	close(full)
	got.wait(t, "all, since the kernel of the collector holds fewer than the overlap", all(1, n))
	stop()
}

func TestUDPRefusedRecordsWait(t *testing.T) {
	got := newCollected()
	addr, stopFirst := listenUDP(t, "127.0.0.1:0", got)
	src := newSource(t)
	_, events, stop := src.start(t, Config{Targets: targets("udp://" + addr)})
	src.some(1)
	got.wait(t, "before", all(1, 1))
	stopFirst()
	src.some(20)
	for whats(events()) != "down" {
		time.Sleep(time.Millisecond)
	}
	listenUDP(t, addr, got)
	got.wait(t, "what was refused", all(1, 21))
	stop()
	if w := whats(events()); w != "down up" {
		t.Errorf("events: %s", w)
	}
}

// A collector that is away for longer than the spool holds: what it misses is what was said, to the number.
func TestAGapIsStatedToTheNumber(t *testing.T) {
	got := newCollected()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close() // nobody listens there for now
	var lost records.Ranges
	src := newSourceIn(t, spool.Options{Limit: 1 << 20, OnLoss: func(l spool.Loss) {
		for i := 0; i < len(l.Numbers); i += 2 {
			lost.AddRange(l.Numbers[i], l.Numbers[i+1])
		}
	}})
	x, events, stop := src.start(t, Config{Targets: targets("tcp://" + addr)})
	const n = 6000
	for i := range n {
		if i%3 == 0 {
			src.chain.Append(records.Health(records.HealthFacts{What: "test"}), time.Now())
		} else {
			src.next()
		}
	}
	src.spool.Sync()
	if s := x.Status()[0]; s.Behind != n-int(lost.Count()) || s.Up || !strings.Contains(s.LastError, "nobody listens at "+addr) {
		t.Errorf("%+v, lost %d", s, lost.Count())
	}
	listenTCP(t, addr, func(_ int, conn net.Conn) { frames(t, conn, got) })
	got.wait(t, "the last", all(n, n))
	stop()
	missing := map[uint64]bool{}
	for _, e := range events() {
		if e.What != Loss {
			continue
		}
		for word := range strings.SplitSeq(e.Seqs, ",") {
			from, to, many := strings.Cut(word, "-")
			if !many {
				to = from
			}
			a, _ := strconv.ParseUint(from, 10, 64)
			b, err := strconv.ParseUint(to, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			for ; a <= b; a++ {
				missing[a] = true
			}
		}
		if r := src.chain.Append(e.Health(), time.Now()); r.Value("seqs") != e.Seqs || r.Value("count") != strconv.FormatUint(e.Count, 10) {
			t.Errorf("%+v", r)
		}
	}
	for i := uint64(1); i <= n; i++ {
		if (got.seqs[i] == 0) != missing[i] {
			t.Fatalf("record %d came %d times, stated missing: %v", i, got.seqs[i], missing[i])
		}
	}
	if len(missing) == 0 || uint64(len(missing)) != lost.Count() || x.Status()[0].Dropped != lost.Count() {
		t.Errorf("%d missing, %d dropped by the spool, %+v", len(missing), lost.Count(), x.Status())
	}
}

func TestStopDrainsUntilTheDeadline(t *testing.T) {
	got := newCollected()
	good, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) { frames(t, conn, got) })
	deaf, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) { // takes the connection and never reads
		if err := conn.(*net.TCPConn).SetReadBuffer(2048); err != nil {
			t.Error(err)
		}
		<-t.Context().Done()
	})
	src := newSource(t)
	x, _, stop := src.start(t, Config{Targets: targets("tcp://"+good, "tcp://"+deaf, "tcp://127.0.0.1:1"), Drain: 300 * time.Millisecond})
	const n = 3000
	src.some(n)
	began := time.Now()
	stop()
	if d := time.Since(began); d < 250*time.Millisecond || d > 5*time.Second {
		t.Errorf("the stop took %v with a deaf collector and 300 ms to drain", d)
	}
	got.wait(t, "the good one", all(1, n))
	if s := x.Status(); s[0].Behind != 0 || s[1].Behind == 0 || s[2].Behind != n { // the spool keeps it
		t.Errorf("%+v", s)
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

// TestUDPSendsAtOnceAfterAStart: only who was refused waits with the next record whether it is refused, too. A slow machine may
// take its time once, so the fastest of some tries counts.
func TestUDPSendsAtOnceAfterAStart(t *testing.T) {
	best := time.Hour
	for range 5 {
		got := newCollected()
		addr, _ := listenUDP(t, "127.0.0.1:0", got)
		src := newSource(t)
		_, _, stop := src.start(t, Config{Targets: targets("udp://" + addr)})
		began := time.Now()
		src.some(3)
		got.wait(t, "three records", all(1, 3))
		best = min(best, time.Since(began))
		stop()
	}
	if best >= probation {
		t.Errorf("three records took %v", best)
	}
}

// TestUDPRefusedFromTheStart has a collector that begins to listen after us: what its host refused is sent again.
func TestUDPRefusedFromTheStart(t *testing.T) {
	got := newCollected()
	addr, stop := listenUDP(t, "127.0.0.1:0", got)
	stop() // the port is ours no more, and nobody else's
	src := newSource(t)
	x, events, end := src.start(t, Config{Targets: targets("udp://" + addr)})
	src.some(1)
	for whats(events()) != "down" {
		time.Sleep(time.Millisecond)
	}
	if s := x.Status()[0]; s.Up || s.LastError == "" || s.Behind != 1 {
		t.Errorf("%+v", s)
	}
	src.some(5)
	listenUDP(t, addr, got)
	got.wait(t, "all", all(1, 6))
	end()
	if w := whats(events()); w != "down up" {
		t.Errorf("events: %s", w)
	}
}
