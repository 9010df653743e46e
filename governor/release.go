package governor

import (
	"slices"
	"time"
)

// UndoFor is how long a release can be taken back, from the last one of a subscriber on.
const UndoFor = 15 * time.Minute

// maxForgiven is of how many subscribers: where more are released, those who were released first cannot be brought back any
// more. What is kept of one takes a few hundred bytes, and 40 KB at the most, where it knows very many networks.
const maxForgiven = 256

// unforgiven is a subscriber as it would be if it had not been released: the state of then, to which everything is charged
// that is charged since to the one in force. It is in no list of the governor's but forgiven.
type unforgiven struct {
	entry        // its record and its trouble are its own; slot and plan are those of the one in force
	at    int64  // when it was released
	base  uint32 // record.charged of the one in force right after that: what is beyond was charged since
	bare  bool   // it had no trouble
}

// Release forgives sub everything, by hand: budgets whole, no destination and no retry known, no pressure, stage
// observe, the case closed. Running sessions go on being counted, and an exemption goes on. The change goes from observe
// to observe where there was only something used. False: nobody of that name is known. Unrelease takes it back.
func (g *Governor) Release(sub string, now time.Time) (StageChange, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	e, ok := g.lookup(sub)
	if !ok {
		return StageChange{}, false
	}
	g.current(&e, t, now)
	g.tell(Input{Op: OpRelease, Subscriber: sub}, t, now)
	g.remembers(&e, t)
	e.wholeAt = [inline]int64{}
	e.flags &^= estimated
	e.forgetKnown()
	e.void()
	if e.t != nil {
		clear(e.t.more)
		e.t.calmAt = nil
		g.forgetDenied(&e)
	}
	c := g.move(&e, StageObserve, t, now)
	c.Why = "released by hand"
	g.mark(e.slot)
	return c, true
}

// Unrelease takes the release of sub back, and all before it that could still be taken back: sub is then as if it had never
// been released, with all that it did since. Budgets are used as much as they would be: what was forgiven has
// drained since, and every session, message and the like that was charged since is charged to it, too, up to what a budget
// holds (for what a running session does, up to one burst more, as ever). Networks, pressure and retries come back in the same way. What nobody can know is
// what would have been refused meanwhile: sessions that ran because of the release count as such, and do not press. So
// a release that is taken back at once has changed nothing; later, a budget has at most those sessions more in it than
// without the release, and never more than it holds for it.
//
// The stage is the one that would be left by now of the stage of then, with its case and since when; a cut ends when it was to end,
// and one whose time is over is none any more. A stage that was reached since stays where it is higher; where it is not, it gives way, and a case that it has
// opened ends. The changes are those, in their order: none, where only something used comes back.
//
// False: there is nothing to take back. It can be taken back once, within UndoFor, of the last maxForgiven subscribers
// who were released, and not after sub was cut anew, came under another plan or another form of its plan, went from
// being observed to being acted on (mode, exemption), was forgotten, or after a restart.
func (g *Governor) Unrelease(sub string, now time.Time) ([]StageChange, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	e, ok := g.lookup(sub)
	if !ok {
		return nil, false
	}
	g.current(&e, t, now)
	u := e.alongside(t)
	if u == nil {
		return nil, false
	}
	g.tell(Input{Op: OpUnrelease, Subscriber: sub}, t, now)
	g.forgo(&e)
	stands, _, _ := e.settled(t)
	e.wholeAt, e.known = u.wholeAt, u.known
	e.flags = e.flags&^estimated | u.flags&estimated
	tr := g.troubled(&e)
	tr.more, tr.sure, tr.known, tr.calmAt = u.t.more, u.t.sure, u.t.known, u.t.calmAt
	if e.charged == u.base { // nothing since, so that the receipts of before are good again
		e.charged = u.charged
	}
	g.denyAgain(&e, u.t, t)
	g.mark(e.slot)
	if u.stage > StageObserve && u.stage >= stands {
		return g.reinstate(&e, u, now), true
	}
	e.stirred(t)
	if u.bare {
		g.relieve(&e, t, keepDecided)
	}
	return nil, true
}

// reinstate puts e back on the stage of u.
func (g *Governor) reinstate(e *entry, u *unforgiven, now time.Time) (changes []StageChange) {
	const why = "the release was taken back"
	t, tr, was := g.clock.t, e.t, u.t
	if tr.caseNo != "" { // what it did since belongs to the case that goes on
		c := g.move(e, StageObserve, t, now)
		if c.Why = why; was.caseNo != "" {
			c.Why += ": case " + was.caseNo + " goes on"
		}
		changes = append(changes, c)
	}
	tr.until, tr.confirmed, tr.calm, tr.lifted = was.until, was.confirmed, was.calm, was.lifted
	tr.ended = max(tr.ended, was.ended)
	tr.cause, tr.caseNo = was.cause, was.caseNo
	if e.stage == u.stage {
		tr.since = was.since
		return changes
	}
	c := g.move(e, u.stage, was.since, now)
	c.At, c.Why = now, why
	c.blame(tr.cause)
	return append(changes, c)
}

// unforgiven is e as if it had not been released; nil: that can not be told any more.
func (e *entry) unforgiven(now int64) *unforgiven {
	if e.t == nil || !e.t.unforgiven.lasts(now) {
		return nil
	}
	return e.t.unforgiven
}

// alongside is unforgiven before something is charged to both, on the stage that it has come down to.
func (e *entry) alongside(now int64) *unforgiven {
	u := e.unforgiven(now)
	if u == nil {
		return nil
	}
	u.open = e.open
	to, since, _ := u.settled(now)
	if to == u.stage {
		return u
	}
	if u.stage == StageCut {
		u.t.ended = max(u.t.ended, min(u.t.until, now))
	}
	u.stage, u.t.since, u.t.lifted, u.t.cause = to, since, "", Cause{}
	if full := u.fullest(now); full.l != nil {
		u.t.cause = full.cause()
	}
	return u
}

func (u *unforgiven) lasts(now int64) bool { return u != nil && now-u.at < int64(UndoFor) }

// remembers keeps what is about to be forgiven, if there is anything. Where e was released before, that is in it already.
func (g *Governor) remembers(e *entry, t int64) {
	u := e.unforgiven(t)
	switch {
	case u != nil:
		u.at = t
		u.base += voidLeap
	case e.owes(t):
		r := *e.record
		u = &unforgiven{entry: entry{record: &r, slot: e.slot, plan: e.plan, t: &trouble{}}, at: t, base: e.charged + voidLeap, bare: e.t == nil}
		if tr := e.t; tr != nil {
			*u.t = trouble{calmAt: slices.Clone(tr.calmAt), since: tr.since, until: tr.until, confirmed: tr.confirmed, calm: tr.calm, ended: tr.ended, lifted: tr.lifted,
				cause: tr.cause, caseNo: tr.caseNo, more: slices.Clone(tr.more), sure: slices.Clone(tr.sure), known: slices.Clone(tr.known),
				denied: slices.Clone(tr.denied), denials: tr.denials}
		}
	default:
		return
	}
	g.keeps(e, u, t)
}

// keeps has the release of e be taken back as u. Those whose time is over make room, and then the oldest.
func (g *Governor) keeps(e *entry, u *unforgiven, t int64) {
	g.forgo(e)
	g.forgiven = slices.DeleteFunc(g.forgiven, func(slot uint32) bool {
		tr := g.rare.all[g.record(slot).rare]
		if tr.unforgiven.lasts(t) {
			return false
		}
		tr.unforgiven = nil
		return true
	})
	if len(g.forgiven) >= maxForgiven {
		first := g.entry(g.forgiven[0])
		g.forgo(&first)
	}
	g.troubled(e).unforgiven = u
	at := len(g.forgiven) // a checkpoint tells them in another order
	for at > 0 && g.rare.all[g.record(g.forgiven[at-1]).rare].unforgiven.at > u.at {
		at--
	}
	g.forgiven = slices.Insert(g.forgiven, at, e.slot)
}

// forgo has the release of e be final.
func (g *Governor) forgo(e *entry) {
	if e.t == nil || e.t.unforgiven == nil {
		return
	}
	e.t.unforgiven = nil
	g.forgiven = slices.DeleteFunc(g.forgiven, func(slot uint32) bool { return slot == e.slot })
}

// owes tells whether there is anything that a release would forgive.
func (e *entry) owes(now int64) bool {
	if e.stage != StageObserve || e.knows(now) {
		return true
	}
	for i := range e.plan.limits {
		if l := &e.plan.limits[i]; l.Of != ConcurrentSessions && e.used(l, now) > 0 || e.calmAt(i) > now {
			return true
		}
	}
	return e.t != nil && len(e.t.denied) > 0
}

// stirred notes that budgets which have just been charged are at WarnAt or above.
func (e *entry) stirred(now int64) {
	if at, _ := e.belowAt(false); at > now {
		e.t.calm = at
	}
}

// denyAgain gives e back the retries of was. Of a network that it was denied since, what is used more counts.
func (g *Governor) denyAgain(e *entry, was *trouble, now int64) {
	if used(was.denials.wholeAt, now) > used(e.t.denials.wholeAt, now) {
		e.t.denials = was.denials
	}
	for _, d := range was.denied {
		if now-d.usedAt > int64(keepDenied) {
			continue
		}
		again, known := g.denialOf(e, d.network, now)
		if !known || used(d.wholeAt, now) > used(again.wholeAt, now) {
			again.allowance = d.allowance
		}
		again.usedAt = max(again.usedAt, d.usedAt)
	}
}

// SavedRelease is what a release forgave, as it would be by now, for a tape: a restart forgets it.
type SavedRelease struct {
	At            time.Duration // of the release
	Charged, Base uint32        // counters that receipts refer to
	Opens         []uint8       // of Was.Destinations, sessions to each
	Bare          bool          // it had no more than its record
	Was           Saved
}

// savedUnforgiven is what a checkpoint keeps of the release of e; nil: nothing.
func (g *Governor) savedUnforgiven(e *entry, t int64) *SavedRelease {
	u := e.unforgiven(t)
	if u == nil {
		return nil
	}
	u.open = 0 // it is that of the one in force
	s := &SavedRelease{At: time.Duration(u.at), Charged: u.charged, Base: u.base, Bare: u.bare, Was: g.saved(&u.entry, t)}
	s.Opens = u.savedOpens(u.savedOpens(nil, u.known[:], t), u.t.known, t)
	return s
}

// restoreUnforgiven gives e, which has just been restored, what savedUnforgiven kept; nothing where its plan is another one now.
func (g *Governor) restoreUnforgiven(e *entry, s *SavedRelease) {
	v := &s.Was
	if v.Stage >= stages || !e.plan.shaped(v.Budgets) {
		return
	}
	t := g.clock.t
	u := &unforgiven{entry: entry{record: &record{charged: s.Charged, stage: v.Stage}, slot: e.slot, plan: e.plan, t: &trouble{}}, at: min(int64(s.At), t), base: s.Base, bare: s.Bare}
	if e.plan.places > inline {
		u.t.more = make([]int64, e.plan.places-inline)
	}
	g.fill(&u.entry, v, t)
	u.opened(v.Destinations, s.Opens)
	for _, r := range v.Retries[:min(len(v.Retries), maxDenied+1)] {
		if left, to := r.left(t), r.Network.restored(); to.kind == 0 {
			u.t.denials = left
		} else {
			u.t.denied = append(u.t.denied, denial{allowance: left, network: to, usedAt: min(int64(r.UsedAt), t)})
		}
	}
	if v.Stage != StageObserve {
		u.stood(v, t)
	}
	g.keeps(e, u, t)
}
