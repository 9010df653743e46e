package governor

import "time"

// MaxSubscribers is how many subscribers are kept in memory. A session of one more passes uncounted (Stats.Untracked)
// until idle ones have made room.
const MaxSubscribers = 1 << 20

// MaxUnlisted is how many of them may be strangers, so that forged sources cannot push out those who are listed. A
// session of one more passes uncounted (Stats.Untracked, and Stats.Strangers).
const MaxUnlisted = MaxSubscribers / 4

// Governor decides. It is safe for concurrent use: one mutex, held for a fraction of a microsecond by Open, Close and
// Spend, which go first, and given back between a few dozen subscribers by all that walks over many.
type Governor struct {
	mu    turns
	clock clock
	mode  Mode
	plans map[string]*plan // those of the policy
	table
	shapes   pool[*plan]      // plans that somebody is under: those of the policy, and earlier ones
	unknown  map[string]*plan // of these, those that no policy ever had
	watch    []uint32         // slots of those above observe
	exempt   map[uint32]struct{}
	forgiven []uint32            // slots of those whose release can be taken back, the one released first at the front
	ended    []Ended             // exemptions that ended, for Expired
	due      int64               // none ends before
	gone     map[string]struct{} // forgotten, but perhaps still in the store
	stages   [stages]int
	sweep    uint32              // the slot where to look next for idle ones
	most     int                 // MaxSubscribers, less in tests
	decided  [classes]remembered // for Explain
	denied   [classes]int        // networks remembered beyond fewDenied of each
	policy   Policy              // in force
	tape     Tape                // nil: nobody is told
	input    Input               // that the tape is told, for it alone
	opened   uint64              // sessions so far, for Decision.Session
	copied   uint32              // slots below are in the checkpoint under way; 0: there is none
	late     []uint32            // of these, those to be told at its end
	slow     bool                // in tests: the long way, also where the short one would do
	stats    Stats
}

// New makes a governor for p. Call Restore before the first Open if there is something to restore.
func New(p Policy, now time.Time) *Governor { return NewIn(nil, p, now) }

// NewIn is New with subscribers beyond the first few thousand in memory of the caller's; nil: in Go's heap.
func NewIn(m Memory, p Policy, now time.Time) *Governor {
	g := &Governor{table: newTable(m), unknown: map[string]*plan{}, exempt: map[uint32]struct{}{}, gone: map[string]struct{}{},
		sweep: 1, most: MaxSubscribers}
	g.shapes.all = make([]*plan, 1)
	g.decided[lines].most, g.decided[strangers].most = decidedAll-decidedStrangers, decidedStrangers
	g.clock.t, g.clock.last = 1, now
	g.use(p)
	return g
}

func (g *Governor) use(p Policy) {
	old := g.plans
	g.policy = p
	g.mode, g.plans = min(p.Mode, ModeEnforce), make(map[string]*plan, len(p.Plans))
	for _, pl := range p.Plans {
		next := newPlan(pl)
		if was := old[pl.Name]; was.same(next) {
			next = was
		}
		g.plans[pl.Name] = next
	}
	for _, pl := range old {
		pl.current = false
	}
	for _, pl := range g.plans {
		pl.current = true
	}
}

// Open decides on a new session of a.Subscriber under a.Plan, which is its plan from now on if the policy has it. Every
// budget of the plan must have room for it: sessions is charged one, and so is destinations for a network that it does
// not know; running sessions are counted, and what a session may cost later (handshakes, messages …) must have room for
// one. If any has not, none is charged. A session that Decision.LetThrough lets run must be ended with Close or Withdraw.
func (g *Governor) Open(a Attempt, now time.Time) (d Decision) {
	g.mu.hurry()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	d.Subscriber, d.Plan, d.At, d.Mode = a.Subscriber, a.Plan, now, g.mode
	g.opened++
	d.Session = g.opened
	if !g.pass(&d, &a, t) {
		g.open(&d, &a, t)
	}
	if g.tape != nil {
		g.tell(Input{Op: OpOpen, Session: d.Session, Subscriber: a.Subscriber, Plan: a.Plan, Destination: a.Destination, Unlisted: a.Unlisted, Ran: d.LetThrough()}, t, now)
	}
	return d
}

// open decides on whatever comes.
func (g *Governor) open(d *Decision, a *Attempt, t int64) {
	p, now := g.plans[a.Plan], d.At
	if p == nil {
		g.stats.UnknownPlan++
	}
	e, ok := g.admit(a.Subscriber, a.Plan, p, a.Unlisted)
	if !ok {
		return
	}
	g.stranger(&e, a.Unlisted)
	g.lapsed(&e, t, now)
	d.exempted(g, &e)
	if d.Before, d.Stage = e.stage, e.stage; p == nil {
		e.count(d)
		return
	}
	g.current(&e, t, now)
	g.adopt(&e, p, t)
	stage, since, _ := e.settled(t)
	if stage == StageCut {
		d.Stage, d.Action = StageCut, ActionCut
		d.blame(e.t.cause)
		d.Wait, d.Until = time.Duration(e.t.until-t), g.clock.time(e.t.until, now)
		g.deniedBlind(&e, networkOf(a.Destination), t)
		g.conclude(&e, d, t)
		e.count(d)
		return
	}
	to := networkOf(a.Destination)
	said := e.judge(to, e.plan.highest, t)
	if !said.fits && e.plan.highest >= StageDefer && g.retry(&e, to, said.slowest, t) {
		d.Retry = true
		e.t.retried++
		g.stats.Retries++
		said = e.judge(to, StageDefer, t) // a retry never cuts
	}
	best := said.best.capped(e.plan)
	g.charge(&e, to, said.fits, d.Retry, t)
	if u := e.alongside(t); u != nil {
		g.charge(&u.entry, to, said.fits, d.Retry, t)
		u.stirred(t)
	}
	if said.fits {
		d.Receipt = Receipt{at: t, charged: e.charged, to: to, ok: true}
	}
	g.mark(e.slot)
	d.Change = g.climb(&e, stage, since, best, now)
	d.take(best, &g.clock, now)
	d.Stage = e.stage
	g.conclude(&e, d, t)
	e.count(d)
}

// count counts a session that runs: in mode observe every one, whatever was decided.
func (e *entry) count(d *Decision) {
	if d.LetThrough() {
		e.open++
	}
}

// judgement is what all budgets of a plan together say to a new session.
type judgement struct {
	best    offer
	fits    bool
	slowest int64 // the longest token of a budget that it does not fit
}

// judge asks every budget of e about a new session to network to.
func (e *entry) judge(to network, highest Stage, now int64) judgement {
	j := judgement{fits: true}
	for i := range e.plan.limits {
		o := e.ask(i, to, highest, now)
		if !o.fits {
			j.fits = false
			j.slowest = max(j.slowest, o.l.token)
		}
		j.best = stricter(j.best, o)
	}
	return j
}

// ask asks the plan's budget i about a new session. One to a network that was charged, or is not known, costs nothing at
// a budget of destinations: it is never refused by it and never waits for it.
func (e *entry) ask(i int, to network, highest Stage, now int64) offer {
	l := &e.plan.limits[i]
	switch {
	case l.Of == ConcurrentSessions:
		return l.openConcurrent(int(e.open), now)
	case l.Of == Destinations && (to.kind == 0 || e.chargedFor(l, to, now) != nil):
		return l.fitting(&e.plan.ladder, e.used(l, now), now, false)
	}
	whole := *e.whole(l)
	sure := whole
	if l.Of == Messages {
		sure = e.sureAt(l)
	}
	return l.open(&e.plan.ladder, highest, whole, sure, e.calmAt(i), now)
}

// charge writes down a new session: all budgets or none. One that does not fit adds to the pressure of the budgets that
// it does not fit for what is certain, unless it is a retry; where the plan lets it run all the same, budgets are charged up to what they
// hold.
func (g *Governor) charge(e *entry, to network, fits, retry bool, now int64) {
	if !fits && !retry {
		for i := range e.plan.limits {
			if o := e.ask(i, to, e.plan.highest, now); o.sure {
				calm := g.calm(e, i)
				*calm = o.l.pressed(*calm, now)
			}
		}
	}
	if !fits && e.plan.highest >= StageDefer {
		return
	}
	opens := uint8(1)
	if !fits {
		opens = manyOpens // no receipt is given
	}
	for i := range e.plan.limits {
		switch l := &e.plan.limits[i]; l.Of {
		case Sessions:
			e.pay(l, now)
		case Destinations:
			if to.kind == 0 {
				continue
			}
			if k := e.chargedFor(l, to, now); k != nil {
				k.again(opens)
			} else {
				e.pay(l, now)
				g.know(e, l, to, now, opens, now)
			}
		}
	}
	e.charged++
}

// pay charges a token, up to what the budget holds.
func (e *entry) pay(l *limit, now int64) {
	u := e.used(l, now)
	*e.whole(l) = now + max(u, min(u+l.token, l.full))
}

// Close tells that a session which Open let through has ended.
func (g *Governor) Close(sub string, now time.Time) { g.closeIn(0, sub, now) }

func (g *Governor) closeIn(session uint64, sub string, now time.Time) {
	g.mu.hurry()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	if g.tape != nil {
		g.tell(Input{Op: OpClose, Session: session, Subscriber: sub}, t, now)
	}
	if e, ok := g.close(sub, t); ok {
		e.flags |= met
	}
}

// close ends a session of sub; false if none runs.
func (g *Governor) close(sub string, t int64) (entry, bool) {
	e, ok := g.lookup(sub)
	if !ok || e.open == 0 {
		g.stats.StrayCloses++
		return e, false
	}
	if e.t != nil && int(e.open) > e.plan.few {
		e.t.ended = max(e.t.ended, t)
	}
	e.open--
	return e, true
}

// Spend charges cost of something that a running session has done. It is charged even where it does not fit, up to
// one burst more than the budget holds; the debt is paid before the next session fits. The decision is never harsher
// than pace, and that only for what a reply in clear can be held for (messages, recipients, rejected). It is charged to
// the plan that sub is under now, whatever the session began under; plan counts only where nothing is known of sub.
// Concurrent sessions and destinations are counted by Open and not by Spend.
func (g *Governor) Spend(sub, plan string, of Kind, cost int, now time.Time) Decision {
	return g.spend(0, sub, plan, of, cost, false, now)
}

// SpendEstimated is Spend for messages that nobody saw, as those inside TLS. They are charged like all others and may
// lead to a wait or a deferral. What was charged for certain is kept apart: a session that fits without the estimates
// adds no pressure to the budget of messages and is not cut by it, however often is tried again; one that does not fit
// without them either presses and is cut as if there were none.
func (g *Governor) SpendEstimated(sub, plan string, messages int, now time.Time) Decision {
	return g.spend(0, sub, plan, Messages, messages, true, now)
}

func (g *Governor) spend(session uint64, sub, plan string, of Kind, cost int, guess bool, now time.Time) (d Decision) {
	g.mu.hurry()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	if g.tape != nil {
		op := OpSpend
		if guess {
			op = OpEstimate
		}
		g.tell(Input{Op: op, Session: session, Subscriber: sub, Plan: plan, Of: of, Cost: cost}, t, now)
	}
	d = Decision{Subscriber: sub, Plan: plan, At: now, Mode: g.mode, Of: of}
	if cost = clamp(cost, 0, MaxLimit); cost == 0 || of == ConcurrentSessions || of == Destinations {
		return d
	}
	e, ok := g.lookup(sub)
	if !ok {
		if g.count >= g.most || g.unlisted >= g.most/4 { // its session was counted as untracked already
			return d
		}
		if e, ok = g.admit(sub, plan, g.plans[plan], false); !ok {
			return d
		}
	}
	d.Plan, d.Before, d.Stage = e.plan.name, e.stage, e.stage
	if g.plans[e.plan.name] == nil {
		return d
	}
	g.current(&e, t, now)
	d.exempted(g, &e)
	stage, since, _ := e.settled(t) // before anything is charged
	best := g.spent(&e, of, cost, guess, t)
	if best.l == nil {
		return d
	}
	if u := e.alongside(t); u != nil {
		g.spent(&u.entry, of, cost, guess, t)
		u.stirred(t)
	}
	best = best.capped(e.plan)
	g.mark(e.slot)
	d.Change = g.climb(&e, stage, since, best, now)
	d.take(best, &g.clock, now)
	d.Stage = e.stage
	g.conclude(&e, &d, t)
	return d
}

// spent charges cost to every budget of that kind, and is what the strictest of them says; of no limit where the plan has none.
func (g *Governor) spent(e *entry, of Kind, cost int, guess bool, t int64) (best offer) {
	if of == Messages && e.flags&estimated != 0 && !e.estimates(t) {
		e.flags &^= estimated
	}
	if guess {
		g.estimate(e)
	}
	for i := range e.plan.limits {
		l := &e.plan.limits[i]
		if l.Of != of {
			continue
		}
		var o offer
		w := e.whole(l)
		o, *w = l.spend(&e.plan.ladder, *w, cost, t)
		best = stricter(best, o)
		if !guess && e.flags&estimated != 0 && of == Messages {
			s := g.sure(e, l)
			_, owed := l.owe(*s, cost, t)
			*s = t + owed
		}
	}
	if best.l != nil && of == Sessions {
		e.charged += uint32(cost)
	}
	return best
}

// exempted writes the mode that holds for e into the decision.
func (d *Decision) exempted(g *Governor, e *entry) {
	if d.Mode = g.modeOf(e); e.t != nil && e.t.exempt != nil {
		d.Exemption = e.t.exempt.reason
	}
}

func (g *Governor) conclude(e *entry, d *Decision, now int64) {
	d.Acted = d.Mode == ModeEnforce && d.Action >= ActionPace
	if e.t != nil {
		d.Case = e.t.caseNo
	}
	if d.Notable() {
		g.remember(e, *d, now)
	}
}

// Count is how many subscribers are in memory.
func (g *Governor) Count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count
}

// Stats is what no report shows.
func (g *Governor) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	s.Subscribers, s.ClockBack, s.Unlisted, s.Exempt = g.count, g.clock.back, g.unlisted, len(g.exempt)
	return s
}
