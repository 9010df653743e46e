package session

// server is the dialogue's server side.
type server struct {
	pos      int64 // offset of the byte to read next
	line     line
	partial  bool // the line began in a hole: if it does not look like a reply, that is no surprise
	startTLS bool // the reply being read lists STARTTLS
	list     bool // it has more than one line
	waiting  queue
	overflow bool // more commands wait than the queue holds
	content  bool // 354 was said: the next reply ends the content
	blob     bool // ... which is a blob, not a message
	inMail   bool // a MAIL was accepted and its message not yet ended
	rcpts    int  // accepted RCPT since
	maybe    int  // message ends whose replies we did not see
	stray    int  // 2xx replies to commands that we did not see
}

// pending is how many messages wait for the server's last word.
func (s *server) pending() int {
	n := s.waiting.finals()
	if s.content && !s.blob && s.waiting.find(endOfData) < 0 {
		n++ // the content still runs
	}
	return n
}

// expect notes a command that will be answered. With too many outstanding the
// rest is not noted until the server has answered all of them, as if unseen.
func (t *Tracker) expect(v verb, at int64) {
	s := &t.server
	if !s.overflow && s.waiting.push(v, at) {
		return
	}
	s.overflow = true
	t.client.miss(missed, at, at)
	if v.final() {
		s.maybe++
	}
}

// serverBytes reads bytes of the server.
func (t *Tracker) serverBytes(p []byte) {
	l := &t.server.line
	if t.client.early && len(p) > 0 {
		t.decideEarly(p[0])
	}
	for len(p) > 0 {
		switch t.mode {
		case opaque:
			return
		case inTLS:
			if t.tls.unconfirmed() && p[0] >= '2' && p[0] <= '5' { // a reply in clear where TLS was expected
				t.backToClear()
				continue
			}
			t.tlsBytes(Down, p)
			return
		case inSeal:
			t.sealedBytes(t.server.pos, p)
			return
		}
		n, whole := l.feed(p)
		p = p[n:]
		t.server.pos += int64(n)
		if t.mode == undecided && !t.server.partial && (whole || l.n >= 3) {
			if _, _, ok := replyLine(l.text()); !ok {
				t.facts.Unknown = true
				t.giveUp()
				return
			}
		}
		if !whole {
			continue
		}
		t.serverLine(l.text())
		l.reset()
		if t.mode == inTLS && len(p) > 0 && !recordType(p[0]) {
			return // said in clear behind the answer to STARTTLS: not ours to believe (RFC 3207, section 6)
		}
	}
}

// serverLine takes a whole line of a reply. Lines that are none are passed over.
func (t *Tracker) serverLine(text []byte) {
	s := &t.server
	s.partial = false
	code, more, ok := replyLine(text)
	if !ok {
		return
	}
	t.mode = clear
	s.startTLS = s.startTLS || code == 250 && s.list && offersStartTLS(text)
	if more {
		s.list = true
		return
	}
	list := s.list
	s.list = false
	t.offer = OfferUnknown
	if code == 250 && (list || !t.client.bare) { // alone it is an empty list, if it is certain which command it answers
		t.offer = NotOffered
	}
	if s.startTLS {
		t.offer = IsOffered
		if t.facts.StartTLS == StartTLSNone {
			t.facts.StartTLS = Offered
			t.emit(Event{Kind: StartTLSOffered})
		}
	}
	s.startTLS = false
	if code >= 200 {
		t.reply(code)
	}
}

// reply finds the command that a reply answers. Replies come in the order of
// the commands (RFC 2920, section 3.1); where commands went by unseen, the
// codes that only one command can have, and the server's acknowledgements, put
// the two sides together again.
func (t *Tracker) reply(code int) {
	s := &t.server
	if t.client.state == lost && t.acked >= t.up.high() { // the client waits for this reply
		t.client.state = atCommand
	}
	if s.overflow && s.waiting.len == 0 && t.acked >= t.up.high() {
		s.overflow = false
	}
	if s.content {
		if code >= 400 || code < 300 {
			t.contentAnswered(code)
		}
		return
	}
	for {
		e, ok := s.waiting.first()
		if !ok || e.verb != greeting && e.at >= t.acked { // the server cannot have read it yet
			t.unmatched(code)
			return
		}
		switch {
		case e.verb == empty && code < 500:
			s.waiting.pop()
			continue
		case code == 354 && e.verb != data && e.verb != xexch50:
			i := s.waiting.find(data)
			if i < 0 || s.waiting.entry(i).at >= t.acked {
				t.unmatched(code)
				return
			}
			s.maybe += s.waiting.skip(i)
			continue
		case code == 221 && e.verb != quit:
			i := s.waiting.find(quit)
			if i < 0 {
				t.unmatched(code)
				return
			}
			s.maybe += s.waiting.skip(i)
			continue
		case e.verb == data && code < 300:
			t.unmatched(code)
			return
		case code >= 300 && code < 400 && !(code == 334 && e.verb == auth) && code != 354:
			return
		case code == 334:
			if t.client.state == onHold {
				t.resume(inAuthLine)
			}
			return
		}
		s.waiting.pop()
		t.answered(e.verb, e.at, code)
		return
	}
}

// answered takes the reply to a command that we saw at offset at.
func (t *Tracker) answered(v verb, at int64, code int) {
	s, c := &t.server, &t.client
	if code >= 400 && v.envelope() {
		t.rejected(code)
	}
	ok := code < 300
	if ok && c.unseen == missed && at >= c.from && v != mail && !v.final() {
		s.stray++ // what we took for a command may have been content
	}
	switch v {
	case greeting:
		t.emit(Event{Kind: Greeting, Code: code})
	case ehlo, helo, rset:
		if ok {
			t.forget()
		}
		if v == ehlo && c.unseen == allSeen && t.facts.Gaps == 0 {
			t.facts.Offer = max(t.facts.Offer, t.offer)
		}
	case mail:
		if ok {
			s.inMail, s.rcpts = true, 0
			if at >= c.to {
				t.settle()
				c.unseen = allSeen
			}
		}
	case rcpt:
		switch {
		case !ok:
		case !s.inMail && c.unseen == released: // the MAIL that we did not see
			s.inMail, s.rcpts = true, 0
		default:
			s.rcpts++
		}
	case data, xexch50:
		t.dataAnswered(v, code)
	case endOfData, bdatLast:
		if ok {
			t.message(code)
		}
		if code != 500 && code != 502 { // else it was no command, and the envelope stands
			t.forget()
		}
		t.chunkAnswered(code)
	case bdat:
		t.chunkAnswered(code)
	case oddBdat:
		if ok {
			s.maybe++ // who knows what the server read
		}
		t.oddAnswered(code)
	case oddBdatLast:
		if ok {
			t.message(code)
			t.forget()
		}
		t.oddAnswered(code)
	case startTLS:
		t.startTLSAnswered(code)
	case auth:
		if c.state == onHold {
			t.resume(atCommand)
		}
	}
}

// dataAnswered takes the reply to DATA.
func (t *Tracker) dataAnswered(v verb, code int) {
	s, c := &t.server, &t.client
	if code == 354 {
		s.content, s.blob = true, v == xexch50
		t.enveloped()
		switch {
		case s.blob && c.state == onHold:
			c.chunkEnd = t.up.off
			if c.hold != nil {
				c.chunkEnd = c.holdAt
			}
			c.chunkEnd += c.blob
			state := inChunk
			if c.blob == 0 {
				state = atCommand
			}
			t.resume(state)
		case c.state == onHold:
			c.dot = dotStart
			t.resume(inContent)
		case c.state != inContent && s.waiting.find(endOfData) < 0:
			c.state, c.dot = inContent, dotText
		}
		return
	}
	if e, ok := s.waiting.first(); ok && e.verb == endOfData { // what we took for content were commands
		s.waiting.pop()
		c.miss(released, t.up.off, t.up.off)
	}
	switch c.state {
	case onHold:
		t.resume(atCommand)
	case inContent:
		t.missedCommands(released)
	}
}

// contentAnswered takes the reply that ends the content, whether we saw the
// end of it or not.
func (t *Tracker) contentAnswered(code int) {
	s, c := &t.server, &t.client
	s.content = false
	if s.blob {
		s.blob = false
		return
	}
	if i := s.waiting.find(endOfData); i >= 0 {
		s.maybe += s.waiting.skip(i)
		s.waiting.pop()
	} else if c.state == inContent {
		line := c.dot == dotStart
		t.missedCommands(released)
		c.partial = !line
	} else {
		c.miss(released, t.up.off, t.up.off)
	}
	t.answered(endOfData, t.acked, code)
}

// chunkAnswered: a server that knows no BDAT reads what we took for a chunk as commands.
func (t *Tracker) chunkAnswered(code int) {
	if t.client.state == inChunk && (code == 500 || code == 502) {
		t.missedCommands(released)
	}
}

// startTLSAnswered takes the reply to STARTTLS. Of what the client sent before
// it had that reply, only the start of a handshake counts (RFC 3207, section 4.2
// and 6); refused, it was commands.
func (t *Tracker) startTLSAnswered(code int) {
	c := &t.client
	if code != 220 {
		t.facts.StartTLS = Refused
		t.emit(Event{Kind: StartTLSRefused, Code: code})
		if c.state == onHold {
			t.resume(atCommand)
		}
		return
	}
	t.facts.StartTLS = Accepted
	t.emit(Event{Kind: StartTLSAccepted})
	held, n := c.hold, c.held
	c.hold = nil
	c.dropHold()
	t.beginTLS(TLSStartTLS)
	if held == nil {
		return
	}
	early := held[:n]
	if early[0] != recordHandshake {
		early = early[min(max(t.acked-c.holdAt, 0), int64(n)):]
	}
	t.tlsBytes(Up, early)
	holds.Put(held)
}

func (t *Tracker) message(code int) {
	t.facts.Messages++
	t.facts.Recipients += t.server.rcpts
	t.emit(Event{Kind: Message, Code: code, Recipients: t.server.rcpts})
}

func (t *Tracker) rejected(code int) {
	t.facts.Rejected++
	t.emit(Event{Kind: Rejected, Code: code})
}

// forget clears the envelope.
func (t *Tracker) forget() { t.server.inMail, t.server.rcpts = false, 0 }
