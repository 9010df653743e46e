package governor

import "time"

// SetPlans gives everybody known the plan that planOf names for it, as after a reload of who has which plan; "" or a
// plan that the policy does not have changes nothing. What has been used stays used, as with SetPolicy, and the stages
// settle at once: whoever is cut and gets a plan that does not cut is let go, and the change says so. The mutex is not
// held while planOf is asked. Whoever is not known yet comes under the plan that its first Open names.
func (g *Governor) SetPlans(planOf func(sub string) string, now time.Time) []StageChange {
	subs, names := make([]string, 0, chunk), make([]string, 0, chunk)
	for slot, more := uint32(1), true; more; {
		subs, names = subs[:0], names[:0]
		g.mu.Lock()
		for ; slot < g.high && len(subs) < chunk; slot++ {
			if g.record(slot).flags&live != 0 {
				subs = append(subs, g.name(slot))
			}
		}
		more = slot < g.high
		g.mu.Unlock()
		for _, sub := range subs {
			names = append(names, planOf(sub))
		}
		g.assign(subs, names, now)
		g.mu.giveWay()
	}
	return g.settle(now)
}

// assign brings subs under the plans named.
func (g *Governor) assign(subs, names []string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	for i, sub := range subs {
		g.under(sub, names[i], t)
	}
}

// SetPlan is SetPlans for one subscriber, and walks over no others: the change of stage that the plan brings, if any.
func (g *Governor) SetPlan(sub, plan string, now time.Time) (StageChange, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	e, ok := g.under(sub, plan, t)
	if !ok {
		return StageChange{}, false
	}
	return g.descend(&e, t, now)
}

// under brings sub under the plan of that name; false if nothing is known of sub.
func (g *Governor) under(sub, name string, t int64) (entry, bool) {
	e, ok := g.lookup(sub)
	if p := g.plans[name]; ok && p != nil && e.plan.name != p.name {
		g.tell(Input{Op: OpPlan, Subscriber: sub, Plan: name}, t, g.clock.last)
		g.adopt(&e, p, t)
		g.mark(e.slot)
	}
	return e, ok
}
