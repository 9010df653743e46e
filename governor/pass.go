package governor

// pass decides on a session that gives nothing to decide: of somebody who is known, who never was near a budget and is
// not now. It says exactly what open would, which costs several times as much; false: open has to say.
func (g *Governor) pass(d *Decision, a *Attempt, t int64) bool {
	slot, _ := g.find(a.Subscriber)
	if slot == 0 || g.slow {
		return false
	}
	r := g.record(slot)
	if r.rare != 0 || r.stage != StageObserve || r.mode != g.mode || r.flags&unlisted != 0 != a.Unlisted {
		return false
	}
	p := g.shapes.all[r.shape]
	if !p.current || len(p.nth) > 1 || p.name != a.Plan {
		return false
	}
	e := entry{record: r, slot: slot, plan: p}
	to := networkOf(a.Destination)
	var met *known
	var fullest *limit
	value := 0
	for i := range p.limits {
		l := &p.limits[i]
		v := int(r.open) + 1
		if l.Of == ConcurrentSessions {
			if v > l.warnMax || v > l.Limit {
				return false
			}
		} else {
			u := used(r.wholeAt[l.place], t)
			switch {
			case l.Of == Sessions:
				u += l.token
			case l.Of != Destinations:
				if u > l.full-l.token {
					return false
				}
			case to.kind != 0:
				if met = e.chargedFor(l, to, t); met == nil {
					u += l.token
				}
			}
			if u > l.warnFrom {
				return false
			}
			v = l.tokens(u)
		}
		if fullest == nil || int64(v)*int64(fullest.Burst) > int64(value)*int64(l.Burst) {
			fullest, value = l, v
		}
	}
	for i := range p.limits {
		switch l := &p.limits[i]; l.Of {
		case Sessions:
			r.wholeAt[l.place] = max(r.wholeAt[l.place], t) + l.token
		case Destinations:
			switch {
			case met != nil:
				met.again(1)
			case to.kind != 0:
				r.wholeAt[l.place] = max(r.wholeAt[l.place], t) + l.token
				g.know(&e, l, to, t, 1, t)
			}
		}
	}
	r.charged++
	r.open++
	g.mark(slot)
	d.Receipt = Receipt{at: t, charged: r.charged, to: to, ok: true}
	if l := fullest; l != nil {
		d.Of, d.Value, d.Limit, d.Burst, d.Window = l.Of, value, l.Limit, l.Burst, l.Per
		d.Ratio = float64(value) / float64(l.Burst)
	}
	return true
}
