// Package destinations finds the networks that are contacted most, in the last five minutes, the last hour and the last
// day, with a bound on how wrong each figure may be.
//
// Each window is a row of parts, and each part a [summary] of its own: the oldest is dropped when a new one begins. So a
// window is as long as it says, and up to one part longer, since the part that runs counts too: 5 to 6 minutes, 60 to 65
// minutes, 24 to 25 hours. [View.From] says since when.
//
// What a window says of a network is the sum of its parts. A part that does not follow it may have seen it as often as its
// least counter says, so that is added to what may be missing. With Counters in each part, n sessions in the window and
// c the true count:
//
//	Sessions - Error <= c <= Sessions,    Error <= n / Counters
//
// and every network with more than n / Counters sessions is in the view. As long as no part met more than Counters
// networks, all figures are exact.
package destinations

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Counters is how many networks each part follows. All parts together take 5 MB when all are full.
const Counters = 512

// Window is one of the windows that are kept.
type Window int

// The windows.
const (
	FiveMinutes Window = iota
	Hour
	Day
	windows
)

// shapes are the parts of the windows; one more is kept, the one that runs.
var shapes = [windows]struct {
	part  time.Duration
	parts int
}{{time.Minute, 5}, {5 * time.Minute, 12}, {time.Hour, 24}}

// Book is safe for concurrent use.
type Book struct {
	mu   sync.Mutex
	rows [windows]row
	last time.Time
	age  time.Duration // time that passed
}

// row is one window.
type row struct {
	parts []*summary // a ring
	began []time.Time
	at    int // the one that runs
	used  int // parts that hold something, the one that runs included
}

// Network is one that is contacted much.
type Network struct {
	Prefix   netip.Prefix
	Sessions uint64 // at most
	Error    uint64 // at least so many fewer
	Bytes    uint64 // at least, both ways
}

// View is a window as it is now.
type View struct {
	From, To time.Time
	Sessions uint64 // to all networks, exactly
	Error    uint64 // the largest that any network's may be; one that is not listed at all had at most so many
	Networks []Network
}

// New makes an empty book.
func New() *Book {
	b := &Book{}
	for w := range b.rows {
		n := shapes[w].parts + 1
		b.rows[w] = row{parts: make([]*summary, n), began: make([]time.Time, n), used: 1}
		for i := range n {
			b.rows[w].parts[i] = newSummary(Counters)
		}
	}
	return b
}

// Add counts a session to a network.
func (b *Book) Add(network netip.Prefix, bytes uint64, now time.Time) {
	if !network.IsValid() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn(now)
	for w := range b.rows {
		b.rows[w].parts[b.rows[w].at].add(network, bytes)
	}
}

// turn lets time pass. A clock that is set back stops nothing; one that is set ahead by more than a window empties it.
func (b *Book) turn(now time.Time) {
	if b.last.IsZero() {
		b.last = now
		for w := range b.rows {
			b.rows[w].began[0] = now
		}
	}
	passed := max(now.Sub(b.last), 0)
	b.last = now
	before := b.age
	b.age += passed
	for w := range b.rows {
		part := shapes[w].part
		n := int64(b.age/part - before/part)
		into := b.age % part // of the part that runs now
		for range min(n, int64(len(b.rows[w].parts))) {
			b.rows[w].next(now.Add(-into))
		}
	}
}

func (r *row) next(began time.Time) {
	r.at = (r.at + 1) % len(r.parts)
	r.used = min(r.used+1, len(r.parts))
	r.parts[r.at].reset()
	r.began[r.at] = began
}

// Top is the window's networks, the most contacted first.
func (b *Book) Top(w Window, now time.Time) View {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn(now)
	r := &b.rows[w]
	v := View{To: now, From: r.began[r.at]}
	sums := map[netip.Prefix]*Network{}
	var parts []*summary
	for i := range r.used {
		at := (r.at - i + len(r.parts)) % len(r.parts)
		parts = append(parts, r.parts[at])
		v.From = r.began[at]
	}
	followed := map[netip.Prefix]uint64{} // what the least counters say of the parts that follow it
	for _, p := range parts {
		v.Sessions += p.total
		v.Error += p.least()
		for _, c := range p.heap {
			followed[c.network] += p.least()
			n := sums[c.network]
			if n == nil {
				n = &Network{Prefix: c.network}
				sums[c.network] = n
			}
			n.Sessions += c.count
			n.Error += c.over
			n.Bytes += c.bytes
		}
	}
	for prefix, n := range sums {
		unseen := v.Error - followed[prefix] // it may have been in the others so often
		n.Sessions += unseen
		n.Error += unseen
		v.Networks = append(v.Networks, *n)
	}
	slices.SortFunc(v.Networks, Network.Compare)
	return v
}

// Compare is the order of a view's networks: by what is certain of Sessions, then by Sessions, then by Prefix.
func (n Network) Compare(m Network) int {
	return cmp.Or(cmp.Compare(m.Sessions-m.Error, n.Sessions-n.Error), cmp.Compare(m.Sessions, n.Sessions), n.Prefix.Compare(m.Prefix))
}
