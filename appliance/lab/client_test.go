package lab

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Homes and bots: the lab's own client against a real server, then against
// servers that refuse, reset and say nothing.
func TestLightClient(t *testing.T) {
	l, ctx := start(t)
	s := addServer(t, ctx, l, "shop", ServerOptions{Domains: []string{"shop.test"}, StartTLS: true})
	h, err := l.AddHome("home")
	if err != nil {
		t.Fatal(err)
	}
	for _, ipv6 := range []bool{false, true} {
		reports := h.Send(ctx, Traffic{
			To: s.Address(ipv6), From: "me@home.test", Rcpt: "you@shop.test", StartTLS: true,
			Sessions: 5, Messages: 2, Concurrency: 3, Size: 10_000,
		})
		if len(reports) != 5 {
			t.Fatalf("%d reports, want 5", len(reports))
		}
		got, err := s.Delivered()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range reports {
			if r.Result != Sent || r.Err != nil || r.Fingerprint != s.Fingerprint() || r.TLSVersion != "TLS 1.3" || len(r.Accepted) != 2 {
				t.Errorf("session %+v", r)
			}
			if r.Greeting <= 0 || r.Connect <= 0 || r.Took < r.Connect+r.Greeting || !strings.HasPrefix(r.Replies[0], "220 shop.example") {
				t.Errorf("times of %+v", r)
			}
			for _, id := range r.Accepted {
				for got[id] == 0 && ctx.Err() == nil {
					time.Sleep(20 * time.Millisecond)
					if got, err = s.Delivered(); err != nil {
						t.Fatal(err)
					}
				}
				if got[id] != 1 {
					t.Errorf("%s delivered %d times", id, got[id])
				}
			}
		}
	}

	stub := stubServers(t, l)
	for _, c := range []struct {
		why  string
		to   string
		want Result
	}{
		{"a 421 greeting", stub["421"], Deferred},
		{"a 554 greeting", stub["554"], Rejected},
		{"a reset after connect", stub["reset"], Reset},
		{"nobody listens", strings.Replace(stub["421"], ":25", ":26", 1), Reset},
		{"no greeting", stub["mute"], TimedOut},
		{"a server that hangs up", stub["eof"], Failed},
		{"not SMTP", stub["junk"], Failed},
	} {
		r := h.Send(ctx, Traffic{To: mustAddrPort(t, c.to), From: "me@home.test", Rcpt: "you@shop.test", Timeout: time.Second})[0]
		if r.Result != c.want || r.Err == nil {
			t.Errorf("%s: %v (%v), want %v", c.why, r.Result, r.Err, c.want)
		}
	}
	// One without STARTTLS must not get the mail in clear.
	plain := addServer(t, ctx, l, "old", ServerOptions{Domains: []string{"old.test"}})
	r := h.Send(ctx, Traffic{To: plain.Address(false), From: "me@home.test", Rcpt: "you@old.test", StartTLS: true})[0]
	if r.Result != Failed || len(r.Accepted) != 0 {
		t.Errorf("STARTTLS asked of a server without: %+v", r)
	}
}

// A rate is kept to, and Stop lets what runs come to its end.
func TestLightClientRateAndStop(t *testing.T) {
	l, ctx := start(t)
	s := addServer(t, ctx, l, "shop", ServerOptions{Domains: []string{"shop.test"}})
	h, err := l.AddHome("home")
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	time.AfterFunc(2*time.Second, func() { close(stop) })
	var reports []Session
	begin := time.Now()
	h.Run(ctx, Traffic{To: s.Address(false), From: "me@home.test", Rcpt: "you@shop.test", Rate: 5, Concurrency: 20, Linger: time.Second, Stop: stop},
		func(r Session) { reports = append(reports, r) })
	if took := time.Since(begin); took < 2500*time.Millisecond {
		t.Errorf("ended after %v: running sessions were broken off", took)
	}
	if n := len(reports); n < 6 || n > 11 {
		t.Errorf("%d sessions in 2 s at 5 a second", n)
	}
	for _, r := range reports {
		if r.Result != Sent || r.Took < time.Second {
			t.Errorf("session %v after %v: %v", r.Result, r.Took, r.Err)
		}
	}
}

// stubServers answer on the internet side, one address of the lab each.
func stubServers(t *testing.T, l *Lab) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, serve := range map[string]func(net.Conn){
		"421":   func(c net.Conn) { _, _ = c.Write([]byte("421-4.7.0 slowly\r\n421 4.7.0 please\r\n")) },
		"554":   func(c net.Conn) { _, _ = c.Write([]byte("554 no\r\n")) },
		"reset": func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) },
		"mute":  func(c net.Conn) { time.Sleep(3 * time.Second) },
		"eof":   func(net.Conn) {},
		"junk":  func(c net.Conn) { _, _ = c.Write([]byte("hello\r\n")) },
	} {
		line, err := l.addLine(name, Internet)
		if err != nil {
			t.Fatal(err)
		}
		lis, err := line.Namespace.Listen("tcp4", line.IPv4.String()+":25")
		if err != nil {
			t.Fatal(err)
		}
		context.AfterFunc(t.Context(), func() { _ = lis.Close() })
		go func() {
			for {
				c, err := lis.Accept()
				if err != nil {
					return
				}
				serve(c)
				_ = c.Close()
			}
		}()
		out[name] = lis.Addr().String()
	}
	return out
}

func mustAddrPort(t *testing.T, s string) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
