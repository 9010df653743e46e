package nfq

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Lessor is a Policy that lets clients begin sessions without being asked: the
// fast lane. Sessions of one holder share a lease, whatever their addresses.
type Lessor interface {
	Policy
	// Holder names whose sessions those of client are. It is asked before Open,
	// since what is left of the holder's lease is taken back first.
	Holder(client netip.Addr) string
	// Lease is how many sessions the holder of f may begin from now on unasked,
	// at most most, so that Open would let each of them pass at once.
	Lease(f Flow, handle any, most int, now time.Time) int
}

// leaseMost bounds a lease. A holder who begins sessions so fast that it is used up
// before its copies are read (some milliseconds) waits for a verdict now and then.
const leaseMost = 64

// addressesMost bounds the addresses that the kernel knows of one holder; the one
// known longest makes room.
const addressesMost = 64

// settleTries bounds how many leases end for the address of another one: if the kernel does not
// take it then, room is not what it lacks.
const settleTries = 16

// tokens are what the books need of the lane in the kernel.
type tokens interface {
	// Grant adds to what a lease has left, Recall takes all of it back and says
	// how much it was, Tokens looks.
	Grant(lease uint32, n int32)
	Recall(lease uint32) int32
	Tokens(lease uint32) int32
	// SetSource lets addr use lease; an error if the kernel has no room for it.
	SetSource(addr netip.Addr, lease uint32) error
	DropSource(addr netip.Addr) error
	// Forget makes every source unknown at once.
	Forget() (generation uint32)
}

// leases are the books of the fast lane. Of each holder:
//
//	given == left in the kernel + used by SYNs whose copies were not read yet
//
// so what is given never exceeds what Lessor.Lease allowed: what the kernel has left
// can be taken back at any moment, exactly, and a SYN that used some of it always
// has a copy (package lane).
type leases struct {
	mu      sync.Mutex
	kernel  tokens
	holders map[string]*lease
	all     []*lease // by number; nil: free
	free    []uint32
	sources map[netip.Addr]*lease
	ring    lease // in the order of the last grant; ring.newer is the oldest
	most    int   // leases at once

	generation uint64 // of the sources
	evicted    uint64

	seed  maphash.Seed
	turns [256]turn // of holders, by hash
}

// turn is about who asks for one of some holders: what a lease may have is worked out
// without the mutex of the books, and must not be given after somebody else has asked.
type turn struct {
	asking int    // sessions that have begun and of which Open does not know yet
	count  uint64 // of changes
}

// stamp is a moment in the books of a holder.
type stamp struct{ turns, generation uint64 }

type lease struct {
	holder       string
	number       uint32
	given        int32
	gone         bool         // evicted
	addresses    []netip.Addr // that may use it, of that generation
	generation   uint64
	older, newer *lease
}

func newLeases(kernel tokens, most int) *leases {
	b := &leases{kernel: kernel, holders: map[string]*lease{}, sources: map[netip.Addr]*lease{}, most: most, seed: maphash.MakeSeed()}
	b.ring.older, b.ring.newer = &b.ring, &b.ring
	return b
}

// used notes that the copy of a SYN which used a token of lease number was read. The
// session's turn is over when Open knows of it.
func (b *leases) used(number uint32) (*lease, *turn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.numbered(number)
	if l == nil {
		return nil, nil
	}
	if l.given > 0 {
		l.given--
	}
	return l, b.ask(l.holder)
}

func (b *leases) ask(holder string) *turn {
	t := b.turn(holder)
	t.asking++
	t.count++
	return t
}

func (b *leases) turn(holder string) *turn {
	return &b.turns[maphash.String(b.seed, holder)%uint64(len(b.turns))]
}

// asked ends a turn.
func (b *leases) asked(t *turn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.asking--
	t.count++
}

// stamp is the moment at which Lessor.Lease is about to be called for holder.
func (b *leases) stamp(holder string) stamp {
	b.mu.Lock()
	defer b.mu.Unlock()
	return stamp{b.turn(holder).count, b.generation}
}

// spent notes that holder may begin fewer sessions than Lessor.Lease has said by now, and
// gives the lease; nil if there is none.
func (b *leases) spent(holder string) *lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn(holder).count++
	return b.holders[holder]
}

func (b *leases) numbered(number uint32) *lease {
	if int(number) >= len(b.all) {
		return nil
	}
	return b.all[number]
}

// low tells whether lease number is due to be asked for again.
func (b *leases) low(number uint32) bool { return b.kernel.Tokens(number) < leaseMost/2 }

// recall takes back what the kernel has left of holder's lease and begins the turn of a
// session that waits for its verdict. has is false when there is no lease.
func (b *leases) recall(holder string) (t *turn, has bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.holders[holder]
	if l != nil && l.given != 0 {
		l.given -= b.kernel.Recall(l.number)
	}
	return b.ask(holder), l != nil
}

// recallNumber is recall by number.
func (b *leases) recallNumber(number uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.numbered(number); l != nil {
		l.given -= b.kernel.Recall(number)
	}
}

// limit takes back what l has beyond sessions, as far as the kernel still has it.
func (b *leases) limit(l *lease, sessions int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !l.gone && int32(sessions) < l.given {
		b.bring(l, int32(sessions))
	}
}

// each gives the numbers of all leases.
func (b *leases) each(f func(number uint32)) {
	b.mu.Lock()
	n := uint32(len(b.all))
	b.mu.Unlock()
	for number := range n {
		f(number)
	}
}

// forget makes every source unknown to the kernel: who has which address, or what
// budgets there are, has changed. What is left of the leases needs no taking back: a
// source becomes known again only after a session that waited for its verdict, and
// before that its holder's lease is recalled.
func (b *leases) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kernel.Forget()
	b.sources = map[netip.Addr]*lease{}
	b.generation++
}

// grant brings what is given to holder to sessions, at most, and lets addr use it. When
// something has changed since, sessions may be too many, and nothing is given: who changed it,
// or the next session of the holder, gives.
func (b *leases) grant(holder string, addr netip.Addr, sessions int, since stamp) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.turn(holder); t.asking > 0 || t.count != since.turns || b.generation != since.generation {
		return
	}
	l := b.holders[holder]
	if l == nil {
		if sessions <= 0 {
			return
		}
		if l = b.add(holder); l == nil {
			return
		}
	}
	b.touch(l)
	b.bring(l, int32(sessions))
	if b.sources[addr] != l {
		b.settle(l, addr)
	}
}

// bring brings what is given to n, as near as what was used lets it.
func (b *leases) bring(l *lease, n int32) {
	if n < l.given {
		l.given -= b.kernel.Recall(l.number)
	}
	if n > l.given {
		b.kernel.Grant(l.number, n-l.given)
		l.given = n
	}
}

// settle lets addr use l, and nobody else's lease any more.
func (b *leases) settle(l *lease, addr netip.Addr) {
	if l.generation != b.generation {
		l.addresses, l.generation = l.addresses[:0], b.generation
	}
	if was := b.sources[addr]; was != nil {
		was.addresses = slices.DeleteFunc(was.addresses, func(a netip.Addr) bool { return a == addr })
	}
	if len(l.addresses) >= addressesMost {
		b.drop(l.addresses[0])
		l.addresses = slices.Delete(l.addresses, 0, 1)
	}
	for tries := 0; b.kernel.SetSource(addr, l.number) != nil; tries++ {
		if tries == settleTries || !b.evict(l) {
			delete(b.sources, addr)
			return
		}
	}
	b.sources[addr] = l
	l.addresses = append(l.addresses, addr)
}

func (b *leases) drop(addr netip.Addr) {
	_ = b.kernel.DropSource(addr) // the lane is closed, and nobody comes from there any more
	delete(b.sources, addr)
}

// add makes a lease; nil when there is no room.
func (b *leases) add(holder string) *lease {
	if len(b.free) == 0 && len(b.all) >= b.most && !b.evict(nil) {
		return nil
	}
	l := &lease{holder: holder, generation: b.generation}
	if n := len(b.free); n > 0 {
		l.number, b.free = b.free[n-1], b.free[:n-1]
		b.all[l.number] = l
	} else {
		l.number = uint32(len(b.all))
		b.all = append(b.all, l)
	}
	b.holders[holder] = l
	l.older, l.newer = l, l
	return l
}

// evict ends the lease that was granted longest ago, of those that are settled; false
// when there is none but keep.
func (b *leases) evict(keep *lease) bool {
	for l := b.ring.newer; l != &b.ring; l = l.newer {
		if l == keep {
			continue
		}
		if l.given -= b.kernel.Recall(l.number); l.given != 0 {
			continue // some copies of it were not read yet
		}
		if l.generation == b.generation {
			for _, addr := range l.addresses {
				b.drop(addr)
			}
		}
		l.gone = true
		l.older.newer, l.newer.older = l.newer, l.older
		delete(b.holders, l.holder)
		b.all[l.number] = nil
		b.free = append(b.free, l.number)
		b.evicted++
		return true
	}
	return false
}

func (b *leases) touch(l *lease) {
	l.older.newer, l.newer.older = l.newer, l.older
	l.older, l.newer = b.ring.older, &b.ring
	l.older.newer, b.ring.older = l, l
}

func (b *leases) evictions() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.evicted
}

// count is how many holders have a lease, how many addresses may use one, and how
// many sessions may begin unasked.
func (b *leases) count() (holders, addresses, sessions int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := b.ring.newer; l != &b.ring; l = l.newer {
		sessions += int(l.given)
	}
	return len(b.holders), len(b.sources), sessions
}
