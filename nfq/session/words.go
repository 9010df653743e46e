package session

// spoken is whose words the records of a flight are, if each holds one reply.
func spoken(t *tally) uint8 {
	for i := 1; i < len(voices); i++ {
		w := &voices[i]
		mail, rcpt, said, last, other := 0, 0, 0, 0, t.rest
		for j, length := range t.length {
			n, l := int(t.n[j]), int(length)
			switch {
			case l == 0:
			case l == w.mail || l == w.rcpt:
				if l == w.mail {
					mail += n
				}
				if l == w.rcpt {
					rcpt += n
				}
			case l == w.data, l >= w.finalLeast && l <= w.finalMost:
				said += n
			case w.chunkMost > 0 && l >= w.chunkedLeast && l <= w.chunkMost:
				last += n
			case l >= w.partLeast && l <= w.partMost, l >= w.quitLeast && l <= w.quitMost:
			default:
				other += n
			}
		}
		if w.mail == w.rcpt {
			mail, rcpt = mail/2, mail/2
		}
		if mail >= 2 && rcpt >= mail-1 && said+2*last >= 3 && said+2*last <= 2*mail+2 && other <= mail/2 {
			return uint8(i)
		}
	}
	return 0
}

// words are the lengths of a server's replies, as far as a guess knows them.
type words struct {
	mail, rcpt, data      int
	endLeast, endMost     int // the reply that takes a message: endLeast bytes, or so many endStep more
	endStep               int
	lastLeast, lastMost   int  // the same after BDAT
	partLeast, partMost   int  // to a BDAT that is not the last
	leaveLeast, leaveMost int  // to QUIT
	period                int  // of a burst
	doubtful              int  // an end that may be a refusal
	parted                bool // messages came in more than one BDAT
}

// words gives what g knows; ok is false if that is not enough to tell replies apart.
func (g *guess) words() (w words, ok bool) {
	if g.voice != 0 {
		w = g.wordsOf()
		w.period = int(g.period)
		w.parted = g.chunk.last != 0
		if g.voice == postfix {
			w.doubtful = postfixRefusal
		}
		if voices[g.voice].same && g.final.last != 0 && g.habits&usedData != 0 {
			w.endLeast, w.endMost = int(g.final.last), int(g.final.last)
		}
		return w, true
	}
	if g.mail.last == 0 || g.rcpt.last == 0 || g.final.last == 0 || g.data.last == 0 {
		return w, false
	}
	end := int(g.final.last)
	return words{mail: int(g.mail.last), rcpt: int(g.rcpt.last), data: int(g.data.last), endLeast: end, endMost: end}, true
}

func (v *voice) words() words {
	return words{mail: v.mail, rcpt: v.rcpt, data: v.data, endLeast: v.finalLeast, endMost: v.finalMost, endStep: v.step, lastLeast: v.chunkedLeast, lastMost: v.chunkMost,
		partLeast: v.partLeast, partMost: v.partMost, leaveLeast: v.quitLeast, leaveMost: v.quitMost}
}

// wordsOf are those of a guess that has a voice.
func (g *guess) wordsOf() words { return voices[g.voice].words() }

// parts reports whether the records can be nothing but answers to BDAT that are not the last.
func (w *words) parts(t *tally) bool {
	if t.rest > 0 || w.partLeast == 0 {
		return false
	}
	for _, l := range t.length {
		if n := int(l) / w.partLeast; l != 0 && n*w.partMost < int(l) {
			return false
		}
	}
	return true
}

// parting reports whether a record is one answer to a BDAT that is not the last, and nothing else.
func (w *words) parting(t *tally) bool {
	for _, l := range t.length {
		if n := int(l); n != 0 && n >= w.partLeast && n <= w.partMost && !w.envelopes(n, 0) {
			return true
		}
	}
	return false
}

// several reports whether n bytes can be more than one such answer.
func (w *words) several(n int) bool {
	k := n / max(w.partLeast, 1)
	return k > 1 && k*w.partMost >= n
}

// counts are how many replies of which kind records have.
type counts struct {
	least, most int // ends of messages
	even        int // replies that are 354 or the end of a message, whose lengths are the same
	strange     int // records that cannot be read
	known       int // records that can
}

// count reads the flight in the words. With data the messages came by DATA, else by BDAT.
func (w *words) count(t *tally, data bool) (c counts) {
	if data && w.data >= w.endLeast && w.data <= w.endMost && !t.has(w.endLeast, w.endMost, w.data) {
		same := *w
		same.endLeast, same.endMost = w.data, w.data
		w = &same
	}
	if !data && !w.parted && w.parting(t) {
		same := *w
		same.parted = true
		w = &same
	}
	for i, length := range t.length {
		if length == 0 {
			break
		}
		least, most, even, ok := w.read(int(length), data)
		n := int(t.n[i])
		if !ok {
			c.strange += n
			continue
		}
		c.known += n
		c.least += n * least
		c.most += n * most
		c.even += n * even
	}
	c.strange += t.rest
	return c
}

// readable is how many bytes a record has at most that is read: there are too many ways to read more.
const readable = 320

// read is what a record of n bytes has: ends of messages, at least and at most, and replies that are one or a 354.
func (w *words) read(n int, data bool) (least, most, even int, ok bool) {
	if n == w.mail || n == w.rcpt {
		return 0, 0, 0, true
	}
	if w.period > 0 && n%w.period == 0 {
		return n / w.period, n / w.period, 0, true
	}
	if n > readable {
		return 0, 0, 0, false
	}
	if data && w.endLeast == w.endMost && w.endLeast == w.data {
		for s := 0; s*w.data <= n; s++ {
			if rest := n - s*w.data; w.envelopes(rest, s/2) || rest >= w.leaveLeast && rest <= w.leaveMost && s > 0 {
				return 0, 0, s, true
			}
			if rest := n - s*w.data - w.leaveLeast; w.leaveLeast == w.leaveMost && rest > 0 && w.envelopes(rest, s/2) {
				return 0, 0, s, true
			}
		}
		return 0, 0, 0, false
	}
	from, to := w.endLeast, w.endMost
	if !data {
		from, to = w.lastLeast, w.lastMost
	}
	switch {
	case from == 0:
		return 0, 0, 0, false
	case n >= from && n <= to && !w.envelopes(n, 0) && n != w.data && (!data || (n-from)%max(w.endStep, 1) == 0):
		if n == w.doubtful || !data && w.parted && w.several(n) {
			return 0, 1, 0, true
		}
		return 1, 1, 0, true // alone
	case !data && n >= w.partLeast && n <= w.partMost, n >= w.leaveLeast && n <= w.leaveMost:
		return 0, 0, 0, true
	}
	least = 1 << 20
	note := func(f int) {
		least, most, ok = min(least, f), max(most, f), true
	}
	for f := 0; f*from <= n; f++ {
		if data {
			for d := max(f-1, 0); d <= f+1; d++ {
				if w.fill(n-f*to-d*w.data, n-f*from-d*w.data, f) {
					note(f)
				}
			}
			continue
		}
		if w.fill(n-f*to, n-f*from, f) {
			note(f)
			continue
		}
		if w.partLeast > 0 {
			for p := 1; f*from+p*w.partLeast <= n; p++ {
				if w.fill(n-f*to-p*w.partMost, n-f*from-p*w.partLeast, f) {
					note(f)
					break
				}
			}
		}
	}
	if !ok {
		least = 0
	}
	return least, most, 0, ok
}

// fill reports whether a number of bytes from least to most can be what replies to the envelopes of f messages have, with the
// answer to QUIT perhaps.
func (w *words) fill(least, most, f int) bool {
	if most < 0 {
		return false
	}
	for n := max(least, 0); n <= most; n++ {
		if w.envelopes(n, f) {
			return true
		}
	}
	least, most = max(least-w.leaveMost, 0), most-w.leaveLeast
	for n := least; n <= most && w.leaveLeast > 0; n++ {
		if w.envelopes(n, f) {
			return true
		}
	}
	return false
}

// envelopes reports whether n bytes are answers to MAIL and RCPT around f ends of messages.
func (w *words) envelopes(n, f int) bool {
	for a := max(f-1, 0); a <= f+1; a++ {
		r := n - a*w.mail
		if r < 0 {
			break
		}
		if r%w.rcpt == 0 && r/w.rcpt >= max(a-1, 0) && r/w.rcpt <= mostRcpts*(a+1) {
			return true
		}
	}
	return false
}
