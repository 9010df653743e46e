package session

// What a message's content and the reply to it can be, by DATA and by BDAT (RFC 3030).

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
	m.byChunks(&g)
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
	case how == usedChunks: // refusals are as long: see goesOn
		m.byChunks(&g)
	case g.voice != 0 && reply > 0 && m.flight.slack == 0 && v.proves(reply, false):
		g.habits |= proved
	}
	m.put(g, at, sum(cost, taken))
}

// byChunks notes that a message by BDAT may have ended in the flight. Where its answer may be one to an AUTH in an envelope, three in a row are asked for, each with MAIL and
// RCPT answered one by one before it: recipients between two of those look like the envelope of the second.
func (m *mover) byChunks(g *guess) {
	auth := g.voice == postfix && m.flight.maybeLateAuth()
	bulk := m.most >= surelyNoRcpt && (!auth || m.apart >= 2)
	second := bulk && g.habits&leads != 0
	third := second && g.habits&led != 0
	if third || second && !auth {
		g.habits |= proved
	}
	g.habits &^= bulky | leads | led
	if bulk {
		g.habits |= bulky
	}
	if second {
		g.habits |= led
	}
}

// wanted reports whether what the client said was a message's content, in words that nobody knows: the server had more to say before than OK, as to RSET and
// NOOP, and it is longer than most of what is said behind a DATA that was refused. HELP is as long as DATA, and has a long answer.
func (m *mover) wanted() bool {
	g := m.from
	ok := int(g.mail.last)
	if ok == 0 {
		ok = int(g.group.last) / 2 // of MAIL and RCPT, at least
	}
	for i := 1; i < len(voices); i++ { // who says so to MAIL and RCPT has other words for DATA, if they are not those of RFC 5321
		if v := &voices[i]; int(g.mail.last) == v.mail && (int(g.rcpt.last) == v.rcpt || int(g.rcpt.other) == v.rcpt) && int(g.data.last) != v.data && int(g.data.last) != startMailInput {
			return false
		}
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
	again := g.spurned.last == length(reply) // and the client has gone on
	switch {
	case g.voice != 0 && m.flight.slack == 0 && (reply == v.mail || reply == v.rcpt) && !v.accepts(reply, 0, chunks):
		return 10, 5, 3 // it says OK to something else
	case g.voice != 0 && !v.accepts(reply, m.flight.slack, chunks):
		switch {
		case like:
			return 2, 1, 3 // the words of another one behind it, perhaps: as likely as a refusal without RSET
		case again:
			return 10, 1, 1
		case v.takesLeave(reply, m.flight.slack):
			return 10, 4, 3 // or the answer to QUIT is behind it: then nothing follows
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
