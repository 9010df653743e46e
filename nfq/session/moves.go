package session

import "sync"

// What one command and its reply can be, by where the dialogue stands (RFC 5321, section 4.1.4).

// mover makes the guesses that can follow one guess.
type mover struct {
	framing framing
	flight  flight
	from    *guess // one of those below
	to      estimate

	least, most int64 // the client's plaintext if it is one record
	record      int64 // bytes that a record adds to its plaintext, at most
	limit       int32 // what costs more is not plausible any more
	more        int32 // what it costs that one reply came in more than one record
	behind      bool  // a message may end in the flight that began before
	looks       looks // of the flight, the same for all guesses

	// The guess as it was, and as it is looked at in some places.
	plainly, oddly, idly, leaving, ended guess
}

// Movers are too large for the stack, and there is no more than one for each processor.
var movers = sync.Pool{New: func() any { return new(mover) }}

// measure prepares for a flight.
func (m *mover) measure(f *flight) {
	m.flight, m.least, m.most, m.limit = *f, 0, 0, never-1
	m.looks = looks{}
	m.record = recordHeader + int64(m.framing.add) + int64(m.framing.block)
	if body := f.up - recordHeader; body > maxRecord {
		m.least, m.most = body-m.record, body
	} else if body > 0 {
		least, most := m.framing.plain(int(body))
		m.least, m.most = int64(least), int64(most)
	}
	m.more = 3 * int32(min(f.records-1, 10))
}

// odd reports whether the sizes of the client's records say nothing in this guess.
func (m *mover) odd() bool { return m.from.habits&irregular != 0 }

// four reports whether the client said one command of four letters and nothing else.
func (m *mover) four() bool {
	return m.most >= fourLetters && (m.least <= fourLetters || m.odd())
}

// size is the cost of one command of the client in this flight.
func (m *mover) size(table []grade) int32 {
	if m.odd() && m.most > int64(table[0].upTo) {
		return 0
	}
	return graded(m.most, table)
}

// contents is the cost of so much content, of which there cannot be more, whatever records it is in.
func contents(n int64) int32 { return graded(max(n, 3), contentSize) }

// reply is the cost of one reply of a kind in this flight.
func (m *mover) reply(k *kind, first []grade) int32 {
	return m.more + k.hear(m.flight.down, m.flight.slack, first)
}

// unheard is the same for replies of which nothing is kept.
func (m *mover) unheard(first []grade) int32 { return m.more + graded(int64(m.flight.down), first) }

// about is reply where it may repeat the address that the command is about: then it grows with that.
func (m *mover) about(k *kind, e *echo, first []grade) int32 {
	known := k.last != 0
	cost := k.hear(m.flight.down, m.flight.slack, first)
	if by := int16(m.flight.down) - int16(m.most); !known || cost > 1 {
		switch {
		case m.odd():
		case known && (by == e.last || by == e.other):
			cost = 1
		default:
			e.last, e.other = by, e.last
		}
	}
	return m.more + cost
}

// put adds a guess.
func (m *mover) put(g guess, at stand, cost int32) {
	if g.cost+cost <= m.limit {
		m.limit = min(m.limit, g.cost+cost+plausible)
		g.at = at
		g.cost += cost
		m.to.put(&g)
	}
}

func (m *mover) add(at stand, cost int32) { m.put(*m.from, at, cost) }

// move makes all guesses that can follow.
func (m *mover) move() {
	if m.flight.up == 0 && m.from.at != atStart {
		m.add(m.from.at, 6) // more of the answer before, or a word unasked
		return
	}
	m.regular()
	if !m.odd() && m.from.cost < plausible/2 {
		was := m.from
		m.oddly = *was
		m.oddly.habits |= irregular
		m.oddly.cost += plausible + 2
		m.from = &m.oddly
		m.regular()
		m.from = was
	}
}

func (m *mover) regular() {
	m.burst()
	if m.from.habits&bursting != 0 {
		m.from.cost += 2 // who does not wait does not begin to
		if m.roomy() {
			m.from.cost += 4
		}
	}
	switch m.from.at {
	case atStart:
		m.start()
	case atIdle, atTaken, atSpurned:
		m.idle()
		m.other()
	case atAuth:
		c := m.size(tokenSize)
		m.add(atAuth, sum(1, c, m.unheard(anyReply)))
		m.add(atIdle, sum(c, m.unheard(anyReply)))
	case atMail, atRcpt:
		m.envelope()
		m.other()
	case atData:
		m.content()
	case atChunk:
		m.chunk()
	case atQuit:
		m.add(atQuit, 14)
	}
}

// other is a command that changes nothing: VRFY, NOOP, HELP ...
func (m *mover) other() {
	at := m.from.at
	if at == atTaken || at == atSpurned {
		at = atIdle
	}
	g := *m.from
	size, least := m.size(otherSize), int32(3)
	switch {
	case g.habits&asking != 0 && m.most <= askedMost: // who has asked twice goes on asking
		size, least = 0, 2
	case m.odd():
		least = 5 // its size does not speak against it any more
	}
	if g.habits&asked != 0 {
		g.habits |= asking
	}
	g.habits |= asked
	cost := sum(size, max(m.reply(&g.said, anyReply), least))
	m.put(g, at, cost)
}

// start: the greeting and session tickets, to nothing that the client has said, and the answer to EHLO.
func (m *mover) start() {
	cost := m.unheard(anyReply)
	if m.flight.up == 0 {
		m.add(atStart, 0)
		return
	}
	m.add(atStart, sum(cost, 6))
	if m.flight.down < 40 {
		cost++
	}
	m.add(atIdle, sum(cost, m.size(helloSize)))
}

// idle: no envelope is begun.
func (m *mover) idle() {
	was, next := m.from, &m.idly
	*next = *was
	m.from = next
	switch was.at {
	case atSpurned:
		next.cost += int32(next.grudge)
	case atTaken:
		if next.habits&resets != 0 {
			next.cost += 8
		}
		next.habits |= plain
	}
	next.at, next.grudge = atIdle, 0
	if m.from.habits&enveloped == 0 {
		c := sum(m.size(authSize), m.unheard(anyReply))
		m.add(atAuth, c)
		m.add(atIdle, c)
	}
	m.add(atIdle, sum(m.size(ehloSize), m.unheard(anyReply)))
	if m.four() {
		m.afterwards(was)
	}
	m.mail(0)
	m.groups(withMail)
	m.from = was
}

// afterwards is QUIT or RSET without an envelope. A client that was refused says RSET, as a rule; one that was not
// does so always or never.
func (m *mover) afterwards(was *guess) {
	idle, from := m.from, &m.leaving
	*from = *was
	from.at, from.grudge = atIdle, 0
	m.from = from
	cost := int32(1)
	switch {
	case was.at != atTaken:
	case was.habits&resets != 0:
		cost = 0
	case was.habits&plain != 0:
		cost = 8
	default:
		cost = 3
		from.habits |= resets
	}
	m.rset(cost)
	from.habits = was.habits
	cost = 0
	if was.at == atSpurned {
		cost = int32(was.grudge)
	}
	m.add(atQuit, sum(cost, m.unheard(quitReply)))
	m.from = idle
}

// mail: MAIL, nothing else.
func (m *mover) mail(cost int32) {
	g := *m.from
	cost = sum(cost, m.size(mailSize), m.about(&g.mail, &g.mailEcho, mailReply), g.style(stepwise))
	m.put(g, atMail, cost)
}

// rcpt: RCPT, nothing else. Most servers answer it as they answer MAIL.
func (m *mover) rcpt() {
	g := *m.from
	if g.rcpt.last == 0 && g.mail.last == length(m.flight.down) {
		g.rcpt = g.mail
		m.put(g, atRcpt, sum(m.size(rcptSize), 2, m.more))
		return
	}
	cost := sum(m.size(rcptSize), m.about(&g.rcpt, &g.rcptEcho, rcptReply))
	m.put(g, atRcpt, cost)
}

// rset: RSET or NOOP, nothing else.
func (m *mover) rset(cost int32) {
	g := *m.from
	if g.rset.last == 0 && g.mail.last != 0 && distance(m.flight.down, g.mail.last) > 8 {
		cost += 2 // most servers answer it as they answer MAIL
	}
	cost = sum(cost, m.reply(&g.rset, rsetReply))
	m.put(g, atIdle, cost)
}

// envelope: MAIL was answered, and perhaps RCPT.
func (m *mover) envelope() {
	m.rcpt()
	m.groups(withRcpt)
	if m.four() {
		m.add(atQuit, sum(3, m.unheard(quitReply)))
		m.rset(4)
	}
	m.mail(4) // the one before was refused
	if m.from.at != atRcpt {
		return
	}
	if m.four() {
		g := *m.from
		if v := g.voiceTo(m.flight.down); v != 0 {
			g.voice = v
		}
		if g.voice != 0 {
			g.habits |= proved
		}
		cost := m.reply(&g.data, dataReply) - m.known(&g)
		if l := length(m.flight.down); l == g.mail.last || l == g.rcpt.last {
			cost += 3 // most servers have more to say than OK
		}
		m.put(g, atData, cost)
		g = *m.from // it was refused
		cost = sum(2, m.reply(&g.no, rcptReply))
		g.grudge = 1
		m.put(g, atSpurned, cost)
	}
	m.lastChunk()
	g := *m.from
	cost := sum(g.way(usedChunks), m.size(chunkSizes), m.reply(&g.chunk, chunkReply), m.notPart())
	m.put(g, atChunk, cost)
	m.chunks()
	m.chunksToLast()
}

// chunks: several BDAT, none of them the last, were answered in one flight.
func (m *mover) chunks() {
	g, f := *m.from, &m.flight
	if f.up < 2*leastChunk || f.down < 2*usualReply {
		return
	}
	cost := g.way(usedChunks)
	switch c := int(g.chunk.last); {
	case g.voice != 0 && f.slack == 0:
		if w := g.wordsOf(); !w.parts(&f.tally) {
			return
		}
	case c == 0:
		g.chunk.last = f.tally.shortest()
		cost += 5
		if !f.tally.multiples(int(g.chunk.last)) {
			return
		}
	case !f.tally.multiples(c):
		return
	}
	m.put(g, atChunk, cost)
}

// chunksToLast: the same, and the last one behind them, perhaps with QUIT. That is looked for in words that are known.
func (m *mover) chunksToLast() {
	g, f := *m.from, &m.flight
	if g.voice == 0 || f.slack > 0 || f.records < 2 {
		return
	}
	w := g.wordsOf()
	c := m.count(&w, false)
	if c.strange > 0 || c.least > 1 || c.most == 0 {
		return
	}
	g.messages++
	at := atTaken
	if f.end >= w.leaveLeast && f.end <= w.leaveMost && (f.end < w.lastLeast || f.end > w.lastMost) {
		at = atQuit
	}
	m.put(g, at, sum(1, g.way(usedChunks)))
}

// lastChunk: BDAT LAST with the rest of the message, nothing else.
func (m *mover) lastChunk() {
	if m.most >= bdatLeast {
		m.message(atTaken, usedChunks, m.flight.down, sum(contents(m.most-bdatUsual), m.more))
	}
}

// message: a message was taken, or refused, with a final reply of so many bytes. 0: it is
// not known how many.
func (m *mover) message(at stand, how habits, reply int, cost int32) {
	g := *m.from
	cost = sum(cost, g.way(how))
	if cost >= never {
		return
	}
	taken, refused, grudge := int32(0), int32(never), int32(0)
	if how == usedChunks && g.voice == 0 && reply > 0 && m.flight.slack == 0 {
		if g.voice = voiceOfChunks(&g, reply); g.voice != 0 {
			cost -= 3
		}
	}
	if reply > 0 {
		taken, refused, grudge = m.final(&g, reply, how == usedChunks)
	}
	if at == atTaken && refused < never {
		r := *m.from
		r.habits = g.habits
		r.grudge = uint8(grudge)
		refused += r.spurned.hear(reply, m.flight.slack, nothingNew)
		if r.final.last == length(reply) || r.final.other == length(reply) {
			refused += 7 // with the words of one that was taken
		}
		m.put(r, atSpurned, sum(cost, refused))
	}
	if g.spurned.last == length(reply) && reply > 0 {
		taken += 6
	}
	g.messages++
	v := &voices[g.voice]
	switch {
	case g.voice == 0 && how == usedData && m.wanted():
		g.habits |= proved
	case how == usedChunks && g.mail.last == 0: // the answers to an envelope together and one behind them are as long as so in the words of many
	case g.voice != 0 && reply > 0 && m.flight.slack == 0 && v.proves(reply, how == usedChunks):
		g.habits |= proved
	}
	m.put(g, at, sum(cost, taken))
}

// wanted reports whether what the client said was a message's content, in words that nobody knows: the server had more to say before than OK, as to RSET and
// NOOP, and it is longer than most of what is said behind a DATA that was refused.
func (m *mover) wanted() bool {
	g := m.from
	ok := int(g.mail.last)
	if ok == 0 {
		ok = int(g.group.last) / 2 // of MAIL and RCPT, at least
	}
	return !m.odd() && ok != 0 && int(g.data.last) >= ok+leastMore && m.most >= surelyContent
}

// final is what it costs that a final reply of so many bytes takes the message, that it refuses it, and what
// the latter costs more where no RSET follows.
func (m *mover) final(g *guess, reply int, chunks bool) (taken, refused, grudge int32) {
	v := &voices[g.voice]
	known := g.final.last != 0
	like := known && (distance(reply, g.final.last) <= m.flight.slack || g.final.other != 0 && distance(reply, g.final.other) <= m.flight.slack)
	near := like || known && distance(reply, g.final.last) <= 6+m.flight.slack
	taken = g.final.hear(reply, m.flight.slack, finalReply)
	switch {
	case g.voice != 0 && m.flight.slack == 0 && (reply == v.mail || reply == v.rcpt) && !v.accepts(reply, 0, chunks):
		return 10, 8, 3 // it says OK to something else
	case g.voice != 0 && !v.accepts(reply, m.flight.slack, chunks):
		if v.takesLeave(reply, m.flight.slack) {
			return 10, 8, 3
		}
		if like {
			return 4, 1, 3 // the words of another one behind it, perhaps: as likely as a refusal without RSET
		}
		return 10, 1, 3
	case g.voice == postfix && reply == postfixRefusal && m.flight.slack == 0:
		if g.spurned.last == postfixRefusal {
			return taken, 0, 1
		}
		return min(taken, 2), 3, 2
	case g.voice != 0 && v.same && known && !like && !chunks:
		return 4, 1, 3
	case g.voice != 0 && m.flight.slack == 0 && v.finalMost-v.finalLeast <= vague:
		return min(taken, 2), plausible + 3, 11 // word by word what it says
	case g.voice != 0:
		if refused = 7; g.spurned.last != 0 {
			refused += 2
		}
		return min(taken, 2), refused, 11
	case near:
		return taken, 5, 8
	case known:
		return taken, 2, 3
	}
	return taken, 7, 3
}

// known is what speaks for a guess that knows whose words these are.
func (m *mover) known(g *guess) int32 {
	if g.voice != 0 && m.from.voice == 0 {
		return 3
	}
	return 0
}

// content: 354 was said. What follows is the message, perhaps with commands behind it.
func (m *mover) content() {
	c := contents(m.most)
	if m.from.voice != 0 {
		c /= 3 // it was 354 for sure, more or less
	}
	m.message(atTaken, usedData, m.flight.down, sum(c, m.more))
	m.groups(withContent)
}

// chunk: more of a message by BDAT.
func (m *mover) chunk() {
	g := *m.from
	cost := sum(1, m.size(chunkSizes), m.reply(&g.chunk, chunkReply), m.notPart())
	m.put(g, atChunk, cost)
	m.chunks()
	m.chunksToLast()
	if m.most >= bdatLeast {
		m.message(atTaken, usedChunks, m.flight.down, m.more)
	}
}

// notPart is what it costs that an answer to a BDAT that is not the last is none in the words that are known.
func (m *mover) notPart() int32 {
	v := &voices[m.from.voice]
	if m.from.voice == 0 || v.partMost == 0 || m.flight.slack > 0 || m.flight.down >= v.partLeast && m.flight.down <= v.partMost {
		return 0
	}
	return 8
}

// way notes that a message comes by DATA or BDAT, and says what that costs: a client
// does not change it.
func (g *guess) way(how habits) (cost int32) {
	switch {
	case g.habits&how != 0:
	case g.habits&(usedData|usedChunks) != 0:
		cost = 6
	case how == usedChunks:
		cost = 5
	}
	g.habits |= how
	return cost
}

// style notes whether MAIL comes alone or in a group, and says what that costs.
func (g *guess) style(how habits) (cost int32) {
	if g.habits&(stepwise|grouped)&^how != 0 {
		cost = 4
	}
	g.habits = g.habits&^(stepwise|grouped) | how | enveloped
	return cost
}
