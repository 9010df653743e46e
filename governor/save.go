package governor

import "time"

// Dirty takes up to max subscribers that changed since they were last taken, the oldest change first, for saving. Fewer
// than max: there are no more for now. What could not be saved goes back with Redo.
func (g *Governor) Dirty(max int, now time.Time) []Saved {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Saved
	for id := range g.gone {
		if len(out) >= max {
			return out
		}
		delete(g.gone, id)
		out = append(out, Saved{Subscriber: id, Gone: true})
		g.mu.rest(len(out))
	}
	for len(out) < max {
		slot := g.pop()
		if slot == 0 {
			break
		}
		e := g.entry(slot)
		out = append(out, g.saved(&e, g.clock.at(now)))
		g.mu.rest(len(out))
	}
	return out
}

// Changed is how many wait for Dirty.
func (g *Governor) Changed() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.marked + len(g.gone)
}

// State is what goes with every save, whatever it saves. wall is the wall clock.
func (g *Governor) State(now, wall time.Time) SavedState {
	g.mu.Lock()
	defer g.mu.Unlock()
	return SavedState{Wall: wall, Clock: time.Duration(g.clock.at(now)), Cases: g.stats.Cases}
}

// Snapshot gives up to max subscribers, changed or not, for a copy of everybody: from is 0 at first and then what next
// was; next is negative when that was all. Who changes meanwhile, or is forgotten, is in Dirty, as always: a copy, and
// what Dirty gave since it was begun, are together as good as a copy of one moment.
func (g *Governor) Snapshot(from, max int, now time.Time) (some []Saved, next int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	slot := uint32(min(from, int(g.high))) + 1
	for ; slot < g.high && len(some) < max; slot++ {
		g.mu.rest(int(slot))
		if g.record(slot).flags&live != 0 {
			e := g.entry(slot)
			some = append(some, g.saved(&e, g.clock.at(now)))
		}
	}
	if slot >= g.high {
		return some, -1
	}
	return some, int(slot) - 1
}

// saved is what the store is given of e.
func (g *Governor) saved(e *entry, t int64) Saved {
	e.flags |= stored
	s := Saved{Subscriber: g.name(e.slot), Plan: e.plan.name, Unlisted: e.flags&unlisted != 0, Estimated: e.flags&estimated != 0, Mode: e.mode(),
		Stage: e.stage, Budgets: make([]SavedBudget, len(e.plan.limits))}
	for i := range e.plan.limits {
		l := &e.plan.limits[i]
		s.Budgets[i] = SavedBudget{Budget: l.Budget, CalmAt: time.Duration(e.calmAt(i))}
		if l.Of != ConcurrentSessions {
			s.Budgets[i].WholeAt = time.Duration(*e.whole(l))
			if l.Of == Messages && s.Estimated {
				s.Budgets[i].SureAt = time.Duration(e.sureAt(l))
			}
		}
	}
	s.Destinations = e.savedKnown(s.Destinations, e.known[:], t)
	if e.t == nil {
		return s
	}
	s.Destinations = e.savedKnown(s.Destinations, e.t.known, t)
	if e.stage != StageObserve {
		s.Since, s.Until = time.Duration(e.t.since), time.Duration(e.t.until)
		s.Confirmed, s.Calm, s.Ended = time.Duration(e.t.confirmed), time.Duration(e.t.calm), time.Duration(e.t.ended)
		s.Case, s.Cause, s.Lifted = e.t.caseNo, e.t.cause, e.t.lifted
		if int(e.open) > e.plan.few {
			s.Ended = time.Duration(t) // in the next life none of them runs
		}
	}
	if a := e.t.denials; a.wholeAt > t {
		s.Retries = append(s.Retries, SavedRetry{Every: time.Duration(a.every), WholeAt: time.Duration(a.wholeAt), UsedAt: time.Duration(t)})
	}
	for _, d := range e.t.denied {
		if t-d.usedAt <= int64(keepDenied) {
			s.Retries = append(s.Retries, SavedRetry{Network: d.saved(), Every: time.Duration(d.every),
				WholeAt: time.Duration(d.wholeAt), UsedAt: time.Duration(d.usedAt)})
		}
	}
	if x := e.t.exempt; x != nil {
		s.Exemption = &SavedExemption{Since: time.Duration(x.since), Until: time.Duration(x.until), Reason: x.reason, By: x.by}
	}
	return s
}

func (e *entry) savedKnown(to []SavedDestination, from []known, t int64) []SavedDestination {
	for i := range from {
		if k := &from[i]; k.of != 0 && k.fresh(e.plan.destinations(k), t) {
			to = append(to, SavedDestination{Budget: e.plan.nth[k.nth()-1], Network: k.network().saved(), At: time.Duration(k.at())})
		}
	}
	return to
}

func (n network) saved() Network { return Network{Bits: n.bits, IPv6: n.kind == ipv6} }

func (n Network) restored() network {
	switch {
	case n.IPv6:
		return network{n.Bits, ipv6}
	case n == Network{}:
		return network{}
	}
	return network{n.Bits, ipv4}
}

// Redo marks what could not be saved as changed again.
func (g *Governor) Redo(s []Saved) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, v := range s {
		g.mu.rest(i)
		if slot, _ := g.find(v.Subscriber); slot != 0 {
			g.record(slot).flags |= stored
			g.mark(slot)
		} else if v.Subscriber != "" {
			g.gone[v.Subscriber] = struct{}{}
		}
	}
}
