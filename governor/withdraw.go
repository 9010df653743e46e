package governor

import "time"

// Receipt says what a session was charged. It is valid for the governor that gave it, once.
type Receipt struct {
	at int64
	ok bool
}

// Withdraw tells, instead of Close, that a session which Open let through never came about: its TCP handshake did not
// finish. The session is given back, but for what time has given back already; so forged SYNs cannot spend a
// neighbour's budget for good.
func (g *Governor) Withdraw(sub string, r Receipt, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	e := g.close(sub, t)
	if e == nil || !r.ok {
		return
	}
	for i := range e.plan.limits {
		if l := &e.plan.limits[i]; l.Of == Sessions {
			e.refund(i, l.token-(t-r.at), t)
		}
	}
	e.calmer(t)
	g.mark(e)
}

// Accepted tells that recipients were accepted: each gives back a ninth of what one rejection costs, so that a budget of
// rejections counts what is beyond one in ten.
func (g *Governor) Accepted(sub string, recipients int, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	e := g.subs[sub]
	if e == nil || recipients <= 0 {
		return
	}
	for i := range e.plan.limits {
		l := &e.plan.limits[i]
		if u := used(e.wholeAt[i], t); l.Of == Rejected && u > 0 {
			back := u
			if recipients < 9*(l.tokens(u)+1) {
				back = int64(recipients) * l.token / 9
			}
			e.refund(i, back, t)
			g.mark(e)
		}
	}
	e.calmer(t)
}

// refund gives back a part of budget i, at most what is used.
func (e *entry) refund(i int, span, now int64) {
	if span > 0 {
		e.wholeAt[i] = max(min(e.wholeAt[i], now), e.wholeAt[i]-span)
	}
}

// calmer notes that budgets may be below WarnAt earlier than was foreseen.
func (e *entry) calmer(now int64) {
	if e.t != nil && e.t.calm > now {
		at, _ := e.belowAt(false)
		e.t.calm = min(e.t.calm, max(now, at))
	}
}
