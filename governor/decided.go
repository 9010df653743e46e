package governor

import "time"

// What Explain remembers: as many decisions of one subscriber, for so long, and as many of all together.
const (
	decidedEach = 50
	decidedAll  = 1 << 16
	keepDecided = 24 * time.Hour
)

// remember keeps d for Explain. Where the room for all is used up, a subscriber's oldest makes room for its own newest.
func (g *Governor) remember(e *entry, d Decision, now int64) {
	t := g.troubled(e)
	d.Change = nil
	t.last = now
	switch {
	case len(t.decided) < decidedEach && g.decided < decidedAll:
		// while it grows it is in order, because next stays 0 until then
		if t.next != 0 {
			t.decided = inOrder(t.decided, t.next)
			t.next = 0
		}
		t.decided = append(t.decided, d)
		g.decided++
	case len(t.decided) > 0:
		t.decided[t.next] = d
		t.next = (t.next + 1) % len(t.decided)
	default:
		g.stats.DecisionsCut++
	}
}

func inOrder(ring []Decision, next int) []Decision {
	out := make([]Decision, 0, len(ring)+1)
	return append(append(out, ring[next:]...), ring[:next]...)
}
