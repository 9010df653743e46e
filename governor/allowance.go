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
	n, _, _ := g.allowance(sub, most, now)
	return n
}

// Obstacle is why a subscriber has no allowance.
type Obstacle uint8

// What is in the way of an allowance.
const (
	ObstacleNone Obstacle = iota // there is one
	NotKnown                     // nothing is known of him
	NoPlan                       // the policy does not have his plan
	StageTooHigh                 // above stage warn
	BudgetTooLow                 // what is left of a budget is not enough for one session more
)

// Obstacle says why sub has no allowance, and of a stage or a budget which, as a reason does.
func (g *Governor) Obstacle(sub string, now time.Time) (Obstacle, string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, o, why := g.allowance(sub, 1, now)
	switch o {
	case StageTooHigh:
		e, _ := g.lookup(sub)
		stage, _, _ := e.settled(g.clock.at(now))
		return o, "stage " + stage.String() + ", " + e.t.cause.reason()
	case BudgetTooLow:
		return o, why.reason()
	}
	return o, ""
}

// allowance is Allowance, with what is in the way when it is none. The caller holds g.mu.
func (g *Governor) allowance(sub string, most int, now time.Time) (int, Obstacle, Cause) {
	t := g.clock.at(now)
	e, ok := g.lookup(sub)
	switch {
	case !ok:
		return 0, NotKnown, Cause{}
	case g.plans[e.plan.name] == nil:
		return 0, NoPlan, Cause{}
	case most <= 0:
		return 0, ObstacleNone, Cause{}
	}
	g.current(&e, t, now)
	if g.mode == ModeObserve || e.plan.highest < StagePace {
		return most, ObstacleNone, Cause{}
	}
	if stage, _, _ := e.settled(t); stage > StageWarn {
		return 0, StageTooHigh, Cause{}
	}
	n := int64(most)
	for i := range e.plan.limits {
		l := &e.plan.limits[i]
		if n = min(n, e.allowance(l, t)); n <= 0 {
			c := Cause{Of: l.Of, Value: int(e.open), Limit: l.Limit, Burst: l.Burst, Window: l.Per}
			switch l.Of {
			case ConcurrentSessions:
			case TLSHandshakes, TLSFailures: // those that run may still make one
				c.Value += l.tokens(e.used(l, t))
			default:
				c.Value = l.tokens(e.used(l, t))
			}
			return 0, BudgetTooLow, c
		}
	}
	return int(n), ObstacleNone, Cause{}
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
