package notices

import "time"

// limit lets so many notices of a type through per window, all of them at once if need be (GCRA, as the governor's budgets
// are); what is beyond goes into a digest, which is let through like one notice.
type limit struct {
	interval time.Duration // per / limit
	burst    time.Duration // interval * (limit-1)

	full time.Time // when the allowance is whole again
	held digest
}

// spend takes one if there is one.
func (l *limit) spend(now time.Time) bool {
	full := l.full
	if full.Before(now) || full.Sub(now) > l.burst+l.interval { // the latter: the clock was set back
		full = now
	}
	if full.Sub(now) > l.burst {
		return false
	}
	l.full = full.Add(l.interval)
	return true
}

// next is when spend will give one.
func (l *limit) next() time.Time { return l.full.Add(-l.burst) }
