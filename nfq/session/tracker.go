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

// mode is what the session speaks.
type mode uint8

const (
	undecided mode = iota // no reply of the server yet
	clear                 // SMTP in clear
	inTLS                 // a TLS handshake is under way
	opaque                // nothing more to learn: encrypted, not SMTP, or lost track
)

// Tracker follows one TCP session. It is not safe for concurrent use.
//
// It is below 2 KiB by itself. On top of that it may hold, taken from pools
// and given back as soon as possible, a reorder window of 16 KiB per direction,
// 16 KiB of outstanding commands, 8 KiB of bytes whose meaning the server has
// yet to say, and during a TLS handshake a ClientHello of up to 16 KiB and
// 2 KiB of a ServerHello: 76 KiB at the very worst, whatever the peers send.
type Tracker struct {
	opt   Options
	facts Facts
	mode  mode
	ev    []Event // the caller's, during Segment

	up, down stream
	acked    int64   // the highest client offset that the server acknowledged
	rel      Release // what Release said after the last segment
	passing  bool    // after ReleaseUp: what was in flight may still be missing
	resyn    uint32  // ISN of a client SYN in the middle of the session
	reused   bool    // resyn is meaningful
	began    bool    // Established was told
	ended    bool

	client client
	server server
	tls    *handshake
}

// New makes the tracker of one session.
func New(opt Options) *Tracker {
	t := &Tracker{opt: opt}
	t.up.fin, t.down.fin = -1, -1
	switch {
	case opt.MidAir:
		t.midAir()
	case opt.ImplicitTLS:
		t.beginTLS(TLSImplicit)
	default:
		t.server.waiting.push(greeting, 0)
	}
	return t
}

// Segment takes one segment in the order of arrival and appends what it told
// to ev. It copies what it must keep of s. Segments after the end tell nothing.
func (t *Tracker) Segment(dir Direction, s *packet.Segment, now time.Time, ev []Event) []Event {
	if t.ended {
		return ev
	}
	t.clock(now)
	t.ev = ev
	t.take(dir, s)
	if !t.ended && t.up.closed() && t.down.closed() {
		t.finish(EndFIN)
	}
	rel := t.Release()
	if rel == ReleaseUp {
		t.passing = true
	}
	t.rel = rel
	ev, t.ev = t.ev, nil
	return ev
}

// Release says what may pass without us from now on. It changes only in Segment.
//
// A client could hide messages (by BDAT, which has no 354) behind the end of
// released content. Where the server answers something that we did not see, the
// session's content is not released again: what can be hidden is one window of bytes.
func (t *Tracker) Release() Release {
	switch {
	case t.ended || t.mode == opaque:
		return ReleaseBoth
	case t.mode == inTLS || t.client.sneaky:
		return SeeAll
	case t.server.content && t.client.state == inContent:
		return ReleaseUp
	case t.client.state == inChunk && t.client.chunkEnd-t.up.off >= releaseChunk && t.server.waiting.chunks():
		return ReleaseUp
	}
	return SeeAll
}

// Ended reports whether the session is over.
func (t *Tracker) Ended() bool { return t.ended }

// End closes the session for a reason that is not in its segments, and gives
// its buffers back. What waited behind a hole is read first; the events that
// this told are given back, Ended is the last. If both sides had closed the
// session already, EndFIN stays the reason.
func (t *Tracker) End(reason EndReason, now time.Time) []Event {
	if t.ended {
		return nil
	}
	t.clock(now)
	if t.up.fin >= 0 && t.down.fin >= 0 {
		reason = EndFIN
	}
	t.finish(reason)
	ev := t.ev
	t.ev = nil
	return ev
}

// clock notes the time. A clock that steps back leaves the end where it was.
func (t *Tracker) clock(now time.Time) {
	if t.facts.Start.IsZero() {
		t.facts.Start = now
	}
	if t.facts.End.IsZero() || now.After(t.facts.End) {
		t.facts.End = now
	}
}

// Facts gives what is known so far.
func (t *Tracker) Facts() Facts {
	f := t.facts
	f.BytesUp, f.BytesDown = t.up.off, t.down.off
	f.MessagesLo = f.Messages
	f.MessagesHi = f.Messages + t.server.maybe + t.unsettled() + t.server.pending()
	encrypted := f.TLS != TLSNone && f.Handshake != Failed && f.Handshake != Abandoned
	if f.Unknown || encrypted || f.Gaps > 0 && !t.down.seen {
		f.MessagesHi = -1
	}
	return f
}

func (t *Tracker) emit(e Event) { t.ev = append(t.ev, e) }

func (t *Tracker) stream(dir Direction) *stream {
	if dir == Up {
		return &t.up
	}
	return &t.down
}

// midAir drops all assumptions about what was said before.
func (t *Tracker) midAir() {
	t.facts.Unknown = true
	t.server.waiting.drop(t.server.waiting.len)
	t.client.state = lost
	t.client.miss(missed, 0, 0)
}

// giveUp stops following payload.
func (t *Tracker) giveUp() {
	t.mode = opaque
	t.client.dropHold()
	t.server.maybe += t.server.pending()
	t.server.waiting.drop(t.server.waiting.len)
	t.server.content = false
	t.up.drop()
	t.down.drop()
}

// finish ends the session: what waits behind a hole is read, then no more.
func (t *Tracker) finish(reason EndReason) {
	t.catchUp(Up, max(t.up.high(), min(t.up.fin, t.acked)))
	t.catchUp(Down, max(t.down.high(), t.down.fin))
	if t.mode == inTLS && t.facts.TLS != TLSNone && t.down.seen {
		t.facts.Handshake = Abandoned
	}
	t.giveUp()
	t.tls = nil
	t.ended = true
	t.facts.EndReason = reason
	t.emit(Event{Kind: Ended, Text: reason.String()})
}
