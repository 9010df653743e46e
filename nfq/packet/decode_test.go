package packet_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

var (
	client4 = netip.MustParseAddrPort("192.0.2.1:40000")
	server4 = netip.MustParseAddrPort("198.51.100.2:25")
	client6 = netip.MustParseAddrPort("[2001:db8::1]:40000")
	server6 = netip.MustParseAddrPort("[2001:db8:ffff::2]:25")
)

func mail4() nfqtest.TCP {
	return nfqtest.TCP{Src: client4, Dst: server4, Seq: 1000, Ack: 2000, Flags: packet.ACK | packet.PSH, Window: 502,
		Payload: []byte("EHLO client.example\r\n")}
}

func mail6(extensions ...nfqtest.Extension) nfqtest.TCP {
	p := mail4()
	p.Src, p.Dst, p.Extensions = client6, server6, extensions
	return p
}

// edit changes bytes of a packet: alternately where and what.
func edit(ip []byte, changes ...int) []byte {
	for i := 0; i < len(changes); i += 2 {
		ip[changes[i]] = byte(changes[i+1])
	}
	return ip
}

// jumbogram is an IPv6 packet whose length stands in a jumbo option only.
func jumbogram(length uint32, payload int) []byte {
	option := binary.BigEndian.AppendUint32([]byte{0xc2, 4}, length)
	p := mail6(nfqtest.Extension{Kind: 0, Body: option})
	p.Payload = bytes.Repeat([]byte("x"), payload)
	return edit(p.Packet(), 4, 0, 5, 0)
}

func TestDecode(t *testing.T) {
	t.Parallel()
	hop := nfqtest.Extension{Kind: 0, Body: []byte{5, 2, 0, 0, 1, 0}} // router alert
	routing := nfqtest.Extension{Kind: 43, Body: make([]byte, 22)}
	options := nfqtest.Extension{Kind: 60}
	auth := nfqtest.Extension{Kind: 51, Body: make([]byte, 22)}
	atomic := nfqtest.Extension{Kind: 44, Body: []byte{0, 0, 1, 2, 3, 4}}
	first := nfqtest.Extension{Kind: 44, Body: []byte{0, 1, 1, 2, 3, 4}}
	later := nfqtest.Extension{Kind: 44, Body: []byte{0, 8, 1, 2, 3, 4}}
	withOptions := mail4()
	withOptions.Options = []byte{2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7}
	syn := nfqtest.TCP{Src: client4, Dst: server4, Seq: 7, Flags: packet.SYN | packet.ECE | packet.CWR}
	long := mail4()
	long.Payload = bytes.Repeat([]byte("x"), 70000)
	long6 := mail6()
	long6.Payload = long.Payload
	text := string(mail4().Payload)

	tests := []struct {
		why     string
		ip      []byte
		reason  packet.Reason
		payload string
		missing int
	}{
		{"plain IPv4", mail4().Packet(), packet.OK, text, 0},
		{"plain IPv6", mail6().Packet(), packet.OK, text, 0},
		{"TCP options are stepped over", withOptions.Packet(), packet.OK, text, 0},
		{"a SYN carries nothing", syn.Packet(), packet.OK, "", 0},
		{"Ethernet padding is not payload", append(mail4().Packet(), 0, 0, 0, 0), packet.OK, text, 0},
		{"padding behind IPv6 neither", append(mail6().Packet(), 0, 0, 0, 0), packet.OK, text, 0},
		{"a truncated copy says what is missing", mail4().Packet()[:50], packet.OK, text[:10], len(text) - 10},
		{"a copy of the headers alone too", mail6().Packet()[:60], packet.OK, "", len(text)},
		{"GSO above 64 KiB: IPv4 length zero", edit(long.Packet(), 2, 0, 3, 0), packet.OK, string(long.Payload), 0},
		{"GSO above 64 KiB: IPv6 length zero", edit(long6.Packet(), 4, 0, 5, 0), packet.OK, string(long.Payload), 0},
		{"the same with a jumbo option", jumbogram(70000+20+8, 70000), packet.OK, string(long.Payload), 0},
		{"a truncated jumbogram says what is missing", jumbogram(70000+20+8, 60000), packet.OK, string(long.Payload[:60000]), 10000},
		{"a jumbo length that would have fitted is no length", jumbogram(30, 100), packet.OK, string(long.Payload[:100]), 0},
		{"a jumbo length beyond reason neither", jumbogram(1<<31, 100), packet.OK, string(long.Payload[:100]), 0},
		{"IPv4 header options", append(edit(mail4().Packet()[:20:20], 0, 0x46, 3, 24+20+len(text)), append([]byte{1, 1, 1, 0}, mail4().Packet()[20:]...)...), packet.OK, text, 0},
		{"all extension headers at once", mail6(hop, options, routing, atomic, auth, options).Packet(), packet.OK, text, 0},
		{"nine of them", mail6(slices.Repeat([]nfqtest.Extension{options}, 9)...).Packet(), packet.OK, text, 0},
		{"as many as 64 KiB hold", mail6(slices.Repeat([]nfqtest.Extension{options}, (65535-20-len(text))/8)...).Packet(), packet.OK, text, 0},

		{"hop-by-hop options come first or not at all", mail6(options, hop).Packet(), packet.BadExtensionHeader, "", 0},
		{"nothing", nil, packet.TooShort, "", 0},
		{"IPv4 header cut", mail4().Packet()[:19], packet.TooShort, "", 0},
		{"IPv6 header cut", mail6().Packet()[:39], packet.TooShort, "", 0},
		{"IPv4 options cut", edit(mail4().Packet(), 0, 0x4f)[:50], packet.TooShort, "", 0},
		{"extension header cut", mail6(routing).Packet()[:50], packet.TooShort, "", 0},
		{"extension header begins beyond the copy", mail6(routing).Packet()[:44], packet.TooShort, "", 0},
		{"TCP header cut", mail4().Packet()[:39], packet.TooShort, "", 0},
		{"TCP options cut", withOptions.Packet()[:59], packet.TooShort, "", 0},
		{"version 0", edit(mail4().Packet(), 0, 0x05), packet.BadVersion, "", 0},
		{"version 5", edit(mail4().Packet(), 0, 0x55), packet.BadVersion, "", 0},
		{"IPv4 header of 16 bytes", edit(mail4().Packet(), 0, 0x44), packet.BadHeaderLength, "", 0},
		{"IPv4 length inside the IP header", edit(mail4().Packet(), 2, 0, 3, 19), packet.BadTotalLength, "", 0},
		{"IPv4 length inside the TCP header", edit(mail4().Packet(), 2, 0, 3, 39), packet.BadTotalLength, "", 0},
		{"IPv6 length inside an extension header", edit(mail6(routing).Packet(), 5, 7), packet.BadTotalLength, "", 0},
		{"IPv6 length inside a longer one", edit(mail6(routing).Packet(), 5, 23), packet.BadTotalLength, "", 0},
		{"IPv6 length inside the TCP header", edit(mail6().Packet(), 5, 19), packet.BadTotalLength, "", 0},
		{"UDP", edit(mail4().Packet(), 9, 17), packet.NotTCP, "", 0},
		{"ICMPv6", edit(mail6().Packet(), 6, 58), packet.NotTCP, "", 0},
		{"ESP behind an extension header", edit(mail6(options).Packet(), 40, 50), packet.NotTCP, "", 0},
		{"no next header", edit(mail6().Packet(), 6, 59), packet.NotTCP, "", 0},
		{"IPv4 first fragment", edit(mail4().Packet(), 6, 0x20), packet.Fragment, "", 0},
		{"IPv4 later fragment", edit(mail4().Packet(), 6, 0, 7, 1), packet.Fragment, "", 0},
		{"IPv6 first fragment", mail6(first).Packet(), packet.Fragment, "", 0},
		{"IPv6 later fragment", mail6(later).Packet(), packet.Fragment, "", 0},
		{"TCP offset of 16 bytes", edit(mail4().Packet(), 32, 0x40), packet.BadTCPOffset, "", 0},
		{"TCP offset beyond the packet", edit(mail4().Packet(), 32, 0xf0), packet.BadTCPOffset, "", 0},
	}
	for _, test := range tests {
		untouched := packet.Segment{Missing: -1}
		s := untouched
		if got := packet.Decode(test.ip, &s); got != test.reason {
			t.Errorf("%s: %v, want %v", test.why, got, test.reason)
			continue
		}
		if test.reason != packet.OK {
			if s.Missing != untouched.Missing || s.Src.IsValid() || s.Payload != nil {
				t.Errorf("%s: the segment was written to: %+v", test.why, s)
			}
			continue
		}
		if string(s.Payload) != test.payload || s.Missing != test.missing {
			t.Errorf("%s: payload of %d bytes and %d missing, want %d and %d", test.why, len(s.Payload), s.Missing, len(test.payload), test.missing)
		}
	}
}

func TestDecodeReadsEveryField(t *testing.T) {
	t.Parallel()
	for _, p := range []nfqtest.TCP{mail4(), mail6()} {
		p.Flags = packet.FIN | packet.URG | packet.CWR
		p.Seq, p.Ack = 0xfedcba98, 0x87654321
		var s packet.Segment
		if r := packet.Decode(p.Packet(), &s); r != packet.OK {
			t.Fatal(r)
		}
		if s.Src != p.Src || s.Dst != p.Dst || s.Seq != p.Seq || s.Ack != p.Ack || s.Flags != p.Flags || s.Window != p.Window {
			t.Errorf("%+v, want the fields of %+v", s, p)
		}
		if cap(s.Payload) != len(s.Payload) {
			t.Error("an append to the payload would write into what follows the packet")
		}
	}
}

func TestNamesAreLabels(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for r := range packet.Reasons {
		name := packet.Reason(r).String()
		if seen[name] || name == "unknown" {
			t.Errorf("reason %d has no name of its own: %q", r, name)
		}
		seen[name] = true
	}
	if got := packet.Reason(packet.Reasons).String(); got != "unknown" {
		t.Errorf("beyond the last reason: %q", got)
	}
	if got := (packet.SYN | packet.ACK).String(); got != "SYN|ACK" {
		t.Errorf("flags read %q", got)
	}
	if got := packet.Flags(0).String(); got != "none" {
		t.Errorf("no flags read %q", got)
	}
	if f := packet.SYN | packet.ACK; !f.Has(packet.SYN|packet.ACK) || f.Has(packet.SYN|packet.FIN) || !f.Any(packet.SYN|packet.FIN) || f.Any(packet.RST) {
		t.Error("Has means all, Any means one")
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	bad := edit(mail6(nfqtest.Extension{Kind: 60}).Packet(), 40, 50)
	var s packet.Segment
	for _, ip := range [][]byte{mail4().Packet(), mail6(nfqtest.Extension{Kind: 0}).Packet(), bad} {
		if n := testing.AllocsPerRun(1000, func() { packet.Decode(ip, &s) }); n != 0 {
			t.Errorf("%v allocations for a packet of version %d", n, ip[0]>>4)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct {
		name string
		ip   []byte
	}{{"ipv4", mail4().Packet()}, {"ipv6", mail6().Packet()}, {"ipv6-extensions", mail6(nfqtest.Extension{Kind: 0}, nfqtest.Extension{Kind: 60}).Packet()}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var s packet.Segment
			for b.Loop() {
				packet.Decode(c.ip, &s)
			}
		})
	}
}
