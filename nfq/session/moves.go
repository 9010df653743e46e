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
	apart       uint8 // as the estimate has it, before the flight
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
	if m.least <= fourLetters && m.most >= fourLetters { // RSET, most likely
		m.from.habits &^= leads
	}
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
		if m.goesOn() {
			next.habits |= leads
		}
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

// goesOn reports whether the flight is MAIL and its answer in words that are known, behind a message by BDAT: if that was a refusal, or no message at all, the
// envelope would be open still, and MAIL refused. Where the answers to the envelope came together they are as long as so in the words of many. It may be another
// RCPT that was taken: so it proves nothing before it leads to a second such message, without a command of four letters between.
func (m *mover) goesOn() bool {
	g, v := m.from, &voices[m.from.voice]
	return g.voice != 0 && g.habits&bulky != 0 && g.mail.last != 0 && m.most >= mailLeast && m.flight.records == 1 && m.flight.slack == 0 && m.flight.down == v.mail && v.proves(int(g.final.last), true)
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
		says := g.voice != 0 && m.flight.down == voices[g.voice].data
		if says {
			g.habits |= proved
		}
		cost := m.reply(&g.data, dataReply) - m.known(&g)
		if l := length(m.flight.down); l == g.mail.last || l == g.rcpt.last {
			cost += 3 // most servers have more to say than OK
		}
		if says || g.voice == 0 || m.flight.slack > 0 {
			m.put(g, atData, cost)
		}
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
