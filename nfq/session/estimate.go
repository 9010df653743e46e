package session

import (
	"math"
	"slices"
)

// estimate counts messages inside TLS. It follows, at the same time, the most plausible ways in which
// the flights seen so far can be an SMTP dialogue, each with its number of accepted
// messages; moves.go and content.go say what they are and what speaks against each. What is much less
// plausible than the best is given up, and lo and hi are the fewest and the most messages
// of those that remain.
type estimate struct {
	framing framing
	guesses [maxGuesses]guess
	n       int // guesses in use

	unanswered int64 // client's bytes that were acknowledged with answers to others before them, perhaps

	open  flight // not complete: the server may say more to the same
	begun bool   // open is in use
	first int64  // client bytes of the handshake
	acked int64  // client bytes that the server acknowledged with the flight in hand

	over bool // the session ended in order: nothing is under way
	told int  // messages that were told of

	down  int64 // bytes that the server said in all flights that were read
	apart uint8 // flights since the last that maybeLateAuth
	odds  uint8 // how many of them the best guess took for what no client does that waits

	torn torn // some of the server's records were not seen

	crowd uint8 // how much longer the session was crowded than not, in flights
	doubt bool  // that it is SMTP: nothing was said in clear
}

const (
	maxGuesses = 24
	fewGuesses = 6 // once the session was crowded with guesses for long
	crowded    = 12
	patience   = 48 // flights
	seldom     = 3  // flights
	abrupt     = 2  // what the end costs at least that comes without QUIT
	// plausible is how much worse than the best a guess may be. One point halves
	// the plausibility, roughly.
	plausible = 12
	never     = math.MaxInt32 / 4
)

// flight is what the server says between two acknowledgements of new bytes.
type flight struct {
	up         int64 // the client's bytes that it acknowledges beyond those of the flight before
	records    int
	down       int // most bytes of plaintext in them
	slack      int // it can be so many less
	first, end int // of the first and of the last record
	tally      tally
}

// guess is one way to read the session so far.
type guess struct {
	cost     int32
	messages int32
	more     uint16 // there may be so many more
	period   uint16 // bytes that the server says to a message, in a burst; 0: not known
	at       stand
	habits   habits

	mail, rcpt, data, no, final, spurned, chunk, rset, said kind
	grudge                                                  uint8 // what it costs at atSpurned that no RSET follows
	voice                                                   uint8 // whose words they are
	group                                                   kind  // of envelopes that were answered in one record
	mailEcho, rcptEcho                                      echo
}

// stand is where the dialogue stands after a flight.
type stand uint8

const (
	atStart   stand = iota // before the answer to EHLO
	atIdle                 // no envelope
	atTaken                // the same, right after a message was taken
	atSpurned              // the same, right after one was refused at its end
	atAuth                 // the server asked back
	atMail                 // MAIL was answered
	atRcpt                 // RCPT was answered, too
	atData                 // 354 was said
	atChunk                // a BDAT that is not the last was answered
	atQuit                 // QUIT was answered
	stands
)

// habits are what happened before in a guess.
type habits uint16

const (
	usedData   habits = 1 << iota // a message came by DATA
	usedChunks                    // a message came by BDAT
	stepwise                      // MAIL came alone
	grouped                       // MAIL came with other commands
	enveloped                     // MAIL was said
	resets                        // RSET comes after a message that was taken
	plain                         // none does
	irregular                     // the sizes of the client's records say nothing
	bursting                      // whole messages came one behind the other
	proved                        // 354 was heard for sure, or the words that take a message
	asked                         // there was a command that changes nothing
	asking                        // there were two
	bulky                         // the message before came by BDAT, with more than a command has, as a rule
	leads                         // behind a bulky one an envelope was begun, and is open
	led                           // the bulky one was led to by another
)

// begin starts anew, acked being where the client's part of the handshake ends.
// With doubt nothing was said in clear that shows that it is SMTP.
func (e *estimate) begin(f framing, acked int64, doubt bool) {
	*e = estimate{framing: f, first: acked, acked: acked, n: 1, doubt: doubt}
}

// record takes a record of the server with n bytes of body; ack says how many of the client's
// bytes it had received when it sent the record's first byte.
func (e *estimate) record(n int, ack int64) {
	least, most := e.framing.plain(n)
	if most < shortestReply {
		return // close_notify, or nothing at all; a KeyUpdate is as long as the shortest reply
	}
	if e.torn.on && !e.rejoins(most, ack) {
		return
	}
	if ack > e.acked && e.begun {
		e.settle()
	}
	if !e.begun {
		e.open = flight{up: max(ack-e.acked, 0), first: most}
		e.begun = true
	}
	e.acked = max(e.acked, ack)
	e.over = false
	f := &e.open
	f.records++
	f.down += most
	f.slack += most - least
	f.end = most
	f.tally.add(most)
}

// settle reads the open flight.
func (e *estimate) settle() {
	if !e.begun {
		return
	}
	e.begun = false
	e.take(&e.open)
}

// catchUp reads all that is there.
func (e *estimate) catchUp() {
	e.settle()
	if e.torn.on {
		e.mend(never)
	}
}

// take moves every guess on by a flight.
func (e *estimate) take(f *flight) {
	m := movers.Get().(*mover)
	defer movers.Put(m)
	m.framing, m.to.n, m.to.crowd = e.framing, 0, e.crowd
	due := e.due(f)
	m.measure(&due)
	m.apart = e.apart
	if e.apart = min(e.apart, math.MaxUint8-1) + 1; due.maybeLateAuth() {
		e.apart = 0
	}
	m.behind = slices.ContainsFunc(e.guesses[:e.n], func(g guess) bool { return g.at == atData })
	for i := range e.guesses[:e.n] {
		m.plainly = e.guesses[i]
		m.from = &m.plainly
		m.move()
	}
	m.blur(e.guesses[0].heard())
	if m.to.n == 0 {
		return // cannot be: what is irregular can be anything
	}
	e.n = copy(e.guesses[:], m.to.guesses[:m.to.n])
	e.prune()
	if e.down += int64(f.down); f.up >= alone && e.best().habits&irregular != 0 && e.odds < seldom {
		e.odds++
	}
	switch {
	case e.crowd >= patience: // for good
	case e.n > crowded:
		e.crowd++
	case e.crowd > 0:
		e.crowd--
	}
}

// due is the flight with the client's bytes that its answers are for. A server that reads a group of commands one by one acknowledges more of them
// with the first answer than that is for: then answers come that are more than the commands that are acknowledged with them.
func (e *estimate) due(f *flight) flight {
	unanswered := e.unanswered
	e.unanswered = 0
	if spare := f.up - int64(f.records)*usualRcpt; spare > 0 {
		e.unanswered = unanswered + spare
	}
	if f.up == 0 || f.up >= int64(f.records)*rcptLeast {
		return *f
	}
	e.odds = 0 // that is why sizes did not fit
	late := *f
	late.up += unanswered
	return late
}

// put adds a guess, or takes it for a like one where that is worse.
func (e *estimate) put(g *guess) {
	worst := 0
	for i := range e.guesses[:e.n] {
		have := &e.guesses[i]
		if have.at == g.at && have.messages == g.messages && have.habits == g.habits {
			more := max(have.more, g.more)
			if g.cost < have.cost {
				*have = *g
			}
			have.more = more
			return
		}
		if have.cost > e.guesses[worst].cost {
			worst = i
		}
	}
	switch {
	case e.n < e.room():
		e.guesses[e.n] = *g
		e.n++
	case e.crowd < patience:
		if g.cost < e.guesses[worst].cost {
			e.guesses[worst] = *g
		}
	case g.cost < e.guesses[worst].cost:
		given := e.guesses[worst]
		e.guesses[worst] = *g
		e.guesses[worst].absorb(&given)
	default:
		e.guesses[worst].absorb(g)
	}
}

// room is how many guesses there may be: who keeps very many alive for long wants to cost us time, and gets wide bounds for it.
func (e *estimate) room() int {
	if e.crowd >= patience {
		return fewGuesses
	}
	return maxGuesses
}

// absorb widens a guess by the messages of one that there is no room for.
func (g *guess) absorb(other *guess) {
	lo := min(g.messages, other.messages)
	hi := max(g.messages+int32(g.more), other.messages+int32(other.more))
	g.messages, g.more = lo, length(int(hi-lo))
}

func (e *estimate) cheapest() int32 { return e.best().cost }

func (e *estimate) best() *guess {
	best := &e.guesses[0]
	for i := range e.guesses[1:e.n] {
		if g := &e.guesses[1+i]; g.cost < best.cost {
			best = g
		}
	}
	return best
}

// prune gives up what is not plausible any more, and counts costs from the best.
func (e *estimate) prune() {
	best := e.cheapest()
	kept := 0
	for _, g := range e.guesses[:e.n] {
		if g.cost -= best; g.cost <= plausible {
			e.guesses[kept] = g
			kept++
		}
	}
	e.n = kept
}

// bounds are the fewest and the most messages, the open flight included.
func (e *estimate) bounds() (lo, hi int) {
	if e.begun || e.torn.on {
		now := *e
		now.catchUp()
		return now.bounds()
	}
	lo = math.MaxInt
	for i := range e.guesses[:e.n] {
		g := &e.guesses[i]
		n := int(g.messages)
		lo = min(lo, e.certain(g))
		n += int(g.more)
		if !e.over && (g.at == atData || g.at == atChunk) || g.habits&bursting != 0 && g.period == 0 {
			n++ // under way, or begun in a flight before that was read without it
		}
		hi = max(hi, n)
	}
	if e.odds == seldom { // it does not wait, and how the answers lie in flights says nothing
		hi = max(hi, int(min(e.down/leastAnswers, (e.acked-e.first)/leastMessage)))
	}
	return lo, hi
}

// least is the fewest messages, without the open flight.
func (e *estimate) least() int {
	lo := math.MaxInt
	for i := range e.guesses[:e.n] {
		lo = min(lo, e.certain(&e.guesses[i]))
	}
	return lo
}

// certain is how many messages a guess has for sure: none before something was heard that leads to a message and nothing else. Many refused attempts to
// log in look like as many messages in words that nobody knows.
func (e *estimate) certain(g *guess) int {
	if g.habits&proved == 0 {
		return 0
	}
	return int(g.messages)
}

// end takes that the session has ended. Who closes in order does not do so in the middle of
// a message without need, and a server closes first because it was told QUIT.
func (e *estimate) end(byServer, inOrder bool) {
	e.catchUp()
	if !inOrder {
		return
	}
	e.over = true
	for i := range e.guesses[:e.n] {
		g := &e.guesses[i]
		g.cost += endCost[g.at]
		if byServer && g.at != atQuit {
			g.cost += 5
		}
	}
	if f := &e.open; e.cheapest() >= abrupt && f.up >= 2*leastMessage && f.down >= 3*leastAnswers && !f.usual(true) {
		e.blur(f, -1) // QUIT was in it, behind more than one message perhaps
	}
	e.prune()
}

var endCost = [stands]int32{atStart: 2, atIdle: 2, atTaken: 2, atSpurned: 2, atAuth: 2, atMail: 3, atRcpt: 3, atData: 7, atChunk: 7, atQuit: 0}
