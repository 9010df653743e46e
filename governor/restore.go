package governor

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// caseGap is skipped at every start: as many cases may have been opened since the last save, and their numbers are not
// to be given out again. CaseNumber has room for all starts that there can be.
const caseGap = 4096

// maxClock is as far as the governor's clock can have come in earnest: two hundred years.
const maxClock = 200 * 366 * 24 * time.Hour

// Restore brings back what an earlier life saved, before the first Open: used budgets, pressure, stages, cases,
// destinations, retries and exemptions; running sessions and decisions are not kept. st is the last state that was
// saved. load gives everything saved, in the order in which it was: a later Saved of a subscriber takes the place of an
// earlier one, and one that is Gone deletes it; nothing of what a call is given is kept but strings. The time between is
// credited if the verdict is good; otherwise everything goes on as it was saved. Whoever is cut is in List with its
// Until: the caller cuts them again. An error is that of load; what it gave before stays.
func (g *Governor) Restore(st SavedState, load func(each func(*Saved)) error, nowWall, now time.Time) (ClockVerdict, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.count > 0 {
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
		if e, ok := g.lookup(v.Subscriber); ok {
			e.flags &^= stored // the one that takes its place says so itself
			g.drop(&e)
		}
		if !v.Gone && v.Subscriber != "" && v.Stage < stages && g.count < g.most {
			g.restore(v, shapes, now)
		}
	})
	return verdict, err
}

// restore makes the entry under a plan of the shape it was saved with and then lets it adopt the present one, which is
// how every change of plan goes. What is out of bounds was not written by us and is brought within.
func (g *Governor) restore(v *Saved, shapes map[string]*plan, now time.Time) {
	t := g.clock.t
	p := g.plans[v.Plan]
	if !p.shaped(v.Budgets) {
		if p = shapes[v.Plan]; !p.shaped(v.Budgets) {
			p = &plan{name: v.Plan, highest: StageCut, ladder: DefaultLadder(), few: math.MaxInt32}
			for _, b := range v.Budgets[:min(len(v.Budgets), maxBudgets)] {
				p.add(newLimit(b.Budget, p.ladder))
			}
			p.placeSures()
			shapes[v.Plan] = p
		}
	}
	_, tag := g.find(v.Subscriber)
	slot := g.insert(v.Subscriber, tag)
	if slot == 0 {
		return
	}
	e := entry{record: g.record(slot), slot: slot}
	e.flags |= stored
	e.setMode(v.Mode)
	g.put(&e, p)
	g.stranger(&e, v.Unlisted)
	g.fill(&e, v, t)
	retries := v.Retries[:min(len(v.Retries), maxDenied+1)]
	if g.denied[e.class()]+len(retries) > mostDenied[e.class()] { // the oldest makes room
		retries = slices.SortedFunc(slices.Values(retries), func(a, b SavedRetry) int { return cmp.Compare(a.UsedAt, b.UsedAt) })
	}
	for _, r := range retries {
		if left, to := r.left(t), r.Network.restored(); to.kind == 0 {
			g.troubled(&e).denials = left
		} else {
			d, _ := g.denialOf(&e, to, t)
			d.allowance, d.usedAt = left, min(int64(r.UsedAt), t)
		}
	}
	g.stages[v.Stage]++
	if e.stage = v.Stage; e.stage != StageObserve {
		g.troubled(&e)
		e.stood(v, t)
		g.watched(&e)
	}
	if x := v.Exemption; x != nil && x.Reason != "" {
		g.exempts(&e, &exemption{since: min(int64(x.Since), t), until: min(int64(x.Until), t+int64(MaxExemption)), reason: x.Reason, by: x.By})
	}
	g.current(&e, t, now)
}

// fill gives e, which has nothing used, what v has used of the budgets of its plan, and pressed.
func (g *Governor) fill(e *entry, v *Saved, t int64) {
	p := e.plan
	if v.Estimated {
		e.flags |= estimated
	}
	for i := range p.limits {
		l := &p.limits[i]
		if l.Of != ConcurrentSessions {
			most := l.debt
			if !p.current { // then it is the most of any ladder, and adopt has the last word
				most = int64(l.Burst) * l.token * (MaxPercent/100 + 1)
			}
			*e.whole(l) = min(int64(v.Budgets[i].WholeAt), t+most)
			if l.Of == Messages && v.Estimated {
				*g.sure(e, l) = min(int64(v.Budgets[i].SureAt), *e.whole(l))
			}
		}
		if calm := int64(v.Budgets[i].CalmAt); calm > t {
			*g.calm(e, i) = min(calm, t+l.mostPressure())
		}
	}
	for _, k := range v.Destinations {
		if k.Budget < 0 || k.Budget >= len(p.limits) || p.limits[k.Budget].Of != Destinations {
			continue
		}
		if l := &p.limits[k.Budget]; t-min(int64(k.At), t) < int64(l.Per) {
			g.know(e, l, k.Network.restored(), min(int64(k.At), t), manyOpens, t)
		}
	}
}

// left is what is left of the retries.
func (r SavedRetry) left(t int64) allowance {
	a := allowance{every: clamp(int64(r.Every), 1, int64(retryAtLeast)), wholeAt: int64(r.WholeAt)}
	a.wholeAt = min(a.wholeAt, t+retriesAll*retriesAtOnce*a.every)
	return a
}

// stood gives e, whose budgets are filled, the stage of v, which is above observe.
func (e *entry) stood(v *Saved, t int64) {
	tr := e.t
	tr.since, tr.until = min(int64(v.Since), t), min(int64(v.Until), t+int64(MaxRest))
	tr.confirmed, tr.ended = min(int64(v.Confirmed), t), min(int64(v.Ended), t)
	at, _ := e.belowAt(false)
	tr.calm = min(int64(v.Calm), max(at, t))
	tr.caseNo, tr.cause, tr.lifted = v.Case, v.Cause, v.Lifted
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
