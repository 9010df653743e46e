package governor

import (
	"slices"
	"time"
)

// The classes of subscribers whose room is apart.
const (
	lines     = iota
	strangers // whom no list has, of whom somebody may forge as many as he likes
	classes
)

func (r *record) class() int {
	if r.flags&unlisted != 0 {
		return strangers
	}
	return lines
}

// full tells whether there is hardly room for anybody, so that whoever can be forgotten is; crowded, that there is hardly
// room for strangers.
func (g *Governor) full() bool    { return g.count >= g.most-g.most/32 }
func (g *Governor) crowded() bool { return g.unlisted > g.most/4/4*3 || g.full() }

// forget drops idle subscribers, some at each call, so that all are looked at within minutes, and within half a minute
// where strangers need room. Of these a stage may end by it.
func (g *Governor) forget(now time.Time) (changes []StageChange) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := int(g.high)/256 + 64
	if g.crowded() {
		n = int(g.high)/32 + 64
	}
	for ; n > 0 && g.count > 0; n-- {
		g.mu.rest(n)
		t := g.clock.at(now)
		if g.sweep >= g.high {
			g.sweep = 1
		}
		if g.record(g.sweep).flags&live != 0 {
			e := g.entry(g.sweep)
			if c, ok := g.forgetOne(&e, t, now); ok {
				changes = append(changes, c)
			}
		}
		g.sweep++
	}
	return changes
}

// forgetOne drops e, or what it does not need any more. Where strangers are crowded, one of whom no session ever came
// about, as of a forged address, goes whatever its stage; one that did send, once nothing is used or pressed and it is at
// stage warn.
func (g *Governor) forgetOne(e *entry, t int64, now time.Time) (c StageChange, changed bool) {
	keep, scarce := keepDecided, e.flags&unlisted != 0 && g.crowded()
	if scarce || g.full() {
		keep = -1
	}
	had := e.t != nil
	switch {
	case e.idle(t, keep):
		g.forgets(e, t, now)
		g.drop(e)
	case scarce && e.open == 0 && (e.t == nil || e.t.exempt == nil) && (e.flags&met == 0 || e.stage <= StageWarn && e.calmed(t, keep)):
		g.forgets(e, t, now)
		if changed = e.stage != StageObserve; changed {
			c = g.move(e, StageObserve, t, now)
			c.Why = "forgotten to make room: too many senders are in no list"
		}
		g.drop(e)
	default:
		if g.relieve(e, t, keep); had && e.t == nil {
			g.forgets(e, t, now)
		}
	}
	return c, changed
}

// forgets tells the tape.
func (g *Governor) forgets(e *entry, t int64, now time.Time) {
	if g.tape != nil {
		g.tell(Input{Op: OpForget, Subscriber: g.name(e.slot)}, t, now)
	}
}

// idle tells whether nothing would be lost if e were forgotten, but its decisions and its retries if they are older
// than keep.
func (e *entry) idle(now int64, keep time.Duration) bool {
	return e.open == 0 && e.stage == StageObserve && e.calmed(now, keep)
}

// calmed tells whether nothing is used or pressed any more, whatever the stage.
func (e *entry) calmed(now int64, keep time.Duration) bool {
	for i := range e.plan.limits {
		if l := &e.plan.limits[i]; l.Of != ConcurrentSessions && *e.whole(l) > now {
			return false
		}
	}
	return !e.knows(now) && e.t.idle(now, keep)
}

// idle tells whether t holds nothing that matters, apart from budgets.
func (t *trouble) idle(now int64, keep time.Duration) bool {
	switch {
	case t == nil:
		return true
	case t.exempt != nil, t.unforgiven.lasts(now), t.decided.n > 0 && now-t.last <= int64(keep):
		return false
	}
	for _, at := range t.calmAt {
		if at > now {
			return false
		}
	}
	for i := range t.denied {
		if now-t.denied[i].usedAt <= int64(min(keep, keepDenied)) {
			return false
		}
	}
	return true
}

// relieve drops what e does not need any more beside its record.
func (g *Governor) relieve(e *entry, now int64, keep time.Duration) {
	if e.t == nil || e.stage != StageObserve {
		return
	}
	e.t.known = slices.DeleteFunc(e.t.known, func(k known) bool { return k.of == 0 || !k.fresh(e.plan.destinations(&k), now) })
	if len(e.t.known) == 0 {
		e.t.known = nil
	}
	if len(e.t.known) == 0 && len(e.t.more) == 0 && !(e.t.sure != nil && e.estimates(now)) && e.t.idle(now, keep) {
		g.uncount(e)
		g.forgo(e)
		g.rare.drop(e.rare)
		e.rare, e.t = 0, nil
	}
}

func (g *Governor) drop(e *entry) {
	g.unwatch(e)
	g.uncount(e)
	g.forgo(e)
	if e.flags&unlisted != 0 {
		g.unlisted--
	}
	delete(g.exempt, e.slot)
	g.stages[e.stage]--
	if e.flags&stored != 0 {
		g.gone[g.name(e.slot)] = struct{}{}
	}
	g.left(e.plan)
	g.remove(e.slot)
}

// uncount takes what e has beside its record out of what its class has; recount puts it back.
func (g *Governor) uncount(e *entry) {
	if e.t != nil {
		g.decided[e.class()].remove(e.t)
		g.denied[e.class()] -= e.t.manyDenied()
	}
}

func (g *Governor) recount(e *entry) {
	if e.t != nil {
		g.decided[e.class()].add(e.t)
		g.denied[e.class()] += e.t.manyDenied()
	}
}
