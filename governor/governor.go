package governor

import (
	"math"
	"sync"
	"time"
)

// MaxSubscribers is how many subscribers are kept in memory. A session of one more passes uncounted (Stats.Untracked)
// until idle ones have made room.
const MaxSubscribers = 1 << 20

// MaxUnlisted is how many of them may be strangers, so that forged sources cannot push out those who are listed. A
// session of one more passes uncounted (Stats.Untracked, and Stats.Strangers).
const MaxUnlisted = MaxSubscribers / 4

// Governor decides. It is safe for concurrent use: one mutex, held for about half a microsecond by Open, Close and
// Spend, and given back between a few hundred subscribers by all that walks over many.
type Governor struct {
	mu       sync.Mutex
	clock    clock
	mode     Mode
	plans    map[string]*plan
	subs     map[string]*entry
	all      []*entry            // the same, to walk over
	watch    []*entry            // those above observe
	dirty    []*entry            // changed since they were saved, oldest first
	exempt   map[*entry]struct{} // those with an exemption
	ended    []lapse             // exemptions that ended, for Expired
	gone     map[string]struct{} // forgotten, but perhaps still in the store
	stages   [stages]int
	unlisted int // strangers
	sweep    int // where in all to look next for idle ones
	most     int // MaxSubscribers, less in tests
	decided  int // decisions kept for Explain
	stats    Stats
}

// New makes a governor for p. Call Restore before the first Open if there is something to restore.
func New(p Policy, now time.Time) *Governor {
	g := &Governor{subs: map[string]*entry{}, exempt: map[*entry]struct{}{}, gone: map[string]struct{}{}, most: MaxSubscribers}
	g.clock.t, g.clock.last = 1, now
	g.use(p)
	return g
}

func (g *Governor) use(p Policy) {
	g.mode, g.plans = min(p.Mode, ModeEnforce), make(map[string]*plan, len(p.Plans))
	for _, pl := range p.Plans {
		g.plans[pl.Name] = newPlan(pl)
	}
}

// Open decides on a new session of a.Subscriber under a.Plan, which is its plan from now on if the policy has it. Every
// budget of the plan must have room for it: sessions is charged one, running sessions are counted, and what a session
// may cost later (handshakes, messages …) must have room for one. If any has not, none is charged. A session that
// Decision.LetThrough lets run must be ended with Close or Withdraw.
func (g *Governor) Open(a Attempt, now time.Time) Decision {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	sub, plan := a.Subscriber, a.Plan
	d := Decision{Subscriber: sub, Plan: plan, At: now, Mode: g.mode}
	p := g.plans[plan]
	if p == nil {
		g.stats.UnknownPlan++
	}
	if a.Unlisted && g.unlisted >= g.most/4 && g.subs[sub] == nil {
		g.stats.Untracked++
		g.stats.Strangers++
		return d
	}
	e := g.entry(sub, plan, p)
	if e == nil {
		g.stats.Untracked++
		return d
	}
	g.stranger(e, a.Unlisted)
	if d.Before, d.Stage = e.stage, e.stage; p == nil {
		d.exempted(g, e)
		e.count(d)
		return d
	}
	g.current(e, t)
	e.adopt(p, t)
	d.exempted(g, e)
	stage, since, _ := e.settled(t)
	if stage == StageCut {
		d.Stage, d.Action = StageCut, ActionCut
		d.blame(e.t.cause)
		d.Wait, d.Until = time.Duration(e.t.until-t), g.clock.time(e.t.until, now)
		d = g.conclude(e, d, t)
		e.count(d)
		return d
	}
	best, fits := e.judge(t)
	best = best.capped(e.plan, t)
	g.charge(e, fits, t)
	d.Receipt = Receipt{at: t, ok: fits}
	g.mark(e)
	d.Change = g.climb(e, stage, since, best, now)
	d.take(best, &g.clock, now)
	d.Stage = e.stage
	d = g.conclude(e, d, t)
	e.count(d)
	return d
}

// count counts a session that runs: in mode observe every one, whatever was decided.
func (e *entry) count(d Decision) {
	if d.LetThrough() {
		e.open++
	}
}

// judge asks every budget of e about a new session.
func (e *entry) judge(now int64) (best offer, fits bool) {
	fits = true
	for i := range e.plan.limits {
		o := e.plan.limits[i].open(&e.plan.ladder, e.plan.highest, e.wholeAt[i], e.calmAt(i), int(e.open), now)
		fits = fits && o.fits
		best = stricter(best, o)
	}
	return best, fits
}

// charge writes down a new session: all budgets or none. One that does not fit adds to the pressure of the budgets that
// it does not fit; where the plan lets it run all the same, budgets are charged up to what they hold.
func (g *Governor) charge(e *entry, fits bool, now int64) {
	pays := fits || e.plan.highest < StageDefer
	for i := range e.plan.limits {
		l := &e.plan.limits[i]
		if !fits {
			o := l.open(&e.plan.ladder, e.plan.highest, e.wholeAt[i], e.calmAt(i), int(e.open), now)
			if !o.fits {
				e.troubled().calmAt[i] = l.pressed(e.calmAt(i), now)
			}
		}
		if pays && l.Of == Sessions {
			u := used(e.wholeAt[i], now)
			e.wholeAt[i] = now + max(u, min(u+l.token, l.full))
		}
	}
}

// Close tells that a session which Open let through has ended.
func (g *Governor) Close(sub string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.close(sub, g.clock.at(now))
}

// close ends a session of sub; nil if none runs.
func (g *Governor) close(sub string, t int64) *entry {
	e := g.subs[sub]
	if e == nil || e.open == 0 {
		g.stats.StrayCloses++
		return nil
	}
	if e.t != nil && int(e.open) > e.plan.few {
		e.t.ended = max(e.t.ended, t)
	}
	e.open--
	return e
}

// Spend charges cost of something that a running session has done. It is charged even where it does not fit, up to
// one burst more than the budget holds; the debt is paid before the next session fits. The decision is never harsher
// than pace, and that only for what a reply in clear can be held for (messages, recipients, rejected). It is charged to
// the plan that sub is under now, whatever the session began under; plan counts only where nothing is known of sub.
func (g *Governor) Spend(sub, plan string, of Kind, cost int, now time.Time) Decision {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	d := Decision{Subscriber: sub, Plan: plan, At: now, Mode: g.mode, Of: of}
	if cost = clamp(cost, 0, MaxLimit); cost == 0 || of == ConcurrentSessions || of == Destinations {
		return d
	}
	e := g.entry(sub, plan, g.plans[plan])
	if e == nil {
		return d
	}
	d.Plan, d.Before, d.Stage = e.plan.name, e.stage, e.stage
	if g.plans[e.plan.name] == nil {
		return d
	}
	g.current(e, t)
	d.exempted(g, e)
	stage, since, _ := e.settled(t) // before anything is charged
	var best offer
	for i := range e.plan.limits {
		l := &e.plan.limits[i]
		if l.Of != of {
			continue
		}
		var o offer
		o, e.wholeAt[i] = l.spend(&e.plan.ladder, e.wholeAt[i], cost, t)
		best = stricter(best, o)
	}
	if best.l == nil {
		return d
	}
	best = best.capped(e.plan, t)
	g.mark(e)
	d.Change = g.climb(e, stage, since, best, now)
	d.take(best, &g.clock, now)
	d.Stage = e.stage
	return g.conclude(e, d, t)
}

// Release forgives sub everything, by hand: budgets whole, no pressure, stage observe, the case closed. Running
// sessions go on being counted. The change goes from observe to observe where there was only something used. False:
// nobody of that name is known.
func (g *Governor) Release(sub string, now time.Time) (StageChange, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	e := g.subs[sub]
	if e == nil {
		return StageChange{}, false
	}
	clear(e.wholeAt)
	if e.t != nil {
		clear(e.t.calmAt)
	}
	c := g.move(e, StageObserve, t, now)
	c.Why = "released by hand"
	g.mark(e)
	return c, true
}

// entry finds sub, or makes it under plan p; p is nil where the policy has no plan of that name. Nil: there is no room.
func (g *Governor) entry(sub, name string, p *plan) *entry {
	if e := g.subs[sub]; e != nil {
		return e
	}
	if len(g.all) >= g.most {
		return nil
	}
	if p == nil {
		p = &plan{name: name, few: math.MaxInt32}
	}
	e := newEntry(sub, p, g.mode)
	g.add(e)
	return e
}

// stranger notes whether e is one.
func (g *Governor) stranger(e *entry, is bool) {
	switch {
	case is == e.unlisted:
		return
	case is:
		g.unlisted++
	default:
		g.unlisted--
	}
	e.unlisted = is
}

func (g *Governor) add(e *entry) {
	if e.unlisted {
		g.unlisted++
	}
	e.at = int32(len(g.all))
	g.all = append(g.all, e)
	g.subs[e.id] = e
	g.stages[e.stage]++
	if _, ok := g.gone[e.id]; ok { // the store still knows an earlier one
		delete(g.gone, e.id)
		e.stored = true
	}
}

// climb moves e to where best puts it, from the stage it has settled to; nil if that is where it was last said to be.
func (g *Governor) climb(e *entry, settled Stage, since int64, best offer, now time.Time) *StageChange {
	t := g.clock.t
	if best.level >= StageWarn {
		e.stir(t)
	}
	if best.level < settled || best.level == StageObserve {
		if settled == e.stage {
			return nil
		}
		why := e.lowered(settled)
		c := g.move(e, settled, since, now)
		c.Why = why
		return &c
	}
	tr := e.troubled()
	tr.confirmed = t
	if best.level == settled && settled == e.stage {
		return nil
	}
	if best.level > settled {
		since = t
		tr.cause = best.cause()
	}
	if best.level == StageCut {
		tr.until = best.until
		clear(tr.calmAt)
	}
	if best.level == e.stage && best.level != StageCut { // down and up again between two ticks: nobody was told of either
		tr.since = since
		return nil
	}
	c := g.move(e, best.level, since, now)
	c.blame(tr.cause)
	c.Why = tr.cause.reason()
	return &c
}

// move puts e on stage to, since then, and says so. The case is opened from pace on and closed at observe.
func (g *Governor) move(e *entry, to Stage, since int64, now time.Time) StageChange {
	from := e.stage
	g.stages[from]--
	g.stages[to]++
	e.stage = to
	if to == StageObserve && e.t == nil {
		return StageChange{Subscriber: e.id, Plan: e.plan.name, Mode: g.modeOf(e), At: now}
	}
	tr := e.troubled()
	if from == StageCut {
		tr.ended = max(tr.ended, min(tr.until, g.clock.t))
	}
	tr.since = since
	if to >= StagePace && tr.caseNo == "" {
		g.stats.Cases++
		tr.caseNo = caseNumber(g.stats.Cases)
	}
	c := StageChange{Subscriber: e.id, Plan: e.plan.name, Mode: g.modeOf(e), From: from, To: to,
		At: g.clock.time(since, now), Case: tr.caseNo}
	if full := e.fullest(g.clock.t); full.l != nil {
		c.blame(full.cause())
		if to < from { // what led higher does not explain the lower stage
			tr.cause = full.cause()
		}
	}
	if to == StageObserve {
		tr.caseNo, tr.cause = "", Cause{}
		g.unwatch(e)
	} else {
		g.watched(e)
		c.Until = g.clock.time(e.endOf(to, tr.ended), now)
	}
	return c
}

// fullest is the state of the budget that is used the most.
func (e *entry) fullest(now int64) offer {
	var best offer
	for i := range e.plan.limits {
		l := &e.plan.limits[i]
		o := offer{l: l, value: int(e.open)}
		if l.Of != ConcurrentSessions {
			o.value = l.tokens(used(e.wholeAt[i], now))
		}
		best = stricter(best, o)
	}
	return best
}

// exempted writes the mode that holds for e into the decision.
func (d *Decision) exempted(g *Governor, e *entry) {
	if d.Mode = g.modeOf(e); e.exempt != nil {
		d.Exemption = e.exempt.reason
	}
}

func (g *Governor) conclude(e *entry, d Decision, now int64) Decision {
	d.Acted = d.Mode == ModeEnforce && d.Action >= ActionPace
	if e.t != nil {
		d.Case = e.t.caseNo
	}
	if d.Notable() {
		g.remember(e, d, now)
	}
	return d
}

func (g *Governor) watched(e *entry) {
	if e.watched < 0 {
		e.watched = int32(len(g.watch))
		g.watch = append(g.watch, e)
	}
}

func (g *Governor) unwatch(e *entry) {
	if i := e.watched; i >= 0 {
		last := len(g.watch) - 1
		g.watch[i] = g.watch[last]
		g.watch[i].watched = i
		g.watch[last] = nil
		g.watch = g.watch[:last]
		e.watched = -1
	}
}

func (g *Governor) mark(e *entry) {
	if !e.dirty {
		e.dirty = true
		g.dirty = append(g.dirty, e)
	}
}

// Count is how many subscribers are in memory.
func (g *Governor) Count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.all)
}

// Stats is what no report shows.
func (g *Governor) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	s.Subscribers, s.ClockBack = len(g.all), g.clock.back
	return s
}
