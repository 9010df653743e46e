package session

// torn is a stretch of the session of which not all records were seen: from the beginning of the flight that was open before the first of
// them, to the end of the one that was open when records were known again. What happened in it nobody knows; how much of it there was, is.
type torn struct {
	on     bool
	down   int64 // bytes that the server said in it, as far as they are counted
	missed int64 // and those of the hole in hand, with records' heads
	behind bool  // a record behind the hole was seen
	ack    int64 // that came with it
}

// tear: some of the server's records were not seen.
func (e *estimate) tear() {
	t := &e.torn
	if !t.on {
		*t = torn{on: true}
		if e.begun { // there may have been more of it
			t.down = int64(e.open.down)
			e.begun, e.open = false, flight{}
		}
	}
	t.down += t.missed
	t.missed, t.behind = 0, false
}

// missed says of how many bytes the hole in hand is.
func (e *estimate) missed(n int64) { e.torn.missed = n }

// rejoins takes a record behind the hole, and reports whether it begins a flight that is whole.
func (e *estimate) rejoins(most int, ack int64) bool {
	t := &e.torn
	if !t.behind {
		t.behind, t.ack = true, ack
	}
	if ack > t.ack {
		e.acked = max(e.acked, t.ack)
		e.mend((ack - e.first) / (mailLeast + rcptLeast + bdatLeast))
		return true
	}
	t.down += int64(most)
	return false
}

// resumed are the places where the dialogue can stand behind a hole, and what each costs.
var resumed = [...]struct {
	at   stand
	cost int32
}{{atIdle, 0}, {atMail, 0}, {atRcpt, 0}, {atData, 0}, {atChunk, 1}, {atQuit, 4}, {atStart, 0}, {atAuth, 1}}

// mend goes on behind the hole. The fewest messages are those of before, the most those that it has room for beside; where the dialogue
// stands is open, what the server's words are is not. There are no more than said messages in all.
func (e *estimate) mend(said int64) {
	t := e.torn
	e.torn = torn{}
	lo, hi := int32(never), int32(0)
	for i := range e.guesses[:e.n] {
		g := &e.guesses[i]
		lo, hi = min(lo, g.messages), max(hi, g.messages+int32(g.more))
	}
	hi = max(hi, min(hi+e.hidden(&t), int32(min(said, never))))
	more := length(int(hi - lo))
	was := *e
	e.n, e.crowd = 0, 0
	for i := range was.guesses[:was.n] {
		g := was.guesses[i]
		g.messages, g.more, g.grudge = lo, more, 0
		early := g.habits&enveloped == 0
		for _, r := range resumed {
			if (r.at == atStart || r.at == atAuth) && !early {
				continue
			}
			next := g
			next.at, next.cost = r.at, g.cost+r.cost
			e.put(&next)
		}
	}
	e.prune()
}

// hidden is how many messages can have been taken in t at most: so many as it has room for replies to MAIL, RCPT and the end of a message, in
// words that are known or else of five bytes ("250" CRLF), where the first two of the first message may have been said before.
func (e *estimate) hidden(t *torn) int32 {
	down := t.down + t.missed - recordHeader - int64(e.framing.add)
	if down < shortestReply {
		return 0
	}
	hidden := int64(0)
	for i := range e.guesses[:e.n] {
		envelope, end := int64(2*shortestReply), int64(shortestReply)
		if v := &voices[e.guesses[i].voice]; e.guesses[i].voice != 0 {
			envelope, end = int64(v.mail+v.rcpt), int64(v.finalLeast)
		}
		hidden = max(hidden, (down+envelope)/(envelope+end))
	}
	return int32(min(hidden, never))
}
