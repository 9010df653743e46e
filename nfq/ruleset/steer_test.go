package ruleset

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// value is the mark of a state under the tests' mask.
func value(s State) uint32 { return options().Value(s) }

// govern marks every SYN as a worker does, and asks then for the rest.
func govern(then func(packet) answer) func(packet) answer {
	return func(p packet) answer {
		if isSYN(p) {
			return withMark(value(See))
		}
		if then != nil {
			return then(p)
		}
		return answer{}
	}
}

func TestPureACKsPassAndOneByteIsQueued(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		l := r.listen([]uint16{10}, govern(nil))
		rs := r.apply(options())
		s := r.connect(r.inter.serve(a.inter, 25), a.sub, a.inter, 25)
		for range 20 {
			s.talk("x")
		}
		if n := l.count(func(p packet) bool { return p.up && isBulk(p) && p.payload == 1 }); n != 20 {
			t.Errorf("%d of the client's 20 one-byte segments were queued", n)
		}
		if n := l.count(func(p packet) bool { return !p.up && isBulk(p) && p.payload == 5 }); n != 20 {
			t.Errorf("%d of the server's 20 answers were queued", n)
		}
		if n := l.count(isPureACK); n != 0 {
			t.Errorf("%d pure ACKs were queued", n)
		}
		if n := l.count(func(p packet) bool { return !p.up && p.flags&flagSYN != 0 }); n != 1 {
			t.Errorf("%d SYN-ACKs were queued, want 1", n)
		}
		c := counters(t, rs)
		if c.PureACK.Packets == 0 || c.QueuedUp.Packets < 21 || c.QueuedDown.Packets < 21 || c.Released.Packets != 0 {
			t.Errorf("counters %+v", c)
		}
	})
}

// A pure ACK is recognised by lengths, so headers of another length must not
// make payload look like none. They are rare: queueing them is right.
func TestPacketsWithIPOptionsAreQueued(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		l := r.listen([]uint16{10}, govern(nil))
		r.apply(options())
		srv := r.inter.serve(a.inter, 25)
		c, err := r.sub.dial(a.sub, a.inter, 25, func(fd int) error {
			if a.name == "IPv4" {
				return unix.SetsockoptString(fd, unix.IPPROTO_IP, unix.IP_OPTIONS, "\x01\x01\x01\x00") // three NOPs
			}
			return unix.SetsockoptString(fd, unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, "\x00\x00\x01\x04\x00\x00\x00\x00") // PadN
		})
		if err != nil {
			t.Fatal(err)
		}
		s := session{t, c, srv.accept()}
		for range 5 {
			s.talk("xxxx") // as long as the options
		}
		if n := l.count(func(p packet) bool { return p.up && p.long && p.payload == 4 }); n != 5 {
			t.Errorf("%d of 5 segments behind options were queued", n)
		}
		if n := l.count(func(p packet) bool { return p.up && p.long && isPureACK(p) }); n == 0 {
			t.Error("no pure ACK behind options was queued: the match is not exact")
		}
	})
}

func TestOnlyGovernedTrafficIsQueued(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		l := r.listen([]uint16{10}, nil)
		r.apply(options())

		web := r.connect(r.inter.serve(a.inter, 80), a.sub, a.inter, 80)
		web.talk("another port")

		// A subscriber's own mail server, reached from the internet.
		inbound := r.sub.serve(a.sub, 25)
		c, err := r.inter.dial(a.inter, a.sub, 25, nil)
		if err != nil {
			t.Fatal(err)
		}
		session{t, c, inbound.accept()}.talk("mail to the subscriber")

		// The box's own mail.
		mx := r.inter.serve(a.inter, 25)
		c, err = r.box.dial("", a.inter, 25, nil)
		if err != nil {
			t.Fatal(err)
		}
		session{t, c, mx.accept()}.talk("mail of the box")

		if n := l.count(func(packet) bool { return true }); n != 0 {
			t.Errorf("%d packets were queued, want none", n)
		}
	})
}

// Two subscribers' machines behind the same interface: the answer comes from
// the subscriber side too.
func TestAnswersAreQueuedOnWhateverInterface(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	second := newSpace(t)
	r.box.Must(func() error { return nfqtest.Veth("lan1", "sub1", second.Space) })
	r.box.Must(func() error { return nfqtest.Address("lan1", "10.0.4.1/24") })
	second.Must(func() error { return nfqtest.Address("sub1", "10.0.4.2/24") })
	second.Must(func() error { return nfqtest.Route("0.0.0.0/0", "10.0.4.1") })
	l := r.listen([]uint16{10}, govern(nil))
	o := options()
	o.SubscriberIfs = []string{"lan0", "lan1"}
	r.apply(o)
	s := r.connect(second.serve("10.0.4.2", 25), subIP4, "10.0.4.2", 25)
	s.talk("hello neighbour")
	if n := l.count(func(p packet) bool { return !p.up && p.payload > 0 }); n != 1 {
		t.Errorf("%d answers were queued, want 1", n)
	}
}

// A subscriber who speaks in the name of a server is not listened to.
func TestForgedAnswersPassUnseen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if !r.probe().ReversePath {
		t.Fatal("this kernel has no fib expression (CONFIG_NFT_FIB_INET): the test needs one that has")
	}
	second := newSpace(t)
	r.box.Must(func() error { return nfqtest.Veth("lan1", "sub1", second.Space) })
	r.box.Must(func() error {
		for _, set := range [][2]string{
			{"ipv4/conf/all/rp_filter", "0"}, {"ipv4/conf/lan1/rp_filter", "0"},
			{"netfilter/nf_conntrack_tcp_be_liberal", "1"}, // else its numbers would have to fit
		} {
			if err := os.WriteFile("/proc/sys/net/"+set[0], []byte(set[1]), 0); err != nil {
				return err
			}
		}
		return nfqtest.Address("lan1", "10.0.4.1/24", "fd00:4::1/64")
	})
	second.Must(func() error {
		return errors.Join(nfqtest.Address("sub1", "10.0.4.2/24", "fd00:4::2/64"), nfqtest.Route("0.0.0.0/0", "10.0.4.1"), nfqtest.Route("::/0", "fd00:4::1"))
	})
	r.box.WaitFor("lan1")
	second.WaitFor("sub1")
	l := r.listen([]uint16{10}, govern(nil))
	o := options()
	o.SubscriberIfs = []string{"lan0", "lan1"}
	rs := r.apply(o)
	srv := r.inter.serve("", 25)
	for _, a := range []addresses{{"IPv4", subIP4, otherIP4, boxIP4, interIP4}, {"IPv6", subIP6, otherIP6, boxIP6, intIP6}} {
		s := r.connect(srv, a.sub, a.inter, 25)
		s.talk("hello")
		before := counters(t, rs).Invalid.Packets
		forged := nfqtest.TCP{
			Src: netip.AddrPortFrom(netip.MustParseAddr(a.inter), 25), Dst: s.client.LocalAddr().(*net.TCPAddr).AddrPort(),
			Seq: 1, Ack: 1, Flags: 0x18, Payload: []byte("forged reply"),
		}
		addresses{inter: a.sub}.send(t, &rig{sub: second}, [][]byte{forged.Packet()})
		nfqtest.Eventually(t, a.name+": it passes", func() bool { return counters(t, rs).Invalid.Packets > before })
	}
	if n := l.count(func(p packet) bool { return p.payload == len("forged reply") }); n != 0 {
		t.Errorf("%d forged answers were queued", n)
	}
}

func TestBothDirectionsShareAQueue(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		queues := []uint16{10, 11, 12, 13}
		l := r.listen(queues, govern(nil))
		o := options()
		o.QueueCount = 4
		r.apply(o)
		srv := r.inter.serve(a.inter, 25)
		for _, from := range []string{a.sub, a.other} {
			s := r.connect(srv, from, a.inter, 25)
			s.talk("x")
			used := make(map[uint16]bool)
			l.mu.Lock()
			for _, p := range l.seen {
				used[p.queue] = true
			}
			l.seen = nil
			l.mu.Unlock()
			if len(used) != 1 {
				t.Errorf("packets between %s and %s were in queues %v", from, a.inter, used)
			}
		}
	})
}

func TestNobodyListening(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, r *rig, a addresses) {
		srv := r.inter.serve(a.inter, 25)
		o := options()
		o.QueueCount = 2
		r.apply(o)
		s := r.connect(srv, a.sub, a.inter, 25)
		s.talk("fail open: it passes")
		s.bulk(1 << 20)

		o.FailOpen = false
		r.apply(o)
		if _, err := s.client.Write([]byte("fail closed")); err != nil {
			t.Fatal(err)
		}
		_ = s.server.SetReadDeadline(time.Now().Add(500 * time.Millisecond)) // two retransmissions
		if n, _ := s.server.Read(make([]byte, 1)); n != 0 {
			t.Error("fail closed: a segment passed without a reader")
		}
	})
}
