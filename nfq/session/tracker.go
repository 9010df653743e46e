// Package session follows one SMTP session from TCP segments to events: pure, no clock, no IO.
package session

import (
	"time"

	"github.com/mailweir/mailweir/nfq/packet"
)

// Options say what is known about a session before its first segment.
type Options struct {
	ImplicitTLS bool // port 465: the client starts with a ClientHello
	MidAir      bool // found after its SYN went by: nothing is invented about what came before
}

// Tracker follows one TCP session. It is not safe for concurrent use.
type Tracker struct {
	opt   Options
	facts Facts
}

// New makes the tracker of one session.
func New(opt Options) *Tracker { return &Tracker{opt: opt, facts: Facts{Unknown: opt.MidAir}} }

// Segment takes one segment in the order of arrival and appends what it told
// to ev. It copies what it must keep of s.
func (t *Tracker) Segment(dir Direction, s *packet.Segment, now time.Time, ev []Event) []Event {
	if t.facts.Start.IsZero() {
		t.facts.Start = now
	}
	t.facts.End = now
	return ev
}

// Release says what may pass without us from now on.
func (t *Tracker) Release() Release { return SeeAll }

// Ended reports whether the session is over: RST, or FIN from both sides acknowledged.
func (t *Tracker) Ended() bool { return t.facts.EndReason != EndUnknown }

// End closes the session for a reason that is not in its segments, and gives
// its buffers back. Later segments tell nothing.
func (t *Tracker) End(reason EndReason, now time.Time) {
	if t.Ended() {
		return
	}
	t.facts.EndReason, t.facts.End = reason, now
}

// Facts gives what is known so far.
func (t *Tracker) Facts() Facts { return t.facts }
