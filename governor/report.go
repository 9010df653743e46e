package governor

import "time"

// Explain reports on sub with its last decisions. False: nothing is known of it, which means that its budgets are whole.
func (g *Governor) Explain(sub string, now time.Time) (Report, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, ok := g.lookup(sub)
	if !ok {
		return Report{}, false
	}
	r := g.report(&e, now)
	if e.t != nil {
		r.Decisions = e.t.decided.list()
	}
	return r, true
}

// Stages counts subscribers in memory by stage, as last told by a decision or by Tick.
func (g *Governor) Stages() map[Stage]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := make(map[Stage]int, stages)
	for s := StageObserve; s < stages; s++ {
		m[s] = g.stages[s]
	}
	return m
}

func (g *Governor) report(e *entry, now time.Time) Report {
	t := g.clock.at(now)
	g.current(e, t, now)
	r := Report{Subscriber: g.name(e.slot), Plan: e.plan.name, Mode: g.modeOf(e), Open: int(e.open),
		Budgets: make([]BudgetReport, len(e.plan.limits))}
	if e.t != nil {
		r.Retries = e.t.retried
		if e.t.exempt != nil {
			x := e.t.exempt.at(&g.clock, now)
			r.Exemption = &x
		}
	}
	if u := e.unforgiven(t); u != nil {
		r.Released = g.clock.time(u.at, now)
	}
	stage, since, end := e.settled(t)
	if r.Stage = stage; stage != StageObserve {
		r.Since, r.Until = g.clock.time(since, now), g.clock.time(end, now)
		r.Reason, r.Case = e.t.cause.reason(), e.t.caseNo
	}
	for i := range e.plan.limits {
		l := &e.plan.limits[i]
		b := BudgetReport{Of: l.Of, Window: l.Per, Limit: l.Limit, Burst: l.Burst, Value: int(e.open),
			Pressure: l.tokens(used(e.calmAt(i), t))}
		if l.Of != ConcurrentSessions {
			u := e.used(l, t)
			if b.Value = l.tokens(u); u > 0 {
				b.RefillsAt = g.clock.time(*e.whole(l), now)
			}
		}
		b.Ratio = float64(b.Value) / float64(b.Burst)
		r.Budgets[i] = b
	}
	return r
}
