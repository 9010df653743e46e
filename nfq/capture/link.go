package capture

import "encoding/binary"

// Link types (tcpdump.org/linktypes.html) that IP finds its way through.
const (
	linkNull       = 0
	linkEthernet   = 1
	linkPPP        = 9
	linkRawBSD     = 12
	linkRawOpenBSD = 14
	linkPPPHDLC    = 50
	linkRaw        = 101
	linkLoop       = 108
	linkSLL        = 113
	linkIPv4       = 228
	linkIPv6       = 229
	linkSLL2       = 276
)

// EtherTypes that lead to an IP packet.
const (
	etherIPv4  = 0x0800
	etherVLAN  = 0x8100
	etherIPv6  = 0x86dd
	etherPPPoE = 0x8864
	etherQinQ  = 0x88a8
)

// Known tells whether IP knows frames of the given link type.
func Known(link uint16) bool {
	switch link {
	case linkNull, linkEthernet, linkPPP, linkPPPHDLC, linkRaw, linkRawBSD, linkRawOpenBSD, linkLoop, linkSLL, linkIPv4, linkIPv6, linkSLL2:
		return true
	}
	return false
}

// IP is the IP packet in a frame of the given link type, nil if it carries none: through Ethernet with any number of
// VLAN tags, PPPoE, PPP, Linux cooked captures, BSD loopback or nothing at all. It is a part of frame.
func IP(link uint16, frame []byte) []byte {
	switch link {
	case linkEthernet:
		return afterEtherType(frame, 12)
	case linkNull, linkLoop:
		if len(frame) < 4 {
			return nil
		}
		return checked(frame[4:]) // the family's number and byte order differ between systems
	case linkPPP, linkPPPHDLC:
		return afterPPP(frame)
	case linkRaw, linkRawBSD, linkRawOpenBSD, linkIPv4, linkIPv6:
		return checked(frame)
	case linkSLL:
		return afterEtherType(frame, 14)
	case linkSLL2:
		if len(frame) < 20 {
			return nil
		}
		return byEtherType(binary.BigEndian.Uint16(frame), frame[20:])
	}
	return nil
}

func afterEtherType(frame []byte, at int) []byte {
	if len(frame) < at+2 {
		return nil
	}
	return byEtherType(binary.BigEndian.Uint16(frame[at:]), frame[at+2:])
}

func byEtherType(kind uint16, rest []byte) []byte {
	switch kind {
	case etherIPv4, etherIPv6:
		return checked(rest)
	case etherVLAN, etherQinQ, 0x9100:
		return afterEtherType(rest, 2)
	case etherPPPoE: // version, code, session, length
		if len(rest) < 6 || rest[1] != 0 {
			return nil
		}
		return afterPPP(rest[6:])
	}
	return nil
}

// afterPPP takes the protocol field, also compressed to one byte and behind address and control (RFC 1661, section 6).
func afterPPP(frame []byte) []byte {
	if len(frame) >= 2 && frame[0] == 0xff && frame[1] == 0x03 {
		frame = frame[2:]
	}
	if len(frame) >= 1 && (frame[0] == 0x21 || frame[0] == 0x57) {
		return checked(frame[1:])
	}
	if len(frame) >= 2 && frame[0] == 0 && (frame[1] == 0x21 || frame[1] == 0x57) {
		return checked(frame[2:])
	}
	return nil
}

// checked lets through what begins like an IP header.
func checked(ip []byte) []byte {
	if len(ip) == 0 || ip[0]>>4 != 4 && ip[0]>>4 != 6 {
		return nil
	}
	return ip
}
