package session

import (
	"time"

	"github.com/mailweir/mailweir/nfq/packet"
)

// Options say what is known about a session before its first segment.
type Options struct {
	ImplicitTLS bool // port 465: the client starts with a ClientHello
	MidAir      bool // found after its SYN went by: nothing is invented about what came before

	Record *Recording // filled in with what is inside TLS, if it is not nil
}

// mode is what the session speaks.
type mode uint8

const (
	undecided mode = iota // no reply of the server yet
	clear                 // SMTP in clear
	inTLS                 // a TLS handshake is under way
	inSeal                // the handshake is complete: records are counted
	opaque                // nothing more to learn: not SMTP, or lost track
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
	now      time.Time
	resyn    uint32 // ISN of a client SYN in the middle of the session
	reused   bool   // resyn is meaningful
	offer    Offer  // what the reply in hand says of STARTTLS, if it is one to EHLO
	began    bool   // Established was told
	wasReset bool   // Ended was told for a RST that its receiver may not have taken
	renewed  bool
	lossy    bool // see Lossy
	ended    bool

	client client
	server server
	tls    *handshake
	sealed *sealed

	// Of messages inside TLS, when sealed is gone.
	estimated bool // there are such numbers
	lo, hi    int
	blind     bool // hi is not known
}

// New makes the tracker of one session.
func New(opt Options) *Tracker {
	t := &Tracker{}
	t.Reset(opt)
	return t
}

// Reset makes t, whose session is over, the tracker of another one.
func (t *Tracker) Reset(opt Options) {
	*t = Tracker{opt: opt}
	t.up.fin, t.down.fin = -1, -1
	switch {
	case opt.MidAir:
		t.midAir()
	case opt.ImplicitTLS:
		t.beginTLS(TLSImplicit)
	default:
		t.server.waiting.push(greeting, 0)
	}
}

// Segment takes one segment in the order of arrival and appends what it told
// to ev. It copies what it must keep of s.
//
// After both sides' FIN the end is final: segments tell nothing more, but a SYN
// of the client makes Renewed true.
//
// A RST counts if it has exactly the next sequence number of its sender, as far
// as we can know that number (RFC 5961, section 3); any other one is ignored, and
// a session that it did end is for the caller's timeout. Even one that counts may
// never have arrived. So Ended with EndRST is provisional: Ended() is true,
// Release says SeeAll, and the tracker keeps its state. The caller should go on
// giving it the session's segments for a while. If the server sends new payload,
// or the client's tell something, Revived comes before the events of that segment
// and the session goes on as if there had been no RST, up to another Ended.
// Segments that tell nothing leave it ended. End makes it final, and so does it that
// one side has closed: nothing more can be said, or nothing be answered. Over reports
// that.
func (t *Tracker) Segment(dir Direction, s *packet.Segment, now time.Time, ev []Event) []Event {
	if t.ended {
		t.renewed = t.renewed || dir == Up && s.Flags&(packet.SYN|packet.ACK) == packet.SYN
		return ev
	}
	if !t.wasReset {
		t.clock(now)
	}
	t.now, t.ev = now, ev
	t.take(dir, s)
	switch up, down := t.up.closed(), t.down.closed(); {
	case t.ended:
	case t.wasReset && (up || down):
		t.over()
	case up && down:
		t.finish(EndFIN)
	}
	rel := t.release()
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
	if t.wasReset && !t.ended {
		return SeeAll // to see whether somebody goes on
	}
	return t.release()
}

func (t *Tracker) release() Release {
	switch {
	case t.ended || t.mode == opaque:
		return ReleaseBoth
	case t.mode == inSeal && t.sealed.blind:
		return ReleaseBoth
	case t.mode == inSeal:
		return ReleaseUp
	case t.mode == inTLS || t.client.sneaky:
		return SeeAll
	case t.server.content && t.client.state == inContent:
		return ReleaseUp
	case t.client.state == inChunk && t.client.chunkEnd-t.up.off >= releaseChunk && t.server.waiting.chunks():
		return ReleaseUp
	}
	return SeeAll
}

// Sealed reports whether the session is inside TLS, where nothing of the client's and of the server's only the
// records' headers and acknowledgements say something, in whatever order they come.
func (t *Tracker) Sealed() bool { return t.mode == inSeal && !t.sealed.blind && !t.wasReset }

// Lossy says that some of the server's packets may be missing that will not come again, since the loss was on the way to us: inside TLS,
// where no acknowledgement of the client's comes by, the next hole is not waited for. It is taken back by a segment without one.
func (t *Tracker) Lossy() { t.lossy = t.mode == inSeal }

// Ended reports whether the session is over; after a RST that may change, see Segment.
func (t *Tracker) Ended() bool { return t.ended || t.wasReset }

// Over reports whether the session is over for good.
func (t *Tracker) Over() bool { return t.ended }

// Renewed reports whether the last segment belongs to another session on the same
// addresses and ports, which the server agreed to: the caller begins a new Tracker
// with that segment. It is the server's SYN+ACK that tells, to a SYN of the client
// with a new number or, with a new number of the server's own, to one with the same
// number as before; after both sides' FIN it is the client's SYN.
func (t *Tracker) Renewed() bool { return t.renewed }

// End closes the session for a reason that is not in its segments, and gives
// its buffers back. What waited behind a hole is read first; the events that
// this told are given back, Ended is the last. If both sides had closed the
// session already, EndFIN stays the reason. After a RST it tells nothing more.
func (t *Tracker) End(reason EndReason, now time.Time) []Event {
	switch {
	case t.ended:
		return nil
	case t.wasReset:
		t.over()
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
	lo, hi, known := t.inside()
	f.MessagesLo += lo
	f.MessagesHi += hi
	if f.Unknown || !known || f.Gaps > 0 && !t.down.seen {
		f.MessagesHi = -1
	}
	return f
}

// inside is what is estimated of messages inside TLS; known says whether hi is a bound.
func (t *Tracker) inside() (lo, hi int, known bool) {
	switch {
	case t.sealed != nil:
		lo, hi = t.sealed.estimate.bounds()
		return max(lo, t.sealed.estimate.told), hi, !t.sealed.blind && !t.blind
	case t.estimated:
		return t.lo, t.hi, !t.blind
	}
	encrypted := t.facts.TLS != TLSNone && t.facts.Handshake != Failed && t.facts.Handshake != Abandoned
	return 0, 0, !encrypted
}

func (t *Tracker) emit(e Event) {
	t.revive()
	t.ev = append(t.ev, e)
}

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
	t.forgetClear()
	t.up.drop()
	t.down.drop()
}

// forgetClear ends the dialogue in clear.
func (t *Tracker) forgetClear() {
	t.client.dropHold()
	t.server.maybe += t.server.pending()
	t.server.waiting.drop(t.server.waiting.len)
	t.server.content = false
}

// finish ends the session for good: what waits behind a hole is read, then no more.
func (t *Tracker) finish(reason EndReason) {
	t.conclude(reason)
	t.over()
}

// conclude reads what waits behind a hole and tells of the end.
func (t *Tracker) conclude(reason EndReason) {
	t.catchUp(Up, max(t.up.high(), min(t.up.fin, t.acked)))
	t.catchUp(Down, max(t.down.high(), t.down.fin))
	if t.sealed != nil {
		hungUp, inOrder := t.sealed.hungUp, t.up.closed() || t.down.closed()
		if r := t.opt.Record; r != nil {
			r.hungUp, r.inOrder, r.holes = hungUp, inOrder, t.sealed.blind || t.sealed.torn
		}
		t.sealed.estimate.end(hungUp, inOrder)
		t.tell()
	}
	if t.mode == inTLS && t.facts.TLS != TLSNone && t.down.seen {
		t.facts.Handshake = Abandoned
	}
	t.facts.EndReason = reason
	t.emit(Event{Kind: Ended, Text: reason.String()})
}

// over gives everything back.
func (t *Tracker) over() {
	t.unseal()
	t.giveUp()
	t.client.dropSYN()
	t.tls = nil
	t.ended = true
}

// revive takes back an end by RST.
func (t *Tracker) revive() {
	if !t.wasReset || t.ended {
		return
	}
	t.wasReset = false
	t.clock(t.now)
	t.facts.EndReason = EndUnknown
	if t.facts.Handshake == Abandoned {
		t.facts.Handshake = HandshakeNone
	}
	t.emit(Event{Kind: Revived})
}
