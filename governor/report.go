package governor

import (
	"cmp"
	"slices"
	"time"
)

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
		r.Decisions = inOrder(e.t.decided, e.t.next)
	}
	return r, true
}

// List reports on everybody known, by name, without their decisions. Others decide in between, so it is no snapshot of
// one moment. A million of them take most of a gigabyte: see Each.
func (g *Governor) List(now time.Time) []Report {
	list := g.reports(now)
	slices.SortFunc(list, func(a, b Report) int { return cmp.Compare(a.Subscriber, b.Subscriber) })
	return slices.CompactFunc(list, func(a, b Report) bool { return a.Subscriber == b.Subscriber })
}

// reports are those of List, in no order.
func (g *Governor) reports(now time.Time) []Report {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]Report, 0, g.count)
	for slot := uint32(1); slot < g.high; slot++ {
		g.mu.rest(int(slot))
		if g.record(slot).flags&live != 0 {
			e := g.entry(slot)
			list = append(list, g.report(&e, now))
		}
	}
	return list
}

// Stages counts subscribers in memory by stage, as last told by a decision or by Tick.
func (g *Governor) Stages(now time.Time) map[Stage]int {
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
