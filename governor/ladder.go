package governor

import "time"

// maxSettle bounds how long a stage of pace or above holds after the last attempt that asked for it, so that a
// subscriber on the edge does not go up and down with every attempt. It is ReleaseAfter where that is shorter.
const maxSettle = 30 * time.Second

func (p *plan) settleFor() int64 { return int64(min(maxSettle, p.ladder.ReleaseAfter)) }

// belowAt is the moment from which every budget of e is below WarnAt (or PaceAt), if nothing more is used.
func (e *entry) belowAt(pace bool) int64 {
	var at int64
	for i := range e.plan.limits {
		l := &e.plan.limits[i]
		most := l.warnMax
		if pace {
			most = l.paceMax
		}
		if l.Of != ConcurrentSessions {
			at = max(at, e.wholeAt[i]-int64(most)*l.token)
			continue
		}
		if int(e.open) > most {
			return forever
		}
	}
	return at
}

// endOf is the moment at which stage s of e ends if nothing more is tried. floor is a moment before which it cannot.
func (e *entry) endOf(s Stage, floor int64) int64 {
	if s == StageCut {
		return e.t.until
	}
	at := e.belowAt(s == StageDefer)
	if at == forever {
		return forever
	}
	at = max(at, floor)
	if s == StageWarn {
		at += int64(e.plan.ladder.ReleaseAfter)
	}
	return max(at, e.t.confirmed+e.plan.settleFor())
}

// settled is the stage of e at now given that nothing was tried since it was last set: the way down the ladder. since
// is when it was reached, end when it ends by waiting (forever if not by waiting alone). It changes nothing.
func (e *entry) settled(now int64) (s Stage, since, end int64) {
	if s = e.stage; s == StageObserve {
		return s, 0, 0
	}
	since = e.t.since
	floor := e.t.calm
	if s > e.plan.highest {
		s, since = e.plan.highest, now
	}
	for ; s > StageObserve; s-- {
		if end = e.endOf(s, floor); end > now {
			return s, since, end
		}
		since = end
		if s == StageCut {
			floor = max(floor, end) // calm is counted from the end of a cut
		}
	}
	return s, since, 0
}
