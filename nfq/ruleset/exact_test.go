package ruleset

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// TestPureACKMatchIsExact sends every length of TCP header with and without
// payload and with all sorts of flags: what passes is a pure ACK, and every
// pure ACK passes. The checksums are wrong, so that nobody answers.
func TestPureACKMatchIsExact(t *testing.T) {
	both(t, func(t *testing.T, r *rig, a addresses) {
		l := r.listen([]uint16{10}, nil)
		rs := r.apply(options())
		// These belong to no connection and have no checksum: without conntrack
		// nobody calls them invalid before they come to the match.
		r.box.nft("table inet other { chain c { type filter hook prerouting priority -310; tcp dport 25 notrack; }; }", "-f", "-")
		type segment struct {
			words, payload int
			flags          byte
		}
		var all []segment
		for words := 5; words <= 15; words++ {
			for _, payload := range []int{0, 1, 2, 3, 4, 8, 12, 20, 40, 1000} {
				for _, flags := range []byte{0x10, 0x18, 0x30, 0xd0, 0x00, 0x08, 0x11, 0x12, 0x02, 0x14, 0x04, 0x17} {
					all = append(all, segment{words, payload, flags})
				}
			}
		}
		pure := 0
		var packets [][]byte
		for i, s := range all {
			if s.payload == 0 && s.flags&flagACK != 0 && s.flags&(flagSYN|flagFIN|flagRST) == 0 {
				pure++
			}
			packets = append(packets, a.rawTCP(uint32(i), s.words, s.payload, s.flags))
		}
		a.send(t, r, packets)
		queued := len(all) - pure
		nfqtest.Eventually(t, fmt.Sprintf("%d segments are queued and %d pass", queued, pure), func() bool {
			c := counters(t, rs)
			return c.QueuedUp.Packets+c.PureACK.Packets == uint64(len(all)) && l.count(func(packet) bool { return true }) == int(c.QueuedUp.Packets)
		})
		if c := counters(t, rs); c.PureACK.Packets != uint64(pure) {
			t.Errorf("%d segments passed as pure ACKs, want %d", c.PureACK.Packets, pure)
		}
		if n := l.count(func(p packet) bool { return isPureACK(p) && p.flags&flagACK != 0 }); n != 0 {
			t.Errorf("%d pure ACKs were queued", n)
		}
		t.Logf("%d segments, %d of them pure ACKs", len(all), pure)
	})
}

// rawTCP makes an IP packet around a TCP segment to port 25.
func (a addresses) rawTCP(seq uint32, words, payload int, flags byte) []byte {
	tcp := make([]byte, 4*words+payload)
	binary.BigEndian.PutUint16(tcp[0:], 40000)
	binary.BigEndian.PutUint16(tcp[2:], 25)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	tcp[12], tcp[13] = byte(words<<4), flags
	for i := 20; i < 4*words; i++ {
		tcp[i] = 1 // NOP
	}
	src, dst := netip.MustParseAddr(a.sub), netip.MustParseAddr(a.inter)
	if src.Is4() {
		ip := make([]byte, 20, 20+len(tcp))
		ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_TCP // the kernel fills in length and checksum
		copy(ip[12:], src.AsSlice())
		copy(ip[16:], dst.AsSlice())
		return append(ip, tcp...)
	}
	ip := make([]byte, 40, 40+len(tcp))
	ip[0], ip[6], ip[7] = 0x60, unix.IPPROTO_TCP, 64
	binary.BigEndian.PutUint16(ip[4:], uint16(len(tcp)))
	copy(ip[8:], src.AsSlice())
	copy(ip[24:], dst.AsSlice())
	return append(ip, tcp...)
}

// send puts finished IP packets on the wire at the subscriber.
func (a addresses) send(t *testing.T, r *rig, packets [][]byte) {
	t.Helper()
	dst := netip.MustParseAddr(a.inter)
	r.sub.Must(func() error {
		family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: dst.As16()})
		if dst.Is4() {
			family, to = unix.AF_INET, &unix.SockaddrInet4{Addr: dst.As4()}
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		for _, p := range packets {
			if err := unix.Sendto(fd, p, 0, to); err != nil {
				return err
			}
		}
		return nil
	})
}

// What conntrack calls invalid passes, is counted, and does not come to us: a
// segment with a wrong checksum would hide the real one from the tracker.
func TestInvalidPassesUnseen(t *testing.T) {
	both(t, func(t *testing.T, r *rig, a addresses) {
		l := r.listen([]uint16{10}, nil)
		rs := r.apply(options())
		a.send(t, r, [][]byte{a.rawTCP(1, 5, 10, flagACK), a.rawTCP(2, 5, 10, flagSYN|flagFIN)})
		nfqtest.Eventually(t, "two invalid segments pass", func() bool { return counters(t, rs).Invalid.Packets == 2 })
		if n := l.count(func(packet) bool { return true }); n != 0 {
			t.Errorf("%d of them were queued", n)
		}
	})
}

// A packet that gets no further than the box is nothing that the server knows.
func TestWhatEndsHerePassesUnseen(t *testing.T) {
	both(t, func(t *testing.T, r *rig, a addresses) {
		l := r.listen([]uint16{10}, nil)
		rs := r.apply(options())
		r.box.nft("table inet other { chain c { type filter hook prerouting priority -310; tcp dport 25 notrack; }; }", "-f", "-")
		var packets [][]byte
		for i, hops := range []byte{1, 2, 1} {
			p := a.rawTCP(uint32(i), 5, 10, flagACK)
			if p[0]>>4 == 4 {
				p[ipv4TTL] = hops
			} else {
				p[ipv6HopLimit] = hops
			}
			packets = append(packets, p)
		}
		a.send(t, r, packets)
		nfqtest.Eventually(t, "two pass and one is queued", func() bool {
			return counters(t, rs).Invalid.Packets == 2 && l.count(func(packet) bool { return true }) == 1
		})
	})
}
