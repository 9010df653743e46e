package governor

import "time"

// Brief is what a list of everybody needs to know of one subscriber.
type Brief struct {
	Subscriber string
	Stage      Stage
	Fullest    float64 // Value / Burst of the fullest budget
	Case       string  // the open one's number, or ""
	Exempt     bool
}

// Each gives everybody known to yield, in no order, until yield returns false. yield is called without the mutex, which is
// held for a few hundred subscribers at a time; who comes meanwhile may be missing, and who goes may be there.
func (g *Governor) Each(now time.Time, yield func(Brief) bool) {
	var some [chunk]Brief
	for next := uint32(1); next != 0; {
		var n int
		n, next = g.briefs(some[:], next, now)
		g.mu.giveWay()
		for _, b := range some[:n] {
			if !yield(b) {
				return
			}
		}
	}
}

// Brief is what Each says of one; false: nothing is known of it.
func (g *Governor) Brief(sub string, now time.Time) (Brief, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, ok := g.lookup(sub)
	if !ok {
		return Brief{}, false
	}
	return g.brief(&e, g.clock.at(now), now), true
}

func (g *Governor) brief(e *entry, t int64, now time.Time) Brief {
	g.current(e, t, now)
	b := Brief{Subscriber: g.name(e.slot)}
	b.Stage, _, _ = e.settled(t)
	if full := e.fullest(t); full.l != nil {
		b.Fullest = full.cause().ratio()
	}
	if e.t != nil {
		b.Exempt = e.t.exempt != nil
		if b.Stage != StageObserve {
			b.Case = e.t.caseNo
		}
	}
	return b
}

// briefs fills some from slot from on, and gives how many there are and where to go on; 0: that was all.
func (g *Governor) briefs(some []Brief, from uint32, now time.Time) (n int, next uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.clock.at(now)
	for slot := from; slot < g.high; slot++ {
		if n == len(some) || slot-from == 4*chunk {
			return n, slot
		}
		if g.record(slot).flags&live == 0 {
			continue
		}
		e := g.entry(slot)
		some[n] = g.brief(&e, t, now)
		n++
	}
	return n, 0
}

// Exemptions is how many subscribers are exempt now.
func (g *Governor) Exemptions() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.exempt)
}
