package radius

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"unicode"
	"unicode/utf8"
)

// Attributes (RFC 2865 section 5 and the later ones that the package's comment names).
const (
	attrUserName             = 1
	attrNASIPAddress         = 4
	attrFramedIPAddress      = 8
	attrVendorSpecific       = 26
	attrCallingStationID     = 31
	attrNASIdentifier        = 32
	attrProxyState           = 33
	attrAcctStatusType       = 40
	attrAcctDelayTime        = 41
	attrAcctSessionID        = 44
	attrEventTimestamp       = 55
	attrMessageAuthenticator = 80
	attrNASPortID            = 87
	attrNASIPv6Address       = 95
	attrFramedIPv6Prefix     = 97
	attrDelegatedIPv6Prefix  = 123
	attrFramedIPv6Address    = 168

	vendorADSLForum = 3561 // RFC 4679; its attributes 1 and 2 are Agent-Circuit-Id and Agent-Remote-Id

	minBits6 = 32 // a shorter IPv6 prefix is a provider's, not a line's
)

// attributes is what a request's attributes say, before it is known whether that is enough. Of an attribute that may stand
// once, the first one counts.
type attributes struct {
	status, delay, stamp      *uint32
	nas4, nas6                netip.Addr
	nasID, session, user      string
	calling, port             string
	agentCircuit, agentRemote string
	prefixes                  []netip.Prefix
	bad                       int // values that could not be what they should
}

func (p packet) read() attributes {
	var a attributes
	p.each(a.take)
	return a
}

func (a *attributes) take(kind byte, value []byte) {
	switch kind {
	case attrUserName:
		a.text(&a.user, value)
	case attrNASIdentifier:
		a.text(&a.nasID, value)
	case attrAcctSessionID:
		a.text(&a.session, value)
	case attrCallingStationID:
		a.text(&a.calling, value)
	case attrNASPortID:
		a.text(&a.port, value)
	case attrVendorSpecific:
		a.vendor(value)
	case attrAcctStatusType:
		a.number(&a.status, value)
	case attrAcctDelayTime:
		a.number(&a.delay, value)
	case attrEventTimestamp:
		a.number(&a.stamp, value)
	case attrNASIPAddress:
		a.address(&a.nas4, value, 4)
	case attrNASIPv6Address:
		a.address(&a.nas6, value, 16)
	case attrFramedIPAddress:
		a.held(value, 4)
	case attrFramedIPv6Address:
		a.held(value, 16)
	case attrFramedIPv6Prefix, attrDelegatedIPv6Prefix:
		a.prefix(value)
	}
}

// text keeps a string that is safe to show. Some NAS count the NUL at its end; an option 82 of DHCP may be anything, and
// what is not printable is given in hexadecimal: six octets become the hardware address that they are.
func (a *attributes) text(to *string, value []byte) {
	for len(value) > 0 && value[len(value)-1] == 0 {
		value = value[:len(value)-1]
	}
	switch {
	case len(value) == 0:
		a.bad++
	case *to != "":
	case printable(value):
		*to = string(value)
	default:
		*to = hex.EncodeToString(value)
	}
}

func printable(b []byte) bool {
	for _, c := range string(b) {
		if !unicode.IsPrint(c) {
			return false
		}
	}
	return utf8.Valid(b)
}

func (a *attributes) number(to **uint32, value []byte) {
	if len(value) != 4 {
		a.bad++
	} else if *to == nil {
		n := binary.BigEndian.Uint32(value)
		*to = &n
	}
}

func (a *attributes) address(to *netip.Addr, value []byte, size int) {
	if addr, ok := netip.AddrFromSlice(value); !ok || len(value) != size {
		a.bad++
	} else if !to.IsValid() {
		*to = addr
	}
}

// held takes a whole address. Framed-IP-Address 255.255.255.255 and .254 ask the NAS to choose one (RFC 2865 section 5.8),
// and 0.0.0.0 is what many send before they have one: none of these is an address, nor anybody's fault.
func (a *attributes) held(value []byte, size int) {
	addr, ok := netip.AddrFromSlice(value)
	switch {
	case !ok || len(value) != size:
		a.bad++
	case addr.IsUnspecified():
	case size == 4 && value[0] == 255 && value[1] == 255 && value[2] == 255 && value[3] >= 254:
	default:
		a.add(netip.PrefixFrom(addr, addr.BitLen()))
	}
}

// prefix takes what RFC 3162 section 2.3 and RFC 4818 section 3 have in common: a reserved octet, the length in bits, and as
// many octets as are not zero at the end. Bits beyond the length do not count.
func (a *attributes) prefix(value []byte) {
	if len(value) < 2 || len(value) > 18 || value[1] > 128 || len(value)-2 < (int(value[1])+7)/8 {
		a.bad++
		return
	}
	var addr [16]byte
	copy(addr[:], value[2:])
	a.add(netip.PrefixFrom(netip.AddrFrom16(addr), int(value[1])).Masked())
}

// add keeps a prefix that can be a line's.
func (a *attributes) add(p netip.Prefix) {
	addr := p.Addr()
	switch {
	case addr.Is4In6(), addr.Is6() && p.Bits() < minBits6,
		addr.IsLoopback(), addr.IsMulticast(), addr.IsLinkLocalUnicast(), addr.IsUnspecified(),
		addr.Is4() && addr.As4()[0] >= 240:
		a.bad++
	case slices.Contains(a.prefixes, p):
	case len(a.prefixes) == MaxPrefixes:
		a.bad++
	default:
		a.prefixes = append(a.prefixes, p)
	}
}

// vendor takes the attributes of RFC 4679 out of a Vendor-Specific (RFC 2865 section 5.26).
func (a *attributes) vendor(value []byte) {
	if len(value) < 4 {
		a.bad++
		return
	}
	if binary.BigEndian.Uint32(value) != vendorADSLForum {
		return
	}
	for rest := value[4:]; len(rest) > 0; rest = rest[rest[1]:] {
		if len(rest) < 2 || rest[1] < 2 || int(rest[1]) > len(rest) {
			a.bad++
			return
		}
		switch rest[0] {
		case 1:
			a.text(&a.agentCircuit, rest[2:rest[1]])
		case 2:
			a.text(&a.agentRemote, rest[2:rest[1]])
		}
	}
}
