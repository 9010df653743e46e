package packet

import (
	"encoding/binary"
	"net/netip"
)

// Protocol numbers (IANA) that Decode follows.
const (
	protoHopByHop = 0
	protoTCP      = 6
	protoRouting  = 43
	protoFragment = 44
	protoAH       = 51
	protoDestOpts = 60
)

// Decode finds the TCP segment in ip, which starts at the IPv4 or IPv6 header; trailing bytes beyond the IP
// length (Ethernet padding) are cut off. With OK all of *s is written, with any other reason none of it.
//
// A length field of zero means "as far as the bytes go": so the kernel marks packets above 64 KiB, which
// GRO makes (IPv4 total length, IPv6 payload length without a jumbo option). The one who truncated
// such a copy has to add to Missing what the headers cannot tell.
//
// IPv6 extension headers are walked to their end, however many: hosts do the same (RFC 8200, section 4.1), and
// who could hide a SYN behind one more would not be judged. Each takes eight bytes, so the packet bounds the walk.
//
// A fragment is never a segment, not even the first one (RFC 3128); an IPv6 atomic fragment (RFC 6946) is
// a whole packet and is decoded. Linux joins fragments before our hook, so none is expected there.
func Decode(ip []byte, s *Segment) Reason {
	if len(ip) == 0 {
		return TooShort
	}
	switch ip[0] >> 4 {
	case 4:
		return decode4(ip, s)
	case 6:
		return decode6(ip, s)
	}
	return BadVersion
}

func decode4(ip []byte, s *Segment) Reason {
	if len(ip) < 20 {
		return TooShort
	}
	header := int(ip[0]&0x0f) * 4
	if header < 20 {
		return BadHeaderLength
	}
	total := int(binary.BigEndian.Uint16(ip[2:]))
	if total == 0 {
		total = len(ip)
	}
	if total < header {
		return BadTotalLength
	}
	if len(ip) < header {
		return TooShort
	}
	if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 { // more fragments, or an offset
		return Fragment
	}
	if ip[9] != protoTCP {
		return NotTCP
	}
	return decodeTCP(ip, header, total, netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20])), s)
}

func decode6(ip []byte, s *Segment) Reason {
	if len(ip) < 40 {
		return TooShort
	}
	total := 40 + int(binary.BigEndian.Uint16(ip[4:]))
	noLength := total == 40
	if noLength {
		total = len(ip)
	}
	next, at := ip[6], 40
	for walked := 0; next != protoTCP; walked++ {
		switch next {
		case protoHopByHop, protoRouting, protoFragment, protoAH, protoDestOpts:
		default:
			return NotTCP
		}
		if total < at+8 {
			return BadTotalLength
		}
		if len(ip) < at+8 {
			return TooShort
		}
		size := 8 + 8*int(ip[at+1])
		switch next {
		case protoHopByHop:
			if walked != 0 { // RFC 8200, section 4.1: hosts refuse it anywhere else
				return BadExtensionHeader
			}
			if noLength && len(ip) >= at+size {
				if jumbo := jumboLength(ip[at+2 : at+size]); jumbo > 0 {
					total = 40 + jumbo
				}
			}
		case protoFragment:
			size = 8
			if binary.BigEndian.Uint16(ip[at+2:])&0xfff9 != 0 {
				return Fragment
			}
		case protoAH:
			size = 8 + 4*int(ip[at+1]) // RFC 4302, section 2.2: in words of four bytes, minus two
		}
		next, at = ip[at], at+size
		if total < at {
			return BadTotalLength
		}
		if len(ip) < at {
			return TooShort
		}
	}
	return decodeTCP(ip, at, total, netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40])), s)
}

// jumboLength is the length in a jumbo payload option (RFC 2675, section 2) among hop-by-hop options, 0
// without one. A length that would have fitted the header is no jumbo length and is not believed.
func jumboLength(options []byte) int {
	for len(options) > 0 {
		if options[0] == 0 { // Pad1
			options = options[1:]
			continue
		}
		if len(options) < 2 {
			return 0
		}
		end := 2 + int(options[1])
		if len(options) < end {
			return 0
		}
		if options[0] == 0xc2 && options[1] == 4 {
			if n := binary.BigEndian.Uint32(options[2:]); n > 0xffff && n < 1<<30 {
				return int(n)
			}
			return 0
		}
		options = options[end:]
	}
	return 0
}

// decodeTCP reads the TCP header at ip[at:]; total is where the packet ends on the wire.
func decodeTCP(ip []byte, at, total int, src, dst netip.Addr, s *Segment) Reason {
	if total < at+20 {
		return BadTotalLength
	}
	if len(ip) < at+20 {
		return TooShort
	}
	tcp := ip[at:]
	data := at + int(tcp[12]>>4)*4
	if data < at+20 || data > total {
		return BadTCPOffset
	}
	if len(ip) < data {
		return TooShort
	}
	end := min(total, len(ip))
	*s = Segment{
		Src:     netip.AddrPortFrom(src, binary.BigEndian.Uint16(tcp)),
		Dst:     netip.AddrPortFrom(dst, binary.BigEndian.Uint16(tcp[2:])),
		Seq:     binary.BigEndian.Uint32(tcp[4:]),
		Ack:     binary.BigEndian.Uint32(tcp[8:]),
		Flags:   Flags(tcp[13]),
		Window:  binary.BigEndian.Uint16(tcp[14:]),
		Payload: ip[data:end:end],
		Missing: total - end,
	}
	return OK
}
