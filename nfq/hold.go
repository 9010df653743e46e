package nfq

import (
	"container/heap"
	"net/netip"
	"sync"
	"time"

	"github.com/mailweir/mailweir/nfq/packet"
)

// held is a packet without a verdict: a segment of the server with the bytes
// first..end-1 in sequence space.
type held struct {
	flow         *flow
	id, mark     uint32
	first, end   uint32
	since, until time.Time
	index        int // in the heap
}

// overlaps reports whether s carries bytes of h: then it is a retransmission,
// possibly with more behind, which TCP will send again too.
func (h *held) overlaps(s *packet.Segment) bool {
	end := s.Seq + uint32(len(s.Payload)+s.Missing)
	return int32(s.Seq-h.end) < 0 && int32(end-h.first) > 0
}

// holdHeap has the packet that is due first at its root.
type holdHeap []*held

func (h holdHeap) Len() int           { return len(h) }
func (h holdHeap) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h holdHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for container/heap.
func (h *holdHeap) Push(x any) {
	e := x.(*held)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop is for container/heap.
func (h *holdHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}

// holding bounds what is held over all workers. Its mutex is taken only when a
// packet is held or let go.
type holding struct {
	mu             sync.Mutex
	now            int
	clients        map[netip.Addr]int
	max, perClient int
}

func newHolding(max, perClient int) *holding {
	return &holding{clients: map[netip.Addr]int{}, max: max, perClient: perClient}
}

func (h *holding) take(client netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now >= h.max || h.clients[client] >= h.perClient {
		return false
	}
	h.now++
	h.clients[client]++
	return true
}

func (h *holding) give(client netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now--
	if h.clients[client]--; h.clients[client] == 0 {
		delete(h.clients, client)
	}
}

// hold keeps p without a verdict until now+d. It is false when too much is held.
func (w *worker) hold(f *flow, p *queued, d time.Duration, now time.Time) bool {
	if !w.q.holding.take(clientNet(f.Flow)) {
		return false
	}
	s := &w.segment
	h := &held{flow: f, id: p.id, mark: p.mark, since: now, until: now.Add(d),
		first: s.Seq, end: s.Seq + uint32(len(s.Payload)+s.Missing)}
	f.held = h
	heap.Push(&w.holds, h)
	w.count.held++
	w.count.heldNow++
	w.answered = true // later
	if h.index == 0 {
		w.rouse() // due before all others: the keeper sleeps too long
	}
	return true
}

// prolong holds what f holds for at least d from now.
func (w *worker) prolong(f *flow, d time.Duration, now time.Time) {
	if until := now.Add(d); f.held.until.Before(until) {
		f.held.until = until
		heap.Fix(&w.holds, f.held.index)
	}
}

// letGo gives the packet that f holds its verdict, if there is one.
func (w *worker) letGo(f *flow, now time.Time) {
	h := f.held
	if h == nil {
		return
	}
	f.held = nil
	f.heldFor += now.Sub(h.since)
	heap.Remove(&w.holds, h.index)
	w.count.heldNow--
	w.q.holding.give(clientNet(f.Flow))
	w.give(f, h.id, h.mark, false)
}

// letGoDue gives the packets whose time has come their verdicts.
func (w *worker) letGoDue(now time.Time) {
	for len(w.holds) > 0 && !w.holds[0].until.After(now) {
		w.letGo(w.holds[0].flow, now)
	}
}

// letGoAll lets go of everything.
func (w *worker) letGoAll(now time.Time) {
	for len(w.holds) > 0 {
		w.letGo(w.holds[0].flow, now)
	}
}

func (w *worker) unhold(match func(Flow, any) bool) int {
	out, n := w.letGoMatching(match)
	w.send(out)
	return n
}

func (w *worker) letGoMatching(match func(Flow, any) bool) (out []verdict, n int) {
	if !w.take() {
		return nil, 0 // what it holds goes with it
	}
	defer w.mu.Unlock() // also when match panics
	now := w.q.cfg.Now()
	var going []*flow
	for _, h := range w.holds {
		if match(h.flow.Flow, h.flow.handle) {
			going = append(going, h.flow)
		}
	}
	for _, f := range going {
		w.letGo(f, now)
	}
	// And of replies that are still to come.
	for f := range w.table.flows.all() {
		if (f.hold > 0 || !f.holdUntil.IsZero()) && match(f.Flow, f.handle) {
			f.hold, f.holdUntil = 0, time.Time{}
		}
	}
	return w.swap(nil), len(going)
}
