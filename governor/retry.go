package governor

import "time"

// The pace of a mail server that was told to come back: what it may try again without pressing.
const (
	retriesAtOnce = 20               // to one network as many at once,
	retriesEach   = 6                // and as many while a token of the budget that denied comes back,
	retryAtLeast  = 15 * time.Second // but never fewer than one in so long: 20 in 5 minutes, Postfix's own pace;
	retriesAll    = 3                // to all networks together so many times as much, first attempts counted

	maxDenied  = 256            // networks remembered; the one longest unused makes room, so a queue that goes round more is all first attempts
	keepDenied = 24 * time.Hour // for so long after the last attempt

	fewDenied       = 16      // of these, as many in any case; preset residential cuts no queue for up to 9
	deniedLines     = 1 << 19 // of what is beyond, as many of all lines together
	deniedStrangers = 1 << 16 // and of all strangers; whenever one is denied, all that he was denied is saved anew
)

// denial is a network that a subscriber was denied to reach.
type denial struct {
	allowance
	network
	usedAt int64 // the last attempt
}

// allowance is what is left of retries: a budget of its own, with a burst that its user knows. The zero value is whole.
type allowance struct {
	every   int64 // the time one retry takes to come back
	wholeAt int64 // when all of them have
}

// take charges one of most at once, if it fits. Where one takes another time to come back now, as much is used as was.
func (a *allowance) take(every, most, now int64) bool {
	if a.every != every {
		if a.every > 0 {
			a.wholeAt = now + scale(used(a.wholeAt, now), every, a.every)
		}
		a.every = every
	}
	u := used(a.wholeAt, now) + every
	if u > most*every {
		return false
	}
	a.wholeAt = now + u
	return true
}

// retry tells whether a denied attempt to reach network to is a retry, and charges it as one: it was denied before,
// and it comes at a mail server's pace. token is that of the budget that denied, of several the slowest.
func (g *Governor) retry(e *entry, to network, token, now int64) bool {
	if to.kind == 0 {
		return false
	}
	every := min(token/retriesEach, int64(retryAtLeast))
	tr := g.troubled(e)
	room := tr.denials.take(every/retriesAll, retriesAll*retriesAtOnce, now)
	d, known := g.denialOf(e, to, now)
	d.usedAt = now
	return d.take(every, retriesAtOnce, now) && known && room
}

// deniedBlind remembers that e was denied to reach network to by a cut, which asks no budget: afterwards it is no first
// attempt.
func (g *Governor) deniedBlind(e *entry, to network, now int64) {
	if to.kind == 0 {
		return
	}
	d, known := g.denialOf(e, to, now)
	if d.usedAt = now; !known {
		g.mark(e.slot)
	}
}

// denialOf finds network to, or makes room for it.
func (g *Governor) denialOf(e *entry, to network, now int64) (d *denial, known bool) {
	t := g.troubled(e)
	oldest := 0
	for i := range t.denied {
		d := &t.denied[i]
		if d.network == to {
			if known = now-d.usedAt <= int64(keepDenied); !known {
				d.allowance = allowance{}
			}
			return d, known
		}
		if d.usedAt < t.denied[oldest].usedAt {
			oldest = i
		}
	}
	if n := len(t.denied); n < fewDenied || n < maxDenied && g.denied[e.class()] < mostDenied[e.class()] {
		g.denied[e.class()] -= t.manyDenied()
		t.denied = append(t.denied, denial{})
		g.denied[e.class()] += t.manyDenied()
		oldest = n
	}
	t.denied[oldest] = denial{network: to}
	return &t.denied[oldest], false
}

var mostDenied = [classes]int{lines: deniedLines, strangers: deniedStrangers}

// manyDenied is how many networks t remembers beyond those that everybody may.
func (t *trouble) manyDenied() int { return max(0, len(t.denied)-fewDenied) }

// forgetDenied forgets the retries of e, which has trouble.
func (g *Governor) forgetDenied(e *entry) {
	g.denied[e.class()] -= e.t.manyDenied()
	e.t.denied, e.t.denials = nil, allowance{}
}
