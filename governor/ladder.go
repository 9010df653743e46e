package governor

import "time"

// maxSettle bounds how long a stage of pace or above holds after the last attempt that asked for it, so that a
// subscriber on the edge does not go up and down with every attempt. It is ReleaseAfter where that is shorter.
const maxSettle = 30 * time.Second

func (p *plan) settleFor() int64 { return int64(min(maxSettle, p.ladder.ReleaseAfter)) }

// belowAt is the moment from which every budget of e is below WarnAt (pace: below PaceAt) if nothing more is used;
// tooMany, that concurrent sessions are not, for which no moment can be told.
func (e *entry) belowAt(pace bool) (at int64, tooMany bool) {
	for i := range e.plan.limits {
		l := &e.plan.limits[i]
		most := l.warnMax
		if pace {
			most = l.paceMax
		}
		if l.Of == ConcurrentSessions {
			tooMany = tooMany || int(e.open) > most
		} else {
			at = max(at, *e.whole(l)-int64(most)*l.token)
		}
	}
	return at, tooMany
}

// endOf is the moment at which stage s of e ends if nothing more is tried; floor is one before which it cannot.
func (e *entry) endOf(s Stage, floor int64) int64 {
	if s == StageCut {
		return e.t.until
	}
	at, tooMany := e.belowAt(s == StageDefer)
	if tooMany {
		return forever
	}
	if s == StageWarn {
		at = max(e.t.calm, floor) + int64(e.plan.ladder.ReleaseAfter)
	}
	return max(at, floor, e.t.confirmed+e.plan.settleFor())
}

// settled is the stage of e at now given that nothing was tried since it was last set: the way down the ladder. since
// is when it was reached, end when it ends by waiting (forever if not by waiting alone). It changes nothing.
func (e *entry) settled(now int64) (s Stage, since, end int64) {
	if s = e.stage; s == StageObserve {
		return s, 0, 0
	}
	since = e.t.since
	if s > e.plan.highest {
		s, since = e.plan.highest, now
	}
	floor := e.t.ended
	for ; s > StageObserve; s-- {
		if end = e.endOf(s, floor); end > now {
			return s, since, end
		}
		if since = end; s == StageCut {
			floor = max(floor, end) // calm is counted from the end of a cut
		}
	}
	return s, since, 0
}
