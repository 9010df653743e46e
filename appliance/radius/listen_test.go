package radius

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// served is a Listener that runs for one test, and what it handed over.
type served struct {
	*Listener
	events chan Event
	stop   func() // ends it and waits; may be called more than once
}

// serve runs a Listener on loopback. Of Options, Handle may be nil: then every event goes to events, which holds 1024.
func serve(t testing.TB, o Options) *served {
	t.Helper()
	s := &served{events: make(chan Event, 1024)}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Secret == nil {
		o.Secret = testSecret
	}
	if o.Handle == nil {
		o.Handle = func(e Event) error { s.events <- e; return nil }
	}
	var err error
	if s.Listener, err = Listen(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// client is a connected socket: it hears only what comes from the address that it sends to.
type client struct {
	testing.TB
	*net.UDPConn
}

func (s *served) client(t testing.TB, from, to string) client {
	t.Helper()
	raddr := net.UDPAddrFromAddrPort(s.Addr())
	if to != "" {
		raddr.IP = net.ParseIP(to)
	}
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, raddr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return client{t, c}
}

func (c client) send(b []byte) {
	c.Helper()
	if _, err := c.Write(b); err != nil {
		c.Fatal(err)
	}
}

// asks sends b and waits for its answer.
func (c client) asks(b []byte) packet {
	c.Helper()
	c.send(b)
	return c.hears(b)
}

func (c client) hears(request []byte) packet {
	c.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var b [maxSize]byte
	n, err := c.Read(b[:])
	if err != nil {
		c.Fatal(err)
	}
	p, why := frame(b[:n])
	if why != None || p.id != request[1] || p.sum([16]byte(request[4:headerSize]), testSecret) != p.authenticator {
		c.Fatalf("an answer that is none to the request: %v % x", why, b[:n])
	}
	return p
}

// silent makes sure that nothing sent so far was answered: Status-Server is answered after it, and nothing before.
func (c client) silent() {
	c.Helper()
	if b := statusServer(testSecret); c.asks(b).id != b[1] {
		c.Fatal("something else was answered")
	}
}

func TestAnEventIsAnsweredWhenItIsTaken(t *testing.T) {
	t.Parallel()
	taken := make(chan error)
	s := serve(t, Options{Handle: func(Event) error { return <-taken }})
	c := s.client(t, "127.0.0.1", "")
	b := begin(1)
	c.send(b)
	taken <- errors.New("disk full")
	c.send(b) // a repetition of what was not taken is handled again
	taken <- fmt.Errorf("%w: a line of another box", ErrNotForUs)
	c.hears(b)
	c.asks(b) // and one of what was is not
	b = begin(3)
	c.send(b)
	taken <- nil
	c.hears(b)
	s.stop()
	got := s.Stats()
	if got.Last.IsZero() {
		t.Error("it does not tell when it heard the last event")
	}
	got.Last = time.Time{}
	if want := (Stats{Received: 4, Handled: 1, NotForUs: 1, Failed: 1, Repeated: 1, Answered: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestARepetitionOnTheWayIsHandledOnce(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	n := 0
	s := serve(t, Options{Handle: func(Event) error { n++; <-hold; return nil }})
	c := s.client(t, "127.0.0.1", "")
	b := begin(1)
	for range 3 {
		c.send(b)
	}
	close(hold)
	for range 3 {
		c.hears(b)
	}
	s.stop()
	if got := s.Stats(); n != 1 || got.Handled != 1 || got.Repeated != 2 {
		t.Errorf("handled %d times: %+v", n, got)
	}
}

// A packet that does not say when it happened is known again for a day, wherever it comes from.
func TestAnUndatedPacketThatIsPlayedBackIsNotTaken(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	s := serve(t, Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	from := func(ip string) client { return s.client(t, ip, "") }
	on := signed(testSecret, 3, number(attrAcctStatusType, 7), address(attrNASIPAddress, "10.0.0.1"))
	nameless := signed(testSecret, 4, number(attrAcctStatusType, 7))
	dated := begin(1, stamp(time.Now()))
	for _, b := range [][]byte{on, begin(1), nameless, dated} {
		from("127.0.0.1").asks(b)
	}
	for _, c := range []struct {
		why     string
		later   time.Duration
		from    string
		packet  []byte
		handled bool
	}{
		{"from another port", time.Minute, "127.0.0.1", on, false},
		{"from another address", time.Minute, "127.0.0.2", on, false},
		{"a Start", 23 * time.Hour, "127.0.0.2", begin(1), false},
		{"from another address, where that is its NAS", time.Hour, "127.0.0.2", nameless, true},
		{"another one", time.Hour, "127.0.0.1", begin(1, text(attrUserName, "x")), true},
		{"dated, within the time in which it is repeated", 20 * time.Second, "127.0.0.1", dated, false},
		{"dated, later: it says when", time.Minute, "127.0.0.1", dated, true},
		{"a day is over", 24*time.Hour + time.Minute, "127.0.0.1", on, true},
	} {
		ahead.Store(int64(c.later))
		before := s.Stats()
		from(c.from).asks(c.packet)
		if got := s.Stats().Handled > before.Handled; got != c.handled {
			t.Errorf("%s: handled %v", c.why, got)
		}
	}
}

func TestUndatedPacketsCanBeRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{Dated: true})
	c := s.client(t, "127.0.0.1", "")
	c.asks(begin(1)) // answered, or it would be repeated for ever
	c.asks(begin(1, stamp(time.Now())))
	s.Trust(testSecret, nil, false)
	c.asks(begin(2))
	if got := s.Stats(); got.Handled != 2 || got.Ignored != [reasons]uint64{Undated: 1} {
		t.Errorf("%+v", got)
	}
}

func TestWhatIsNotGenuineIsCountedAndNotAnswered(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := serve(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Clients: prefixes("127.0.0.1/32", "127.0.0.2/32")})
	c, stranger := s.client(t, "127.0.0.1", ""), s.client(t, "127.0.0.3", "")
	const many = 50
	for range many {
		c.send([]byte("GET / HTTP/1.1\r\n\r\n"))
		c.send(signed([]byte("another secret"), 1, number(attrAcctStatusType, 1)))
		c.send(append([]byte{1}, begin(1)[1:]...))
		c.send(begin(1, stamp(time.Now().Add(time.Hour))))
		stranger.send(begin(1))
		c.silent() // loopback keeps the order, so the stranger's was read as well
	}
	old := begin(1, stamp(time.Now().Add(-48*time.Hour)))
	c.asks(old)
	c.asks(signed(testSecret, 8, number(attrAcctStatusType, 1)))
	s.stop()
	got := s.Stats()
	want := [reasons]uint64{NotAllowed: many, Malformed: many, UnknownCode: many, WrongSecret: many, Ahead: many, Old: 1, Incomplete: 1}
	if got.Ignored != want || got.Handled != 0 || len(s.events) != 0 {
		t.Errorf("%+v, want %v", got, want)
	}
	for r := NotAllowed; r < QueueFull; r++ {
		if n, lines := want[r], strings.Count(log.String(), "reason="+r.String()); lines > 1 || n > 0 && lines == 0 {
			t.Errorf("%d lines about %d times %v:\n%s", lines, n, r, log.String())
		}
	}
}

func TestTheLogSaysWhatItLeftOut(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := complaints{log: slog.New(slog.NewTextHandler(&log, nil))}
	for i := range 121 {
		c.say(testNow.Add(time.Duration(i)*time.Second), "ignored", Old)
		c.say(testNow.Add(time.Duration(i)*time.Second), "ignored", Ahead)
	}
	if lines := strings.Split(strings.TrimSpace(log.String()), "\n"); len(lines) != 6 || strings.Count(log.String(), "more_since_last_told=59") != 4 {
		t.Errorf("%s", log.String())
	}
}

func TestWhatOneNASSaysStaysInOrder(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string][]string{}
	s := serve(t, Options{Handle: func(e Event) error {
		mu.Lock()
		defer mu.Unlock()
		seen[e.NAS] = append(seen[e.NAS], strings.TrimPrefix(e.Session, e.NAS+"|"))
		return nil
	}})
	const each, nases, together = 40, 8, 5
	c := s.client(t, "127.0.0.1", "")
	for i := range each {
		for nas := range nases {
			c.send(signed(testSecret, byte(i), number(attrAcctStatusType, 1), text(attrAcctSessionID, fmt.Sprint(i)), attr(attrNASIPAddress, 10, 0, 0, byte(nas))))
		}
		for (i+1)%together == 0 && s.Stats().Answered < uint64(i+1)*nases { // no more on the way than any socket holds
			runtime.Gosched()
		}
	}
	s.stop()
	if len(seen) != nases {
		t.Fatalf("%d NAS", len(seen))
	}
	for nas, sessions := range seen {
		for i, id := range sessions {
			if id != fmt.Sprint(i) || len(sessions) != each {
				t.Fatalf("%s: %v", nas, sessions)
			}
		}
	}
}

func TestAFullQueueDropsAndCounts(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	s := serve(t, Options{Queue: 4, Handle: func(Event) error { <-hold; return nil }})
	c := s.client(t, "127.0.0.1", "")
	const sent = 20
	for i := range sent {
		c.send(begin(1, number(attrAcctDelayTime, uint32(i))))
	}
	for s.Stats().Received < sent {
		runtime.Gosched()
	}
	ended := make(chan struct{})
	go func() { s.stop(); close(ended) }() // what is queued is still taken and answered
	close(hold)
	<-ended
	got := s.Stats()
	if full := got.Ignored[QueueFull]; got.Handled+full != sent || got.Answered != got.Handled || got.Handled < 4 || got.Handled > 5 {
		t.Errorf("%+v", got)
	}
}

func TestTheAnswerComesFromWhereItWasAsked(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"0.0.0.0:0", ":0"} {
		s := serve(t, Options{Addr: listen})
		for _, to := range []string{"127.0.0.1", "127.0.0.2", "127.1.2.3"} {
			s.client(t, "127.0.0.1", to).asks(begin(1, text(attrUserName, to)))
			if e := <-s.events; e.Peer.Addr() != netip.MustParseAddr("127.0.0.1") {
				t.Errorf("on %s, to %s: from %v", listen, to, e.Peer)
			}
		}
		if listen == ":0" {
			s.client(t, "::1", "::1").asks(begin(1, text(attrUserName, "six")))
			if e := <-s.events; e.Peer.Addr() != netip.IPv6Loopback() {
				t.Errorf("from %v", e.Peer)
			}
		}
	}
}

func TestWhoIsBelievedCanChange(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{Secret: []byte("the old secret"), Clients: prefixes("192.0.2.0/24")})
	c := s.client(t, "127.0.0.1", "")
	s.Trust(testSecret, prefixes("127.0.0.0/8"), false)
	c.asks(begin(1))
}

func TestWhatTheKernelDropsIsCounted(t *testing.T) {
	t.Parallel()
	s, err := Listen(Options{Addr: "127.0.0.1:0", Secret: testSecret, Handle: func(Event) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	s.conn.SetReadBuffer(1)
	c := (&served{Listener: s}).client(t, "127.0.0.1", "")
	var sent uint64
	for ; sent < 200; sent++ {
		c.send(begin(1))
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for s.Stats().Answered == 0 {
		runtime.Gosched()
	}
	for s.Stats().Received+s.Stats().Lost < 200 { // a datagram tells of those that were dropped before it
		c.send(begin(1))
		sent++
		runtime.Gosched()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := s.Stats(); got.Lost < 100 || got.Lost+got.Received > sent {
		t.Errorf("%d sent: %+v", sent, got)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		s := serve(t, Options{})
		s.client(t, "127.0.0.1", "").asks(begin(1))
		s.stop()
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

func TestListenRefuses(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{})
	for why, o := range map[string]Options{
		"no secret":      {Addr: "127.0.0.1:0"},
		"a used port":    {Addr: s.Addr().String(), Secret: testSecret},
		"not an address": {Addr: "127.0.0.1", Secret: testSecret},
	} {
		if _, err := Listen(o); err == nil || !strings.HasPrefix(err.Error(), "listen for RADIUS accounting: ") {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func TestReadSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i, c := range []struct {
		why, content string
		mode         os.FileMode
		want, says   string // says: part of the warning or of the error
	}{
		{"as an editor leaves it", "correct horse\n", 0o640, "correct horse", ""},
		{"as Windows leaves it", "correct horse\r\n", 0o600, "correct horse", ""},
		{"without a line end", "correct horse", 0o400, "correct horse", ""},
		{"blanks are part of it", " correct horse \n", 0o600, " correct horse ", ""},
		{"everybody may read it", "correct horse\n", 0o644, "correct horse", "mode 0644"},
		{"the group may change it", "correct horse\n", 0o660, "correct horse", "mode 0660"},
		{"nothing in it", "", 0o600, "", "holds 0 bytes"},
		{"short", "secret7\n", 0o600, "", "holds 7 bytes, at least 8"},
		{"two lines", "correct horse\nbattery\n", 0o600, "", "more than one line"},
		{"a NUL", "correct\x00horse\n", 0o600, "", "more than one line"},
		{"long", strings.Repeat("x", 1024) + "\n", 0o600, strings.Repeat("x", 1024), ""},
		{"too long", strings.Repeat("x", 1025), 0o600, "", "more than 1024"},
	} {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		got, says, err := ReadSecret(path)
		if err != nil {
			says = err.Error()
		}
		if string(got) != c.want || (err == nil) != (c.want != "") || !strings.Contains(says, c.says) || (says == "") != (c.says == "") {
			t.Errorf("%s: %q, %q, %v", c.why, got, says, err)
		}
	}
	if _, _, err := ReadSecret(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no file: %v", err)
	}
}
