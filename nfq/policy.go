package nfq

import (
	"net/netip"
	"time"

	"github.com/mailweir/mailweir/nfq/session"
)

// Flow is a governed TCP connection, named from its client's side.
type Flow struct {
	Client, Server netip.AddrPort
}

// Action is what happens to a session that starts.
type Action uint8

// The actions. The zero value lets the session go on.
const (
	Pass  Action = iota
	Hold         // the session goes on, the server's greeting is held
	Defer        // the session goes to the local responder
	Reset        // the session is answered with a reset
)

// String names the action, usable as a metric label.
func (a Action) String() string {
	switch a {
	case Pass:
		return "pass"
	case Hold:
		return "hold"
	case Defer:
		return "defer"
	case Reset:
		return "reset"
	}
	return "unknown"
}

// Opening is the policy's answer to a new session.
type Opening struct {
	Action Action
	Hold   time.Duration // with Hold: how long, from its arrival on, the first reply of the server is held
	Handle any           // the policy's own; given back with every event and at the end
}

// Policy judges sessions. Workers call it from several goroutines at once,
// each while it holds the lock of its flow table: a method must return at once,
// must not wait for disk or network, and must not call Unhold or Stats of the
// Queues that asked it. Reset may be called. A panic is caught and counted, and
// the packet passes.
type Policy interface {
	// Open is asked on the first SYN of a session. Retransmissions of that SYN
	// are not asked again; a SYN with another initial sequence number is a new
	// session. In the middle of a session it is one only when the server consents,
	// and Defer is then too late: it resets. The same holds for a client who goes on
	// when his session was closed after a reset.
	Open(f Flow, now time.Time) Opening
	// Event tells what a packet of f showed. A result above zero holds the
	// server's next reply until that much later; never the one in hand, for the
	// answer to a message must not come late: a client that gives up waiting for
	// it sends the message again (RFC 1047). Events of flows found in mid-air are
	// not told.
	Event(f Flow, handle any, e session.Event, now time.Time) time.Duration
	// Close is called exactly once for every Open, and once for every flow found
	// in mid-air, then with a nil handle. Sessions that were deferred or reset by
	// Open are closed at once: they go on without us. After a reset it is called
	// some seconds later, since what was reset may go on all the same.
	Close(f Flow, handle any, s Summary)
}

// Summary is what is known of a session at its end.
type Summary struct {
	session.Facts
	Held           time.Duration // how long replies were held, in all
	Unheld         int           // replies that were to be held and passed: too much was held, or only their copies were judged
	DroppedPackets int           // retransmissions of held replies, which were dropped
}
