package governor

import "time"

// The pace of a mail server that was told to come back: what it may try again to one network without pressing.
const (
	retriesAtOnce = 20               // as many at once
	retriesEach   = 6                // and as many while a token of the budget that denied comes back,
	retryAtLeast  = 15 * time.Second // but never fewer than one in so long: 20 in 5 minutes, Postfix's own pace
	maxDenied     = 128              // networks remembered; the one longest unused makes room
	keepDenied    = 24 * time.Hour   // for so long after the last attempt
)

// denial is a network that a subscriber was denied to reach, with what is left of the retries to it: a budget of its
// own, of retriesAtOnce tokens.
type denial struct {
	bits    uint32
	kind    uint8
	every   int64 // the time one retry takes to come back
	wholeAt int64 // when all of them have
	usedAt  int64 // the last attempt
}

// retry tells whether a denied attempt to reach network to is a retry, and charges it as one: it was denied before,
// and it comes at a mail server's pace. token is that of the budget that denied, of several the slowest.
func (g *Governor) retry(e *entry, to network, token, now int64) bool {
	if to.kind == 0 {
		return false
	}
	every := min(token/retriesEach, int64(retryAtLeast))
	tr := g.troubled(e)
	place := -1
	for i := range tr.denied {
		d := &tr.denied[i]
		if d.bits == to.bits && d.kind == to.kind {
			if now-d.usedAt > int64(keepDenied) {
				place = i
				break
			}
			d.usedAt = now
			if d.every != every { // another budget denies now
				d.wholeAt = now + scale(used(d.wholeAt, now), every, d.every)
				d.every = every
			}
			u := used(d.wholeAt, now) + every
			if u > retriesAtOnce*every {
				return false
			}
			d.wholeAt = now + u
			return true
		}
	}
	switch {
	case place >= 0:
	case len(tr.denied) < maxDenied:
		place = len(tr.denied)
		tr.denied = append(tr.denied, denial{})
	default:
		place = 0
		for i := range tr.denied {
			if tr.denied[i].usedAt < tr.denied[place].usedAt {
				place = i
			}
		}
	}
	tr.denied[place] = denial{bits: to.bits, kind: to.kind, every: every, usedAt: now}
	return false
}
