package session

// Groups of commands that a client sends at once (RFC 2920), answered in one flight.

// span is what a part of a group usually has: bytes of the client and of the server.
type span struct{ upLeast, upUsual, upMost, downUsual, downMost int64 }

var (
	mailSpan  = span{mailLeast, 23, 110, usualReply, 90}
	rcptSpan  = span{rcptLeast, 20, 90, usualReply, 150}
	dataSpan  = span{fourLetters, fourLetters, fourLetters, 14, 90}
	rsetSpan  = span{fourLetters, fourLetters, fourLetters, usualReply, 60}
	quitSpan  = span{fourLetters, fourLetters, fourLetters, usualReply, 120}
	finalSpan = span{3, 3, 1 << 40, usualReply, 250}
	chunkSpan = span{bdatLeast, bdatUsual, 1 << 40, usualReply, 250}
)

// group is a sum of such parts.
type group struct {
	span
	replies int64
}

func (g group) and(s span) group {
	return group{span{g.upLeast + s.upLeast, g.upUsual + s.upUsual, g.upMost + s.upMost, g.downUsual + s.downUsual, g.downMost + s.downMost}, g.replies + 1}
}

// rcpts is how many RCPT there are beside the group, if there are any: the fewest that fit well.
func (m *mover) rcpts(g group) int64 {
	up, down := m.most, int64(m.flight.down)
	most := (down - shortestReply*g.replies) / shortestReply
	least := max(1, int64(m.flight.records)-g.replies, ratio(down-g.downMost, rcptSpan.downMost))
	if !m.odd() {
		most = min(most, (up-g.upLeast)/rcptSpan.upLeast)
		least = max(least, ratio(up-g.upMost-(g.replies-1)*m.record, rcptSpan.upMost+m.record))
	}
	return min(least, most)
}

// ratio is a/b rounded up.
func ratio(a, b int64) int64 { return (a + b - 1) / b }

// fits is the cost of a flight being this group and k RCPT, by sizes.
func (m *mover) fits(g group, k int64) int32 {
	up, down, records := m.most, int64(m.flight.down), int64(m.flight.records)
	replies := g.replies + k
	if k < 0 || up < g.upLeast+k*rcptSpan.upLeast || down < shortestReply*replies {
		return never
	}
	cost := graded(k, manyRcpts)
	if down < g.downUsual+usualReply*k {
		cost += 4
	}
	if up < g.upUsual+rcptSpan.upUsual*k {
		cost += 3
	}
	switch {
	case records > replies:
		cost += 3 * int32(min(records-replies, 10))
	case records > 1 && records < replies:
		cost += 3 // all together or each for itself, mostly
	}
	if !m.odd() {
		if over := up - (g.upMost + k*rcptSpan.upMost + (replies-1)*m.record); over > 0 {
			cost += 2 + int32(min(over/40, 20))
		}
	}
	if over := down - (g.downMost + k*rcptSpan.downMost); over > 0 {
		cost += 2 + int32(min(over/60, 20))
	}
	return cost
}

// Where a group begins.
type beginning uint8

const (
	withMail beginning = iota
	withRcpt
	withContent
)

// groups adds the guesses that the flight is a group of commands.
func (m *mover) groups(b beginning) {
	if m.most < rcptLeast && b != withContent {
		return
	}
	switch b {
	case withMail:
		m.envelopes(group{}, false, true, 0)
		m.envelopes(group{}.and(rsetSpan), false, true, 3)
	case withRcpt:
		m.envelopes(group{}, false, false, 0)
	case withContent:
		after := group{}.and(finalSpan)
		c := contents(m.most)
		v := &voices[m.from.voice]
		if m.flight.down >= 2*usualReply && (m.from.voice == 0 || v.takesLeave(m.flight.down, m.flight.slack)) {
			reset := int32(5)
			if m.from.voice != 0 && m.from.habits&stepwise != 0 {
				reset = unasked
			}
			m.message(atQuit, usedData, m.finalOf(quitSpan, v.quitLeast, v.quitMost), sum(c, 2, m.fits(after.and(quitSpan), 0)))
			m.message(atIdle, usedData, m.finalOf(rsetSpan, v.reset, v.reset), sum(c, reset, m.fits(after.and(rsetSpan), 0)))
		}
		m.envelopes(after, true, true, sum(c, 5))
		m.envelopes(after.and(rsetSpan), true, true, sum(c, 6))
	}
}

// unasked is what it costs that a client that has waited for each answer says RSET without.
const unasked = 12

// finalOf is how long the final reply in front of one more reply is, 0 if that is not to be known. In the words of a server that is known
// the other has from least to most bytes.
func (m *mover) finalOf(behind span, least, most int) int {
	if m.flight.records == 2 {
		return m.flight.first
	}
	if m.from.voice != 0 && least == most && m.flight.slack == 0 {
		return max(m.flight.down-most, 0)
	}
	if f := int(m.from.final.last); f != 0 && m.flight.down > f && m.flight.down-f <= int(behind.downMost) {
		return f
	}
	return 0
}

// envelopes: what is in g, MAIL if it is with, RCPT once or more, and perhaps DATA or a BDAT
// with all of the message. With ended the group begins with the end of a message.
func (m *mover) envelopes(g group, ended, mail bool, cost int32) {
	if m.from.cost+cost > m.limit {
		return
	}
	was, from := m.from, &m.ended
	*from = *was
	if ended {
		cost += from.way(usedData)
		from.messages++
	}
	if mail {
		cost += from.style(grouped)
		g = g.and(mailSpan)
	} else if was.at == atRcpt && was.habits&stepwise != 0 {
		cost += 3 // so far it has waited for each answer
	}
	from.cost += cost
	m.from = from
	if ended {
		m.add(atMail, sum(5, m.fits(g, 0)))
	}
	if k := m.rcpts(g); k >= 1 {
		cost := int32(4) // without DATA
		if mail {
			cost = 2
		}
		cost = sum(cost, m.fits(g, k))
		next, c := m.lengths(g, k, mail, nothing)
		m.put(next, atRcpt, sum(cost, c))
	}
	if r := g.and(rsetSpan); m.rcpts(r) >= 1 {
		next := *m.from
		cost := sum(3, m.fits(r, m.rcpts(r)), next.group.hear(m.flight.down, m.flight.slack, anyReply))
		m.put(next, atIdle, cost)
	}
	d := g.and(dataSpan)
	if k := m.rcpts(d); k >= 1 {
		cost := m.fits(d, k)
		next, c := m.lengths(d, k, mail, theData)
		if v := m.voice(&next, mail, k); v != 0 {
			next.voice = v
			c -= m.known(&next)
			if m.flight.records > 1 {
				next.habits |= proved
			}
		}
		if v := &voices[next.voice]; next.voice == 0 || m.flight.slack > 0 || m.flight.down >= v.data+v.rcpt {
			m.put(next, atData, sum(cost, c))
		}
		refused := *m.from
		refused.grudge = 1
		m.put(refused, atSpurned, sum(3, 5, cost))
	}
	m.chunkGroup(g, mail)
	m.from = was
}

// voice is whose words the replies to an envelope up to DATA are.
func (m *mover) voice(g *guess, mail bool, k int64) uint8 {
	f := &m.flight
	switch {
	case f.records == 1 && mail:
		return voiceOfGroup(f.down, m.most)
	case int64(f.records) == k+2 && mail, int64(f.records) == k+1 && !mail:
		return voiceOf(int(g.mail.last), int(g.rcpt.last), f.end)
	}
	return 0
}

// terse is less than what a server says to an envelope and the end of a message together: most name the message.
const terse = 40

// chunkGroup: the message is in the flight, too.
func (m *mover) chunkGroup(g group, mail bool) {
	if m.from.cost > m.limit {
		return
	}
	g = g.and(chunkSpan)
	k := m.rcpts(g)
	if k < 1 {
		return
	}
	m.partGroup(g, k, mail)
	m.wholeAndQuit(g.and(quitSpan), mail)
	c := m.fits(g, k)
	c = sum(c, contents(m.most-(g.upLeast+k*rcptSpan.upLeast+5)-20*(k+1))) // addresses have some length
	next, l := m.lengths(g, k, mail, theFinal)
	c = sum(c, l, next.way(usedChunks))
	if m.flight.down < terse {
		c = sum(c, 5)
	}
	if next.voice != 0 && m.flight.slack == 0 {
		if w := next.wordsOf(); m.count(&w, false).most == 0 {
			c = sum(c, 8) // no end of a message is in these records
		}
	}
	refused := next
	refused.final, refused.group = m.from.final, m.from.group
	next.messages++
	m.byChunks(&next)
	if m.roomy() && !m.usual() { // there may be more than one: two with one recipient each look like one with many
		w, ok := next.words()
		if !ok {
			w = words{mail: usualReply, rcpt: usualReply, endLeast: usualReply}
		}
		next.more = length(int(next.more) + max(w.fit(&m.flight)-1, 0))
	}
	m.put(next, atTaken, c)
	if l >= 4 && m.from.habits&usedChunks != 0 {
		m.put(refused, atIdle, sum(c-l, 8))
	}
}

// wholeAndQuit: so is QUIT, behind the message, and the two are answered together. That is looked for in words that are known.
func (m *mover) wholeAndQuit(g group, mail bool) {
	f := &m.flight
	if f.records != 2 || f.slack > 0 {
		return
	}
	for i := 1; i < len(voices); i++ {
		v := &voices[i]
		k := f.first / v.rcpt
		if mail {
			k = (f.first - v.mail) / v.rcpt
		}
		if m.from.voice != 0 && m.from.voice != uint8(i) || !v.answers(f.first, mail) || !v.takesChunked(f.end) {
			continue
		}
		next := *m.from
		cost := sum(2, m.fits(g, int64(k)), next.way(usedChunks))
		next.voice = uint8(i)
		next.habits |= proved
		next.messages++
		m.put(next, atQuit, cost)
	}
}

// partGroup: the group ends with a BDAT that is not the last. That is looked for in words that are known, since else
// it looks like a whole message.
func (m *mover) partGroup(g group, k int64, mail bool) {
	v := m.partVoice(mail)
	if v == 0 {
		return
	}
	next, cost := m.lengths(g, k, mail, thePart)
	if next.voice != v {
		cost += 4
	}
	next.voice = v
	m.put(next, atChunk, sum(2, cost, m.fits(g, k), next.way(usedChunks)))
}

// partVoice is who answers in such words to an envelope, or to RCPT alone, and some BDAT of one size that are not the last; 0: nobody.
func (m *mover) partVoice(mail bool) uint8 {
	f := &m.flight
	if f.slack > 0 {
		return 0
	}
	for i := 1; i < len(voices); i++ {
		v := &voices[i]
		if v.partMost == 0 || m.from.voice != 0 && m.from.voice != uint8(i) {
			continue
		}
		least, most := v.partLeast, v.partMost
		if f.records > 1 {
			least, most = max(least, f.end), min(most, f.end)
		}
		for part := least; part <= most; part++ {
			if !v.names(part, f.up) {
				continue
			}
			for rest, n := f.down-part, 0; rest > 0 && n < f.records; rest, n = rest-part, n+1 {
				if v.answers(rest, mail) {
					return uint8(i)
				}
			}
		}
	}
	return 0
}

// tail is what a group ends with.
type tail uint8

const (
	nothing tail = iota
	theData
	theFinal
	thePart
)

// lengths is the cost of the lengths of the replies in the flight, if it is a group of RCPT k times
// and what else is in g. It gives the guess that knows them.
func (m *mover) lengths(g group, k int64, mail bool, end tail) (next guess, cost int32) {
	next = *m.from
	f := &m.flight
	if int64(f.records) != g.replies+k || f.records == 1 { // they came together
		cost = next.group.hear(f.down, f.slack, anyReply)
		if cost > 1 {
			cost += 4 * int32(min(f.records-1, 5))
		}
		return next, cost
	}
	sharp := f.slack / f.records
	rest := f.down
	if mail {
		cost += next.mail.hear(f.first, sharp, mailReply)
		rest -= f.first
	}
	switch end {
	case theData:
		cost += next.data.hear(f.end, sharp, dataReply)
		rest -= f.end
	case theFinal:
		cost += next.final.hear(f.end, sharp, finalReply)
		rest -= f.end
	case thePart:
		cost += next.chunk.hear(f.end, sharp, chunkReply)
		rest -= f.end
	}
	if k > 0 {
		cost += next.rcpt.hear(rest/int(k), sharp, rcptReply)
	}
	return next, cost
}
