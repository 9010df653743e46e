package governor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// MaxExemption is the longest that an exemption may last. There is none without an end.
const MaxExemption = 366 * 24 * time.Hour

// Exemption lets everything of one subscriber pass for a time: it is mode observe for that subscriber alone.
type Exemption struct {
	Since, Until time.Time // Since is set by Exempt
	Reason, By   string    // why, and who says so
}

// Ended is an exemption whose time is over.
type Ended struct {
	Subscriber string
	Exemption  Exemption
}

// exemption is an Exemption on the governor's clock, which no step of the wall clock moves.
type exemption struct {
	since, until int64
	reason, by   string
}

func (x *exemption) at(c *clock, now time.Time) Exemption {
	return Exemption{Since: c.time(x.since, now), Until: c.time(x.until, now), Reason: x.reason, By: x.by}
}

// Exempt exempts sub from now until x.Until, in place of any exemption that it has. Everything is counted and decided
// as before and then passes; who is cut in the kernel, the caller lets go. plan counts only where nothing is known of
// sub. It refuses an exemption without reason, one that has ended and one that lasts longer than MaxExemption, and is
// refused where the table of subscribers is full.
func (g *Governor) Exempt(sub, plan string, x Exemption, now time.Time) error {
	switch lasts := x.Until.Sub(now); {
	case x.Reason == "":
		return errors.New("an exemption needs a reason")
	case lasts <= 0:
		return fmt.Errorf("an exemption until %s has ended already", x.Until.UTC().Format(time.RFC3339))
	case lasts > MaxExemption:
		return fmt.Errorf("an exemption until %s is longer than %s", x.Until.UTC().Format(time.RFC3339), short(MaxExemption))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	e := g.entry(sub, plan, g.plans[plan])
	if e == nil {
		return fmt.Errorf("no room for one subscriber more: %d are known", len(g.all))
	}
	g.current(e, t)
	if e.exempt == nil {
		g.exempt[e] = struct{}{}
	}
	e.exempt = &exemption{since: t, until: t + int64(x.Until.Sub(now)), reason: x.Reason, by: x.By}
	g.current(e, t)
	g.mark(e)
	return nil
}

// Unexempt ends the exemption of sub before its time; false if there is none. What it only imagined is forgotten, as
// from mode observe to enforce; the stages follow with the next attempt or Tick.
func (g *Governor) Unexempt(sub string, now time.Time) (Exemption, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	e := g.subs[sub]
	if e == nil {
		return Exemption{}, false
	}
	g.current(e, t)
	if e.exempt == nil {
		return Exemption{}, false
	}
	x := e.exempt.at(&g.clock, now)
	g.unexempt(e)
	g.current(e, t)
	return x, true
}

func (g *Governor) unexempt(e *entry) {
	e.exempt = nil
	delete(g.exempt, e)
	g.mark(e)
}

// lapsed ends the exemption of e if its time is over.
func (g *Governor) lapsed(e *entry, t int64) {
	if x := e.exempt; x != nil && x.until <= t {
		g.unexempt(e)
		e.enforced(g.mode, x.until)
		g.ended = append(g.ended, lapse{e.id, *x})
	}
}

type lapse struct {
	sub string
	exemption
}

// Expired gives the exemptions whose time has ended since it was last asked, the earliest first.
func (g *Governor) Expired(now time.Time) []Ended {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	for e := range g.exempt {
		g.lapsed(e, t)
	}
	var out []Ended
	for _, l := range g.ended {
		out = append(out, Ended{Subscriber: l.sub, Exemption: l.at(&g.clock, now)})
	}
	g.ended = nil
	slices.SortFunc(out, func(a, b Ended) int {
		return cmp.Or(a.Exemption.Until.Compare(b.Exemption.Until), cmp.Compare(a.Subscriber, b.Subscriber))
	})
	return out
}

// modeOf is the mode that holds for e.
func (g *Governor) modeOf(e *entry) Mode {
	if e.exempt != nil {
		return ModeObserve
	}
	return g.mode
}
