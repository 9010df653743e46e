package governor

import "time"

// SetPlans gives everybody known the plan that planOf names for it, as after a reload of who has which plan; "" or a
// plan that the policy does not have changes nothing. What has been used stays used, as with SetPolicy, and the stages
// settle at once: whoever is cut and gets a plan that does not cut is let go, and the change says so. The mutex is not
// held while planOf is asked. Whoever is not known yet comes under the plan that its first Open names.
func (g *Governor) SetPlans(planOf func(sub string) string, now time.Time) []StageChange {
	g.mu.Lock()
	left := len(g.all)
	g.mu.Unlock()
	subs, names := make([]string, 0, min(left, chunk)), make([]string, 0, min(left, chunk))
	for left > 0 { // downwards: who is forgotten is replaced by one that has been seen
		subs, names = subs[:0], names[:0]
		g.mu.Lock()
		for left = min(left, len(g.all)); left > 0 && len(subs) < chunk; {
			left--
			subs = append(subs, g.all[left].id)
		}
		g.mu.Unlock()
		for _, sub := range subs {
			names = append(names, planOf(sub))
		}
		g.assign(subs, names, now)
	}
	return g.settle(now)
}

// assign brings subs under the plans named.
func (g *Governor) assign(subs, names []string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	for i, sub := range subs {
		e, p := g.subs[sub], g.plans[names[i]]
		if e == nil || p == nil || e.plan.name == p.name {
			continue
		}
		e.adopt(p, t)
		g.mark(e)
	}
}
