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
	r, err := Listen(time.Now)
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

func TestPendingIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	r := &Responder{pending: make(map[netip.AddrPort]answer), now: func() time.Time { return now }}
	client := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}), uint16(i>>16))
	}
	for i := range maxPending + 10 {
		r.Expect(client(i), "x")
	}
	if len(r.pending) != maxPending {
		t.Fatalf("%d pending", len(r.pending))
	}
	now = now.Add(keep + time.Second)
	r.Expect(client(maxPending+11), "late")
	if len(r.pending) != 1 {
		t.Errorf("stale answers stay: %d", len(r.pending))
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
