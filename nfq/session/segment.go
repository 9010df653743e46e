package session

import "github.com/mailweir/mailweir/nfq/packet"

// unacked is how far beyond its server's last acknowledgement a client's FIN is
// believed at once, where the stretch before it was released. Another one has
// to wait for that acknowledgement.
const unacked = 1 << 20

// closed reports whether all bytes up to the FIN came by or were given up.
func (s *stream) closed() bool { return s.fin >= 0 && s.off >= s.fin }

// take is the TCP side of one segment.
func (t *Tracker) take(dir Direction, s *packet.Segment) {
	me := t.stream(dir)
	seq := s.Seq
	opens := s.Flags.Has(packet.SYN)
	if !opens && !me.known && !t.up.syn && !t.down.syn && !t.facts.Unknown {
		t.midAir()
	}
	switch {
	case s.Flags.Has(packet.RST):
		t.reset(dir, me, s)
		return
	case opens && !t.opened(dir, s):
		return
	case opens:
		seq++
	case !me.known:
		me.begin(seq)
	}
	if s.Flags.Has(packet.ACK) {
		t.acknowledge(dir, s.Ack)
	}
	t.payload(dir, me, seq, s)
}

// reset ends the session, until somebody goes on, if the RST's receiver must take it.
func (t *Tracker) reset(dir Direction, me *stream, s *packet.Segment) {
	if t.wasReset || !t.takesReset(dir, me, s) {
		return
	}
	if me.known && (t.rel == ReleaseBoth || t.mode == inSeal && dir == Up) {
		if end := me.beyond(s.Seq); end > me.off && (me == &t.down || end <= t.acked+unacked) {
			me.advance(end)
		}
	}
	t.conclude(EndRST)
	t.wasReset = true
}

// takesReset reports whether a RST has the number that its receiver expects
// (RFC 5961, section 3). A client could otherwise make us close a session that its
// server still has open. Where the kernel passed what came before we do not know
// that number, only what it is not below.
func (t *Tracker) takesReset(dir Direction, me *stream, s *packet.Segment) bool {
	if !me.known { // the answer to a SYN, or to what came before us
		other := t.stream(1 - dir)
		return s.Flags.Has(packet.ACK) && other.known && other.at(s.Ack) == other.off
	}
	if t.rel == ReleaseBoth || t.rel == ReleaseUp && dir == Up {
		least := me.off
		if dir == Up {
			least = min(least, t.acked)
		}
		return me.beyond(s.Seq) >= least
	}
	at := me.at(s.Seq)
	if t.lossy && dir == Down && at >= me.high() {
		return true
	}
	return at == me.off || at == me.high() || me.closed() && at == me.fin+1
}

// opened takes a SYN and says whether the segment goes on from there.
func (t *Tracker) opened(dir Direction, s *packet.Segment) bool {
	if dir == Up {
		if t.down.syn || t.down.seen || t.up.seen { // the session runs
			if s.Seq != t.up.isn || !t.up.syn {
				t.resyn, t.reused = s.Seq, true
			}
			return false
		}
		if !t.up.syn || t.up.isn != s.Seq { // the first, or another try from the same port
			t.up.begin(s.Seq + 1)
			t.up.syn, t.up.isn = true, s.Seq
			t.client.dropSYN()
			t.client.synSent = 0
		}
		t.client.keepSYN(s)
		return false // what it carries counts once the server says so
	}
	acks := s.Flags.Has(packet.ACK)
	if t.down.syn || t.down.seen || t.wasReset {
		again := t.reused && s.Ack == t.resyn+1 // the server agreed to a new session on the same ports
		same := t.up.syn && t.acksSYN(s.Ack) && (!t.down.syn || s.Seq != t.down.isn)
		if acks && (again || same) {
			t.renew()
		}
		return false
	}
	if acks && t.up.syn && !t.acksSYN(s.Ack) {
		return false // an answer to a SYN of before
	}
	if acks && !t.up.known {
		t.up.begin(s.Ack)
	}
	t.down.begin(s.Seq + 1)
	t.down.syn, t.down.isn = true, s.Seq
	t.established()
	return true
}

// acksSYN reports whether ack is for the client's SYN, with some of its data or without.
func (t *Tracker) acksSYN(ack uint32) bool { return ack-t.up.isn-1 <= t.client.synSent }

// renew ends the session because the segment in hand begins another.
func (t *Tracker) renew() {
	t.renewed = true
	if t.wasReset {
		t.over()
		return
	}
	t.finish(EndUnknown)
}

func (t *Tracker) established() {
	if !t.began && !t.facts.Unknown {
		t.began = true
		t.emit(Event{Kind: Established})
	}
}

// acknowledge takes what the sender of a segment says it received. A server's
// word moves us on over bytes that we did not see. A client's word is believed
// only about bytes that came by, or it could make us blind for the server.
func (t *Tracker) acknowledge(dir Direction, ack uint32) {
	if dir == Up {
		if !t.down.known {
			return
		}
		if t.rel == ReleaseBoth {
			if a := t.down.clamp(t.down.beyond(ack)); a > t.down.off {
				t.down.advance(a)
			}
			return
		}
		to := min(t.down.at(ack), t.down.high())
		if fin := t.down.fin; fin >= 0 && t.down.at(ack) == fin+1 { // it has all, and the FIN came by
			to = fin
		}
		t.catchUp(Down, to)
		return
	}
	if !t.up.known {
		t.up.begin(ack)
		return
	}
	a := t.up.at(ack)
	if t.client.syn != nil {
		t.readSYN(a)
	}
	if t.rel != SeeAll {
		a = t.up.beyond(ack)
	} else if a > t.up.off+maxAhead {
		return
	}
	a = t.up.clamp(a)
	t.acked = max(t.acked, a)
	if t.rel == ReleaseBoth || t.mode == inSeal {
		if a > t.up.off {
			t.up.advance(a)
		}
		return
	}
	t.catchUp(Up, a)
}

// clamp takes the FIN's own sequence number off an acknowledgement.
func (s *stream) clamp(off int64) int64 {
	if s.fin >= 0 && off == s.fin+1 {
		return s.fin
	}
	return off
}

// payload puts the bytes of a segment where they belong.
func (t *Tracker) payload(dir Direction, me *stream, seq uint32, s *packet.Segment) {
	p := s.Payload
	off := me.at(seq)
	if t.rel == ReleaseBoth || t.rel == ReleaseUp && dir == Up {
		off = me.beyond(seq)
	}
	end := off + int64(len(p)) + int64(max(s.Missing, 0))
	if end > off {
		me.seen = true
		if dir == Down {
			if end > me.off {
				t.revive()
			}
			t.established()
		}
	}
	fin, fresh := s.Flags.Has(packet.FIN) && end >= me.off, end > me.off
	if dir == Down && t.sealed != nil && end > me.off && s.Flags.Has(packet.ACK) {
		ack := t.up.clamp(t.up.beyond(s.Ack))
		if !t.sealed.acks.segment(off, ack, me.off) { // so much more was said and answered: what is missing does not come again
			t.catchUp(Down, me.high())
			t.sealed.acks.segment(off, ack, me.off)
		}
	}
	switch {
	case t.rel == ReleaseBoth || t.mode == opaque || t.mode == inSeal && dir == Up:
		if to := me.clamp(end); to > me.off && (dir == Down || to <= t.acked+unacked) {
			me.advance(to)
		}
	case off > me.off+maxAhead && t.rel == SeeAll:
		return
	case off > me.off:
		t.ahead(dir, me, off, p)
	default:
		t.inOrder(dir, me, off, p)
		if s.Missing > 0 && end > me.off && !t.ended {
			t.skip(dir, end)
		}
	}
	if t.lossy && dir == Down && (fresh || fin) {
		to := me.high()
		if fin {
			to = max(to, end)
		}
		t.catchUp(Down, to)
		t.lossy = false
	}
	if fin {
		if dir == Down && t.sealed != nil && t.up.fin < 0 {
			t.sealed.hungUp = true
		}
		me.fin = end
	}
	if me.off > me.fin {
		me.fin = -1 // it was none of this session's
	}
}

// ahead keeps bytes that came before their turn. Where the window has no room
// the hole is given up; not for a client whose server we hear, since a client
// could desynchronise us that way: there the server's acknowledgement will tell.
func (t *Tracker) ahead(dir Direction, me *stream, off int64, p []byte) {
	for len(p) > 0 && t.mode != opaque && !me.store(off, p) {
		if dir == Up && t.down.seen {
			return
		}
		to := off
		if me.n > 0 {
			to = min(to, me.island[0].start)
		}
		t.skip(dir, to)
		if off <= me.off {
			t.inOrder(dir, me, off, p)
			return
		}
	}
}

// inOrder reads p, which starts at offset off at or before what was read last,
// and what waited behind it.
func (t *Tracker) inOrder(dir Direction, me *stream, off int64, p []byte) {
	for end := off + int64(len(p)); me.off < end; {
		rest := p[me.off-off:]
		if me.n > 0 {
			rest = rest[:min(int64(len(rest)), me.island[0].start-me.off)]
		}
		if len(rest) > 0 {
			t.passing = t.passing && (dir == Down || t.rel == ReleaseUp)
			t.read(dir, me.off, rest)
			me.advance(me.off + int64(len(rest)))
		}
		t.drain(dir, me)
	}
	t.drain(dir, me)
}

// drain reads what lies in order in the window.
func (t *Tracker) drain(dir Direction, me *stream) {
	for p := me.ready(); p != nil; p = me.ready() {
		t.read(dir, me.off, p)
		me.advance(me.off + int64(len(p)))
	}
}

// catchUp gives up the holes below offset to and reads what lies between them.
func (t *Tracker) catchUp(dir Direction, to int64) {
	me := t.stream(dir)
	for me.off < to {
		next := to
		if me.n > 0 {
			next = min(next, me.island[0].start)
		}
		t.skip(dir, next)
	}
}

// skip gives up the bytes before offset to, and reads on behind them.
func (t *Tracker) skip(dir Direction, to int64) {
	me := t.stream(dir)
	n := to - me.off
	if n <= 0 {
		return
	}
	why := missed
	if dir == Up && t.passing { // the kernel passed them: no gap
		t.passing, why = t.rel == ReleaseUp, released
	} else {
		t.facts.Gaps++
		t.emit(Event{Kind: Gap, Text: dir.String()})
	}
	if dir == Up {
		t.clientHole(n, to, why)
	} else {
		t.serverHole(n)
	}
	me.advance(to)
	t.drain(dir, me)
}

// read hands bytes in order to the dialogue; off is the offset of the first.
func (t *Tracker) read(dir Direction, off int64, p []byte) {
	if dir == Up {
		if t.foundAtHello(off, p[0]) {
			t.beginTLS(TLSImplicit)
		}
		t.client.pos = off
		t.clientBytes(p)
		return
	}
	t.server.pos = off
	t.serverBytes(p)
}
