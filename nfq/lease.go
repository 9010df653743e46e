package nfq

import (
	"net/netip"
	"slices"
)

// Lease is what the books of the fast lane say of one holder, for people to read.
type Lease struct {
	Left      int          // sessions that he may begin unasked now
	Addresses []netip.Addr // that may use it; the next session of any other address waits for its verdict
	Suspended bool         // copies of his sessions were lost: nobody may use it until the books are right
}

// Lease is that of holder; false: he has none, or there is no fast lane.
func (q *Queues) Lease(holder string) (Lease, bool) {
	if q.follower == nil {
		return Lease{}, false
	}
	number, v, ok := q.follower.leases.view(holder)
	if ok {
		v.Suspended = q.follower.lane.Lost(number) > 0
	}
	return v, ok
}

func (b *leases) view(holder string) (number uint32, v Lease, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.holders[holder]
	if l == nil {
		return 0, Lease{}, false
	}
	v.Left = int(b.kernel.Tokens(l.number))
	if l.generation == b.generation {
		v.Addresses = slices.Clone(l.addresses)
	}
	return l.number, v, true
}
