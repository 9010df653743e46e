package records

import "sync"

// Ring keeps the last records in memory for the API and the web pages. It is safe for concurrent use.
type Ring struct {
	mu   sync.RWMutex // guards the two below
	buf  []Record
	next uint64 // records added so far; buf[(next-1) % len(buf)] is the newest
}

// NewRing makes a ring of size records, at least one; a record takes about 1 to 2 KiB.
func NewRing(size int) *Ring { return &Ring{buf: make([]Record, max(size, 1))} }

// Add takes a record, dropping the oldest when the ring is full. The record is not changed afterwards.
func (g *Ring) Add(r Record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.buf[g.next%uint64(len(g.buf))] = r
	g.next++
}

// Oldest is the number of the oldest record in it, 0 where there is none.
func (g *Ring) Oldest() uint64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.next == 0 {
		return 0
	}
	return g.buf[(g.next-min(g.next, uint64(len(g.buf))))%uint64(len(g.buf))].Seq
}

// Select returns at most limit records that keep wants, the newest first. keep nil wants all; it must not call back
// into the ring. To page on, let keep refuse what is not below the last Seq seen.
func (g *Ring) Select(limit int, keep func(*Record) bool) []Record {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var found []Record
	held := min(g.next, uint64(len(g.buf)))
	for i := uint64(1); i <= held && len(found) < limit; i++ {
		if r := &g.buf[(g.next-i)%uint64(len(g.buf))]; keep == nil || keep(r) {
			found = append(found, *r)
		}
	}
	return found
}
