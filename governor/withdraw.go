package governor

import "time"

// Receipt says what a session was charged, for Withdraw. The zero value is for nothing.
type Receipt struct {
	at      int64
	charged uint32 // record.charged then
	to      network
	ok      bool
}

// voidLeap is added to record.charged where receipts become void: nobody charges so many sessions while one waits for
// its handshake.
const voidLeap = 1 << 24

// Withdraw tells, instead of Close, that a session which Open let through never came about: its TCP handshake did not
// finish. It is given back, so that forged SYNs cannot spend a neighbour's budget for good, but not what time has given
// back already: never so much that more sessions than limit plus burst come about in a window. For a session this means
// the least that may have been used since it was charged; for a destination that nobody else went to since, a token less
// the time that has passed.
func (g *Governor) Withdraw(sub string, r Receipt, now time.Time) { g.withdraw(0, sub, r, now) }

func (g *Governor) withdraw(session uint64, sub string, r Receipt, now time.Time) {
	g.mu.hurry()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	if g.tape != nil {
		g.tell(Input{Op: OpWithdraw, Session: session, Subscriber: sub, Receipt: r.saved()}, t, now)
	}
	e, ok := g.close(sub, t)
	if !ok || !r.ok {
		return
	}
	if u := e.unforgiven(t); u != nil {
		there := r
		if e.since(r) < voidLeap { // of after the release: its number there is another
			there.charged -= e.charged - u.charged
		}
		if u.withdrawn(there, t) {
			u.calmer(t)
		}
	}
	if e.withdrawn(r, t) {
		e.calmer(t)
		g.mark(e.slot)
	}
}

// withdrawn gives back what r is for; false: that is void.
func (e *entry) withdrawn(r Receipt, t int64) bool {
	since := e.since(r)
	if since >= voidLeap {
		return false
	}
	whole := true
	for i := range e.plan.limits {
		switch l := &e.plan.limits[i]; l.Of {
		case Sessions:
			// As much was used all the time since, at the least: used now, if all that came since were not there; or
			// what is left of its own token.
			least := max(e.used(l, t)-int64(since)*l.token, l.token-(t-r.at))
			e.refund(l, min(least, l.token), t)
			whole = whole && least >= l.token
		case Destinations:
			k := e.chargedFor(l, r.to, t)
			if r.to.kind == 0 || k == nil || k.at() > r.at || k.opens == manyOpens {
				continue
			}
			if k.opens--; k.opens == 0 {
				e.refund(l, l.token-(t-k.at()), t)
				*k = known{}
			}
		}
	}
	if whole && since == 0 { // as if it had never been, also for those before it
		e.charged--
	}
	return true
}

// since is how many sessions were charged after the one of r.
func (e *entry) since(r Receipt) uint32 { return e.charged - r.charged }

// Accepted tells that recipients were accepted: each gives back a ninth of what one rejection costs, so that a budget of
// rejections counts what is beyond one in ten.
func (g *Governor) Accepted(sub string, recipients int, now time.Time) {
	g.accepted(0, sub, recipients, now)
}

func (g *Governor) accepted(session uint64, sub string, recipients int, now time.Time) {
	g.mu.hurry()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	if g.tape != nil {
		g.tell(Input{Op: OpAccepted, Session: session, Subscriber: sub, Cost: recipients}, t, now)
	}
	e, ok := g.lookup(sub)
	if !ok || recipients <= 0 {
		return
	}
	if u := e.unforgiven(t); u != nil {
		u.makesGood(recipients, t)
	}
	if e.makesGood(recipients, t) {
		g.mark(e.slot)
	}
}

// makesGood gives back what recipients are worth who were accepted; false: nothing.
func (e *entry) makesGood(recipients int, t int64) (some bool) {
	for i := range e.plan.limits {
		l := &e.plan.limits[i]
		if l.Of != Rejected {
			continue
		}
		u := e.used(l, t)
		if u == 0 {
			continue
		}
		back := u
		if recipients < acceptedEach*(l.tokens(u)+1) { // it is less then, and no overflow
			back = min(u, int64(recipients)*l.token/acceptedEach)
		}
		e.refund(l, back, t)
		e.calmer(t)
		some = true
	}
	return some
}

// acceptedEach is how many recipients accepted make good for one rejected.
const acceptedEach = 9

// refund gives back a part of budget l, at most what is used.
func (e *entry) refund(l *limit, span, now int64) {
	if span > 0 {
		*e.whole(l) -= min(span, e.used(l, now))
	}
}

// calmer notes that budgets may be below WarnAt earlier than was foreseen.
func (e *entry) calmer(now int64) {
	if e.t != nil && e.t.calm > now {
		at, _ := e.belowAt(false)
		e.t.calm = min(e.t.calm, max(now, at))
	}
}
