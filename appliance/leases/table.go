package leases

import (
	"container/heap"
	"net/netip"
	"strings"
	"time"
)

// held is a lease in the table; its address is the key.
type held struct {
	expires int64  // Unix seconds; 0: no end is known
	names   string // as circuits has them
	queued  int64  // its place in the queue of ends; 0: none
	bits    uint8  // of the prefix
}

// table is the leases of a file by address: the last word on an address counts, as both servers have it. Ended ones stay until
// the file takes them out, since the clock may step back.
type table struct {
	at      map[netip.Addr]held
	now     int64 // Unix seconds
	ends    ends  // when to look for leases that ended
	refused int   // new leases beyond MaxLeases
	dirty   bool  // the set is another one than that which was last taken
}

func newTable(now int64) *table { return &table{at: make(map[netip.Addr]held), now: now, dirty: true} }

// put enters a lease in the place of what the address had.
func (t *table) put(prefix netip.Prefix, expires int64, names circuits) {
	addr := prefix.Addr()
	old, known := t.at[addr]
	if !known && len(t.at) >= MaxLeases {
		t.refused++
		return
	}
	h := held{expires: expires, bits: uint8(prefix.Bits()), queued: old.queued}
	h.names = old.names
	alike := known && h.bits == old.bits && string(names) == old.names
	if !alike {
		h.names = string(names)
	}
	was, is := known && t.counts(old), t.counts(h)
	t.dirty = t.dirty || was != is || is && !alike
	if expires > t.now && (h.queued == 0 || expires < h.queued) { // a later end is found when the earlier one comes
		heap.Push(&t.ends, end{expires, addr})
		h.queued = expires
	}
	t.at[addr] = h
	if len(t.ends) > 2*len(t.at)+1024 {
		t.requeue() // leases taken and released over and over leave their old ends behind
	}
}

// name puts further circuits before those of a lease that is known.
func (t *table) name(addr netip.Addr, names circuits) {
	h, ok := t.at[addr]
	if !ok {
		return
	}
	for rest := h.names; rest != ""; {
		end := strings.IndexByte(rest, 0)
		from := len(names)
		names = append(names, rest[:end]...)
		names.add(from)
		rest = rest[end+1:]
	}
	t.put(netip.PrefixFrom(addr, int(h.bits)), h.expires, names)
}

func (t *table) drop(addr netip.Addr) {
	if h, ok := t.at[addr]; ok {
		delete(t.at, addr)
		t.dirty = t.dirty || t.counts(h)
	}
}

// merge takes over all leases of another table.
func (t *table) merge(o *table) {
	for addr, h := range o.at {
		t.put(netip.PrefixFrom(addr, int(h.bits)), h.expires, circuits(h.names))
	}
}

// pass lets time go on to now, or back: then leases count again that had ended.
func (t *table) pass(now int64) {
	if now < t.now {
		t.dirty = true
		t.now = now
		t.requeue()
	}
	t.now = now
	for len(t.ends) > 0 && t.ends[0].at <= now {
		e := heap.Pop(&t.ends).(end)
		h, ok := t.at[e.addr]
		if !ok || h.queued != e.at {
			continue // taken out, or it had an earlier end for a while
		}
		h.queued = 0
		switch {
		case h.expires > now: // renewed meanwhile
			h.queued = h.expires
			heap.Push(&t.ends, end{h.expires, e.addr})
		case h.expires > 0:
			t.dirty = true
		}
		t.at[e.addr] = h
	}
}

// requeue makes the queue of ends anew: every lease that has one before it once.
func (t *table) requeue() {
	t.ends = t.ends[:0]
	for addr, h := range t.at {
		if h.queued = 0; h.expires > t.now {
			h.queued = h.expires
			t.ends = append(t.ends, end{h.expires, addr})
		}
		t.at[addr] = h
	}
	heap.Init(&t.ends)
}

// set is every lease that has not ended.
func (t *table) set() []Lease {
	n := 0
	for _, h := range t.at {
		n += strings.Count(h.names, "\x00")
	}
	all, names := make([]Lease, 0, len(t.at)), make([]string, 0, n)
	for addr, h := range t.at {
		if !t.counts(h) {
			continue
		}
		from := len(names)
		names = splitCircuits(names, h.names)
		l := Lease{Prefix: netip.PrefixFrom(addr, int(h.bits)), Circuits: names[from:len(names):len(names)]}
		if h.expires > 0 {
			l.Expires = time.Unix(h.expires, 0)
		}
		all = append(all, l)
	}
	t.dirty = false
	return all
}

// live is how many leases set would have.
func (t *table) live() int {
	n := 0
	for _, h := range t.at {
		if t.counts(h) {
			n++
		}
	}
	return n
}

// equal reports whether both have the same set, ends apart.
func (t *table) equal(o *table) bool {
	for addr, h := range t.at {
		if !t.counts(h) {
			continue
		}
		if other, ok := o.at[addr]; !ok || !o.counts(other) || other.bits != h.bits || other.names != h.names {
			return false
		}
	}
	return t.live() == o.live()
}

// counts reports whether a lease has not ended.
func (t *table) counts(h held) bool { return h.expires == 0 || h.expires > t.now }

// end is a time at which a lease ends, unless it was renewed.
type end struct {
	at   int64
	addr netip.Addr
}

// ends is a heap, the earliest first.
type ends []end

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].at < e[j].at }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(end)) }
func (e *ends) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}
