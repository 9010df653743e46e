package governor

import "time"

// Allowance is how many sessions sub may begin from now on without being asked about, at most most: even if all of them
// begin at once, and they and those that run already each make a handshake, a failed one, and go to a network of their own,
// Open would have let each of them through without a wait. So whoever lets so many through and tells Open of each of them
// afterwards has never let one through that Open would have held, deferred or cut.
//
// What else a session may cost has no bound (messages, recipients, rejected): a subscriber above WarnAt of such a budget, or
// with one that is full, has no allowance, and whoever gave one out must ask again after each Spend of that kind. Neither has one that is above stage warn, that is not known, or whose plan the policy does not have.
// Nobody is ever told to wait in mode observe or under a plan whose highest stage is below pace: there it is most. Who is
// exempt has no more than others, since an exemption may end at any moment.
//
// Time alone makes an allowance only larger. What makes it smaller than promised is an Open beside it, and what changes
// plan, policy or mode: what is left of it must be taken back before.
func (g *Governor) Allowance(sub string, most int, now time.Time) int {
	g.mu.hurry()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	e, ok := g.lookup(sub)
	if !ok || most <= 0 || g.plans[e.plan.name] == nil {
		return 0
	}
	g.current(&e, t, now)
	if g.mode == ModeObserve || e.plan.highest < StagePace {
		return most
	}
	if stage, _, _ := e.settled(t); stage > StageWarn {
		return 0
	}
	n := int64(most)
	for i := range e.plan.limits {
		n = min(n, e.allowance(&e.plan.limits[i], t))
	}
	return int(max(n, 0))
}

// allowance is how many sessions more budget l lets begin without a wait; negative where running ones may use it up.
func (e *entry) allowance(l *limit, now int64) int64 {
	switch l.Of {
	case ConcurrentSessions:
		return int64(l.Limit) - int64(e.open)
	case Sessions, Destinations:
		return (min(l.paceFrom, l.full) - e.used(l, now)) / l.token
	case TLSHandshakes, TLSFailures:
		return (min(l.paceFrom, l.full)-e.used(l, now))/l.token - int64(e.open)
	}
	if u := e.used(l, now); u > min(l.warnFrom, l.paceFrom) || l.full-u < l.token {
		return 0
	}
	return MaxLimit
}
