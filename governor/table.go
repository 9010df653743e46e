package governor

import (
	"encoding/binary"
	"hash/maphash"
)

const (
	inline    = 8   // budgets that a record has room for itself; what is beyond is in trouble
	pageSlots = 512 // records that are allocated at once: 80 KiB
	shortName = 31  // a longer name is kept apart
)

// record is a subscriber in the table, without pointers: 128 bytes and 32 for the name, which stands with them since
// every lookup reads both. With its cells in the index, which is never less than a third full once it has grown, a
// subscriber takes at most 152 bytes beside its name, and 144 where there are a million. All moments are nanoseconds of
// the governor's clock.
type record struct {
	name       name
	open       int32  // sessions running
	charged    uint32 // sessions charged so far, and leaps where what was charged is void: see Receipt
	tag        uint32 // hash of the name
	shape      uint32 // the plan: place in shapes
	rare       uint32 // place in table.rare; 0: none
	next, prev uint32 // in the list of those to be saved; next also in that of free slots
	stage      Stage
	mode       Mode // under which stage and pressure came about
	flags      flags
	wholeAt    [inline]int64 // by limit.place: when the budget is whole again
	known      [2]known      // networks that were charged; more of them are in trouble
}

type flags uint8

const (
	live     flags = 1 << iota // the slot is in use
	dirty                      // changed since it was saved
	stored                     // has been given out for saving: the store may know it
	unlisted                   // a stranger
)

type name [shortName + 1]byte // its length first; longName: a place in table.long instead

const longName = 255

// table holds the records. A slot is a number from 1 on and stays the same as long as its subscriber is known; 0 is
// none. Everything grows page by page and is never moved.
type table struct {
	seed     maphash.Seed
	index    index
	pages    []*[pageSlots]record
	long     pool[string]
	rare     pool[*trouble]
	free     uint32 // the first free slot
	high     uint32 // slots below were in use at some time
	count    int
	unlisted int    // strangers among them
	first    uint32 // to be saved, oldest change first
	last     uint32
}

func newTable() table {
	return table{seed: maphash.MakeSeed(), index: newIndex(), high: 1, long: pool[string]{all: make([]string, 1)}, rare: pool[*trouble]{all: make([]*trouble, 1)}}
}

// pool is a list whose places are used again. Place 0 is none.
type pool[T any] struct {
	all  []T
	free []uint32
}

func (p *pool[T]) put(v T) uint32 {
	if n := len(p.free); n > 0 {
		at := p.free[n-1]
		p.free = p.free[:n-1]
		p.all[at] = v
		return at
	}
	p.all = append(p.all, v)
	return uint32(len(p.all) - 1)
}

func (p *pool[T]) drop(at uint32) {
	var none T
	p.all[at] = none
	p.free = append(p.free, at)
}

func (t *table) record(slot uint32) *record { return &t.pages[slot/pageSlots][slot%pageSlots] }

// find is the slot of sub, or 0; tag is the hash of its name.
func (t *table) find(sub string) (slot, tag uint32) {
	tag = uint32(maphash.String(t.seed, sub))
	b := t.index.bucket(tag)
	for i := tag % bucketCells; b[i] != 0; i = (i + 1) % bucketCells {
		if slot = uint32(b[i]); uint32(b[i]>>32) == tag && t.named(t.record(slot), sub) {
			return slot, tag
		}
	}
	return 0, tag
}

// named tells whether r is that of sub.
func (t *table) named(r *record, sub string) bool {
	n := &r.name
	if n[0] == longName {
		return t.long.all[binary.NativeEndian.Uint32(n[1:])] == sub
	}
	return int(n[0]) == len(sub) && string(n[1:1+n[0]&shortName]) == sub
}

// name is a copy of the name in slot.
func (t *table) name(slot uint32) string {
	n := &t.record(slot).name
	if n[0] == longName {
		return t.long.all[binary.NativeEndian.Uint32(n[1:])]
	}
	return string(n[1 : 1+n[0]])
}

// insert makes a record for sub, which is not known; 0 if there is no room.
func (t *table) insert(sub string, tag uint32) uint32 {
	slot := t.free
	if slot == 0 {
		if slot = t.high; int(slot/pageSlots) == len(t.pages) {
			t.pages = append(t.pages, new([pageSlots]record))
		}
	}
	if !t.index.add(tag, slot) {
		return 0
	}
	r := t.record(slot)
	if slot == t.free {
		t.free = r.next
	} else {
		t.high++
	}
	*r = record{tag: tag, flags: live}
	n := &r.name
	if len(sub) > shortName {
		n[0] = longName
		binary.NativeEndian.PutUint32(n[1:], t.long.put(sub))
	} else {
		n[0] = uint8(len(sub))
		copy(n[1:], sub)
	}
	t.count++
	return slot
}

// remove forgets slot.
func (t *table) remove(slot uint32) {
	r := t.record(slot)
	t.clean(slot)
	t.index.remove(r.tag, slot)
	if n := &r.name; n[0] == longName {
		t.long.drop(binary.NativeEndian.Uint32(n[1:]))
	}
	if r.rare != 0 {
		t.rare.drop(r.rare)
	}
	*r = record{next: t.free}
	t.free = slot
	t.count--
}

// mark puts slot at the end of those to be saved, if it is not among them.
func (t *table) mark(slot uint32) {
	r := t.record(slot)
	if r.flags&dirty != 0 {
		return
	}
	r.flags |= dirty
	r.next, r.prev = 0, t.last
	if t.last == 0 {
		t.first = slot
	} else {
		t.record(t.last).next = slot
	}
	t.last = slot
}

// clean takes slot out of those to be saved.
func (t *table) clean(slot uint32) {
	r := t.record(slot)
	if r.flags&dirty == 0 {
		return
	}
	r.flags &^= dirty
	if r.prev == 0 {
		t.first = r.next
	} else {
		t.record(r.prev).next = r.next
	}
	if r.next == 0 {
		t.last = r.prev
	} else {
		t.record(r.next).prev = r.prev
	}
	r.next, r.prev = 0, 0
}
