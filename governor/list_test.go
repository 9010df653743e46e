package governor

import (
	"cmp"
	"slices"
	"time"
)

// List reports on everybody known, by name, without their decisions. Others decide in between, so it is no snapshot of
// one moment.
func (g *Governor) List(now time.Time) []Report {
	list := g.reports(now)
	slices.SortFunc(list, func(a, b Report) int { return cmp.Compare(a.Subscriber, b.Subscriber) })
	return slices.CompactFunc(list, func(a, b Report) bool { return a.Subscriber == b.Subscriber })
}

// reports are those of List, in no order.
func (g *Governor) reports(now time.Time) []Report {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]Report, 0, g.count)
	for slot := uint32(1); slot < g.high; slot++ {
		g.mu.rest(int(slot))
		if g.record(slot).flags&live != 0 {
			e := g.entry(slot)
			list = append(list, g.report(&e, now))
		}
	}
	return list
}
