package nfq

import (
	"slices"
	"time"

	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/ruleset"
	"github.com/mailweir/mailweir/nfq/session"
)

// judge finds the packet's flow and gives p its verdict, or holds it.
func (w *worker) judge(p *queued, now time.Time) {
	s := &w.segment
	if why := packet.Decode(p.ip, s); why != packet.OK {
		w.pass(p, passReason(why))
		return
	}
	// Above 64 KiB the header has no length, and only the kernel knows.
	s.Missing = max(s.Missing, p.length-len(p.ip))

	key, dir, ok := w.orient(s)
	if !ok {
		w.pass(p, passNotGoverned)
		return
	}
	f := w.table.flows.find(key)
	if p.copied && (dir == session.Up || f == nil || f.tracker == nil) {
		w.count.passed[passStray]++ // of a flow that is over
		return
	}
	const kind = packet.SYN | packet.ACK | packet.FIN | packet.RST
	if f == nil && w.fromLane(p, s.Flags&kind == packet.SYN) {
		f = w.adopt(key, now)
	}
	w.current = f
	if dir == session.Down && f.forgedBy(p) {
		w.pass(p, passForged)
		return
	}
	if dir == session.Up {
		defer w.cameBy(p.port)
	}
	switch {
	case dir == session.Up && s.Flags&kind == packet.SYN:
		w.start(p, f, key, now)
		if w.lane != nil {
			w.lane.writtenAnew(key, s.Seq)
		}
	case f != nil && dir == session.Down && f.beginsAnother(s):
		w.restart(p, f, now)
	case f != nil:
		w.follow(p, f, dir, false, now)
	case s.Flags.Any(packet.SYN | packet.FIN | packet.RST):
		w.pass(p, passStray)
	case !w.room(key, false, now):
		w.pass(p, passFlowTableFull)
	default:
		f = w.add(key, now)
		w.current = f
		f.midAir = true
		f.tracker = w.track(session.Options{MidAir: true, ImplicitTLS: key.Server.Port() == portSMTPS})
		w.table.touch(f, running, now)
		w.count.midAir++
		w.follow(p, f, dir, false, now)
	}
}

// portSMTPS is where TLS starts without being asked for (RFC 8314).
const portSMTPS = 465

// orient finds out who is the client. The governed port is the server's; where
// both are governed, a known flow tells, then who sends SYN and who SYN+ACK.
func (w *worker) orient(s *packet.Segment) (key Flow, dir session.Direction, ok bool) {
	up, down := Flow{s.Src, s.Dst}, Flow{s.Dst, s.Src}
	toServer, fromServer := slices.Contains(w.q.cfg.Ports, s.Dst.Port()), slices.Contains(w.q.cfg.Ports, s.Src.Port())
	switch {
	case toServer && fromServer:
		if w.table.flows.find(up) == nil && (w.table.flows.find(down) != nil || s.Flags.Has(packet.SYN|packet.ACK)) {
			return down, session.Down, true
		}
		return up, session.Up, true
	case toServer:
		return up, session.Up, true
	case fromServer:
		return down, session.Down, true
	}
	return Flow{}, 0, false
}

// start handles a client's SYN. The same initial sequence number means the same
// session while it runs. Only a session that we turned away keeps that answer after
// its end: else a reset, forged or not, would be a way to go on unjudged.
//
// In the middle of a session a SYN says nothing: its server may answer it with no
// more than an acknowledgement (RFC 5961, section 4), and the session goes on.
func (w *worker) start(p *queued, f *flow, key Flow, now time.Time) {
	s := &w.segment
	if f != nil {
		again := !f.midAir && f.isn == s.Seq
		switch {
		case again && f.tracker != nil && f.class != aborted:
			w.follow(p, f, session.Up, true, now)
			return
		case f.tracker != nil && f.spoke:
			f.nextISN, f.asked = s.Seq, true
			w.accept(p, f, true)
			return
		case again && (f.wanted == ruleset.Deferred || f.wanted == ruleset.Cut):
			w.table.touch(f, over, now)
			w.accept(p, f, true)
			return
		}
		w.end(f, session.EndUnknown, ended(session.EndUnknown), now)
		w.current = nil
		w.forget(f)
	}
	if !w.room(key, true, now) {
		w.pass(p, passFlowTableFull)
		return
	}
	f, action := w.open(key, s.Seq, now)
	switch action {
	case Defer:
		w.turnAway(p, f, w.deferring(p, key, now), session.EndUnknown, now)
	case Reset:
		w.turnAway(p, f, ruleset.Cut, session.EndCut, now)
	default:
		w.follow(p, f, session.Up, true, now)
	}
}

// open asks the policy about a new session and makes its flow.
func (w *worker) open(key Flow, isn uint32, now time.Time) (*flow, Action) {
	w.count.opened++
	fl := w.q.follower
	opening := w.ask(key, now)
	f := w.add(key, now)
	w.current = f
	f.isn, f.handle = isn, opening.Handle
	action := opening.Action
	if w.lane != nil {
		action = w.lane.began(f, action)
	}
	switch action {
	case Defer, Reset:
		return f, action
	case Hold:
		f.hold = opening.Hold
	case Pass:
		if fl != nil {
			fl.relet(f, w.lane != nil, now)
		}
	}
	f.tracker = w.track(session.Options{ImplicitTLS: key.Server.Port() == portSMTPS})
	f.copied = w.q.copies != nil
	return f, action
}

// ask asks the policy. No lease grows meanwhile of which it does not know.
func (w *worker) ask(key Flow, now time.Time) Opening {
	switch fl := w.q.follower; {
	case w.lane != nil:
		defer w.lane.asked()
	case fl != nil:
		t := fl.settle(key.Client.Addr())
		defer fl.leases.asked(t)
	}
	return w.q.cfg.Policy.Open(key, now)
}

// fromLane reports whether the packet in hand, of a flow that w does not know, may be
// one of the follower's: the kernel has marked it as handed over, or it comes from the
// middle of a session.
func (w *worker) fromLane(p *queued, opens bool) bool {
	return w.q.follower != nil && w.lane == nil && (!opens || w.q.cfg.Marks.FromLane(p.mark))
}

// adopt takes the flow of key over from the follower; nil if that does not have it.
func (w *worker) adopt(key Flow, now time.Time) *flow {
	f := w.q.follower.giveAway(key)
	if f == nil {
		return nil
	}
	f.marked = false // the connection has no mark yet
	w.table.put(f, now)
	w.count.adopted++
	return f
}

// beginsAnother reports whether the segment in hand is the server's consent to
// another session on the addresses and ports of f.
func (f *flow) beginsAnother(s *packet.Segment) bool {
	if f.tracker == nil || !f.spoke || !s.Flags.Has(packet.SYN|packet.ACK) {
		return false
	}
	isn := s.Ack - 1
	if isn == f.isn && !f.midAir {
		return f.greeted && s.Seq != f.serverISN
	}
	return f.asked && isn == f.nextISN
}

// restart begins the session to which the server consented. It is too late to
// lead that to the responder.
func (w *worker) restart(p *queued, f *flow, now time.Time) {
	key, isn := f.Flow, w.segment.Ack-1
	w.end(f, session.EndUnknown, ended(session.EndUnknown), now)
	w.current = nil
	w.forget(f)
	f, action := w.open(key, isn, now)
	if action == Defer || action == Reset {
		w.turnAway(p, f, ruleset.Cut, session.EndCut, now)
		return
	}
	syn := packet.Segment{Src: key.Client, Dst: key.Server, Seq: isn, Flags: packet.SYN}
	w.events = f.tracker.Segment(session.Up, &syn, now, w.events[:0]) // tells nothing
	w.follow(p, f, session.Down, true, now)
}

// resume opens a session for a client who goes on long after a reset that ended his
// last one: nobody has taken that reset. What was said between is not known.
func (w *worker) resume(f *flow, now time.Time) *flow {
	key := f.Flow
	w.current = nil
	w.forget(f)
	f, action := w.open(key, 0, now)
	f.spoke = true
	if action == Defer || action == Reset {
		w.refuse(f, ruleset.Cut, session.EndCut, now)
		return f
	}
	f.tracker = w.track(session.Options{MidAir: true, ImplicitTLS: key.Server.Port() == portSMTPS})
	return f
}

// turnAway closes a session that goes on without us, and answers its packet.
func (w *worker) turnAway(p *queued, f *flow, state ruleset.State, why session.EndReason, now time.Time) {
	w.refuse(f, state, why, now)
	w.accept(p, f, true)
}

func (w *worker) refuse(f *flow, state ruleset.State, why session.EndReason, now time.Time) {
	f.wanted = state
	w.table.touch(f, over, now)
	w.count.ended[why]++
	w.close(f, nil, session.Facts{Start: now, End: now, EndReason: why}, now)
}

// follow gives the segment in hand to its flow.
func (w *worker) follow(p *queued, f *flow, dir session.Direction, syn bool, now time.Time) {
	s := &w.segment
	closing := s.Flags.Any(packet.FIN | packet.RST)
	if f.tracker == nil && f.reset && f.wanted == ruleset.See && dir == session.Up && len(s.Payload) > 0 {
		f = w.resume(f, now)
	}
	if f.tracker == nil {
		if f.wanted == ruleset.Deferred && !syn {
			f.wanted = ruleset.Cut // it was too late: what is redirected does not come here
		}
		w.count.passed[passAfterEnd]++
		w.accept(p, f, syn)
		return
	}
	reply := dir == session.Down && len(s.Payload) > 0 && !closing && !s.Flags.Any(packet.SYN)
	if reply && !p.copied && f.held != nil && f.held.overlaps(s) {
		w.drop(p, f)
		return
	}
	if closing {
		w.letGo(f, now) // before the packet in hand, as it was sent
	}
	var wait time.Duration
	last := false
	w.events = f.tracker.Segment(dir, s, now, w.events[:0])
	for i := range w.events {
		e := &w.events[i]
		last = last || e.Kind == session.Ended
		if !f.midAir {
			wait = max(wait, w.q.cfg.Policy.Event(f.Flow, f.handle, *e, now))
			if fl := w.q.follower; fl != nil && (e.Kind == session.Message || e.Kind == session.Rejected) {
				fl.tighten(f, w.lane != nil, now)
			}
		}
	}
	clear(w.events)

	f.listen(s, dir)
	if c := f.classAfter(s, dir); c != f.class || c != aborted && now.Sub(f.seen) >= touchEvery { // a reset's time runs on
		w.table.touch(f, c, now)
	}
	switch {
	case f.midAir:
		w.count.passed[passMidAir]++
	case len(s.Payload) == 0 && !closing && !s.Flags.Any(packet.SYN):
		w.count.passed[passEmpty]++
	}
	switch why := session.EndUnknown; {
	case f.class == aborted && f.tracker.Over():
		w.end(f, session.EndRST, ended(session.EndRST), now)
		w.accept(p, f, syn)
		return
	case last && f.tracker.Ended():
		if why = f.tracker.Facts().EndReason; why == session.EndRST && !f.tracker.Over() {
			w.table.touch(f, aborted, now)
			w.accept(p, f, syn)
			return
		}
		w.end(f, why, ended(why), now)
		f.reset = f.reset || why == session.EndRST
		w.accept(p, f, syn)
		return
	}
	var hold time.Duration
	if reply {
		hold = max(f.hold, f.holdUntil.Sub(now))
		f.hold, f.holdUntil = 0, time.Time{}
	}
	if wait > 0 {
		f.copied = false
		f.holdUntil = later(f.holdUntil, now.Add(wait))
		if w.lane != nil {
			w.lane.hand(f)
		}
	}
	switch {
	case hold <= 0:
	case f.held != nil:
		w.prolong(f, hold, now) // what is in hand comes behind it, and waits with it
	case w.lane == nil && !p.copied && w.hold(f, p, hold, now):
		return
	default:
		f.unheld++
		w.count.passed[passHoldBound]++
	}
	w.accept(p, f, syn)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// listen notes what the server has said.
func (f *flow) listen(s *packet.Segment, dir session.Direction) {
	if dir != session.Down {
		return
	}
	syn := s.Flags.Has(packet.SYN | packet.ACK)
	if syn && !f.greeted && !f.midAir {
		f.serverISN, f.greeted = s.Seq, true
	}
	f.spoke = f.spoke || syn || len(s.Payload) > 0
}

// classAfter is where f belongs after s.
func (f *flow) classAfter(s *packet.Segment, dir session.Direction) class {
	switch {
	case f.class == aborted && f.tracker.Ended():
		return aborted
	case f.state() != ruleset.See:
		return released
	case len(s.Payload) > 0, f.class == released, f.class == aborted:
		return running
	case f.class == halfOpen && dir == session.Down:
		return answered
	}
	return f.class
}
