package lane

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

func TestExactlyAsManySessionsBeginAsWereGranted(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	h.lease(sub4, 3, 5)
	for i := range uint16(8) {
		ip := connection(sub4, 1000+i, inter4, 25, 9).syn().Packet()
		verdict, mark := h.up(ip)
		copies := h.copied()
		if i < 5 {
			if verdict != goOn || mark != 0x0b000000 {
				t.Fatalf("SYN %d of 5: verdict %d, mark %#x", i, verdict, mark)
			}
			if len(copies) != 1 || !copies[0].Token || copies[0].Down || copies[0].Lease != 3 || !bytes.Equal(copies[0].IP, ip) || copies[0].Length != len(ip) {
				t.Fatalf("SYN %d of 5: copies %+v", i, copies)
			}
			if h.Tokens(3) != 4-int32(i) {
				t.Fatalf("%d tokens after SYN %d", h.Tokens(3), i)
			}
			continue
		}
		if verdict != goOn || mark != 0 || len(copies) != 0 || h.Tokens(3) != 0 {
			t.Fatalf("SYN %d, beyond the lease: verdict %d, mark %#x, copies %v, tokens %d", i, verdict, mark, copies, h.Tokens(3))
		}
		if found, err := h.SetState(connection(sub4, 1000+i, inter4, 25, 9).Key, 9, See); found || err != nil {
			t.Fatalf("SYN %d, beyond the lease, has left a flow (%v)", i, err)
		}
	}
	if s := h.stats(); s.SYNFast != 5 || s.SYNQueue.Token != 3 || s.Copies != 5 || s.Fast != 5 {
		t.Errorf("stats %+v", s)
	}
	h.Grant(3, 2)
	if left := h.Recall(3); left != 2 || h.Tokens(3) != 0 {
		t.Errorf("recalled %d, left %d", left, h.Tokens(3))
	}
}

func TestASYNAsksWhen(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	h.lease(sub4, 1, 100)
	h.lease(sub6, 1, 0)
	c4, c6 := connection(sub4, 2000, inter4, 25, 5), connection(sub6, 2000, inter6, 25, 5)
	withData, withFIN, withRST := c4.syn(), c4.syn(), c4.syn()
	withData.Payload = []byte("EHLO")
	withFIN.Flags |= packet.FIN
	withRST.Flags |= packet.RST
	for i, row := range []struct {
		why   string
		set   func()
		p     nfqtest.TCP
		fast  bool
		count func(Stats) uint64
	}{
		{"everything is right", nil, c4.syn(), true, func(s Stats) uint64 { return s.SYNFast }},
		{"the same in IPv6", nil, c6.syn(), true, func(s Stats) uint64 { return s.SYNFast }},
		{"another subscriber's address has no lease", nil, connection(other4, 2000, inter4, 25, 5).syn(), false, func(s Stats) uint64 { return s.SYNQueue.Unknown }},
		{"only the exact IPv6 address is known, not its neighbour", nil, connection(sub6.Next(), 2000, inter6, 25, 5).syn(), false, func(s Stats) uint64 { return s.SYNQueue.Unknown }},
		{"payload in a SYN", nil, withData, false, func(s Stats) uint64 { return s.SYNQueue.Odd }},
		{"FIN in a SYN", nil, withFIN, false, func(s Stats) uint64 { return s.SYNQueue.Odd }},
		{"RST in a SYN", nil, withRST, false, func(s Stats) uint64 { return s.SYNQueue.Odd }},
		{"to another subscriber, neighbour unknown", nil, connection(sub4, 2000, other4, 25, 5).syn(), false, func(s Stats) uint64 { return s.SYNQueue.Inside }},
		{"to another subscriber in IPv6", nil, connection(sub6, 2000, other6, 25, 5).syn(), false, func(s Stats) uint64 { return s.SYNQueue.Inside }},
		{"user space has not been alive for a while", func() { h.Alive(0) }, c4.syn(), false, func(s Stats) uint64 { return s.SYNQueue.NotAlive }},
		{"and is again", func() { h.Alive(time.Hour) }, c4.syn(), true, func(s Stats) uint64 { return s.SYNFast }},
		{"another generation", func() { h.Forget() }, c4.syn(), false, func(s Stats) uint64 { return s.SYNQueue.Stale }},
		{"known again", func() { h.lease(sub4, 1, 0) }, c4.syn(), true, func(s Stats) uint64 { return s.SYNFast }},
		{"dropped from the known", func() { _ = h.DropSource(sub4) }, c4.syn(), false, func(s Stats) uint64 { return s.SYNQueue.Unknown }},
		{"the other lease of the same address has nothing", func() { h.lease(sub4, 2, 0) }, c4.syn(), false, func(s Stats) uint64 { return s.SYNQueue.Token }},
	} {
		if row.set != nil {
			row.set()
		}
		before := h.stats()
		row.p.Src = netip.AddrPortFrom(row.p.Src.Addr(), row.p.Src.Port()+uint16(i)) // a flow of its own
		verdict, mark := h.up(row.p.Packet())
		if verdict != goOn || (mark == 0x0b000000) != row.fast || (mark == 0) == row.fast {
			t.Errorf("%s: verdict %d, mark %#x", row.why, verdict, mark)
		}
		if row.count(h.stats()) != row.count(before)+1 {
			t.Errorf("%s: not counted; before %+v, after %+v", row.why, before, h.stats())
		}
	}
}

func TestARetransmittedSYNTakesNoToken(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	h.lease(sub4, 1, 2)
	c := connection(sub4, 3000, inter4, 25, 100)
	other, third := c, c
	other.isn, third.isn = 101, 102
	const fast, see = 0x0b000000, 0x01000000
	for _, row := range []struct {
		why   string
		set   func()
		c     conn
		mark  uint32
		token bool
		left  int32
	}{
		{"the first", nil, c, fast, true, 1},
		{"the same again", nil, c, fast, false, 1},
		{"again, while nobody may begin one", func() { h.Forget() }, c, fast, false, 1},
		{"another ISN is another session", func() { h.lease(sub4, 1, 0) }, other, fast, true, 0},
		{"it came again, without a token left", nil, other, fast, false, 0},
		{"the first once more is a session of its own now, and asks; the follower knows of the flow", nil, c, see, false, 0},
		{"which has ended the flow: not even its own SYN is known", nil, other, 0, false, 0},
		{"who has waited waits when he comes again, also with a token", func() { h.Grant(1, 2) }, other, 0, false, 2},
		{"but not with another session", nil, third, fast, true, 1},
		{"handed over, the same SYN is for the queue", func() { _, _ = h.SetState(third.Key, 102, Handed) }, third, see, false, 1},
		{"and so is another one", nil, c, see, false, 1},
	} {
		if row.set != nil {
			row.set()
		}
		_, mark := h.up(row.c.syn().Packet())
		if mark != row.mark || h.Tokens(1) != row.left {
			t.Errorf("%s: mark %#x, %d tokens left", row.why, mark, h.Tokens(1))
		}
		copies := h.copied()
		if row.mark != fast {
			if len(copies) != 0 {
				t.Errorf("%s: copies %+v", row.why, copies)
			}
			continue
		}
		if len(copies) != 1 || copies[0].Token != row.token {
			t.Errorf("%s: copies %+v", row.why, copies)
		}
	}
}
