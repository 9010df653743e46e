package ruleset

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// onPayload marks the packets of one direction that carry payload.
func onPayload(up bool, s State) func(packet) answer {
	return func(p packet) answer {
		if p.up == up && p.payload > 0 {
			return withMark(value(s))
		}
		return answer{}
	}
}

func TestUpReleasesTheClientOnly(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		l := r.listen([]uint16{10}, govern(onPayload(false, Up))) // like the server's 354
		rs := r.apply(options())
		s := r.connect(r.inter.serve(a.inter, 25), a.sub, a.inter, 25)
		s.talk("DATA")
		before := l.count(func(p packet) bool { return p.up })
		s.bulk(4 << 20)
		if n := l.count(func(p packet) bool { return p.up }); n != before {
			t.Errorf("%d of the client's packets were queued after Up", n-before)
		}
		if c := counters(t, rs); c.Released.Bytes < 4<<20 {
			t.Errorf("released %+v, want more than 4 MiB", c.Released)
		}
		answers := l.count(func(p packet) bool { return !p.up && p.payload > 0 })
		if err := pass(s.server, s.client, "250 taken"); err != nil {
			t.Fatal(err)
		}
		if n := l.count(func(p packet) bool { return !p.up && p.payload > 0 }); n != answers+1 {
			t.Errorf("%d of the server's answers were queued after Up, want 1", n-answers)
		}
		_ = s.client.Close()
		nfqtest.Eventually(t, "the client's FIN is queued", func() bool {
			return l.count(func(p packet) bool { return p.up && p.flags&flagFIN != 0 }) > 0
		})
	})
}

func TestUpCanBeTakenBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	state := Up
	l := r.listen([]uint16{10}, govern(func(p packet) answer {
		if !p.up && p.payload > 0 {
			s := state
			state = See
			return withMark(value(s))
		}
		return answer{}
	}))
	r.apply(options())
	s := r.connect(r.inter.serve(interIP4, 25), subIP4, interIP4, 25)
	s.talk("DATA")
	s.bulk(100_000)
	if err := pass(s.server, s.client, "250 taken"); err != nil {
		t.Fatal(err)
	}
	before := l.count(func(p packet) bool { return p.up && p.payload > 0 })
	s.talk("QUIT")
	if n := l.count(func(p packet) bool { return p.up && p.payload > 0 }); n != before+1 {
		t.Errorf("%d of the client's segments were queued after See, want 1", n-before)
	}
}

func TestBothReleasesAllButTheEnds(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		l := r.listen([]uint16{10}, govern(onPayload(true, Both)))
		rs := r.apply(options())
		srv := r.inter.serve(a.inter, 25)
		s := r.connect(srv, a.sub, a.inter, 25)
		s.talk("enough seen") // the answer passes in the kernel already
		before := l.count(func(packet) bool { return true })
		s.bulk(4 << 20)
		if err := stream(s.server, s.client, 4<<20); err != nil {
			t.Fatal(err)
		}
		if n := l.count(func(packet) bool { return true }); n != before {
			t.Errorf("%d packets were queued after Both", n-before)
		}
		if c := counters(t, rs); c.Released.Bytes < 8<<20 {
			t.Errorf("released %+v, want more than 8 MiB", c.Released)
		}
		_ = s.server.Close()
		nfqtest.Eventually(t, "the server's FIN is queued", func() bool {
			return l.count(func(p packet) bool { return !p.up && p.flags&flagFIN != 0 }) > 0
		})
		abort(s.client)
		nfqtest.Eventually(t, "the client's RST is queued", func() bool {
			return l.count(func(p packet) bool { return p.up && p.flags&flagRST != 0 }) > 0
		})

		s = r.connect(srv, a.sub, a.inter, 25)
		if s.talk("the next session"); l.count(isSYN) != 2 {
			t.Error("the next session's SYN was not queued")
		}
	})
}

// Others mark packets and connections too, before us and after us.
func TestMarksOfOthersSurvive(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		r.box.nft(`table inet neighbour {
			counter kept {}
			counter lost {}
			chain before {
				type filter hook prerouting priority -250
				meta mark set 0x00000042
			}
			chain first { # after conntrack, before us
				type filter hook prerouting priority -160
				ct state new ct mark set 0x50000007
			}
			chain after {
				type filter hook prerouting priority -80
				tcp dport 25 meta mark 0x00000042 ct mark & 0xf0ffffff == 0x50000007 counter name kept accept
				tcp sport 25 meta mark 0x00000042 ct mark & 0xf0ffffff == 0x50000007 counter name kept accept
				meta l4proto tcp counter name lost
			}
		}`, "-f", "-")
		m := options().Marks
		l := r.listen([]uint16{10}, func(p packet) answer {
			switch {
			case isSYN(p):
				return withMark(m.Apply(p.mark, See))
			case p.up && p.payload > 0:
				return withMark(m.Apply(p.mark, Both))
			}
			return answer{}
		})
		r.apply(options())
		s := r.connect(r.inter.serve(a.inter, 25), a.sub, a.inter, 25)
		s.talk("hello")
		s.bulk(1 << 20)
		if n := l.count(func(p packet) bool { return p.mark != 0x42 }); n != 0 {
			t.Errorf("%d packets came to the queue without the neighbour's mark alone", n)
		}
		if out := r.box.nft("", "reset", "counter", "inet", "neighbour", "lost"); !strings.Contains(out, "packets 0 ") {
			t.Errorf("marks of others were changed: %s", out)
		}
		if out := r.box.nft("", "reset", "counter", "inet", "neighbour", "kept"); strings.Contains(out, "packets 0 ") {
			t.Errorf("the neighbour's rules did not meet a packet: %s", out)
		}
		if n := l.count(func(p packet) bool { return p.payload > 0 }); n != 1 {
			t.Errorf("%d segments were queued, want 1: Both did not hold beside the neighbour's bits", n)
		}
	})
}

func TestDeferredGoesToTheResponder(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		l := r.listen([]uint16{10}, func(p packet) answer {
			if isSYN(p) {
				return withMark(value(Deferred))
			}
			return answer{}
		})
		rs := r.apply(options())
		mx := r.inter.serve(a.inter, 25)
		responder := r.box.serve("", 2525)

		c, err := r.sub.dial(a.sub, a.inter, 25, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := session{t, c, responder.accept()}
		if got := c.RemoteAddr().String(); got != mx.Addr().String() {
			t.Errorf("the client talks to %s, want %s", got, mx.Addr())
		}
		if got := s.server.RemoteAddr().(*net.TCPAddr).IP.String(); got != a.sub {
			t.Errorf("the responder sees %s, want %s", got, a.sub)
		}
		if err := pass(s.server, s.client, "421 4.7.0 later\r\n"); err != nil {
			t.Fatal(err)
		}
		s.talk("QUIT")
		s.bulk(1 << 20) // a client that does not listen
		_ = s.server.Close()
		if _, err := bufio.NewReader(c).ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("end of the deferred session: %v, want EOF", err)
		}
		if n := l.count(func(packet) bool { return true }); n != 1 {
			t.Errorf("%d packets were queued, want the SYN alone", n)
		}
		n := counters(t, rs)
		if n.Deferred.Packets != 1 || n.ResponderDropped.Packets != 0 {
			t.Errorf("counters %+v", n)
		}
		_ = mx.Listener.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := mx.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the server saw a deferred session: %v", err)
		}
	})
}

// A mark alone redirects nothing: a running session that bears it must not go on
// unseen.
func TestDeferredTooLateStaysInTheQueue(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		l := r.listen([]uint16{10}, govern(onPayload(true, Deferred)))
		rs := r.apply(options())
		s := r.connect(r.inter.serve(a.inter, 25), a.sub, a.inter, 25)
		for range 3 {
			s.talk("x")
		}
		if n := l.count(func(p packet) bool { return p.payload > 0 }); n != 6 {
			t.Errorf("%d segments were queued, want 6", n)
		}
		if n := counters(t, rs).Deferred.Packets; n != 0 {
			t.Errorf("%d connections were redirected", n)
		}
	})
}

func TestWithoutAResponderNothingIsRedirected(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.listen([]uint16{10}, deferAll)
	o := options()
	o.ResponderPort = 0
	r.apply(o)
	r.connect(r.inter.serve(interIP4, 25), subIP4, interIP4, 25).talk("hello")
	if l := r.listing(); strings.Contains(l, "redirect") || strings.Contains(l, "hook input") {
		t.Errorf("rules for a responder that does not exist:\n%s", l)
	}
}

// The answers of the responder do not come through prerouting: its end of a
// session that is cut has to run into a time limit of its own.
func TestCutOfADeferredSession(t *testing.T) {
	both(t, func(t *testing.T, r *rig, a addresses) {
		r.listen([]uint16{10}, deferAll)
		rs := r.apply(options())
		responder := r.box.serve("", 2525)
		c, err := r.sub.dial(a.sub, a.inter, 25, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := session{t, c, responder.accept()}
		s.talk("421")
		cut(t, rs, a.sub, time.Hour)
		s.sendsUntilReset(s.client, "the client")
	})
}

// Routers often have nothing but a link-local address towards subscribers.
func TestDeferredOverALinkLocalAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.listen([]uint16{10}, deferAll)
	r.apply(options())
	r.box.Must(func() error {
		return errors.Join(withoutAddress("lan0", boxIP6+"/64"), nfqtest.Address("lan0", "fe80::1/64"), routeDev("fd00:1::/64", "lan0"))
	})
	r.sub.Must(func() error { return replaceDefault6("fe80::1", "sub0") })
	responder := r.box.serve("", 2525)
	c, err := r.sub.dial(subIP6, intIP6, 25, nil)
	if err != nil {
		t.Fatal(err)
	}
	session{t, c, responder.accept()}.talk("421")
}

// With no address at all on the subscriber interface (IPv4 unnumbered) there is
// nothing to redirect to: the SYN is dropped. It must not reach the server.
func TestDeferredWithoutAnAddressDoesNotPass(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.listen([]uint16{10}, deferAll)
	rs := r.apply(options())
	r.box.Must(func() error {
		return errors.Join(withoutAddress("lan0", boxIP4+"/24"), nfqtest.Address("lo", boxIP4+"/32"), routeDev("10.0.1.0/24", "lan0"))
	})
	r.box.serve("", 2525)
	r.inter.serve(interIP4, 25)
	if c, err := r.sub.dial(subIP4, interIP4, 25, impatient); err == nil {
		t.Errorf("connected to %s", c.RemoteAddr())
	}
	if counters(t, rs).Deferred.Packets == 0 {
		t.Error("the SYN did not come to the redirect")
	}
}

func deferAll(p packet) answer { return withMark(value(Deferred)) }

// impatient gives up on a peer that does not answer.
func impatient(fd int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 300)
}

func TestResponderPortIsShut(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		rs := r.apply(options())
		r.box.serve("", 2525)
		r.box.serve("", 2526)
		for _, from := range []struct {
			space
			addr string
		}{{r.sub, a.sub}, {r.inter, ""}, {r.box, ""}} {
			dropped := counters(t, rs).ResponderDropped.Packets
			failed := make(chan error, 1)
			go func() {
				_, err := from.dial(from.addr, a.box, 2525, impatient)
				failed <- err
			}()
			if err := <-failed; err == nil {
				t.Error("the responder was reached without being deferred")
			}
			if counters(t, rs).ResponderDropped.Packets == dropped {
				t.Error("the drop was not counted")
			}
			if c, err := from.dial(from.addr, a.box, 2526, nil); err != nil {
				t.Errorf("another port of the box: %v", err)
			} else {
				_ = c.Close()
			}
		}
	})
}
