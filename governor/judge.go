package governor

import "math"

// offer is what one budget says to one attempt. It is computed for each budget of the plan on its own; stricter picks.
type offer struct {
	l      *limit
	fits   bool
	sure   bool // it does not fit for what is certain, so this attempt presses
	action Action
	level  Stage // the stage these numbers stand for
	wait   int64 // of pace, defer and cut
	value  int   // tokens used, this attempt included
	until  int64 // when the action ends by waiting; forever if not by waiting alone; 0 for pass
}

// open is what the budget says to a new session. sureAt is wholeAt without what is estimated: for an estimate alone a
// session is deferred, but nobody pressed and nobody cut.
func (l *limit) open(ladder *Ladder, highest Stage, wholeAt, sureAt, calmAt int64, now int64) offer {
	u := used(wholeAt, now)
	if room := l.full - u; room < l.token {
		sure := used(sureAt, now)
		o := offer{l: l, action: ActionDefer, level: StageDefer, wait: l.token - room, sure: l.full-sure < l.token}
		pressed := 1 + l.tokens(used(calmAt, now))
		o.value = l.tokens(u) + pressed
		o.until = now + o.wait
		if highest == StageCut && o.sure && l.tokens(min(sure, l.full))+pressed >= l.cutMin { // what a session owes does not cut, attempts do
			o.action, o.level, o.wait = ActionCut, StageCut, int64(ladder.CutFor)
			o.until = now + o.wait
		}
		return o
	}
	if l.Of == Sessions || l.Of == Destinations {
		u += l.token
	}
	return l.fitting(ladder, u, now, true)
}

// openConcurrent is what a budget of concurrent sessions says when running ones run already. It defers at most, because the
// sessions that run are within the budget and a cut would end them; so there is nothing for pressure to do.
func (l *limit) openConcurrent(running int, now int64) offer {
	o := offer{l: l, fits: true, value: running + 1}
	switch {
	case running >= l.Limit:
		o.fits, o.action, o.level, o.wait = false, ActionDefer, StageDefer, int64(retryConcurrent)
		o.until = now + o.wait
	case o.value > l.warnMax:
		o.action, o.level, o.until = ActionWarn, StageWarn, forever
	}
	return o
}

// owe is what is used after cost was charged to a budget that is whole again at wholeAt: all of it, and as much as is
// written down, which is bounded.
func (l *limit) owe(wholeAt int64, cost int, now int64) (after, owed int64) {
	u := used(wholeAt, now)
	after = u + min(scale(int64(cost), l.token, 1), math.MaxInt64/4)
	return after, min(after, max(u, l.debt))
}

// spend is what the budget says to cost that a running session has caused: never more than a wait.
func (l *limit) spend(ladder *Ladder, wholeAt int64, cost int, now int64) (offer, int64) {
	after, owed := l.owe(wholeAt, cost, now)
	holds := l.Of == Messages || l.Of == Recipients || l.Of == Rejected // in clear: there is a reply to hold
	o := l.fitting(ladder, owed, now, holds)
	o.value = l.tokens(after)
	if after > l.full {
		o.level = StageDefer
	}
	return o, now + owed
}

// fitting is the offer when u is used and nothing is refused.
func (l *limit) fitting(ladder *Ladder, u, now int64, holds bool) offer {
	o := offer{l: l, fits: true, value: l.tokens(u)}
	if o.value <= l.warnMax {
		return o
	}
	o.action, o.level, o.until = ActionWarn, StageWarn, now+u-int64(l.warnMax)*l.token
	if o.value > l.paceMax {
		o.level = StagePace
		if over := u - l.paceFrom; over > 0 && holds {
			if o.wait = min(over, int64(ladder.PaceMax)); o.wait > 0 {
				o.action, o.until = ActionPace, now+over
			}
		}
	}
	return o
}

// stricter picks the offer that decides: the harder action, then the longer wait, then the fuller budget, then the
// first in the plan.
func stricter(a, b offer) offer {
	switch {
	case a.l == nil:
		return b
	case a.action != b.action:
		if b.action > a.action {
			return b
		}
		return a
	case a.wait != b.wait:
		if b.wait > a.wait {
			return b
		}
		return a
	}
	if int64(b.value)*int64(a.l.Burst) > int64(a.value)*int64(b.l.Burst) {
		return b
	}
	return a
}

// capped is the offer under a plan whose highest stage is lower than what the offer asks for.
func (o offer) capped(p *plan) offer {
	o.level = min(o.level, p.highest)
	if o.action <= Action(p.highest) {
		return o
	}
	o.action = Action(p.highest)
	switch o.action {
	case ActionPace:
		if o.wait = min(o.wait, int64(p.ladder.PaceMax)); o.wait == 0 {
			o.action = ActionWarn
		}
	case ActionWarn:
		o.wait = 0
	case ActionPass:
		o.wait, o.until = 0, 0
	}
	return o
}
