// Package packet finds the TCP segment in an IP packet, without copying and without allocating.
//
// It is the first arrow of the path (packet -> flow): bytes as the kernel hands them over go in, a Segment
// that borrows from them comes out. A packet that is not a usable TCP segment is a Reason, never an error:
// whoever sends it must not be able to make us do more than count it.
//
// Nothing here verifies checksums: the kernel's connection tracking did that before the packet was queued,
// and with offloads the field is not filled in yet. For the same reason header lengths are believed only as
// far as the bytes reach: packets joined by GRO/GSO above 64 KiB carry a total length of zero.
package packet

import (
	"net/netip"
	"strings"
)

// Flags are the control bits of a TCP header (RFC 9293, section 3.1), bit for bit as in its byte 13.
type Flags uint8

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Has reports whether all bits of want are set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// Any reports whether at least one bit of some is set.
func (f Flags) Any(some Flags) bool { return f&some != 0 }

// String lists the set bits as "SYN|ACK", "none" if there are none.
func (f Flags) String() string {
	if f == 0 {
		return "none"
	}
	var set []string
	for i, name := range [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if f&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, "|")
}

// Segment is one TCP segment. Payload is borrowed from the packet given to Decode and is valid as long as
// that is; everything else is a copy.
type Segment struct {
	Src, Dst netip.AddrPort // as in the headers; an IPv4-mapped IPv6 address stays an IPv6 address
	Seq, Ack uint32         // Ack has a meaning only with the ACK flag
	Flags    Flags
	Window   uint16 // as in the header, before window scaling
	Payload  []byte
	Missing  int // payload bytes that the wire had but the copy does not carry (truncated copy)
}
