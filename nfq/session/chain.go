package session

// chain is what a server's records look like when it takes whole messages that came at once, one behind the other: as many bytes
// for each of them, however they lie in records, and the answer to QUIT at the end perhaps.
type chain struct {
	messages int
	period   int  // bytes of all the replies to one message
	final    int  // bytes of the one that ends it
	leave    bool // the answer to QUIT is behind it
	voice    uint8
	how      habits // usedData or usedChunks
	maybe    bool   // it can be answers to many RCPT, too
}

const (
	chainUp   = 180 // bytes of the client for each message, with its content
	evenRcpts = 3   // of each message, where nothing else shows how many bytes a message has
)

// chain finds it, if the flight is one in the words of a server that is known: from its beginning on, or the rest of one whose period is
// known.
func (f *flight) chain(known int) (c chain, ok bool) {
	if f.slack > 0 || f.records < 2 {
		return c, false
	}
	for i := 1; i < len(voices); i++ {
		v := &voices[i]
		for _, period := range [...]int{f.tally.commonest(), f.tally.common(), f.tally.divisor()} {
			if period == 0 || period != known && !v.begins(f.first%period) {
				continue
			}
			if c, ok = f.chained(v, period); ok {
				c.voice, c.maybe = uint8(i), v.oneEnvelope(&f.tally)
				return c, true
			}
		}
		for k := 1; k <= evenRcpts; k++ {
			for final := v.finalLeast; final <= v.finalMost && v.finalMost-v.finalLeast < 20; final += v.step {
				envelope := v.mail + k*v.rcpt + v.data
				period := envelope + final
				if f.first%period != envelope || f.down < 3*period {
					continue
				}
				if c, ok = f.chained(v, period); ok && c.final == final {
					c.voice, c.maybe = uint8(i), v.oneEnvelope(&f.tally)
					return c, true
				}
			}
		}
	}
	return c, false
}

// chained holds the flight against one period.
func (f *flight) chained(v *voice, period int) (c chain, ok bool) {
	if period < v.mail+v.rcpt || f.down < 2*period {
		return c, false
	}
	leave := f.down % period
	if leave != 0 && (leave < v.quitLeast || leave > v.quitMost) {
		return c, false
	}
	c = chain{messages: f.down / period, period: period, final: (f.end - leave) % period, leave: leave > 0}
	if f.up < int64(c.messages)*chainUp {
		return c, false
	}
	for end := f.end - leave; ; end -= v.mail + v.rcpt { // what is in the last record before it
		if end < shortestReply {
			break
		}
		if c.is(v, end) {
			c.final = end
			return c, true
		}
	}
	return c, c.is(v, c.final)
}

// is reports whether the final reply has so many bytes, and what is before it is an envelope.
func (c *chain) is(v *voice, final int) bool {
	switch {
	case final >= v.finalLeast && final <= v.finalMost && v.isEnvelope(c.period-final-v.data):
		c.how = usedData
	case v.chunkMost > 0 && final >= v.chunkedLeast && final <= v.chunkMost && v.isEnvelope(c.period-final):
		c.how = usedChunks
	default:
		return false
	}
	return true
}

// begins reports whether n bytes are the answers to a MAIL, and perhaps to some RCPT and DATA.
func (v *voice) begins(n int) bool {
	return n == v.mail || v.isEnvelope(n) || v.isEnvelope(n-v.data)
}

// oneEnvelope reports whether all records can be answers to the RCPT of one envelope, to MAIL before them, and to BDAT or QUIT behind them.
func (v *voice) oneEnvelope(t *tally) bool {
	mail, others := 0, t.rest
	for i, l := range t.length {
		switch n := int(l); {
		case n == 0 || n%v.rcpt == 0:
		case n >= v.mail && (n-v.mail)%v.rcpt == 0:
			mail += int(t.n[i])
		default:
			others += int(t.n[i])
		}
	}
	return mail <= 1 && others <= 1
}

// isEnvelope reports whether n bytes are the answers to one MAIL and some RCPT.
func (v *voice) isEnvelope(n int) bool {
	k := n - v.mail
	return k >= v.rcpt && k%v.rcpt == 0 && k/v.rcpt <= mostRcpts
}

// commonest is the length that most records have.
func (t *tally) commonest() int {
	best := 0
	for i, n := range t.n {
		if n > t.n[best] {
			best = i
		}
	}
	return int(t.length[best])
}

// common is the sum of the lengths that are as common as the commonest, about.
func (t *tally) common() (sum int) {
	most := uint16(0)
	for _, n := range t.n {
		most = max(most, n)
	}
	for i, n := range t.n {
		if n*4 >= most*3 {
			sum += int(t.length[i])
		}
	}
	return sum
}

// divisor is a length of which another one is a multiple.
func (t *tally) divisor() int {
	for i, l := range t.length {
		for j, of := range t.length {
			if i != j && l != 0 && of > l && of%l == 0 {
				return int(l)
			}
		}
	}
	return 0
}

// chained adds the guess that the flight is a chain.
func (m *mover) chained(c *chain) {
	was, next := m.from, &m.ended
	*next = *was
	m.from = next
	cost := int32(unheardOf - sureness)
	if c.messages == 2 {
		cost += 4
	}
	if was.habits&bursting != 0 {
		cost = 1
	}
	end := atTaken
	if c.leave {
		end = atQuit
	}
	if c.maybe || was.voice != 0 && was.voice != c.voice || c.voice == postfix && c.final == postfixRefusal {
		m.bursts(0, c.messages, cost, c.how, end)
	} else {
		next.voice, next.period = c.voice, length(c.period)
		next.final.last = length(c.final)
		m.bursts(c.messages, c.messages, cost, c.how, end)
	}
	m.from = was
}
