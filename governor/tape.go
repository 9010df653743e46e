package governor

import (
	"net/netip"
	"time"
)

// Op is what an Input is.
type Op uint8

// The inputs of a governor. New ones may only be added at the end, since they are written down.
const (
	OpUnknown      Op = iota
	OpBegin           // a life begins: Cases; then come OpPolicy and an OpState for everybody known
	OpEnd             // it ends in order
	OpPolicy          // Policy is in force from now on
	OpState           // Saved and Carried are known, at the begin of a life or at a checkpoint
	OpTick            // Tick was called
	OpOpen            // a session: Session, Plan, Destination, Unlisted; Ran: it was let through
	OpSpend           // Session, Plan, Of, Cost
	OpEstimate        // the same of messages that nobody saw
	OpAccepted        // Session, Cost recipients
	OpClose           // Session ended
	OpWithdraw        // Session never came about: Receipt
	OpDescend         // time brought the subscriber down the ladder
	OpForget          // what was known of the subscriber was forgotten, or some of it
	OpTouch           // somebody looked at the subscriber, and it was brought to the policy in force or out of an exemption
	OpRelease         // by hand
	OpExempt          // Plan, Lasts, Reason, By
	OpUnexempt        // by hand
	OpPlan            // the subscriber is under Plan
	OpLost            // Cost inputs are missing here
	OpCheckpoint      // Policy, Cases and Session, the sessions so far; an OpState for everybody follows, among what happens meanwhile
	OpCheckpointed    // Cases and Session: all that is known has been told
	OpUnrelease       // the release was taken back
	ops
)

// Begins tells whether a tape can be played from here on.
func (o Op) Begins() bool { return o == OpBegin || o == OpCheckpoint }

// Known tells whether this version has it.
func (o Op) Known() bool { return o > OpUnknown && o < ops }

// Input is one thing that a governor was told, or that it did by itself as time passed.
type Input struct {
	Op          Op
	At          time.Duration // on the governor's clock
	Now         time.Time     // on the caller's
	Subscriber  string
	Plan        string
	Session     uint64 // numbers of a life begin at 1; 0: of none
	Destination netip.Prefix
	Unlisted    bool
	Ran         bool
	Of          Kind
	Cost        int
	Lasts       time.Duration
	Reason, By  string
	Cases       uint64
	Policy      *Policy
	Saved       *Saved
	Carried     *Carried
	Receipt     SavedReceipt
}

// Tape is told everything that a governor is, in the order in which it takes effect, so that a Player can have it all happen
// again.
type Tape interface {
	// Record is called with the governor's mutex held: it must not wait, nor keep in.
	Record(in *Input)
}

// Record has t told everything from now on, beginning with what is known now. It is called once, before the first Open.
func (g *Governor) Record(t Tape, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := g.clock.at(now)
	g.tape = t
	g.tell(Input{Op: OpBegin, Cases: g.stats.Cases}, at, now)
	policy := g.policy
	g.tell(Input{Op: OpPolicy, Policy: &policy}, at, now)
	for slot := uint32(1); slot < g.high; slot++ {
		g.tellState(slot, now)
	}
}

// Stop tells the tape that this life ends in order.
func (g *Governor) Stop(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tell(Input{Op: OpEnd}, g.clock.at(now), now)
}

func (g *Governor) tell(in Input, t int64, now time.Time) {
	if g.tape == nil {
		return
	}
	g.input = in // which is not made anew each time
	g.input.At, g.input.Now = time.Duration(t), now
	g.tape.Record(&g.input)
}

// touches tells the tape before current changes something.
func (g *Governor) touches(e *entry, t int64, now time.Time) {
	if g.tape == nil {
		return
	}
	stale := !e.plan.current && g.plans[e.plan.name] != nil
	if stale || e.mode() != g.modeOf(e) || e.t != nil && e.t.exempt != nil && e.t.exempt.until <= t {
		g.tell(Input{Op: OpTouch, Subscriber: g.name(e.slot)}, t, now)
	}
}

// In is what happens in the session of that number (Decision.Session), which the tape is told.
func (g *Governor) In(session uint64) Session { return Session{g, session} }

// Session is what happens in one session.
type Session struct {
	g *Governor
	n uint64
}

// Spend is Governor.Spend.
func (s Session) Spend(sub, plan string, of Kind, cost int, now time.Time) Decision {
	return s.g.spend(s.n, sub, plan, of, cost, false, now)
}

// SpendEstimated is Governor.SpendEstimated.
func (s Session) SpendEstimated(sub, plan string, messages int, now time.Time) Decision {
	return s.g.spend(s.n, sub, plan, Messages, messages, true, now)
}

// Accepted is Governor.Accepted.
func (s Session) Accepted(sub string, recipients int, now time.Time) {
	s.g.accepted(s.n, sub, recipients, now)
}

// Close is Governor.Close.
func (s Session) Close(sub string, now time.Time) { s.g.closeIn(s.n, sub, now) }

// Withdraw is Governor.Withdraw.
func (s Session) Withdraw(sub string, r Receipt, now time.Time) { s.g.withdraw(s.n, sub, r, now) }
