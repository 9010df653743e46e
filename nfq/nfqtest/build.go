package nfqtest

import (
	"encoding/binary"
	"net/netip"

	"github.com/mailweir/mailweir/nfq/packet"
)

// TCP is a TCP packet to order. The zero value of a field is a usable default; lengths and checksums are filled in
// by Packet, so that a kernel takes it.
type TCP struct {
	Src, Dst netip.AddrPort // both IPv4 or both IPv6
	Seq, Ack uint32
	Flags    packet.Flags
	Window   uint16 // 0: 65535
	Options  []byte // TCP options, padded with zeros to a multiple of four, at most 40 bytes
	Payload  []byte

	TTL        uint8       // hop limit with IPv6; 0: 64
	Extensions []Extension // IPv6 extension headers, in this order; not for IPv4
}

// Extension is one IPv6 extension header.
type Extension struct {
	Kind byte   // 0 hop-by-hop, 43 routing, 44 fragment, 51 authentication, 60 destination options
	Body []byte // what follows next header and length; padded to what the kind asks for
}

// Packet is the IP packet. It panics where the addresses are of two families or the options too long: that is the test's fault.
func (t TCP) Packet() []byte {
	tcp := t.segment()
	src, dst := t.Src.Addr(), t.Dst.Addr()
	if src.Is4() != dst.Is4() {
		panic("nfqtest: addresses of two families")
	}
	pseudo := append(src.AsSlice(), dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(tcp)))
	pseudo = append(pseudo, 0, 0, 0, 6)
	binary.BigEndian.PutUint16(tcp[16:], Checksum(pseudo, tcp))

	ttl := t.TTL
	if ttl == 0 {
		ttl = 64
	}
	if src.Is4() {
		ip := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, ttl, 6, 0, 0}
		ip = append(append(ip, src.AsSlice()...), dst.AsSlice()...)
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(tcp)))
		binary.BigEndian.PutUint16(ip[10:], Checksum(ip))
		return append(ip, tcp...)
	}
	first, chain := t.extensions()
	ip := []byte{0x60, 0, 0, 0, 0, 0, first, ttl}
	binary.BigEndian.PutUint16(ip[4:], uint16(len(chain)+len(tcp)))
	ip = append(append(ip, src.AsSlice()...), dst.AsSlice()...)
	return append(append(ip, chain...), tcp...)
}

func (t TCP) segment() []byte {
	options := append([]byte(nil), t.Options...)
	for len(options)%4 != 0 {
		options = append(options, 0)
	}
	if len(options) > 40 {
		panic("nfqtest: more than 40 bytes of TCP options")
	}
	window := t.Window
	if window == 0 {
		window = 65535
	}
	tcp := make([]byte, 20, 20+len(options)+len(t.Payload))
	binary.BigEndian.PutUint16(tcp, t.Src.Port())
	binary.BigEndian.PutUint16(tcp[2:], t.Dst.Port())
	binary.BigEndian.PutUint32(tcp[4:], t.Seq)
	binary.BigEndian.PutUint32(tcp[8:], t.Ack)
	tcp[12] = byte(5+len(options)/4) << 4
	tcp[13] = byte(t.Flags)
	binary.BigEndian.PutUint16(tcp[14:], window)
	return append(append(tcp, options...), t.Payload...)
}

// extensions is the chain of extension headers and the kind of the first one (TCP if there is none).
func (t TCP) extensions() (first byte, chain []byte) {
	next := byte(6)
	for i := len(t.Extensions) - 1; i >= 0; i-- {
		e := t.Extensions[i]
		h := append([]byte{next, 0}, e.Body...)
		for len(h)%8 != 0 {
			h = append(h, 0)
		}
		switch e.Kind {
		case 44: // its second byte is reserved
		case 51:
			h[1] = byte(len(h)/4 - 2)
		default:
			h[1] = byte(len(h)/8 - 1)
		}
		chain = append(h, chain...)
		next = e.Kind
	}
	return next, chain
}

// Checksum is the Internet checksum (RFC 1071) over the parts one after the other; every part but the last must be of
// even length. Over a header with a right checksum in it the result is zero.
func Checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for ; len(p) >= 2; p = p[2:] {
			sum += uint32(p[0])<<8 | uint32(p[1])
		}
		if len(p) == 1 {
			sum += uint32(p[0]) << 8
		}
		sum = sum>>16 + sum&0xffff
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
