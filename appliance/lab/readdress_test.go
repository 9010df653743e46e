package lab

import (
	"context"
	"crypto/md5"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// callers listens on the internet side and tells who called.
func callers(t *testing.T, ns *Namespace) (port uint16, caller func() netip.Addr) {
	t.Helper()
	lis, err := ns.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lis.Close() })
	from := make(chan netip.Addr, 16)
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			from <- c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
			c.Close()
		}
	}()
	return uint16(lis.Addr().(*net.TCPAddr).Port), func() netip.Addr {
		select {
		case a := <-from:
			return a
		case <-time.After(5 * time.Second):
			t.Error("nobody called")
			return netip.Addr{}
		}
	}
}

// Homes change their addresses while the box forwards: to new ones, with each
// other, to none, and to more than one IPv6 prefix. What they had is somebody
// else's or nobody's at once.
func TestAddressesChange(t *testing.T) {
	l, ctx := start(t)
	inet, err := l.addLine("internet", Internet)
	if err != nil {
		t.Fatal(err)
	}
	port, caller := callers(t, inet.Namespace)
	a, err := l.AddHome("a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.AddHome("b")
	if err != nil {
		t.Fatal(err)
	}
	call := func(h *Home, from netip.Addr) error {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		to := inet.IPv4
		if from.Is6() {
			to = inet.IPv6
		}
		c, err := h.Namespace.dial(ctx, from, netip.AddrPortFrom(to, port))
		if err != nil {
			return err
		}
		defer c.Close()
		if got := caller(); got != from {
			t.Errorf("%s called from %v, arrived as %v", h.Name, from, got)
		}
		return nil
	}
	reaches := func(why string, h *Home, from ...netip.Addr) {
		t.Helper()
		for _, f := range from {
			if err := call(h, f); err != nil {
				t.Errorf("%s: %s from %v: %v", why, h.Name, f, err)
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	first := [2]Line{a.Line, b.Line}
	reaches("at first", a, a.IPv4, a.IPv6)
	reaches("at first", b, b.IPv4, b.IPv6)

	must(Swap(&a.Line, &b.Line))
	if a.IPv4 != first[1].IPv4 || b.IPv6 != first[0].IPv6 || a.Prefix6 != first[1].Prefix6 {
		t.Errorf("swapped: %+v, %+v", a.Line, b.Line)
	}
	reaches("after the swap", a, a.IPv4, a.IPv6)
	reaches("after the swap", b, b.IPv4, b.IPv6)

	v4, p6, err := l.SpareAddresses()
	must(err)
	left := a.IPv4
	must(a.SetIPv4(v4))
	must(a.SetPrefix6(p6))
	reaches("with new addresses", a, v4, a.IPv6)
	if err := call(a, left); err == nil {
		t.Error("the old address is still there")
	}
	must(b.SetIPv4(left))
	reaches("with what the neighbour left", b, left)

	must(b.SetIPv4(netip.Addr{}))
	must(b.SetPrefix6(netip.Prefix{}))
	if err := call(b, netip.MustParseAddr("0.0.0.0")); err == nil {
		t.Error("without any address it got through")
	}
	must(b.SetIPv4(first[1].IPv4))
	must(b.SetPrefix6(first[1].Prefix6))
	reaches("with its addresses back", b, b.IPv4, b.IPv6)

	_, second, err := l.SpareAddresses()
	must(err)
	more, err := b.AddPrefix6(second)
	must(err)
	other := b.Prefix6.Addr().As16()
	other[7], other[15] = 7, 9 // another /64 of its /56
	must(b.AddIPv6(netip.AddrFrom16(other)))
	reaches("with a second prefix and another address in the first", b, b.IPv6, more, netip.AddrFrom16(other))

	if err := a.SetIPv4(netip.MustParseAddr("10.0.0.1")); err == nil {
		t.Error("an address that is not of the lab was taken")
	}
}

// radclient's request reaches the box from the management network, an answer
// with the right authenticator is an answer, and no answer is told as such.
func TestNASTells(t *testing.T) {
	l, ctx := start(t)
	nas, err := l.AddNAS("nas")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.Box.ListenPacket("udp", "[::]:1813")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const secret = "correct horse"
	got := make(chan netip.Addr, 16)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			got <- from.(*net.UDPAddr).AddrPort().Addr().Unmap()
			if n < 20 || !strings.Contains(string(buf[20:n]), "acct-1") {
				continue // silence
			}
			// Accounting-Response, RFC 2866 section 3.
			answer := append([]byte{5, buf[1], 0, 20}, buf[4:20]...)
			sum := md5.Sum(append(answer, secret...))
			copy(answer[4:], sum[:])
			_, _ = conn.WriteTo(answer, from)
		}
	}()
	for _, ipv6 := range []bool{false, true} {
		if err := nas.Account(ctx, l.RADIUS(ipv6), secret, "Acct-Status-Type = Start", "User-Name = acct-1", "Delegated-IPv6-Prefix = 2001:db8::/56"); err != nil {
			t.Error(err)
		}
		want := nas.IPv4
		if ipv6 {
			want = nas.IPv6
		}
		if from := <-got; from != want {
			t.Errorf("from %v, want %v", from, want)
		}
	}
	if err := nas.Account(ctx, l.RADIUS(false), secret, "User-Name = acct-2"); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("without an answer: %v", err)
	}
	if err := nas.Account(ctx, l.RADIUS(false), "another secret", "User-Name = acct-1"); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("with an answer under another secret: %v", err)
	}
	if err := nas.Account(ctx, l.RADIUS(false), secret, "Made-Up = 1"); err == nil || errors.Is(err, ErrNoAnswer) {
		t.Errorf("with an attribute that nobody knows: %v", err)
	}
}

// The schedule is Postfix's own, so many times faster.
func TestPostfixScheduleIsItsOwn(t *testing.T) {
	l, ctx := start(t)
	s := addServer(t, ctx, l, "mx", ServerOptions{TimesFaster: 300})
	out, err := s.RunInside(ctx, "/usr/sbin/postconf", "-h", "queue_run_delay", "minimal_backoff_time", "maximal_backoff_time", "maximal_queue_lifetime")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(out); strings.Join(got, " ") != "1s 1s 13s 1440s" {
		t.Errorf("%v", got)
	}
	// And these are the figures that are divided.
	out, err = s.RunInside(ctx, "/usr/sbin/postconf", "-dh", "queue_run_delay", "minimal_backoff_time", "maximal_backoff_time", "maximal_queue_lifetime")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(out); strings.Join(got, " ") != "300s 300s 4000s 5d" {
		t.Errorf("Postfix's own: %v", got)
	}
	if _, err := l.AddMailServer(ctx, "exim", ServerOptions{Software: Exim, TimesFaster: 2}); err == nil {
		t.Error("Exim took it")
	}
}

// Two hundred messages are in the queue within seconds.
func TestQueueFills(t *testing.T) {
	l, ctx := start(t)
	s := addServer(t, ctx, l, "business", ServerOptions{Side: Subscribers,
		Routes: []Route{{Domain: "away.test", To: netip.MustParseAddrPort("198.51.100.254:25")}}})
	begin := time.Now()
	ids, err := s.Send(ctx, 200, "me@business.test", "you@away.test")
	if err != nil || len(ids) != 200 {
		t.Fatalf("%d messages: %v", len(ids), err)
	}
	took := time.Since(begin)
	t.Logf("200 messages queued in %v", took)
	if took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	q, err := s.Queue(ctx)
	if err != nil || len(q) != 200 {
		t.Errorf("%d in the queue: %v", len(q), err)
	}
}
