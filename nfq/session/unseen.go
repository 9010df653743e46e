package session

// What is told about commands and replies that went by without us. Two rules:
// Messages, Recipients and Rejected never count what may not have been, and
// MessagesHi is never below what was. They hold for every client that sends its
// messages either by DATA or by BDAT; who pipelines both behind released content
// makes the second too low by what went by there.

// unmatched takes a reply to a command that we did not see.
func (t *Tracker) unmatched(code int) {
	s, c := &t.server, &t.client
	switch {
	case code == 354:
		s.maybe += s.waiting.finals()
		s.waiting.drop(s.waiting.len)
		s.content, s.blob = true, false
		t.enveloped()
		c.dropHold()
		c.state, c.dot = inContent, dotText
		if t.up.off == t.acked {
			c.dot = dotStart
		}
		c.line.reset()
	case code == 220:
		c.mayTLS = c.state == atCommand
	case code == 221 || code == 421:
	case c.unseen == missed:
		if code < 300 {
			s.stray++
		}
		t.forget() // it may have ended the envelope
	case code >= 300:
		if code >= 400 && c.unseen == released && s.inMail { // else it may be a timeout that answers nothing
			t.rejected(code)
		}
	case !s.inMail || c.unseen == released: // if we thought to have seen all, the server knows better
		c.miss(released, t.acked, t.acked)
		c.sneaky = true
		s.stray++
		t.guessed()
	}
}

// guessed takes a 2xx to a command behind content that the kernel passed: an
// envelope, most of the time. What its text or its enhanced status code
// (RFC 3463) shows to be something else is not taken for a recipient.
func (t *Tracker) guessed() {
	s := &t.server
	text := s.line.text()
	subject, detail := status(text)
	switch {
	case isReset(text) || subject != 0 && subject != '1':
		t.forget() // at worst a NOOP, and we count too few
	case !s.inMail || subject == '1' && detail == '0':
		s.inMail, s.rcpts = true, 0
	default:
		s.rcpts++
	}
}

// unsettled is how many messages the replies to unseen commands may have
// accepted that no 354 told of: with BDAT a message is three commands or more,
// of which a hole may have taken the last one only.
func (t *Tracker) unsettled() int {
	if t.client.unseen == missed {
		return (t.server.stray + 2) / 3
	}
	return t.server.stray / 3
}

// enveloped: a 354 came. What the server answered behind content that the
// kernel passed was this message's envelope; in a hole it may have been more.
func (t *Tracker) enveloped() {
	if t.client.unseen == released {
		t.server.stray = 0
	}
	t.settle()
}

// settle closes a run of replies to unseen commands.
func (t *Tracker) settle() {
	t.server.maybe += t.unsettled()
	t.server.stray = 0
}

// hidden is how many messages n unseen bytes of the server can have accepted:
// those whose end we saw, one whose end we did not, and what fits beside them
// if a message takes three replies of five bytes at least (MAIL, RCPT, BDAT).
// Of one reply the hole may have taken a part.
func hidden(n int64, ends int) int {
	const reply, message = 5, 15
	return int(min(n/reply+1, int64(ends)+1+n/message))
}

// serverHole: replies may have gone by. Which commands they answered is not
// known, so none is taken as answered; message ends among them may have been.
func (t *Tracker) serverHole(n int64) {
	s, c := &t.server, &t.client
	if t.mode == inTLS {
		t.tlsHole(Down, n)
		return
	}
	if t.mode == inSeal {
		t.sealedHole(n)
		return
	}
	s.partial, s.startTLS, s.list = true, false, false
	s.line.reset()
	s.maybe += hidden(n, s.waiting.finals())
	sent := s.waiting.find(endOfData) >= 0
	s.waiting.drop(s.waiting.len)
	if s.content && !sent && c.state == inContent && t.rel == SeeAll {
		return // the content still runs: no reply to it can be in the hole
	}
	s.content, s.blob = false, false
	t.forget()
	c.dropHold()
	c.state = lost
	c.miss(missed, t.up.off, t.up.off)
}
