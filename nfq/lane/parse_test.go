package lane

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// withOptions puts words of NOPs behind an IPv4 header.
func withOptions(ip []byte, words int) []byte {
	out := append([]byte(nil), ip[:20]...)
	for range words * 4 {
		out = append(out, 1)
	}
	out = append(out, ip[20:]...)
	out[0] += byte(words)
	return changed(out, func(b []byte) { binary.BigEndian.PutUint16(b[2:], uint16(len(b))) })
}

// changed is a copy of an IP packet with something else in it.
func changed(ip []byte, f func(b []byte)) []byte {
	b := append([]byte(nil), ip...)
	f(b)
	return b
}

func TestWhichPacketsAreOurs(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	h.lease(sub4, 1, 1000)
	h.lease(sub6, 1, 0)
	c4, c6 := connection(sub4, 4000, inter4, 25, 1), connection(sub6, 4000, inter6, 25, 1)
	syn4, syn6 := c4.syn().Packet(), c6.syn().Packet()
	port := func(p uint16) []byte { return connection(sub4, 4000, inter4, p, 1).syn().Packet() }
	extended := func(kind byte) []byte {
		p := c6.syn()
		p.Extensions = []nfqtest.Extension{{Kind: kind, Body: []byte{0, 0, 0, 0, 0, 0}}}
		return p.Packet()
	}
	mapped := changed(syn6, func(b []byte) {
		from := netip.AddrFrom16(sub4.As16()).As16() // the lease's own address, as IPv6 on the wire
		copy(b[8:], from[:])
	})
	for _, row := range []struct {
		why     string
		program string
		frame   []byte
		ours    bool
	}{
		{"IPv4 over Ethernet", programProgSubscriberEth, ethernet(syn4), true},
		{"IPv6 over Ethernet", programProgSubscriberEth, ethernet(syn6), true},
		{"IPv4 with one word of options", programProgSubscriberEth, ethernet(withOptions(syn4, 1)), true},
		{"IPv4 with all options there can be", programProgSubscriberEth, ethernet(withOptions(syn4, 10)), true},
		{"a VLAN tag", programProgSubscriberEth, ethernet(syn4, 0x8100), true},
		{"a VLAN tag before IPv6", programProgSubscriberEth, ethernet(syn6, 0x8100), true},
		{"a service tag and a VLAN tag", programProgSubscriberEth, ethernet(syn4, 0x88a8, 0x8100), true},
		{"two VLAN tags before options", programProgSubscriberEth, ethernet(withOptions(syn4, 3), 0x8100, 0x8100), true},
		{"three tags", programProgSubscriberEth, ethernet(syn4, 0x88a8, 0x8100, 0x8100), false},
		{"IPv4 without Ethernet", programProgSubscriberIp, syn4, true},
		{"IPv6 without Ethernet", programProgSubscriberIp, syn6, true},
		{"options without Ethernet", programProgSubscriberIp, withOptions(syn4, 2), true},
		{"neither IPv4 nor IPv6", programProgSubscriberIp, changed(syn4, func(b []byte) { b[0] = 0x55 }), false},
		{"IPv6 by its type, IPv4 by its version", programProgSubscriberEth, append(ethernet(syn6)[:14], syn4...), false},
		{"the second governed port", programProgSubscriberEth, ethernet(port(465)), true},
		{"a port beside", programProgSubscriberEth, ethernet(port(26)), false},
		{"a port one word of the bit map away", programProgSubscriberEth, ethernet(port(25 + 32)), false},
		{"the highest port", programProgSubscriberEth, ethernet(port(65535)), false},
		{"TTL 2", programProgSubscriberEth, ethernet(changed(syn4, func(b []byte) { b[8] = 2 })), true},
		{"TTL 1: it ends here", programProgSubscriberEth, ethernet(changed(syn4, func(b []byte) { b[8] = 1 })), false},
		{"TTL 0", programProgSubscriberEth, ethernet(changed(syn4, func(b []byte) { b[8] = 0 })), false},
		{"hop limit 1", programProgSubscriberEth, ethernet(changed(syn6, func(b []byte) { b[7] = 1 })), false},
		{"a first fragment", programProgSubscriberEth, ethernet(changed(syn4, func(b []byte) { b[6] = 0x20 })), false},
		{"a last fragment", programProgSubscriberEth, ethernet(changed(syn4, func(b []byte) { b[6], b[7] = 0, 9 })), false},
		{"don't fragment is no fragment", programProgSubscriberEth, ethernet(changed(syn4, func(b []byte) { b[6] = 0x40 })), true},
		{"hop-by-hop options", programProgSubscriberEth, ethernet(extended(0)), false},
		{"destination options", programProgSubscriberEth, ethernet(extended(60)), false},
		{"an IPv6 fragment", programProgSubscriberEth, ethernet(extended(44)), false},
		{"UDP", programProgSubscriberEth, ethernet(changed(syn4, func(b []byte) { b[9] = 17 })), false},
		{"UDP in IPv6", programProgSubscriberEth, ethernet(changed(syn6, func(b []byte) { b[6] = 17 })), false},
		{"an IPv4 address in IPv6 would take the lease of another", programProgSubscriberEth, ethernet(mapped), false},
		{"an IPv4 header of four words", programProgSubscriberEth, ethernet(changed(syn4, func(b []byte) { b[0] = 0x44 })), false},
		{"a length beyond the frame", programProgSubscriberEth, ethernet(changed(syn4, func(b []byte) { b[3]++ })), false},
		{"a length beyond the frame in IPv6", programProgSubscriberEth, ethernet(changed(syn6, func(b []byte) { b[5]++ })), false},
		{"no length: as the kernel marks joined packets", programProgSubscriberEth, ethernet(changed(syn4, func(b []byte) { b[2], b[3] = 0, 0 })), true},
		{"no length in IPv6", programProgSubscriberEth, ethernet(changed(syn6, func(b []byte) { b[4], b[5] = 0, 0 })), true},
		{"a length that cuts the TCP header", programProgSubscriberEth, ethernet(changed(syn4, func(b []byte) { b[3] = 39 })), false},
		{"a TCP header of four words", programProgSubscriberEth, ethernet(changed(syn4, func(b []byte) { b[32] = 0x40 })), false},
		{"a TCP header longer than the packet", programProgSubscriberEth, ethernet(changed(syn4, func(b []byte) { b[32] = 0xf0 })), false},
		{"Ethernet's padding", programProgSubscriberEth, append(ethernet(syn4), make([]byte, 30)...), true},
		{"a SYN to a server among the subscribers", programProgUpstreamEth, ethernet(syn4), false},
		{"a SYN of a server", programProgUpstreamEth, ethernet(changed(c4.down(0, "").Packet(), func(b []byte) { b[33] = 2 })), false},
	} {
		verdict, mark := h.run(row.program, "lan0", row.frame, 0)
		if verdict != goOn || (mark == 0x0b000000) != row.ours || (mark == 0) == row.ours {
			t.Errorf("%s: verdict %d, mark %#x", row.why, verdict, mark)
		}
		copies := h.copied()
		if row.ours != (len(copies) == 1) {
			t.Errorf("%s: %d copies", row.why, len(copies))
		}
	}
	if s := h.stats(); s.SYNQueue != (SYNQueue{}) || s.SYNFast == 0 {
		t.Errorf("what is not ours was counted: %+v", s)
	}
	// Whatever is cut short, the program takes its hands off.
	for _, whole := range [][]byte{ethernet(syn4), ethernet(syn6), ethernet(syn4, 0x88a8, 0x8100), ethernet(withOptions(syn4, 10))} {
		for n := 14 + 40; n < len(whole); n++ { // the kernel makes no test packet of half an IP header
			if verdict, mark := h.run(programProgSubscriberEth, "lan0", whole[:n], 0); verdict != goOn || mark != 0 {
				t.Errorf("%d bytes of %d: verdict %d, mark %#x", n, len(whole), verdict, mark)
			}
		}
	}
}

func TestMarkBitsOfOthersKeepTheirValue(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	h.lease(sub4, 1, 1)
	c := connection(sub4, 4000, inter4, 25, 1)
	for _, row := range []struct {
		why           string
		set           func()
		ip            []byte
		before, after uint32
	}{
		{"let through", nil, c.syn().Packet(), 0xf4ffffff, 0xfbffffff},
		{"let through, nothing set", nil, c.syn().Packet(), 0, 0x0b000000},
		{"left alone: the whole mark stays", nil, connection(sub4, 1, inter4, 80, 1).syn().Packet(), 0xf4ffffff, 0xf4ffffff},
		{"the way of the queue: the whole mark stays", nil, connection(sub4, 1, inter4, 25, 1).syn().Packet(), 0xf4ffffff, 0xf4ffffff},
		{"for the queue to see", func() { _, _ = h.SetState(c.Key, 1, Handed) }, c.up(0x10, "x").Packet(), 0xf4ffffff, 0xf1ffffff},
	} {
		if row.set != nil {
			row.set()
		}
		if _, mark := h.run(programProgSubscriberEth, "lan0", ethernet(row.ip), row.before); mark != row.after {
			t.Errorf("%s: mark %#x became %#x, want %#x", row.why, row.before, mark, row.after)
		}
	}
}
