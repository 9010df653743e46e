package nfq

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/session"
)

// The conformance suite: what both readers must do with the real kernel.
func TestConformance(t *testing.T) {
	for _, reader := range []string{"fast", "portable"} {
		t.Run(reader, func(t *testing.T) {
			for _, c := range []struct {
				name string
				run  func(t *testing.T, reader string)
			}{
				{"a session passes", testSessionPasses},
				{"a greeting is held and its retransmissions are dropped", testHold},
				{"a hold ends early", testHoldEndsEarly},
				{"a session is deferred", testDefer},
				{"a session is reset at its SYN", testResetAtOpen},
				{"a running session is reset", testResetRunning},
				{"odd packets pass and are counted", testOddPackets},
				{"a flow found in mid-air passes", testMidAir},
				{"a half-open flow is forgotten", testHalfOpen},
				{"bulk passes whole", testBulk},
				{"stopping under traffic loses no packet", testStopUnderTraffic},
				{"a dead reader harms nobody and a new one binds under traffic", testRebind},
				{"a second binder is refused", testSecondBinder},
				{"a verdict for an unknown packet is counted", testStaleVerdict},
			} {
				t.Run(c.name, func(t *testing.T) {
					// First in, so that it runs when all else is cleaned up.
					t.Cleanup(func() { noGoroutines(t) })
					c.run(t, reader)
				})
			}
		})
	}
}

// noGoroutines fails when code of this package still runs, tests apart.
func noGoroutines(t *testing.T) {
	buf := make([]byte, 1<<20)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		stacks := string(buf[:runtime.Stack(buf, true)])
		left := ""
		for _, one := range strings.Split(stacks, "\n\n") {
			if strings.Contains(one, "nfq.(*worker)") || strings.Contains(one, "nfq.(*portable)") || strings.Contains(one, "nfq.(*fast)") || strings.Contains(one, "nfqueue.(*Nfqueue)") {
				left += one + "\n\n"
			}
		}
		if left == "" {
			return
		}
		if time.Now().After(end) {
			t.Errorf("goroutines left behind:\n%s", left)
			return
		}
	}
}

// bothFamilies runs f over IPv4 and IPv6.
func bothFamilies(t *testing.T, f func(t *testing.T, server netip.Addr)) {
	for _, server := range []netip.Addr{server4, server6} {
		name := "IPv4"
		if server.Is6() {
			name = "IPv6"
		}
		t.Run(name, func(t *testing.T) { f(t, server) })
	}
}

// balanced says that every packet taken has its verdict or is held.
func balanced(t *testing.T, s Stats) {
	t.Helper()
	for _, q := range s.Queues {
		var given uint64
		for _, n := range q.Verdicts {
			given += n
		}
		if given+uint64(q.HeldNow) != q.Packets {
			t.Errorf("queue %d: %d packets, %d verdicts, %d held", q.Number, q.Packets, given, q.HeldNow)
		}
		if q.Stale+q.VerdictErrors+q.Unparsed+q.Overruns+q.Panics != 0 {
			t.Errorf("queue %d: %d stale, %d refused, %d unparsed, %d overruns, %d panics", q.Number, q.Stale, q.VerdictErrors, q.Unparsed, q.Overruns, q.Panics)
		}
	}
}

// settled waits until the kernel waits for none of our verdicts but the held
// packets', and holds its own count against ours.
func settled(t *testing.T, q *Queues) Stats {
	t.Helper()
	var s Stats
	nfqtest.Eventually(t, "the kernel's queues are as empty as ours", func() bool {
		s = q.Stats()
		for _, one := range s.Queues {
			if !one.Kernel.Bound || one.Kernel.Depth != one.HeldNow || one.Kernel.Sequence != one.Packets {
				return false
			}
		}
		return true
	})
	for _, one := range s.Queues {
		if one.Kernel.QueueDropped+one.Kernel.UserDropped != 0 {
			t.Errorf("the kernel dropped: %+v", one.Kernel)
		}
	}
	balanced(t, s)
	return s
}

// line reads one line within a bound that no correct run comes near.
func line(t *testing.T, c net.Conn) string {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	s, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatalf("read a line: %v (got %q)", err, s)
	}
	return strings.TrimSpace(s)
}

func say(t *testing.T, c net.Conn, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(c, format+"\r\n", args...); err != nil {
		t.Fatalf("say %q: %v", fmt.Sprintf(format, args...), err)
	}
}

// accept takes the next connection of a listener.
func accept(t *testing.T, l *net.TCPListener) net.Conn {
	t.Helper()
	l.SetDeadline(time.Now().Add(10 * time.Second))
	c, err := l.Accept()
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// connect opens a session from the subscriber and returns both ends.
func (r *rig) connect(t *testing.T, l *net.TCPListener, server netip.Addr) (client, remote net.Conn) {
	t.Helper()
	client, err := r.sub.dial(server, 25, 10*time.Second)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return client, accept(t, l)
}

func testSessionPasses(t *testing.T, reader string) {
	bothFamilies(t, func(t *testing.T, server netip.Addr) {
		r := newRig(t, 2)
		p := &policy{}
		q := r.run(Config{Reader: reader, Count: 2, Policy: p})
		l := r.inter.listen(25)
		client, remote := r.connect(t, l, server)
		say(t, remote, "220 ready")
		line(t, client)
		say(t, client, "EHLO client")
		line(t, remote)
		say(t, remote, "250 hello")
		line(t, client)
		client.Close()
		remote.Close()
		nfqtest.Eventually(t, "the session is closed", func() bool { return len(p.closed()) == 1 })
		s := settled(t, q.Queues)
		if opens := p.opened(); len(opens) != 1 || opens[0].Client.String() != client.LocalAddr().String() || opens[0].Server != netip.AddrPortFrom(server, 25) {
			t.Errorf("opened %v, want one from %v", opens, client.LocalAddr())
		}
		c := p.closed()[0]
		if c.handle != 1 || c.EndReason != session.EndFIN || c.BytesUp != 13 || c.BytesDown != 22 {
			t.Errorf("closed with %+v", c)
		}
		var see uint64
		for _, one := range s.Queues {
			see += one.Verdicts["see"]
		}
		if see != 1 {
			t.Errorf("the state See was said %d times, want once: on the SYN", see)
		}
	})
}

func testHold(t *testing.T, reader string) {
	bothFamilies(t, func(t *testing.T, server netip.Addr) {
		r := newRig(t, 1)
		const hold = 1500 * time.Millisecond
		p := &policy{opening: func(Flow) Opening { return Opening{Action: Hold, Hold: hold} }}
		q := r.run(Config{Reader: reader, Policy: p})
		l := r.inter.listen(25)
		client, remote := r.connect(t, l, server)
		began := time.Now()
		say(t, remote, "220 ready")
		nfqtest.Eventually(t, "the greeting is held", func() bool { return q.Stats().Held == 1 })
		if got := line(t, client); got != "220 ready" {
			t.Errorf("greeting %q", got)
		}
		if took := time.Since(began); took < hold || took > hold+time.Second {
			t.Errorf("the greeting took %v, held for %v", took, hold)
		}
		say(t, client, "QUIT")
		line(t, remote)
		client.Close()
		remote.Close()
		nfqtest.Eventually(t, "the session is closed", func() bool { return len(p.closed()) == 1 })
		c := p.closed()[0]
		if c.Held < hold || c.DroppedPackets == 0 {
			t.Errorf("held %v, dropped %d retransmissions; the server sends again after 200 ms", c.Held, c.DroppedPackets)
		}
		s := settled(t, q.Queues)
		if got := s.Queues[0].Dropped["retransmission_of_held"]; got != uint64(c.DroppedPackets) || got != s.Queues[0].Verdicts["drop"] {
			t.Errorf("%d drops of retransmissions, %d drops, the session says %d", got, s.Queues[0].Verdicts["drop"], c.DroppedPackets)
		}
	})
}

func testHoldEndsEarly(t *testing.T, reader string) {
	for _, c := range []struct {
		why  string
		done func(t *testing.T, q *inTheBox, client, remote net.Conn)
	}{
		{"Unhold", func(t *testing.T, q *inTheBox, client, _ net.Conn) {
			if n := q.Unhold(func(f Flow, _ any) bool { return f.Client.String() == client.LocalAddr().String() }); n != 1 {
				t.Errorf("let go of %d packets", n)
			}
			line(t, client)
		}},
		{"the client closes", func(t *testing.T, _ *inTheBox, client, remote net.Conn) {
			client.(*net.TCPConn).CloseWrite()
			line(t, client)
		}},
		{"the client resets", func(t *testing.T, _ *inTheBox, client, remote net.Conn) {
			client.(*net.TCPConn).SetLinger(0)
			client.Close()
		}},
		{"the server closes", func(t *testing.T, _ *inTheBox, client, remote net.Conn) {
			remote.Close()
			line(t, client)
		}},
		{"we stop", func(t *testing.T, q *inTheBox, client, _ net.Conn) {
			if err := q.stop(); err != nil {
				t.Error(err)
			}
			line(t, client)
		}},
	} {
		t.Run(c.why, func(t *testing.T) {
			r := newRig(t, 1)
			p := &policy{opening: func(Flow) Opening { return Opening{Action: Hold, Hold: time.Hour} }}
			q := r.run(Config{Reader: reader, Policy: p})
			l := r.inter.listen(25)
			client, remote := r.connect(t, l, server4)
			say(t, remote, "220 ready")
			nfqtest.Eventually(t, "the greeting is held", func() bool { return q.Stats().Held == 1 })
			c.done(t, q, client, remote)
			nfqtest.Eventually(t, "nothing is held", func() bool { return q.Stats().Held == 0 })
			q.stop()
			balanced(t, q.Stats())
			if n := len(p.closed()); n != 1 {
				t.Errorf("closed %d times", n)
			}
		})
	}
}

func testDefer(t *testing.T, reader string) {
	bothFamilies(t, func(t *testing.T, server netip.Addr) {
		r := newRig(t, 1)
		p := &policy{opening: func(Flow) Opening { return Opening{Action: Defer} }}
		q := r.run(Config{Reader: reader, Policy: p})
		responder := r.box.listen(responderPort)
		client, err := r.sub.dial(server, 25, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		say(t, accept(t, responder), "421 4.7.0 later")
		if got := line(t, client); got != "421 4.7.0 later" {
			t.Errorf("the client was told %q", got)
		}
		if n := len(p.closed()); n != 1 {
			t.Errorf("closed %d times", n)
		}
		s := settled(t, q.Queues)
		if s.Queues[0].Packets != 1 || s.Queues[0].Verdicts["deferred"] != 1 {
			t.Errorf("%d packets reached us, %d were deferred; only the SYN should", s.Queues[0].Packets, s.Queues[0].Verdicts["deferred"])
		}
	})
}

func testResetAtOpen(t *testing.T, reader string) {
	bothFamilies(t, func(t *testing.T, server netip.Addr) {
		r := newRig(t, 1)
		p := &policy{opening: func(Flow) Opening { return Opening{Action: Reset} }}
		q := r.run(Config{Reader: reader, Policy: p})
		r.inter.listen(25)
		if _, err := r.sub.dial(server, 25, 10*time.Second); !isReset(err) {
			t.Errorf("connect: %v, want a reset", err)
		}
		if c := p.closed(); len(c) != 1 || c[0].EndReason != session.EndCut {
			t.Errorf("closed %+v", c)
		}
		settled(t, q.Queues)
	})
}

func testResetRunning(t *testing.T, reader string) {
	r := newRig(t, 1)
	p := &policy{}
	q := r.run(Config{Reader: reader, Policy: p})
	l := r.inter.listen(25)
	client, remote := r.connect(t, l, server4)
	other, otherRemote := r.connect(t, l, server4)
	for _, c := range []net.Conn{remote, otherRemote} {
		say(t, c, "220 ready")
	}
	line(t, client)
	line(t, other)
	q.Reset(func(f Flow, handle any) bool { return handle == 1 && f.Client.String() == client.LocalAddr().String() })
	nfqtest.Eventually(t, "the session is closed as cut", func() bool {
		c := p.closed()
		return len(c) == 1 && c[0].EndReason == session.EndCut && c[0].handle == 1
	})
	for _, end := range []net.Conn{client, remote} { // both ends are told, each on its next packet
		var err error
		nfqtest.Eventually(t, "a reset", func() bool {
			_, err = end.Write([]byte("NOOP\r\n"))
			return err != nil
		})
		if !isReset(err) {
			t.Errorf("write: %v, want a reset", err)
		}
	}
	say(t, other, "QUIT")
	line(t, otherRemote)
	settled(t, q.Queues)
}

func testOddPackets(t *testing.T, reader string) {
	r := newRig(t, 1)
	p := &policy{}
	q := r.run(Config{Reader: reader, Policy: p})
	// Most of these conntrack calls invalid, and the ruleset then keeps them from
	// us; where conntrack does not look we must cope with them.
	r.box.Must(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader("table inet other { chain c { type filter hook prerouting priority -310; ip saddr " + subscriber4.String() + " tcp sport 4000 notrack; }; }")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft (Debian package nftables): %w: %s", err, out)
		}
		return nil
	})
	from4, to4 := netip.AddrPortFrom(subscriber4, 4000), netip.AddrPortFrom(server4, 25)
	from6, to6 := netip.AddrPortFrom(subscriber6, 4000), netip.AddrPortFrom(server6, 25)
	good := nfqtest.TCP{Src: from4, Dst: to4, Seq: 1, Flags: packet.ACK | packet.PSH, Payload: []byte("NOOP\r\n")}

	badOffset := good.Packet()
	badOffset[20+12] = 0x40 // 16 bytes of header
	beyond := good.Packet()
	beyond[20+12] = 0xf0
	stray := nfqtest.TCP{Src: from4, Dst: to4, Seq: 1, Flags: packet.RST}
	fin := nfqtest.TCP{Src: from4, Dst: to4, Seq: 1, Flags: packet.FIN | packet.ACK}
	options := nfqtest.TCP{Src: from6, Dst: to6, Seq: 1, Flags: packet.ACK, Extensions: []nfqtest.Extension{{Kind: 60, Body: []byte{1, 4, 0, 0, 0, 0}}}}
	syn6 := options
	syn6.Flags, syn6.Seq = packet.SYN, 0
	mid := nfqtest.TCP{Src: netip.AddrPortFrom(subscriber6, 4001), Dst: to6, Seq: 1, Flags: packet.ACK, Extensions: options.Extensions}

	r.inject(badOffset, beyond, stray.Packet(), fin.Packet(), syn6.Packet(), options.Packet(), mid.Packet())
	var s QueueStats
	nfqtest.Eventually(t, "all packets", func() bool { s = q.Stats().Queues[0]; return s.Packets >= 7 })
	want := map[string]uint64{"bad_tcp_offset": 2, "stray": 2, "empty": 1, "mid_air": 1}
	for why, n := range want {
		if s.Passed[why] < n { // the server's resets come on top
			t.Errorf("passed %d packets as %s, want %d or more", s.Passed[why], why, n)
		}
	}
	if len(p.opened()) != 1 || p.opened()[0] != (Flow{from6, to6}) {
		t.Errorf("opened %v: the SYN behind an extension header", p.opened())
	}
	settled(t, q.Queues)
}

func testMidAir(t *testing.T, reader string) {
	r := newRig(t, 1) // rules, but no reader: they bypass
	l := r.inter.listen(25)
	client, remote := r.connect(t, l, server4)
	say(t, remote, "220 ready")
	line(t, client)

	p := &policy{}
	q := r.run(Config{Reader: reader, Policy: p})
	say(t, client, "EHLO client")
	line(t, remote)
	say(t, remote, "250 hello")
	line(t, client)
	s := settled(t, q.Queues)
	if s.Queues[0].MidAir != 1 || s.Queues[0].Passed["mid_air"] == 0 {
		t.Errorf("%d flows in mid-air, %d packets of them", s.Queues[0].MidAir, s.Queues[0].Passed["mid_air"])
	}
	if err := q.stop(); err != nil {
		t.Error(err)
	}
	c := p.closed()
	if len(p.opened()) != 0 || len(c) != 1 || c[0].handle != nil || !c[0].Unknown || c[0].EndReason != session.EndShutdown {
		t.Errorf("opened %v, closed %+v", p.opened(), c)
	}
}

func testHalfOpen(t *testing.T, reader string) {
	r := newRig(t, 1)
	p := &policy{}
	q := r.open(Config{Reader: reader, Policy: p})
	q.workers[0].timeouts[halfOpen] = 50 * time.Millisecond
	run := r.start(q)
	syn := nfqtest.TCP{Src: netip.AddrPortFrom(subscriber4, 4000), Dst: netip.AddrPortFrom(netip.MustParseAddr("10.0.2.99"), 25), Seq: 1, Flags: packet.SYN}
	r.inject(syn.Packet(), syn.Packet())
	nfqtest.Eventually(t, "the flow is forgotten", func() bool { return len(p.closed()) == 1 && q.Stats().Flows == 0 })
	s := run.Stats().Queues[0]
	if len(p.opened()) != 1 || s.Ended["half_open"] != 1 || s.Packets != 2 {
		t.Errorf("%d packets, opened %d, half-open %d", s.Packets, len(p.opened()), s.Ended["half_open"])
	}
	settled(t, q)
}

func testBulk(t *testing.T, reader string) {
	r := newRig(t, 1)
	q := r.run(Config{Reader: reader, Policy: &policy{}})
	l := r.inter.listen(25)
	client, remote := r.connect(t, l, server4)
	want := bytes.Repeat([]byte("all of this comes through the queue, in packets of up to 64 KiB\r\n"), 1<<16)
	go func() {
		client.Write(want)
		client.(*net.TCPConn).CloseWrite()
	}()
	remote.SetReadDeadline(time.Now().Add(30 * time.Second))
	got, err := io.ReadAll(remote)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes of %d, error %v", len(got), len(want), err)
	}
	settled(t, q.Queues)
}

func testSecondBinder(t *testing.T, reader string) {
	r := newRig(t, 1)
	r.run(Config{Reader: reader, Policy: &policy{}})
	r.box.Must(func() error {
		if _, err := Open(Config{Reader: reader, Policy: &policy{}, Ports: []uint16{25}}); !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("second Open: %v, want EPERM", err)
		}
		return nil
	})
}

func testStaleVerdict(t *testing.T, reader string) {
	r := newRig(t, 1)
	q := r.run(Config{Reader: reader, Policy: &policy{}})
	if err := q.workers[0].reader.send([]verdict{{id: 4711}}); err != nil {
		t.Fatal(err)
	}
	nfqtest.Eventually(t, "the kernel's complaint", func() bool { return q.Stats().Queues[0].Stale == 1 })
	l := r.inter.listen(25)
	r.connect(t, l, server4) // and it goes on reading
}
