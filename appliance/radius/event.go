package radius

import (
	"net/netip"
	"slices"
	"strings"
	"time"
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
)

// Event is one genuine Accounting-Request. Its strings are printable UTF-8, whatever was sent: at most 506 bytes, and
// Session 1013.
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
	Dated    bool      // At is the word of its sender (Event-Timestamp)
}

// statusKinds are the values of Acct-Status-Type that say something about addresses (RFC 2866 section 5.1).
var statusKinds = map[uint32]Kind{1: Start, 2: Stop, 3: Interim, 7: On, 8: Off}

// event makes the Event of what arrived from peer at now.
func (a *attributes) event(peer netip.AddrPort, now time.Time) (Event, Reason) {
	if a.status == nil {
		return Event{}, Incomplete
	}
	e := Event{Kind: statusKinds[*a.status], Peer: peer, NAS: a.nas(peer), UserName: a.user, Prefixes: a.prefixes, At: a.at(now), Dated: a.stamp != nil}
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
