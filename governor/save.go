package governor

import (
	"math"
	"time"
)

// caseGap is skipped at every start: as many cases may have been opened since the last save, and their numbers are not
// to be given out again.
const caseGap = 4096

// Dirty takes up to max subscribers that changed since they were last taken, the oldest change first, for saving. Fewer
// than max: there are no more for now. What could not be saved goes back with Redo.
func (g *Governor) Dirty(max int, now time.Time) []Saved {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	var out []Saved
	for id := range g.gone {
		if len(out) >= max {
			return out
		}
		delete(g.gone, id)
		out = append(out, Saved{Subscriber: id, Gone: true, Clock: time.Duration(t), Cases: g.stats.Cases})
		g.rest(len(out))
	}
	for len(out) < max && len(g.dirty) > 0 {
		e := g.dirty[0]
		g.dirty[0] = nil
		g.dirty = g.dirty[1:]
		e.dirty = false
		if e.at < 0 { // forgotten since
			continue
		}
		e.stored = true
		out = append(out, g.saved(e, g.clock.at(now)))
		g.rest(len(out))
	}
	return out
}

// Beat is what to save from time to time when Dirty gives nothing, so that a quiet week does not look like a clock that
// jumped: no subscriber, only the clock and the case counter.
func (g *Governor) Beat(now time.Time) Saved {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Saved{Gone: true, Clock: time.Duration(g.clock.at(now)), Cases: g.stats.Cases}
}

func (g *Governor) saved(e *entry, t int64) Saved {
	s := Saved{Subscriber: e.id, Plan: e.plan.name, Clock: time.Duration(t), Cases: g.stats.Cases, Mode: e.mode,
		Stage: e.stage, Budgets: make([]SavedBudget, len(e.plan.limits))}
	for i := range e.plan.limits {
		s.Budgets[i] = SavedBudget{Budget: e.plan.limits[i].Budget, WholeAt: time.Duration(e.wholeAt[i]),
			CalmAt: time.Duration(e.calmAt(i))}
	}
	if e.t != nil && e.stage != StageObserve {
		s.Since, s.Until = time.Duration(e.t.since), time.Duration(e.t.until)
		s.Confirmed, s.Calm, s.Ended = time.Duration(e.t.confirmed), time.Duration(e.t.calm), time.Duration(e.t.ended)
		s.Case, s.Cause = e.t.caseNo, e.t.cause
		if int(e.open) > e.plan.few {
			s.Ended = time.Duration(t) // in the next life none of them runs
		}
	}
	return s
}

// Redo marks what could not be saved as changed again.
func (g *Governor) Redo(s []Saved) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, v := range s {
		g.rest(i)
		if e := g.subs[v.Subscriber]; e != nil {
			e.stored = true
			g.mark(e)
		} else if v.Subscriber != "" {
			g.gone[v.Subscriber] = struct{}{}
		}
	}
}

// Restore brings back what an earlier life saved, before the first Open: used budgets, pressure, stages and cases;
// running sessions and decisions are not kept. savedAt is the wall clock of the last save, nowWall the wall clock now.
// The time between is credited if the verdict is good; otherwise everything goes on as it was saved. Whoever is cut is
// in List with its Until: the caller cuts them again.
func (g *Governor) Restore(s []Saved, savedAt, nowWall time.Time, now time.Time) ClockVerdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.all) > 0 {
		panic("governor: Restore after Open")
	}
	if len(s) == 0 {
		return ClockUnknown
	}
	for _, v := range s {
		if v.Clock > 0 && v.Clock < maxClock {
			g.clock.t = max(g.clock.t, int64(v.Clock))
		}
		g.stats.Cases = max(g.stats.Cases, v.Cases)
	}
	g.stats.Cases += caseGap
	verdict := ClockGood
	switch away := nowWall.Round(0).Sub(savedAt.Round(0)); {
	case away < 0:
		verdict = ClockBack
	case away > MaxAway:
		verdict = ClockAhead
	default:
		g.clock.t += int64(away)
	}
	g.clock.last = now
	shapes := map[string]*plan{}
	for i := range s {
		if v := &s[i]; !v.Gone && len(g.all) < g.most {
			g.restore(v, shapes)
		}
	}
	return verdict
}

// maxClock is as far as the governor's clock can have come in earnest: two hundred years.
const maxClock = 200 * 366 * 24 * time.Hour

// restore makes the entry under a plan of the shape it was saved with and then lets it adopt the present one, which is
// how every change of plan goes. What is out of bounds was not written by us and is brought within.
func (g *Governor) restore(v *Saved, shapes map[string]*plan) {
	t := g.clock.t
	p := shapes[v.Plan]
	if !p.shaped(v.Budgets) {
		p = &plan{name: v.Plan, highest: StageCut, ladder: DefaultLadder(), few: math.MaxInt32}
		for _, b := range v.Budgets {
			p.limits = append(p.limits, newLimit(b.Budget, p.ladder))
		}
		shapes[v.Plan] = p
	}
	if g.subs[v.Subscriber] != nil || v.Stage >= stages {
		return
	}
	e := newEntry(v.Subscriber, p, min(v.Mode, ModeEnforce))
	for i := range v.Budgets {
		l := &p.limits[i]
		e.wholeAt[i] = min(int64(v.Budgets[i].WholeAt), t+int64(l.Burst)*l.token*(MaxPercent/100+1)) // the most of any ladder
		if calm := int64(v.Budgets[i].CalmAt); calm > t {
			e.troubled().calmAt[i] = calm
		}
	}
	if e.stage = v.Stage; e.stage != StageObserve {
		tr := e.troubled()
		tr.since, tr.until = min(int64(v.Since), t), min(int64(v.Until), t+int64(MaxRest))
		tr.confirmed, tr.ended = min(int64(v.Confirmed), t), min(int64(v.Ended), t)
		at, _ := e.belowAt(false)
		tr.calm = min(int64(v.Calm), max(at, t))
		tr.caseNo, tr.cause = v.Case, v.Cause
	}
	g.current(e, t)
	e.stored = true
	g.add(e)
	if e.stage != StageObserve {
		g.watched(e)
	}
}

// shaped tells whether p has just these budgets.
func (p *plan) shaped(b []SavedBudget) bool {
	if p == nil || len(p.limits) != len(b) {
		return false
	}
	for i := range b {
		if p.limits[i].Budget != b[i].Budget {
			return false
		}
	}
	return true
}
