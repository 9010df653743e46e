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
	var out []Saved
	for id := range g.gone {
		if len(out) >= max {
			return out
		}
		delete(g.gone, id)
		out = append(out, Saved{Subscriber: id, Gone: true})
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

// State is what goes with every save, whatever it saves. wall is the wall clock.
func (g *Governor) State(now, wall time.Time) SavedState {
	g.mu.Lock()
	defer g.mu.Unlock()
	return SavedState{Wall: wall, Clock: time.Duration(g.clock.at(now)), Cases: g.stats.Cases}
}

// Snapshot gives up to max subscribers, changed or not, for a copy of everybody: from is 0 at first and then what next
// was; next is negative when that was all. Who changes meanwhile is in Dirty, as always, so a copy and what Dirty gave
// since it was begun are together as good as a copy of one moment.
func (g *Governor) Snapshot(from, max int, now time.Time) (some []Saved, next int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if from <= 0 || from > len(g.all) {
		from = len(g.all)
	}
	for ; from > 0 && len(some) < max; from-- { // downwards, as in settle
		g.rest(len(some))
		if from = min(from, len(g.all)); from == 0 {
			break
		}
		e := g.all[from-1]
		e.stored = true
		some = append(some, g.saved(e, g.clock.at(now)))
	}
	if from == 0 {
		return some, -1
	}
	return some, from
}

func (g *Governor) saved(e *entry, t int64) Saved {
	s := Saved{Subscriber: e.id, Plan: e.plan.name, Unlisted: e.unlisted, Mode: e.mode,
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
	if x := e.exempt; x != nil {
		s.Exemption = &SavedExemption{Since: time.Duration(x.since), Until: time.Duration(x.until), Reason: x.reason, By: x.by}
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

// Restore brings back what an earlier life saved, before the first Open: used budgets, pressure, stages, cases,
// destinations, retries and exemptions; running sessions and decisions are not kept. st is the last state that was
// saved. load gives everything saved, in the order in which it was: a later Saved of a subscriber takes the place of an
// earlier one, and one that is Gone deletes it; each keeps nothing of what it is given. The time between is credited
// if the verdict is good; otherwise everything goes on as it was saved. Whoever is cut is in List with its Until: the
// caller cuts them again. An error is that of load; what it gave before stays.
func (g *Governor) Restore(st SavedState, load func(each func(*Saved)) error, nowWall, now time.Time) (ClockVerdict, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.all) > 0 {
		panic("governor: Restore after Open")
	}
	if st.Clock <= 0 {
		return ClockUnknown, nil
	}
	if st.Clock < maxClock {
		g.clock.t = max(g.clock.t, int64(st.Clock))
	}
	g.stats.Cases = st.Cases + caseGap
	verdict := ClockGood
	switch away := nowWall.Round(0).Sub(st.Wall.Round(0)); {
	case away < 0:
		verdict = ClockBack
	case away > MaxAway:
		verdict = ClockAhead
	default:
		g.clock.t += int64(away)
	}
	g.clock.last = now
	shapes := map[string]*plan{}
	err := load(func(v *Saved) {
		if e := g.subs[v.Subscriber]; e != nil {
			g.unwatch(e)
			e.stored = false
			g.drop(e)
		}
		if !v.Gone && v.Subscriber != "" && len(g.all) < g.most {
			g.restore(v, shapes)
		}
	})
	return verdict, err
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
	if v.Stage >= stages {
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
	e.unlisted = v.Unlisted
	if x := v.Exemption; x != nil && x.Reason != "" {
		e.exempt = &exemption{since: min(int64(x.Since), t), until: min(int64(x.Until), t+int64(MaxExemption)), reason: x.Reason, by: x.By}
		g.exempt[e] = struct{}{}
	}
	e.stored = true
	g.add(e)
	g.current(e, t)
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
