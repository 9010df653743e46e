package radius

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind is what an Event says of a session or a NAS.
type Kind uint8

// Kinds; Unknown is what no Event has.
const (
	Unknown Kind = iota
	Start        // a session has begun
	Interim      // it goes on, and these are its addresses now
	Stop         // it has ended
	On           // the NAS has started: none of its sessions runs
	Off          // the NAS is about to stop: none of its sessions runs
)

var kindNames = [...]string{Unknown: "unknown", Start: "start", Interim: "interim", Stop: "stop", On: "on", Off: "off"}

// String gives "start", "interim", "stop", "on" or "off".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[Unknown]
}

// Bounds on what happened when, and on what one packet says.
const (
	MaxAge      = 24 * time.Hour   // older is not taken: the NAS has long said something newer, or somebody plays it back
	MaxAhead    = 10 * time.Minute // how far the clock of a NAS may run ahead of ours
	MaxPrefixes = 32               // of one request; what is beyond is passed over and counted

	minBits6 = 32 // a shorter IPv6 prefix is a provider's, not a line's
)

// Event is one genuine Accounting-Request. Its strings are printable UTF-8, whatever was sent: at most 506 bytes, and Session 1013.
type Event struct {
	Kind Kind
	Peer netip.AddrPort // who sent it: the NAS, or a proxy

	// NAS is NAS-IP-Address or NAS-IPv6-Address; NAS-Identifier where there is no such address; else the address of Peer.
	NAS string
	// Session names the session, as NAS "|" Acct-Session-Id. Of On and Off it is NAS "|": what the names of all that
	// end begin with.
	Session string

	UserName string // "" where there is none
	// Circuits is what the line is called, the surest first: User-Name, Agent-Circuit-Id, Agent-Remote-Id, NAS-Port-Id,
	// Calling-Station-Id (last, because a customer can choose a hardware address); empty ones and repetitions left out.
	Circuits []string
	// Prefixes is what the session holds: whole addresses as /32 and /128; sorted, each once. Empty where the NAS does not
	// know yet, or does not say: a later Interim may.
	Prefixes []netip.Prefix
	At       time.Time // when it happened: Event-Timestamp, else the time of arrival less Acct-Delay-Time
}

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
)

// statusKinds are the values of Acct-Status-Type that say something about addresses (RFC 2866 section 5.1).
var statusKinds = map[uint32]Kind{1: Start, 2: Stop, 3: Interim, 7: On, 8: Off}

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

// prefix takes what RFC 3162 section 2.3 and RFC 4818 section 3 have in common: a reserved octet, the length in bits, and as many octets as
// are not zero at the end. Bits beyond the length do not count.
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

// event makes the Event of what arrived from peer at now.
func (a *attributes) event(peer netip.AddrPort, now time.Time) (Event, Reason) {
	if a.status == nil {
		return Event{}, Incomplete
	}
	e := Event{Kind: statusKinds[*a.status], Peer: peer, NAS: a.nas(peer), UserName: a.user, Prefixes: a.prefixes, At: a.at(now)}
	e.Session = e.NAS + "|"
	switch {
	case e.Kind == Unknown:
		return Event{}, OtherStatus
	case e.Kind == On || e.Kind == Off:
		e.UserName, e.Prefixes = "", nil
	case a.session == "":
		return Event{}, Incomplete
	default:
		e.Session += a.session
		e.Circuits = a.circuits()
		slices.SortFunc(e.Prefixes, netip.Prefix.Compare)
	}
	switch age := now.Sub(e.At); {
	case age > MaxAge:
		return Event{}, Old
	case age < -MaxAhead:
		return Event{}, Ahead
	}
	return e, None
}

// nas prefers addresses, because routers of one make often have the same identifier from the factory. An identifier cannot
// hold the "|" that ends it in Event.Session.
func (a *attributes) nas(peer netip.AddrPort) string {
	for _, addr := range []netip.Addr{a.nas4, a.nas6} {
		if addr.IsValid() && !addr.IsUnspecified() && !addr.IsLoopback() {
			return addr.String()
		}
	}
	if a.nasID != "" {
		return strings.ReplaceAll(a.nasID, "|", "_")
	}
	return peer.Addr().String()
}

func (a *attributes) circuits() []string {
	var all []string
	for _, c := range []string{a.user, a.agentCircuit, a.agentRemote, a.port, a.calling} {
		if c != "" && !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return all
}

// at has a resolution of one second, as the attributes have.
func (a *attributes) at(now time.Time) time.Time {
	switch {
	case a.stamp != nil:
		return time.Unix(int64(*a.stamp), 0).UTC()
	case a.delay != nil:
		return now.Add(-time.Duration(*a.delay) * time.Second)
	}
	return now
}
