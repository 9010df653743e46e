package syslog

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/spool"
)

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
	got.wait(t, "all", all(1, n))
	stop()
}

// nobody is an address at which nobody listens for now.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// newSmallSource has a spool of 1 MiB, and lost are the numbers for which it had no room.
func newSmallSource(t *testing.T) (src *source, lost *records.Ranges) {
	t.Helper()
	lost = new(records.Ranges)
	return newSourceIn(t, spool.Options{Limit: 1 << 20, OnLoss: func(l spool.Loss) {
		for i := 0; i < len(l.Numbers); i += 2 {
			lost.AddRange(l.Numbers[i], l.Numbers[i+1])
		}
	}}), lost
}

// A collector that is away for longer than the spool holds: what it misses is what was said, to the number.
func TestAGapIsStatedToTheNumber(t *testing.T) {
	got := newCollected()
	addr := nobody(t)
	src, lost := newSmallSource(t)
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
