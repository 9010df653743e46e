package syslog

import (
	"bufio"
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
)

// source makes records as the box does.
type source struct {
	t     testing.TB
	chain *records.Chain
}

func newSource(t testing.TB) *source {
	t.Helper()
	c, err := records.OpenChain(t.TempDir()+"/records.state", "box-1")
	if err != nil {
		t.Fatal(err)
	}
	c.SetPolicy("observe", "0123456789abcdef")
	return &source{t, c}
}

func (s *source) next() records.Record {
	return s.chain.Append(records.Session(records.SessionFacts{Subscriber: "S-1001", Plan: "residential", SNI: `quo"te]\`, EndReason: "fin"}), time.Now())
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

// start runs an exporter until the test ends or stop is called.
func start(t testing.TB, cfg Config) (x *Exporter, events func() []Event, stop func()) {
	t.Helper()
	var mu sync.Mutex
	var seen []Event
	cfg.Facility = 20
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
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	stop = sync.OnceFunc(func() {
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
	x, events, stop := start(t, Config{Targets: []string{"udp://" + udpAddr, "tcp://" + tcpAddr, "relp://127.0.0.1:2514"}})
	src := newSource(t)
	for i := range uint64(200) {
		x.Send(src.next())
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
	for i, s := range x.Status() {
		if active := i < 2; s.Dropped != 0 || s.Behind != 0 || active && s.Sent != 200 || !active && s.LastError != "relp:// is not active yet" {
			t.Errorf("%+v", s)
		}
	}
	if len(events()) != 0 {
		t.Errorf("%v", events())
	}
}

func TestTCPCollectorThatComesBackGetsEverything(t *testing.T) {
	got := newCollected()
	serve := func(_ int, conn net.Conn) { frames(t, conn, got) }
	addr, stopFirst := listenTCP(t, "127.0.0.1:0", serve)
	x, events, stop := start(t, Config{Targets: []string{"tcp://" + addr}})
	src := newSource(t)
	send := func(n int) {
		for range n {
			x.Send(src.next())
		}
	}
	send(50)
	got.wait(t, "before", all(1, 50))
	stopFirst()
	send(50)
	listenTCP(t, addr, serve)
	got.wait(t, "while it was away", all(51, 100))
	send(50)
	got.wait(t, "after", all(101, 150))
	stop()
	if w := whats(events()); w != "down up" {
		t.Errorf("events: %s", w)
	}
	if s := x.Status()[0]; s.Dropped != 0 || s.LastError != "" {
		t.Errorf("%+v", s)
	}
}

// TestTCPSendsAgainWhatWasNotAcknowledged has a collector that takes the connection, reads nothing and resets it.
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
	x, _, stop := start(t, Config{Targets: []string{"tcp://" + addr}})
	src := newSource(t)
	const n = 4000
	for range n {
		x.Send(src.next())
	}
	for x.Status()[0].Sent < 200 { // the collector's kernel has what fits into its buffer, ours has some more
		time.Sleep(time.Millisecond)
	}
	close(full)
	first := uint64(n)
	got.wait(t, "the tail", func(seqs map[uint64]int) bool {
		for s := range seqs {
			first = min(first, s)
		}
		return all(first, n)(seqs) && seqs[n] > 0
	})
	stop()
	t.Logf("the collector's kernel had taken %d of %d records with it; from %d on none is missing", first-1, n, first)
	if first > n/2 {
		t.Errorf("records before %d were not sent again", first)
	}
}

func TestUDPRefusedRecordsWait(t *testing.T) {
	got := newCollected()
	addr, stopFirst := listenUDP(t, "127.0.0.1:0", got)
	x, events, stop := start(t, Config{Targets: []string{"udp://" + addr}})
	src := newSource(t)
	x.Send(src.next())
	got.wait(t, "before", all(1, 1))
	stopFirst()
	for range 20 {
		x.Send(src.next())
	}
	for whats(events()) != "down" {
		time.Sleep(time.Millisecond)
	}
	listenUDP(t, addr, got)
	got.wait(t, "the newest", all(21, 21))
	stop()
	if w := whats(events()); w != "down up" {
		t.Errorf("events: %s", w)
	}
	t.Logf("%d of 21 arrived; the others went out before the refusal came back", len(got.seqs))
}

func TestFullQueueDropsTheNewestAndTells(t *testing.T) {
	got := newCollected()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close() // nobody listens there for now
	x, events, stop := start(t, Config{Targets: []string{"tcp://" + addr}, Queue: 8})
	src := newSource(t)
	for range 20 {
		x.Send(src.next())
	}
	if s := x.Status()[0]; s.Behind != 8 || s.Dropped != 12 || s.Up {
		t.Errorf("%+v", s)
	}
	listenTCP(t, addr, func(_ int, conn net.Conn) { frames(t, conn, got) })
	got.wait(t, "what the queue held", all(1, 8))
	x.Send(src.next())
	got.wait(t, "the next", all(21, 21))
	stop()
	var loss []Event
	for _, e := range events() {
		if e.What == Loss {
			loss = append(loss, e)
		}
	}
	if len(loss) != 1 || loss[0].Count != 12 || loss[0].FirstSeq != 9 || loss[0].LastSeq != 20 {
		t.Fatalf("%+v", events())
	}
	r := newSource(t).chain.Append(loss[0].Health(), time.Now())
	if r.Value("what") != "record_loss" || r.Value("count") != "12" || r.Value("first_seq") != "9" || r.Value("last_seq") != "20" {
		t.Errorf("%+v", r)
	}
}

func TestStopDrainsUntilTheDeadline(t *testing.T) {
	got := newCollected()
	good, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) { frames(t, conn, got) })
	deaf, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) { // takes the connection and never reads
		if err := conn.(*net.TCPConn).SetReadBuffer(2048); err != nil {
			t.Error(err)
		}
		b := bufio.NewReaderSize(conn, 16)
		b.Peek(1)
		<-t.Context().Done()
	})
	x, _, stop := start(t, Config{Targets: []string{"tcp://" + good, "tcp://" + deaf, "tcp://127.0.0.1:1"}, Drain: 300 * time.Millisecond})
	src := newSource(t)
	const n = 3000
	for range n {
		x.Send(src.next())
	}
	began := time.Now()
	stop()
	if d := time.Since(began); d < 250*time.Millisecond || d > 5*time.Second {
		t.Errorf("the stop took %v with a deaf collector and 300 ms to drain", d)
	}
	got.wait(t, "the good one", all(1, n))
	if s := x.Status(); s[0].Dropped != 0 || s[1].Dropped == 0 || s[2].Dropped != n {
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
		x, _, stop := start(t, Config{Targets: []string{"udp://" + udp, "tcp://" + tcp, "tcp://127.0.0.1:1"}, Drain: 20 * time.Millisecond})
		x.Send(src.next())
		stop()
	}
	stopUDP()
	stopTCP()
	var left string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		stacks := make([]byte, 1<<20)
		left = string(stacks[:runtime.Stack(stacks, true)])
		if !strings.Contains(left, "appliance/syslog.(*t") && !strings.Contains(left, "appliance/syslog.(*u") && !strings.Contains(left, "appliance/syslog.newTCP") {
			return
		}
	}
	t.Errorf("still running:\n%s", left)
}

func TestBadTargets(t *testing.T) {
	for _, u := range []string{"", "udp://", "http://x", "127.0.0.1:514", "udp://[::1"} {
		if _, err := New(Config{Targets: []string{u}}); err == nil {
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
		x, _, stop := start(t, Config{Targets: []string{"udp://" + addr}})
		src := newSource(t)
		began := time.Now()
		for range 3 {
			x.Send(src.next())
		}
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
	x, events, end := start(t, Config{Targets: []string{"udp://" + addr}})
	src := newSource(t)
	x.Send(src.next())
	for whats(events()) != "down" {
		time.Sleep(time.Millisecond)
	}
	if s := x.Status()[0]; s.Up || s.LastError == "" || s.Behind != 1 {
		t.Errorf("%+v", s)
	}
	for range 5 {
		x.Send(src.next())
	}
	listenUDP(t, addr, got)
	got.wait(t, "all", all(1, 6))
	end()
	if w := whats(events()); w != "down up" {
		t.Errorf("events: %s", w)
	}
}
