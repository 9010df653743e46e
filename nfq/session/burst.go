package session

// Whole messages one behind the other, sent before an answer to the first of them is read: RFC 2920 allows it for BDAT, and
// servers bear it for DATA. All that is left to see are the lengths of the server's records, some of them with many replies.

// alone is how much the client says at most in one command without content, as a rule.
const alone = 200

// unheardOf is the cost of a first burst: so much worse must be all that mail software does.
const (
	unheardOf = plausible + 1
	sureness  = 13 // what speaks for it where each reply is known by its length
	vague     = 20 // so many lengths of a final reply say little
	strange   = 8  // what a flight costs at least that is not like mail software, beside what is new in it
	firstTime = 5  // what a reply costs of a kind that was not heard before
)

// What a whole message takes at least, by which is known how many there can be at most.
const (
	leastAnswers = 3 * usualReply                         // to MAIL, RCPT and BDAT LAST
	leastMessage = mailLeast + rcptLeast + bdatLeast + 40 // bytes of the client
	usualRcpt    = 70                                     // with what its record adds
	leastRcpt    = 20                                     // the same, at least
	usualRcpts   = 60                                     // of one message, at most
	refusalLeast = 20                                     // bytes of the answer to one that is refused
	refusalMost  = 120
	mostRcpts    = 10 // of the messages of a burst, on the average
)

// burst adds the guesses that the flight holds whole messages, more than one, or goes on with such: where the words are known.
func (m *mover) burst() {
	g, f := m.from, &m.flight
	cost := int32(1)
	if g.habits&bursting == 0 {
		if !m.roomy() || g.at == atQuit || g.at == atAuth {
			return
		}
		cost = unheardOf
	} else if f.records == 1 && f.up < alone {
		return // as any other
	}
	if g.cost+cost-sureness > m.limit || f.slack > 0 {
		return
	}
	if c, ok := m.chain(int(g.period)); ok {
		m.chained(c)
		return
	}
	if w, ok := g.words(); ok {
		if g.at == atChunk && g.voice != 0 && cost == unheardOf {
			cost -= sureness - 3 // who sends the first chunk with the envelope does not wait
		}
		m.burstOf(&w, g.voice, cost)
	} else if v := spoken(&f.tally); v != 0 {
		w := voices[v].words()
		if v == postfix {
			w.doubtful = postfixRefusal
		}
		m.burstOf(&w, v, cost-sureness)
	}
}

// burstOf reads the flight in words that are known.
func (m *mover) burstOf(w *words, voice uint8, cost int32) {
	was, next := m.from, &m.ended
	*next = *was
	next.voice = voice
	m.from = next
	for _, data := range [...]bool{true, false} {
		how := usedData
		if !data {
			how = usedChunks
		}
		c := m.count(w, data)
		if c.strange > 0 && was.habits&bursting == 0 && m.usual() {
			continue // what is strange is a refusal
		}
		owed := 0
		if was.at == atData {
			owed = 1
		}
		least, most := c.least, c.most
		certain := voice != 0 && !voices[voice].vague(!data) // nobody's words are as certain as those that we know, nor are all of those
		if !certain {
			least = 0
		}
		if c.even > 0 {
			most += (c.even + owed + 1) / 2
			if certain {
				least += (c.even + owed) / 2
			}
		}
		if c.strange > 0 {
			most = max(most, w.fit(&m.flight)+1)
			least = 0
		}
		if data && c.known > 0 || !data && w.lastLeast != 0 {
			m.bursts(least, max(most, least), cost+2*int32(min(c.strange, 3)), how, w.ends(m.flight.end, data)...)
		}
	}
	m.from = was
}

// anyEnd is where a dialogue may stand behind a record that cannot be read.
var anyEnd = []stand{atTaken, atData, atRcpt, atQuit}

// ends is where the dialogue can stand behind a record of n bytes.
func (w *words) ends(n int, data bool) []stand {
	switch {
	case n == w.mail || n == w.rcpt:
		return anyEnd[2:3]
	case data && n == w.data:
		if n >= w.endLeast && n <= w.endMost {
			return anyEnd[:2]
		}
		return anyEnd[1:2]
	case data && n >= w.endLeast && n <= w.endMost, !data && n >= w.lastLeast && n <= w.lastMost && w.lastLeast > 0:
		return anyEnd[:1]
	}
	return anyEnd
}

// bursts adds the guesses that from least to most messages were taken, least in words that are known, else 0.
func (m *mover) bursts(least, most int, cost int32, how habits, ends ...stand) {
	g := *m.from
	if how != 0 {
		cost += g.way(how)
	}
	if m.from.habits&bursting == 0 && most < 2 {
		return
	}
	g.habits |= bursting | enveloped
	if least > 0 {
		g.habits |= proved
	}
	g.messages += int32(least)
	g.more = length(int(g.more) + most - least)
	for _, at := range ends {
		m.put(g, at, cost)
	}
}
