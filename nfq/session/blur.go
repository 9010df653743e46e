package session

// roomy reports whether there is room for two whole messages in the flight.
func (m *mover) roomy() bool { return m.flight.up >= 2*leastMessage && m.flight.down >= 2*leastAnswers }

// blur is called when all readings of a flight are there, known being how many kinds of replies were known before. If the best
// that takes it for what mail software does is a bad one, any number of messages that there is room for may have been in it.
func (m *mover) blur(known int32) {
	if !m.roomy() || m.usual() {
		return
	}
	best := int32(never)
	for i := range m.to.guesses[:m.to.n] {
		if g := &m.to.guesses[i]; g.habits&bursting == 0 {
			best = min(best, g.cost-firstTime*max(g.heard()-known, 0))
		}
	}
	if best >= strange {
		m.to.blur(&m.flight, 1)
	}
}

// looks are what a flight looks like, found out when it is asked for first.
type looks struct {
	asked, usual   bool
	linked, linkOK bool
	link           chain
	period         int // that link was looked for with
	words          [2]words
	counted        [2]bool
	counts         [2]counts
}

func (m *mover) usual() bool {
	if !m.looks.asked {
		m.looks.asked, m.looks.usual = true, m.flight.usual(m.behind)
	}
	return m.looks.usual
}

// chain is the flight's for a guess that knows the period.
func (m *mover) chain(period int) (*chain, bool) {
	l := &m.looks
	if !l.linked || l.period != period {
		l.linked, l.period = true, period
		l.link, l.linkOK = m.flight.chain(period)
	}
	return &l.link, l.linkOK
}

// count reads the flight in the words, by DATA or by BDAT.
func (m *mover) count(w *words, data bool) counts {
	l, i := &m.looks, 0
	if data {
		i = 1
	}
	if !l.counted[i] || l.words[i] != *w {
		l.counted[i], l.words[i], l.counts[i] = true, *w, w.count(&m.flight.tally, data)
	}
	return l.counts[i]
}

// usual reports whether a flight is, to the byte, what a server that is known answers to one envelope, with the end of the
// message behind it that came by BDAT, or to the end of a message and QUIT. behind is whether a message that began before may end in it.
func (f *flight) usual(behind bool) bool {
	if f.slack > 0 {
		return false
	}
	for i := 1; i < len(voices); i++ {
		v := &voices[i]
		if v.finalMost-v.finalLeast > vague {
			continue
		}
		if f.records == 2 && v.accepts(f.first, 0, f.up > maxRecord) && f.end >= v.quitLeast && f.end <= v.quitMost {
			return true
		}
		if f.refuses(v) || f.records == 1 && v.chunkMost-v.chunkedLeast <= 2*vague && f.down >= v.chunkedLeast && f.down <= v.chunkMost {
			return true
		}
		for _, least := range [...]int{v.data, v.data + v.finalLeast} { // perhaps behind the end of the one before
			if least > v.data && !behind {
				break
			}
			most := v.data + (least-v.data)/v.finalLeast*v.finalMost
			for n := max(f.down-v.mail-most, 0); n <= f.down-v.mail-least; n += v.step {
				if k := n / v.rcpt; n > 0 && n%v.rcpt == 0 && k <= usualRcpts && f.up <= int64(k+2)*usualRcpt {
					return true
				}
			}
		}
		if v.chunkMost == 0 || f.records > 1 {
			continue
		}
		for k := 1; k <= 2; k++ {
			end := f.down - v.mail - k*v.rcpt
			if end >= v.chunkedLeast && end <= v.chunkMost || v.quitLeast == v.quitMost && end >= v.chunkedLeast+v.quitLeast && end <= v.chunkMost+v.quitMost {
				return true
			}
		}
	}
	return false
}

// refuses reports whether the flight can be the answers to one envelope, of which the first recipients are refused and those in the
// records behind are not.
func (f *flight) refuses(v *voice) bool {
	rest, refusal := f.down-f.first-v.data, f.first-v.mail
	k := rest / v.rcpt
	return f.records > 1 && rest > 0 && rest%v.rcpt == 0 && refusal >= refusalLeast && refusal <= refusalMost &&
		k <= usualRcpts && f.up >= int64(k+3)*leastRcpt && f.up <= int64(k+4)*usualRcpt
}

// blur takes as many more messages as possible as there is room for in the flight, and so many beside: the end of one that
// began before, or less those that are counted.
func (e *estimate) blur(f *flight, beside int) {
	for i := range e.guesses[:e.n] {
		if g := &e.guesses[i]; g.habits&bursting == 0 {
			w, ok := g.words()
			if !ok {
				w = words{mail: usualReply, rcpt: usualReply, endLeast: usualReply}
			}
			g.more = length(int(g.more) + max(w.fit(f)+beside, 0))
		}
	}
}

// heard is of how many kinds of replies the guess has heard one.
func (g *guess) heard() (n int32) {
	for _, k := range [...]kind{g.mail, g.rcpt, g.data, g.final, g.group, g.chunk, g.no} {
		if k.last != 0 {
			n++
		}
	}
	return n
}

// fit is how many messages a flight can have at most.
func (w *words) fit(f *flight) int {
	least := w.mail + w.rcpt + w.endLeast
	if w.lastLeast != 0 {
		least = w.mail + w.rcpt + min(w.endLeast, w.lastLeast)
	}
	return min(f.down/least, int(f.up/leastMessage))
}
