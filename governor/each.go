package governor

import (
	"cmp"
	"slices"
	"time"
)

// Brief is what a list of everybody needs to know of one subscriber.
type Brief struct {
	Subscriber string
	Stage      Stage
	Since      time.Time // of the stage; zero in observe
	Fullest    float64   // Value / Burst of the fullest budget
	Case       string    // the open one's number, or ""
	Exempt     bool
	Networks   int // used of a budget of destinations, of the one that has most
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

// Above gives those above stage observe, by name. There are few, and they are found without a look at all others.
func (g *Governor) Above(now time.Time) []Brief {
	all := g.above(now)
	slices.SortFunc(all, func(a, b Brief) int { return cmp.Compare(a.Subscriber, b.Subscriber) })
	// Who leaves meanwhile is replaced in the list by one that has been seen.
	return slices.CompactFunc(all, func(a, b Brief) bool { return a.Subscriber == b.Subscriber })
}

func (g *Governor) above(now time.Time) (all []Brief) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := len(g.watch); i > 0; {
		g.mu.rest(i)
		if i = min(i, len(g.watch)); i == 0 {
			break
		}
		i--
		e := g.entry(g.watch[i])
		if b := g.brief(&e, g.clock.at(now), now); b.Stage != StageObserve {
			all = append(all, b)
		}
	}
	return all
}

func (g *Governor) brief(e *entry, t int64, now time.Time) Brief {
	g.current(e, t, now)
	b := Brief{Subscriber: g.name(e.slot)}
	stage, since, _ := e.settled(t)
	if b.Stage = stage; stage != StageObserve {
		b.Since = g.clock.time(since, now)
	}
	if full := e.fullest(t); full.l != nil {
		b.Fullest = full.cause().ratio()
	}
	for i := range e.plan.limits {
		if l := &e.plan.limits[i]; l.Of == Destinations {
			b.Networks = max(b.Networks, l.tokens(e.used(l, t)))
		}
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
