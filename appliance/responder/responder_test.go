package responder

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

func start(t *testing.T) *Responder {
	t.Helper()
	r, err := Listen(time.Now, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// dial binds the local port first, so that the answer can be announced before
// the connection exists, as it is for a redirected SYN.
func dial(t *testing.T, r *Responder, network, host, text string) net.Conn {
	t.Helper()
	ln, err := net.Listen(network, net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	local := ln.Addr().(*net.TCPAddr)
	ln.Close()
	if text != "" {
		r.Expect(local.AddrPort(), text)
	}
	d := net.Dialer{LocalAddr: local, Timeout: 5 * time.Second}
	c, err := d.Dial(network, net.JoinHostPort(host, fmt.Sprint(r.Port())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

func TestAnnouncedClientHearsItsOwnText(t *testing.T) {
	r := start(t)
	for _, row := range []struct{ network, host string }{{"tcp4", "127.0.0.1"}, {"tcp6", "::1"}} {
		c := dial(t, r, row.network, row.host, "sessions 21/20 per 1h (105%); case K7Q2")
		got, err := io.ReadAll(c)
		if err != nil {
			t.Fatalf("%s: %v", row.network, err)
		}
		if want := "421 4.7.0 sessions 21/20 per 1h (105%); case K7Q2\r\n"; string(got) != want {
			t.Errorf("%s: got %q, want %q", row.network, got, want)
		}
	}
	if s := r.Stats(); s.Answered != 2 || s.General != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestUnannouncedClientHearsTheGeneralText(t *testing.T) {
	r := start(t)
	c := dial(t, r, "tcp4", "127.0.0.1", "")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || line != "421 4.7.0 "+General+"\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

// A client that talks before it reads (many bots do) must still find the 421 in
// its socket, not a reset.
func TestEarlyTalkerStillReadsTheAnswer(t *testing.T) {
	r := start(t)
	var wg sync.WaitGroup
	for range 50 {
		c := dial(t, r, "tcp4", "127.0.0.1", "wait")
		wg.Go(func() {
			io.WriteString(c, "EHLO bot\r\n"+strings.Repeat("NOOP\r\n", 200))
			got, err := io.ReadAll(c)
			if err != nil || string(got) != "421 4.7.0 wait\r\n" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	wg.Wait()
}

func TestLineCannotBeBroken(t *testing.T) {
	got := Line("a\r\n250 ok\x00 é" + strings.Repeat("x", 1000))
	if strings.Count(got, "\r\n") != 1 || !strings.HasSuffix(got, "\r\n") || len(got) != 512 {
		t.Errorf("%d octets: %q", len(got), got)
	}
	if !strings.HasPrefix(got, "421 4.7.0 a  250 ok  ?") {
		t.Errorf("%q", got)
	}
}

func client(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}), uint16(1+i>>16))
}

func TestPendingIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	p := newPending(now)
	for i := range maxPending + 10 {
		p.put(client(i), "x", now)
	}
	if len(p.young) != maxPending || p.overcrowded != 10 {
		t.Fatalf("%d pending, %d refused", len(p.young), p.overcrowded)
	}
	now = now.Add(keep)
	p.put(client(maxPending+11), "late", now)
	if _, ok := p.take(client(5), now); !ok {
		t.Error("an answer is forgotten after one turn")
	}
	now = now.Add(keep)
	if _, ok := p.take(client(6), now); ok {
		t.Error("an answer is kept for ever")
	}
	if text, ok := p.take(client(maxPending+11), now); !ok || text != "late" {
		t.Errorf("the young generation: %q, %v", text, ok)
	}
}

// One deferred client with many ports, or many addresses of its own /64, leaves
// room for the answers of others.
func TestOneClientDoesNotTakeAllAnswers(t *testing.T) {
	now := time.Unix(1000, 0)
	p := newPending(now)
	for i := range 100000 {
		a := netip.MustParseAddr("2001:db8::1").As16()
		a[14], a[15] = byte(i>>8), byte(i)
		p.put(netip.AddrPortFrom(netip.AddrFrom16(a), uint16(1000+i>>16)), "flood", now)
	}
	if len(p.young) != maxPerClient {
		t.Errorf("%d answers of one /64", len(p.young))
	}
	p.put(client(1), "mine", now)
	if text, ok := p.take(client(1), now); !ok || text != "mine" {
		t.Errorf("another client: %q, %v", text, ok)
	}
}

func TestOneClientDoesNotTakeAllPlaces(t *testing.T) {
	r := start(t)
	for range 4 * maxLinger { // none of them closes
		c := dial(t, r, "tcp4", "127.0.0.1", "wait")
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "421 4.7.0 wait\r\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	for end := time.Now().Add(3 * time.Second); len(r.slots) > maxLinger; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d places are still taken by one client", len(r.slots))
		}
	}
}

func BenchmarkExpectInAFlood(b *testing.B) {
	now := time.Unix(1000, 0)
	p := newPending(now)
	for i := range b.N {
		p.put(client(i), "x", now)
	}
}

func TestFill(t *testing.T) {
	got := Fill("{budget} exceeded; retry in {retry}; case {case}; help: https://isp.example/mail",
		"sessions 21/20 per 1h (105%)", 125*time.Second, "K7Q2M")
	want := "sessions 21/20 per 1h (105%) exceeded; retry in 3 minutes; case K7Q2M; help: https://isp.example/mail"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, row := range []struct {
		d    time.Duration
		want string
	}{
		{0, "1 second"}, {1001 * time.Millisecond, "2 seconds"}, {90 * time.Second, "90 seconds"},
		{91 * time.Second, "2 minutes"}, {90 * time.Minute, "90 minutes"}, {91 * time.Minute, "2 hours"},
	} {
		if got := Wait(row.d); got != row.want {
			t.Errorf("Wait(%v) = %q, want %q", row.d, got, row.want)
		}
	}
}
