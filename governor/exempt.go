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
// as before and then passes; who is cut or held, the caller lets go. plan counts only where nothing is known of sub. It
// refuses an exemption without reason, one that has ended, one that lasts longer than MaxExemption, and one subscriber
// more than the table has room for.
func (g *Governor) Exempt(sub, plan string, x Exemption, now time.Time) error {
	lasts := x.Until.Sub(now)
	switch {
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
	e, ok := g.lookup(sub)
	if !ok {
		if e, ok = g.admit(sub, plan, g.plans[plan], false); !ok {
			return fmt.Errorf("no room for one subscriber more: %d are known", g.count)
		}
	}
	g.current(&e, t, now)
	g.tell(Input{Op: OpExempt, Subscriber: sub, Plan: plan, Lasts: lasts, Reason: x.Reason, By: x.By}, t, now)
	g.exempts(&e, &exemption{since: t, until: t + int64(lasts), reason: x.Reason, by: x.By})
	g.current(&e, t, now)
	g.mark(e.slot)
	return nil
}

func (g *Governor) exempts(e *entry, x *exemption) {
	g.troubled(e).exempt = x
	if len(g.exempt) == 0 || x.until < g.due {
		g.due = x.until
	}
	g.exempt[e.slot] = struct{}{}
}

// Unexempt ends the exemption of sub before its time; false if there is none. What it only imagined is forgotten, as
// from mode observe to enforce; the stage follows with the next attempt or Tick.
func (g *Governor) Unexempt(sub string, now time.Time) (Exemption, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	e, ok := g.lookup(sub)
	if !ok {
		return Exemption{}, false
	}
	g.lapsed(&e, t, now)
	if e.t == nil || e.t.exempt == nil {
		return Exemption{}, false
	}
	g.tell(Input{Op: OpUnexempt, Subscriber: sub}, t, now)
	x := e.t.exempt.at(&g.clock, now)
	g.unexempt(&e, t)
	return x, true
}

// unexempt ends the exemption of e, which was over at the moment ended.
func (g *Governor) unexempt(e *entry, ended int64) {
	e.t.exempt = nil
	delete(g.exempt, e.slot)
	g.enforced(e, g.mode, "the exemption is over: a cut that it let pass ends", ended)
	g.mark(e.slot)
}

// lapsed ends the exemption of e if its time is over.
func (g *Governor) lapsed(e *entry, t int64, now time.Time) {
	if e.t == nil || e.t.exempt == nil || e.t.exempt.until > t {
		return
	}
	x := e.t.exempt
	g.ended = append(g.ended, Ended{Subscriber: g.name(e.slot), Exemption: x.at(&g.clock, now)})
	g.unexempt(e, x.until)
}

// Expired gives the exemptions whose time has ended since it was last asked, the earliest first. Call it about once a
// second: until then they are kept.
func (g *Governor) Expired(now time.Time) []Ended {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	if len(g.exempt) > 0 && g.due <= t {
		g.due = forever
		for slot := range g.exempt {
			e := g.entry(slot)
			g.touches(&e, t, now)
			if g.lapsed(&e, t, now); e.t.exempt != nil {
				g.due = min(g.due, e.t.exempt.until)
			}
		}
	}
	out := g.ended
	g.ended = nil
	slices.SortFunc(out, func(a, b Ended) int {
		return cmp.Or(a.Exemption.Until.Compare(b.Exemption.Until), cmp.Compare(a.Subscriber, b.Subscriber))
	})
	return out
}

// Exempted names everybody who is exempt, in no order.
func (g *Governor) Exempted() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	names := make([]string, 0, len(g.exempt))
	for slot := range g.exempt {
		names = append(names, g.name(slot))
	}
	return names
}

// modeOf is the mode that holds for e.
func (g *Governor) modeOf(e *entry) Mode {
	if e.t != nil && e.t.exempt != nil {
		return ModeObserve
	}
	return g.mode
}
