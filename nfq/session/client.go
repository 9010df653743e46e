package session

import (
	"bytes"
	"sync"

	"github.com/mailweir/mailweir/nfq/packet"
)

const (
	// releaseChunk is how much of a BDAT chunk must be to come for the kernel to
	// pass it without us.
	releaseChunk = 64 << 10
	// holdSize bounds the bytes kept while the server has yet to say what they mean.
	holdSize = 8 << 10
)

// unseen is which commands went by without us since the last MAIL that we saw answered.
type unseen uint8

const (
	allSeen unseen = iota
	// released: behind content that the kernel passed, or whose end the server
	// saw elsewhere than we did. The server's replies tell what they were.
	released
	// missed: in a hole or before we came. Nothing is concluded but what may have been.
	missed
)

// clientState is what the client's next byte is part of.
type clientState uint8

const (
	atCommand clientState = iota
	inAuthLine
	inContent // after DATA, until CRLF.CRLF
	inChunk   // of BDAT, or a counted blob
	onHold    // after DATA, AUTH or STARTTLS: the reply decides what follows
	lost      // mid-air or after lost replies: not known until the server speaks
)

// dot is how much of CRLF.CRLF came by.
type dot uint8

const (
	dotText dot = iota
	dotCR
	dotStart // at the start of a line
	dotDot
	dotDotCR
)

// client is the dialogue's client side.
type client struct {
	state    clientState
	line     line
	lineAt   int64 // offset of the line's first byte
	pos      int64 // offset of the byte to read next
	partial  bool  // the line began in a hole
	bare     bool  // a line ended without a CR
	unseen   unseen
	from, to int64 // offsets between which it was unseen, first to last
	dot      dot
	chunkEnd int64           // offset behind the chunk
	blob     int64           // size of the blob that XEXCH50 announced
	sneaky   bool            // commands came behind content that the kernel passed: it passes no more
	mayTLS   bool            // a 220 came that may answer a STARTTLS we did not see, or STARTTLS was asked of a server that we do not hear
	syn      *[holdSize]byte // data of the SYN (RFC 7413), until the server says whether it took it
	synKept  int             // bytes in syn
	synSent  uint32          // bytes that a SYN carried at most
	early    bool            // what is on hold looks like TLS; the server's first byte tells
	hold     *[holdSize]byte
	held     int   // bytes in hold
	holdAt   int64 // offset of the first
	holdLost bool  // more came than hold keeps
}

var holds = sync.Pool{New: func() any { return new([holdSize]byte) }}

func (c *client) dropHold() {
	if c.hold != nil {
		holds.Put(c.hold)
		c.hold = nil
	}
	c.held, c.holdLost = 0, false
}

// dropSYN gives up the data of the SYN.
func (c *client) dropSYN() {
	if c.syn != nil {
		holds.Put(c.syn)
		c.syn, c.synKept = nil, 0
	}
}

// keepSYN keeps the data of a SYN. Of two SYNs with different data nobody knows
// which the server took.
func (c *client) keepSYN(s *packet.Segment) {
	p := s.Payload
	switch {
	case len(p) == 0:
	case c.synSent == 0 && s.Missing <= 0 && len(p) <= holdSize:
		c.syn = holds.Get().(*[holdSize]byte)
		c.synKept = copy(c.syn[:], p)
	case c.syn != nil && !bytes.Equal(c.syn[:c.synKept], p):
		c.dropSYN()
	}
	c.synSent = max(c.synSent, uint32(len(p)+max(s.Missing, 0)))
}

// readSYN reads what the server took of the data of the SYN, up to offset to.
func (t *Tracker) readSYN(to int64) {
	c := &t.client
	p := c.syn
	if to > 0 && t.up.off == 0 {
		c.syn = nil
		t.up.seen = true
		t.inOrder(Up, &t.up, 0, p[:min(to, int64(c.synKept))])
		c.syn = p
	}
	c.dropSYN()
}

// holdBack keeps p for the server's answer.
func (c *client) holdBack(p []byte) {
	if c.holdLost {
		return
	}
	if c.hold == nil {
		c.hold = holds.Get().(*[holdSize]byte)
		c.held, c.holdAt = 0, c.pos
	}
	n := copy(c.hold[c.held:], p)
	c.held += n
	c.holdLost = c.holdLost || n < len(p)
}

// clientBytes reads bytes of the client from offset client.pos on.
func (t *Tracker) clientBytes(p []byte) {
	c := &t.client
	for len(p) > 0 {
		n := len(p)
		switch {
		case t.mode == opaque || t.mode == inSeal:
		case t.mode == inTLS:
			t.tlsBytes(Up, p)
		case c.state == atCommand:
			n = t.commandBytes(p)
		case c.state == inAuthLine:
			var whole bool
			if n, whole = c.line.feed(p); whole {
				c.line.reset()
				c.state = onHold
			}
		case c.state == inContent:
			n = t.contentBytes(p)
		case c.state == inChunk:
			n = int(min(int64(n), c.chunkEnd-c.pos))
			if c.pos+int64(n) >= c.chunkEnd {
				c.state = atCommand
				t.passing = false
			}
		case c.state == onHold:
			c.holdBack(p)
		}
		p = p[n:]
		c.pos += int64(n)
	}
}

// commandBytes reads towards the end of a command line.
func (t *Tracker) commandBytes(p []byte) int {
	c := &t.client
	if c.line.size == 0 && !c.partial {
		c.lineAt = c.pos
	}
	if c.line.size == 0 && p[0] == recordHandshake {
		switch {
		case c.mayTLS:
			t.facts.StartTLS = Accepted
			t.beginTLS(TLSStartTLS)
			t.tls.guessed = true
			t.tlsBytes(Up, p)
			return len(p)
		case c.pos == 0 && !t.down.seen && t.up.syn:
			c.state, c.early = onHold, true
			c.holdBack(p)
			return len(p)
		}
	}
	n, whole := c.line.feedCommand(p)
	if whole {
		c.bare = c.bare || c.line.bare()
		v, args := command(c.line.text())
		if !c.partial || v != other && v != empty {
			t.clientCommand(v, args, c.pos+int64(n))
		}
		c.partial = false
		c.line.reset()
	}
	return n
}

// clientCommand takes a whole command; next is the offset behind its line.
func (t *Tracker) clientCommand(v verb, args []byte, next int64) {
	c := &t.client
	c.mayTLS = false
	heard := t.down.known // without the server's side we assume that it agrees
	switch v {
	case data:
		c.state = onHold
		if !heard {
			c.state, c.dot = inContent, dotStart
		}
	case startTLS:
		t.facts.StartTLS = Asked
		t.emit(Event{Kind: StartTLSAsked})
		if heard {
			c.state = onHold
		} else {
			c.mayTLS = true
		}
	case auth:
		if heard {
			c.state = onHold
		}
	case bdat:
		size, last, ok := chunkSize(args)
		switch {
		case !ok || !c.line.regular():
			v = t.oddBdat(args, next)
		case last:
			v = bdatLast
			fallthrough
		default:
			if size > 0 {
				c.state, c.chunkEnd = inChunk, next+size
			}
		}
	case oddBdat:
		v = t.oddBdat(args, next)
	case xexch50:
		c.blob, _, _ = chunkSize(firstWord(args))
		c.state = onHold
	}
	t.expect(v, c.lineAt)
}

// oddBdat takes a BDAT that servers read differently. What follows is a chunk or
// commands: the server's answer tells.
func (t *Tracker) oddBdat(args []byte, next int64) verb {
	c := &t.client
	size, last := oddChunk(args)
	if c.line.cut {
		size = -1
	}
	c.chunkEnd = -1
	if size >= 0 {
		c.chunkEnd = next + size
	}
	if t.down.known {
		c.state = onHold
	} else if size > 0 {
		c.state = inChunk
	}
	if last {
		return oddBdatLast
	}
	return oddBdat
}

// oddAnswered takes the reply to such a BDAT. A server that did not read it as one
// says 500 to 504. Any other read a chunk; where we do not know its size, it
// ends where the server's acknowledgement does, and what was behind is uncertain.
func (t *Tracker) oddAnswered(code int) {
	c := &t.client
	if c.state != onHold {
		return
	}
	from := c.pos
	if c.hold != nil {
		from = c.holdAt
	}
	switch {
	case code >= 500 && code <= 504:
		c.chunkEnd = from
	case c.chunkEnd < 0:
		c.chunkEnd = min(max(t.acked, from), t.up.off)
		c.miss(missed, from, c.chunkEnd)
	}
	if c.chunkEnd > from {
		t.resume(inChunk)
		return
	}
	t.resume(atCommand)
}

// contentBytes looks for the end of the content (RFC 5321, section 4.1.1.4).
func (t *Tracker) contentBytes(p []byte) int {
	c := &t.client
	for i := 0; i < len(p); i++ {
		switch b := p[i]; {
		case b == '\r' && c.dot == dotDot:
			c.dot = dotDotCR
		case b == '\r':
			c.dot = dotCR
		case b == '\n' && c.dot == dotDotCR:
			c.state = atCommand
			t.passing = false // what we see whole the kernel did not pass
			t.expect(endOfData, c.pos+int64(i))
			return i + 1
		case b == '\n' && c.dot == dotCR:
			c.dot = dotStart
		case b == '.' && c.dot == dotStart:
			c.dot = dotDot
		default:
			c.dot = dotText
			next := bytes.IndexByte(p[i:], '\r')
			if next < 0 {
				return len(p)
			}
			i += max(next-1, 0)
		}
	}
	return len(p)
}

// clientHole: n bytes up to offset to were not seen, for the given reason.
func (t *Tracker) clientHole(n, to int64, why unseen) {
	c := &t.client
	c.pos = to
	if t.mode == inTLS {
		t.tlsHole(Up, n)
		return
	}
	if t.mode == inSeal {
		return
	}
	if t.server.inMail && c.unseen == allSeen && c.state == atCommand {
		why = missed // in the middle of an envelope: not the start of one
	}
	switch c.state {
	case inContent:
		c.dot = dotText
	case onHold:
		c.holdLost = true
	case lost:
	case inChunk:
		if to < c.chunkEnd {
			return
		}
		c.state = atCommand
		if to > c.chunkEnd {
			if !t.server.waiting.endsWith(bdatLast) {
				why = missed // more chunks, perhaps: no envelope to conclude
			}
			t.missedCommands(why)
		}
	default:
		t.missedCommands(why)
	}
}

// miss notes that commands between two offsets were not seen.
func (c *client) miss(why unseen, from, to int64) {
	if c.unseen == allSeen {
		c.from, c.to = from, to
	}
	c.unseen = max(c.unseen, why)
	c.to = max(c.to, from, to)
}

// missedCommands: commands may have gone by. Where the kernel passed them, the
// next line counts if it starts with a verb that we know. In a hole there may
// have been a BDAT, and what follows a chunk: there we wait for the server.
func (t *Tracker) missedCommands(why unseen) {
	c := &t.client
	c.state, c.partial = atCommand, true
	if why == missed {
		c.state = lost
		t.forget()
	}
	c.miss(why, t.up.off, c.pos)
	c.line.reset()
	c.lineAt = c.pos
}

// resume reads on in the given state, first what was held back.
func (t *Tracker) resume(state clientState) {
	c := &t.client
	held, n, lostSome := c.hold, c.held, c.holdLost
	c.hold, c.held, c.holdLost = nil, 0, false
	c.state = state
	if held != nil {
		c.pos = c.holdAt
		t.clientBytes(held[:n])
		holds.Put(held)
	}
	switch {
	case !lostSome:
	case c.state == inContent:
		c.dot = dotText
	case c.state == onHold:
		c.holdLost = true
	case c.state == inChunk && t.up.off <= c.chunkEnd:
		c.pos = t.up.off
		if c.pos == c.chunkEnd {
			c.state = atCommand
		}
	default:
		c.pos = t.up.off
		t.missedCommands(missed)
	}
}

func firstWord(p []byte) []byte {
	for i, b := range p {
		if b == ' ' || b == '\t' {
			return p[:i]
		}
	}
	return p
}
