package governor

import "time"

// climb moves e to where best puts it, from the stage it has settled to; nil if that is where it was last said to be.
func (g *Governor) climb(e *entry, settled Stage, since int64, best offer, now time.Time) *StageChange {
	t := g.clock.t
	if best.level >= StageWarn {
		g.stir(e, t)
	}
	if best.level < settled || best.level == StageObserve {
		if settled == e.stage {
			return nil
		}
		why := e.lowered(settled)
		c := g.move(e, settled, since, now)
		c.Why = why
		return &c
	}
	tr := g.troubled(e)
	tr.confirmed = t
	if best.level == settled && settled == e.stage {
		return nil
	}
	if best.level > settled {
		since = t
		tr.cause = best.cause()
	}
	if best.level == StageCut {
		tr.until, tr.lifted = best.until, ""
		tr.calmAt = nil
	}
	if best.level == e.stage && best.level != StageCut { // down and up again between two ticks: nobody was told of either
		tr.since = since
		return nil
	}
	c := g.move(e, best.level, since, now)
	c.blame(tr.cause)
	c.Why = tr.cause.reason()
	return &c
}

// stir notes that an attempt was at WarnAt or above: calm begins anew, when every budget is below.
func (g *Governor) stir(e *entry, now int64) {
	at, _ := e.belowAt(false)
	g.troubled(e).calm = max(now, at)
}

// move puts e on stage to, since then, and says so. The case is opened from pace on and closed at observe.
func (g *Governor) move(e *entry, to Stage, since int64, now time.Time) StageChange {
	from := e.stage
	g.stages[from]--
	g.stages[to]++
	e.stage = to
	if to == StageObserve && e.t == nil {
		return StageChange{Subscriber: g.name(e.slot), Plan: e.plan.name, Mode: g.mode, At: now}
	}
	tr := g.troubled(e)
	if from == StageCut {
		tr.ended = max(tr.ended, min(tr.until, g.clock.t))
		tr.lifted = ""
	}
	tr.since = since
	if to == StageCut { // its pressure is gone, and what it would have been is not to be told any more
		g.forgo(e)
	}
	if to >= StagePace && tr.caseNo == "" {
		g.stats.Cases++
		tr.caseNo = CaseNumber(g.stats.Cases)
		g.recopy(e.slot) // whoever plays the checkpoint cannot know the number yet
	}
	c := StageChange{Subscriber: g.name(e.slot), Plan: e.plan.name, Mode: g.modeOf(e), From: from, To: to,
		At: g.clock.time(since, now), Case: tr.caseNo}
	if full := e.fullest(g.clock.t); full.l != nil {
		c.blame(full.cause())
		if to < from { // what led higher does not explain the lower stage
			tr.cause = full.cause()
		}
	}
	if to == StageObserve {
		tr.caseNo, tr.cause = "", Cause{}
		g.unwatch(e)
	} else {
		g.watched(e)
		c.Until = g.clock.time(e.endOf(to, tr.ended), now)
	}
	return c
}

// fullest is the state of the budget that is used the most.
func (e *entry) fullest(now int64) offer {
	var best offer
	for i := range e.plan.limits {
		l := &e.plan.limits[i]
		o := offer{l: l, value: int(e.open)}
		if l.Of != ConcurrentSessions {
			o.value = l.tokens(e.used(l, now))
		}
		best = stricter(best, o)
	}
	return best
}

func (g *Governor) watched(e *entry) {
	if tr := g.troubled(e); tr.watched == 0 {
		g.watch = append(g.watch, e.slot)
		tr.watched = len(g.watch)
	}
}

func (g *Governor) unwatch(e *entry) {
	if e.t == nil || e.t.watched == 0 {
		return
	}
	i, last := e.t.watched-1, len(g.watch)-1
	moved := g.watch[last]
	g.watch[i] = moved
	g.rare.all[g.record(moved).rare].watched = i + 1
	g.watch = g.watch[:last]
	e.t.watched = 0
}
