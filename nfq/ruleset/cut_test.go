package ruleset

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

func cut(t *testing.T, rs *Ruleset, addr string, d time.Duration) {
	t.Helper()
	if err := rs.Cut(netip.MustParseAddr(addr), d); err != nil {
		t.Fatal(err)
	}
}

// refused demands that a new session gets a reset at once, before anybody
// could have retransmitted a SYN.
func (r *rig) refused(from, to string) {
	r.t.Helper()
	start := time.Now()
	_, err := r.sub.dial(from, to, 25, nil)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		r.t.Errorf("%s to %s: got %v, want refused", from, to, err)
	}
	if d := time.Since(start); d > time.Second {
		r.t.Errorf("%s to %s: refused after %s", from, to, d)
	}
}

func TestCutRefusesNewSessionsOfOneSourceOnly(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		l := r.listen([]uint16{10}, govern(nil))
		rs := r.apply(options())
		srv := r.inter.serve(a.inter, 25)
		web := r.inter.serve(a.inter, 80)
		cut(t, rs, a.sub, time.Hour)

		r.refused(a.sub, a.inter)
		if a.name == "IPv6" {
			r.refused(neighbourIP6, a.inter) // the same /64
		}
		if n := l.count(func(packet) bool { return true }); n != 0 {
			t.Errorf("%d packets of a source that is cut were queued", n)
		}
		if c := counters(t, rs).CutReset; c.Packets == 0 {
			t.Error("the resets were not counted")
		}
		r.connect(srv, a.other, a.inter, 25).talk("another subscriber")
		r.connect(web, a.sub, a.inter, 80).talk("another port")
		inbound := r.sub.serve(a.sub, 25)
		c, err := r.inter.dial(a.inter, a.sub, 25, nil)
		if err != nil {
			t.Fatal(err)
		}
		session{t, c, inbound.accept()}.talk("mail to the subscriber")

		if err := rs.Uncut(a.subAddr()); err != nil {
			t.Fatal(err)
		}
		r.connect(srv, a.sub, a.inter, 25).talk("free again")
	})
}

// Ports that are only counted are never limited, and who connects to a subscriber
// from port 25 is no server of his.
func TestCutIsAboutLimitedPorts(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		r.listen([]uint16{10}, govern(nil))
		o := options()
		o.Ports, o.LimitedPorts = []uint16{25, 587}, []uint16{25}
		rs := r.apply(o)
		submission := r.inter.serve(a.inter, 587)
		running := r.connect(submission, a.sub, a.inter, 587)
		running.talk("before")
		inbound := r.sub.serve(a.sub, 8080)
		from25 := func(why string) {
			t.Helper()
			c, err := r.inter.dialPort(a.inter, 25, a.sub, 8080, nil)
			if err != nil {
				t.Fatalf("%s: %v", why, err)
			}
			session{t, c, inbound.accept()}.talk(why)
		}

		cut(t, rs, a.sub, time.Hour)
		r.refused(a.sub, a.inter)
		running.talk("after")
		r.connect(submission, a.sub, a.inter, 587).talk("a new session on a counted port")
		from25("from port 25 to a subscriber who is cut")
	})
}

// Each end of a running session learns with its next packet, whatever state
// the session is in.
func TestCutResetsBothEndsOfARunningSession(t *testing.T) {
	t.Parallel()
	for _, state := range []State{See, Up, Both} {
		t.Run(state.String(), func(t *testing.T) {
			both(t, func(t *testing.T, r *rig, a addresses) {
				r.listen([]uint16{10}, govern(onPayload(true, state)))
				rs := r.apply(options())
				srv := r.inter.serve(a.inter, 25)
				clientFirst := r.connect(srv, a.sub, a.inter, 25)
				serverFirst := r.connect(srv, a.sub, a.inter, 25)
				other := r.connect(srv, a.other, a.inter, 25)
				for _, s := range []session{clientFirst, serverFirst, other} {
					s.talk("hello")
				}
				cut(t, rs, a.sub, time.Hour)
				clientFirst.sendsUntilReset(clientFirst.client, "the client")
				clientFirst.sendsUntilReset(clientFirst.server, "its server")
				serverFirst.sendsUntilReset(serverFirst.server, "the server")
				serverFirst.sendsUntilReset(serverFirst.client, "its client")
				other.talk("unharmed")
			})
		})
	}
}

// When an end gives up by itself its reset goes through, so that the other end
// need not find out by itself.
func TestCutLetsResetsPass(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		r.listen([]uint16{10}, govern(nil))
		rs := r.apply(options())
		s := r.connect(r.inter.serve(a.inter, 25), a.sub, a.inter, 25)
		s.talk("hello")
		cut(t, rs, a.sub, time.Hour)
		abort(s.client)
		_ = s.server.SetReadDeadline(time.Now().Add(patience))
		if _, err := s.server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server got %v, want the client's reset", err)
		}
	})
}

// The other way to cut: the worker's verdict on one session.
func TestVerdictCutResetsOneSession(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		for _, starts := range []string{"client", "server"} {
			t.Run(starts, func(t *testing.T) {
				var mu sync.Mutex
				victim := false // guarded by mu
				l := r.listen([]uint16{10}, govern(func(p packet) answer {
					mu.Lock()
					defer mu.Unlock()
					if victim && p.payload > 0 {
						victim = false
						return withMark(value(Cut))
					}
					return answer{}
				}))
				rs := r.apply(options())
				srv := r.inter.serve(a.inter, 25)
				s, other := r.connect(srv, a.sub, a.inter, 25), r.connect(srv, a.sub, a.inter, 25)
				s.talk("hello")
				other.talk("hello")
				mu.Lock()
				victim = true
				mu.Unlock()
				first, second := s.client, s.server
				if starts == "server" {
					first, second = second, first
				}
				s.sendsUntilReset(first, "the end whose packet was judged")
				queued := l.count(func(packet) bool { return true })
				s.sendsUntilReset(second, "the other end")
				if n := l.count(func(packet) bool { return true }); n != queued {
					t.Errorf("%d packets of the session were queued after the verdict", n-queued)
				}
				other.talk("unharmed")
				if c := counters(t, rs).CutReset; c.Packets != 2 {
					t.Errorf("%d resets were counted, want 2", c.Packets)
				}
				r.connect(srv, a.sub, a.inter, 25).talk("the next session")
				_ = srv.Close()
				l.close()
			})
		}
	})
}

// The addresses and ports of a session that was cut by verdict may come again,
// while conntrack still knows the old one.
func TestVerdictCutDoesNotHitTheSamePortsAgain(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		l := r.listen([]uint16{10}, govern(onPayload(true, Cut)))
		r.apply(options())
		srv := r.inter.serve(a.inter, 25)
		s := r.connect(srv, a.sub, a.inter, 25)
		s.sendsUntilReset(s.client, "the client")
		port := s.client.LocalAddr().(*net.TCPAddr).Port
		_ = s.client.Close()
		abort(s.server)
		c, err := r.sub.dialPort(a.sub, port, a.inter, 25, nil)
		if err != nil {
			t.Fatalf("the same ports again: %v", err)
		}
		again := session{t, c, srv.accept()}
		if n := l.count(isSYN); n != 2 {
			t.Errorf("%d SYNs were judged, want 2", n)
		}
		if err := pass(again.server, again.client, "220 hello"); err != nil {
			t.Errorf("the greeting of the new session: %v", err)
		}
	})
}

// tick is how exact the kernel's timeouts are: one jiffy at HZ=100.
const tick = 10 * time.Millisecond

func TestCutEndsByItself(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		r.listen([]uint16{10}, govern(nil))
		rs := r.apply(options())
		srv := r.inter.serve(a.inter, 25)
		start := time.Now()
		cut(t, rs, a.sub, 1500*time.Millisecond)
		r.refused(a.sub, a.inter)
		nfqtest.Eventually(t, "the cut is over", func() bool {
			c, err := r.sub.dial(a.sub, a.inter, 25, nil)
			if err == nil {
				session{t, c, srv.accept()}.talk("free again")
			}
			return err == nil
		})
		if d := time.Since(start); d < 1500*time.Millisecond-tick {
			t.Errorf("a cut of 1.5s was over after %s", d)
		}
	})
}

func TestCutAgainReplacesTheTime(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		rs := r.apply(options())
		for _, d := range []time.Duration{time.Hour, 2 * time.Hour, time.Minute, 50 * time.Millisecond} {
			cut(t, rs, a.sub, d)
			els := r.elements(rs)
			if len(els) != 1 || els[0].Timeout > d || els[0].Timeout < d-tick || els[0].Expires > d || els[0].Expires < d-10*time.Second {
				t.Errorf("after a cut of %s: %+v", d, els)
			}
		}
		nfqtest.Eventually(t, "the kernel has taken the element out", func() bool { return len(r.elements(rs)) == 0 })
		cut(t, rs, a.sub, time.Hour)
		if n := len(r.elements(rs)); n != 1 {
			t.Errorf("%d elements after a cut that follows an expired one", n)
		}
	})
}

func TestCutArguments(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rs := r.apply(options())
	for _, bad := range []struct {
		addr netip.Addr
		d    time.Duration
	}{
		{netip.Addr{}, time.Hour},
		{netip.MustParseAddr(subIP4), 0},
		{netip.MustParseAddr(subIP4), -time.Hour},
		{netip.MustParseAddr(subIP4), time.Millisecond - 1},
	} {
		if err := rs.Cut(bad.addr, bad.d); err == nil {
			t.Errorf("Cut(%s, %s) was taken", bad.addr, bad.d)
		}
	}
	if err := rs.Uncut(netip.Addr{}); err == nil {
		t.Error("Uncut of no address was taken")
	}
	for _, addr := range []string{subIP4, "::ffff:" + subIP4, subIP6, neighbourIP6, subIP6 + "%sub0"} {
		cut(t, rs, addr, 290*365*24*time.Hour)
	}
	if els := r.elements(rs); len(els) != 2 {
		t.Errorf("%d elements, want one of each family: %+v", len(els), els)
	}
	for range 2 { // the second time nothing is there
		for _, addr := range []string{"::ffff:" + subIP4, neighbourIP6} {
			if err := rs.Uncut(netip.MustParseAddr(addr)); err != nil {
				t.Error(err)
			}
		}
		if els := r.elements(rs); len(els) != 0 {
			t.Errorf("left after Uncut: %+v", els)
		}
	}
}

func TestTenThousandCuts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.listen([]uint16{10}, govern(nil))
	rs := r.apply(options())
	const each = 10_000
	four, six := netip.MustParseAddr("10.8.0.0"), netip.MustParseAddr("fd08::")
	start := time.Now()
	for i := range each {
		b := six.As16()
		b[6], b[7] = byte(i>>8), byte(i)
		for _, addr := range []netip.Addr{four, netip.AddrFrom16(b)} {
			if err := rs.Cut(addr, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		four = four.Next()
	}
	t.Logf("%s per Cut with up to %d of each family there", time.Since(start)/(2*each), each)
	if n := len(r.elements(rs)); n != 2*each {
		t.Errorf("%d elements, want %d", n, 2*each)
	}
	srv := r.inter.serve("", 25)
	cut(t, rs, subIP4, time.Hour)
	cut(t, rs, subIP6, time.Hour)
	r.refused(subIP4, interIP4)
	r.refused(subIP6, intIP6)
	r.connect(srv, otherIP4, interIP4, 25).talk("not among them")
	r.connect(srv, otherIP6, intIP6, 25).talk("not among them")
	start = time.Now()
	if err := rs.UncutAll(); err != nil {
		t.Fatal(err)
	}
	t.Logf("UncutAll took %s", time.Since(start))
	if n := len(r.elements(rs)); n != 0 {
		t.Errorf("%d elements are left after UncutAll", n)
	}
	r.connect(srv, subIP4, interIP4, 25).talk("free again")
	r.connect(srv, subIP6, intIP6, 25).talk("free again")
}

func TestRulesetIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rs := r.apply(options())
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for i := range 50 {
				addr := netip.AddrFrom4([4]byte{10, 9, byte(g), byte(i)})
				err := errors.Join(rs.Cut(addr, time.Hour), rs.Cut(addr, time.Minute))
				if i%2 == 0 {
					err = errors.Join(err, rs.Uncut(addr))
				}
				if _, countErr := rs.Counters(); countErr != nil || err != nil {
					t.Error(err, countErr)
				}
			}
		})
	}
	group.Wait()
	if n := len(r.elements(rs)); n != 8*25 {
		t.Errorf("%d elements, want %d", n, 8*25)
	}
}
