package governor

// entry is a subscriber at hand: its record, and what belongs to it. It is good until the mutex is given back.
type entry struct {
	*record
	slot uint32
	plan *plan
	t    *trouble // nil: nothing of the kind
}

// trouble is what only few subscribers need: who was over something at some time, or is exempt, or has more than a
// record has room for.
type trouble struct {
	calmAt    []int64 // by the plan's limits: when the pressure is gone; nil: none
	since     int64   // the stage's begin
	until     int64   // the cut's end
	confirmed int64   // the last attempt that asked for the present stage
	calm      int64   // since when every budget is below WarnAt, perhaps a moment to come; concurrent sessions apart
	ended     int64   // the last end of a session while there were many, or of a cut: nothing calms down before
	lifted    string  // why the cut ended before its time; "" if it did not
	cause     Cause   // why the stage was entered
	caseNo    string
	watched   int      // place in Governor.watch plus one; 0: not there
	decided   ring     // the last notable ones
	last      int64    // when the last of them was
	older     *trouble // of those with as many decisions, see remembered
	newer     *trouble
	more      []int64   // wholeAt of the budgets that record.wholeAt has no room for
	sure      []int64   // sureAt that record.wholeAt has no room for; nil: all of them are 0
	known     []known   // networks that record.known has no room for
	denied    []denial  // networks that this subscriber was denied to reach
	denials   allowance // of retries to all of them together
	retried   uint64
	exempt    *exemption

	unforgiven *unforgiven // nil: there is no release to take back
}

// entry is the one in slot.
func (g *Governor) entry(slot uint32) entry {
	r := g.record(slot)
	return entry{record: r, slot: slot, plan: g.shapes.all[r.shape], t: g.rare.all[r.rare]}
}

// lookup is the entry of sub; false if it is not known.
func (g *Governor) lookup(sub string) (entry, bool) {
	slot, _ := g.find(sub)
	if slot == 0 {
		return entry{}, false
	}
	return g.entry(slot), true
}

// admit finds sub, or makes it under plan p; p is nil where the policy has no plan of that name. False: there is no room.
func (g *Governor) admit(sub, name string, p *plan, stranger bool) (entry, bool) {
	slot, tag := g.find(sub)
	if slot != 0 {
		return g.entry(slot), true
	}
	if g.count >= g.most || stranger && (g.unlisted >= g.most/4 || g.count >= g.most-g.most/64) { // the last room is for lines
		if g.stats.Untracked++; g.count < g.most {
			g.stats.Strangers++
		}
		return entry{}, false
	}
	if p == nil && len(g.unknown) >= maxUnknown && g.unknown[name] == nil {
		g.stats.Untracked++
		return entry{}, false
	}
	if slot = g.insert(sub, tag); slot == 0 {
		g.stats.Untracked++
		return entry{}, false
	}
	if p == nil {
		if p = g.unknown[name]; p == nil {
			p = newPlan(Plan{Name: name})
			g.unknown[name] = p
		}
	}
	e := entry{record: g.record(slot), slot: slot}
	e.setMode(g.mode)
	g.put(&e, p)
	g.recopy(slot)
	g.stages[StageObserve]++
	if len(g.gone) > 0 {
		if _, ok := g.gone[sub]; ok { // the store still knows an earlier one
			delete(g.gone, sub)
			e.flags |= stored
		}
	}
	return e, true
}

// maxUnknown is how many plans that no policy has are told apart; a session under one more passes uncounted. It leaves
// room in record.shape for those of many policies.
const maxUnknown = 1 << 14

// stranger notes whether e is one.
func (g *Governor) stranger(e *entry, is bool) {
	if e.flags&unlisted != 0 == is {
		return
	}
	g.uncount(e)
	e.flags ^= unlisted
	g.recount(e)
	if is {
		g.unlisted++
	} else {
		g.unlisted--
	}
}

// put gives e plan p, its budgets whole.
func (g *Governor) put(e *entry, p *plan) {
	if p.users == 0 {
		p.shape = uint16(g.shapes.put(p))
	}
	p.users++
	e.plan, e.shape = p, p.shape
	e.wholeAt = [inline]int64{}
	if e.t != nil {
		e.t.sure = nil
	}
	if p.places > inline {
		g.troubled(e).more = make([]int64, p.places-inline)
	} else if e.t != nil {
		e.t.more = nil
	}
}

// left tells that one subscriber less is under p.
func (g *Governor) left(p *plan) {
	if p.users--; p.users == 0 {
		g.shapes.drop(uint32(p.shape))
		if g.unknown[p.name] == p {
			delete(g.unknown, p.name)
		}
	}
}

func (g *Governor) troubled(e *entry) *trouble {
	if e.t == nil {
		e.t = new(trouble)
		e.rare = g.rare.put(e.t)
	}
	return e.t
}

// whole is when budget l is whole again. l is none of concurrent sessions.
func (e *entry) whole(l *limit) *int64 {
	if l.place < inline {
		return &e.wholeAt[l.place]
	}
	return &e.t.more[l.place-inline]
}

// used is how much of budget l is gone now, as a span.
func (e *entry) used(l *limit, now int64) int64 { return used(*e.whole(l), now) }

// sureAt is when budget l of messages would be whole again if only what is certain had been charged, and no estimate:
// not after whole. As long as no estimate is in it (flag estimated) that is the same, and not written down.
func (e *entry) sureAt(l *limit) int64 {
	switch {
	case e.flags&estimated == 0:
		return *e.whole(l)
	case l.sure < inline:
		return e.wholeAt[l.sure]
	case e.t == nil || e.t.sure == nil:
		return 0
	}
	return e.t.sure[l.sure-max(e.plan.places, inline)]
}

// sure is sureAt, to be changed, of an entry with an estimate.
func (g *Governor) sure(e *entry, l *limit) *int64 {
	if l.sure < inline {
		return &e.wholeAt[l.sure]
	}
	tr := g.troubled(e)
	if tr.sure == nil {
		tr.sure = make([]int64, e.plan.sures)
	}
	return &tr.sure[l.sure-max(e.plan.places, inline)]
}

// estimate notes that an estimate goes into e's budgets of messages: until now all that was charged is certain.
func (g *Governor) estimate(e *entry) {
	if e.flags&estimated != 0 {
		return
	}
	for i := range e.plan.limits {
		if l := &e.plan.limits[i]; l.Of == Messages {
			*g.sure(e, l) = *e.whole(l)
		}
	}
	e.flags |= estimated
}

// estimates tells whether an estimate is in some budget of messages.
func (e *entry) estimates(now int64) bool {
	if e.flags&estimated != 0 {
		for i := range e.plan.limits {
			if l := &e.plan.limits[i]; l.Of == Messages && e.used(l, now) > 0 {
				return true
			}
		}
	}
	return false
}

// calmAt is the end of the pressure on the plan's budget i.
func (e *entry) calmAt(i int) int64 {
	if e.t == nil || e.t.calmAt == nil {
		return 0
	}
	return e.t.calmAt[i]
}

// calm is calmAt, to be changed.
func (g *Governor) calm(e *entry, i int) *int64 {
	tr := g.troubled(e)
	if tr.calmAt == nil {
		tr.calmAt = make([]int64, len(e.plan.limits))
	}
	return &tr.calmAt[i]
}

// void makes the receipts given so far void: what they are for has been forgiven, or counts otherwise now.
func (r *record) void() { r.charged += voidLeap }

// adopt puts e under plan p. What is used is carried over by kind and window, the first to the first, the second to the
// second; a budget that is new is whole.
func (g *Governor) adopt(e *entry, p *plan, now int64) {
	if e.plan == p {
		return
	}
	g.forgo(e)
	before := *e
	was := *e.record // what is used by the old plan; more and calmAt are made anew by put
	before.record = &was
	var calm []int64
	var networks []known
	if t := e.t; t != nil {
		kept := *t
		before.t, calm, networks = &kept, t.calmAt, t.known
		t.calmAt, t.known = nil, nil
	}
	e.known = [len(e.known)]known{}
	g.put(e, p)
	g.left(before.plan)
	e.void()
	var taken [maxBudgets]bool
	for i := range p.limits {
		l := &p.limits[i]
		for j := range before.plan.limits {
			o := &before.plan.limits[j]
			if taken[j] || o.Of != l.Of || o.Per != l.Per {
				continue
			}
			taken[j] = true
			if l.Of != ConcurrentSessions {
				*e.whole(l) = l.carry(o, *before.whole(o), now)
				if l.Of == Messages && e.flags&estimated != 0 {
					*g.sure(e, l) = l.carry(o, before.sureAt(o), now)
				}
			}
			if calm != nil && calm[j] > now {
				*g.calm(e, i) = now + min(scale(used(calm[j], now), l.token, o.token), l.mostPressure())
			}
			if l.Of == Destinations {
				g.carryKnown(e, l, o, was.known[:], now)
				g.carryKnown(e, l, o, networks, now)
			}
			break
		}
	}
	if t := e.t; t != nil {
		t.calm = min(t.calm, now)
		if at, _ := e.belowAt(false); at > now {
			t.calm = at
		}
	}
}

// enforced ends what mode observe only imagined: nobody had told the sender to stop, so its pressure and its retries are
// forgotten and a cut ends, for the reason why. What was really used stays used.
func (g *Governor) enforced(e *entry, m Mode, why string, now int64) {
	if e.mode() == ModeObserve && m == ModeEnforce && e.t != nil {
		e.t.calmAt = nil
		g.forgetDenied(e)
		g.forgo(e)
		g.mark(e.slot)
		if e.stage == StageCut && e.t.until > now {
			e.t.until, e.t.lifted = now, why
		}
	}
	e.setMode(m)
}
