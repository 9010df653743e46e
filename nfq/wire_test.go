package nfq

import (
	"errors"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/packet"
)

// wire sends and hears IPv4 packets at one end of a cable to the box, whatever is in them.
type wire struct {
	fd    int
	index int
	to    [6]byte // the box's address at its end
	buf   [9216]byte
}

// wire opens the cable at link of s, of which far is the end in the box.
func (r *rig) wire(s space, link, far string) *wire {
	r.t.Helper()
	w := &wire{fd: -1}
	r.box.Must(func() error {
		l, err := netlink.LinkByName(far)
		if err == nil {
			copy(w.to[:], l.Attrs().HardwareAddr)
		}
		return err
	})
	s.Must(func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		w.index = l.Attrs().Index
		const ip = 0x0008 // ETH_P_IP, big endian on a little endian machine
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, ip); err != nil {
			return err
		}
		return unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: ip, Ifindex: w.index})
	})
	r.t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

func (w *wire) send(t testing.TB, ip []byte) {
	t.Helper()
	to := &unix.SockaddrLinklayer{Ifindex: w.index, Halen: 6, Protocol: 0x0008}
	copy(to.Addr[:], w.to[:])
	if err := unix.Sendto(w.fd, ip, 0, to); err != nil {
		t.Fatalf("send %d bytes: %v", len(ip), err)
	}
}

// hear gives every packet that has come from the box by now. It is borrowed until the next one.
func (w *wire) hear(t testing.TB, each func(ip []byte)) {
	t.Helper()
	for {
		n, from, err := unix.Recvfrom(w.fd, w.buf[:], 0)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
		if err != nil {
			t.Fatalf("hear: %v", err)
		}
		if at, ok := from.(*unix.SockaddrLinklayer); ok && at.Pkttype != unix.PACKET_OUTGOING {
			each(w.buf[:n])
		}
	}
}

// play gives packets of scripts to the box one by one, and waits each time for what becomes of it.
type play struct {
	t          testing.TB
	q          *Queues
	sub, inter *wire
	came       map[string]int // packets that left the box on the other side: what follows the TTL and the checksum
	refused    bool           // somebody was answered with a reset
}

// behind is what a router does not change of an IPv4 packet without options.
func behind(ip []byte) string { return string(ip[12:]) }

func (p *play) hear(from *wire, sent *packet.Segment) {
	for _, w := range []*wire{p.sub, p.inter} {
		w.hear(p.t, func(ip []byte) {
			var s packet.Segment
			if packet.Decode(ip, &s) != packet.OK {
				return
			}
			if w == from && s.Src == sent.Dst && s.Dst == sent.Src && s.Flags.Has(packet.RST) {
				p.refused = true
				return
			}
			p.came[behind(ip)]++
		})
	}
}

// listen waits until something is to be heard, but not long: of a packet that is held nothing is.
func (p *play) listen() {
	p.t.Helper()
	some := []unix.PollFd{{Fd: int32(p.sub.fd), Events: unix.POLLIN}, {Fd: int32(p.inter.fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(some, 1); err != nil && !errors.Is(err, unix.EINTR) {
		p.t.Fatalf("poll: %v", err)
	}
}

// send is one packet: "passed", "refused", "held" or "dropped".
func (p *play) send(ip []byte) string {
	p.t.Helper()
	var s packet.Segment
	if why := packet.Decode(ip, &s); why != packet.OK {
		p.t.Fatal(why)
	}
	from, key := p.inter, Flow{s.Dst, s.Src}
	if s.Dst.Port() == 25 {
		from, key = p.sub, Flow{s.Src, s.Dst}
	}
	what := behind(ip)
	before, dropped := p.came[what], p.at(key).dropped
	p.refused = false
	from.send(p.t, ip)
	for end := time.Now().Add(20 * time.Second); ; {
		p.listen()
		p.hear(from, &s)
		at := p.at(key)
		switch {
		case p.came[what] > before:
			return "passed"
		case p.refused:
			return "refused"
		case at.held && at.heldSeq == s.Seq:
			return "held"
		case at.dropped > dropped:
			return "dropped"
		case time.Now().After(end):
			p.t.Fatalf("never came, and nobody has it: %v %v seq %d, %d bytes, flags %v; stats %+v", s.Src, s.Dst, s.Seq, len(s.Payload), s.Flags, p.q.Stats())
		}
	}
}

// released tells whether a packet that was held has left the box.
func (p *play) released(ip []byte) bool {
	p.hear(nil, nil)
	return p.came[behind(ip)] > 0
}

type flowNow struct {
	held    bool
	heldSeq uint32
	dropped int
}

// at is what the queues' workers have of a flow.
func (p *play) at(key Flow) (n flowNow) {
	for _, w := range p.q.queues() {
		w.mu.Lock()
		if f := w.table.flows.find(key); f != nil {
			n.dropped = f.dropped
			if f.held != nil {
				n.held, n.heldSeq = true, f.held.first
			}
		}
		w.mu.Unlock()
	}
	return n
}
