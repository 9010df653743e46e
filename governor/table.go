package governor

import (
	"encoding/binary"
	"hash/maphash"
)

const (
	inline    = 7    // budgets that a record has room for itself; what is beyond is in trouble
	pageSlots = 2048 // records that are allocated at once: 256 KiB

	recordSize = 128 // bytes
	shortName  = 23  // bytes; a longer name is kept apart
)

// record is a subscriber in the table: two cache lines, without pointers, its name included. With its cells in the
// index, which is never less than a third full as long as it grows, a subscriber takes at most 152 bytes, and 144 where
// there are a million. All moments are nanoseconds of the governor's clock.
type record struct {
	wholeAt [inline]int64 // by limit.place: when the budget is whole again
	open    int32         // sessions running
	charged uint32        // sessions charged so far, and leaps where what was charged is void: see Receipt
	rare    uint32        // place in table.rare; 0: none
	next    uint32        // in the list of those to be saved, or of free slots
	shape   uint16        // the plan: place in Governor.shapes
	stage   Stage
	flags   flags
	name    [shortName + 1]byte // its length first; longName: a place in table.long instead
	known   [2]known            // networks that were charged; more of them are in trouble
}

const longName = 255

type flags uint8

const (
	live      flags = 1 << iota // somebody has the slot
	dirty                       // in the list of those to be saved
	stored                      // has been given out for saving: the store may know it
	unlisted                    // a stranger
	observed                    // the stage and the pressure came about in mode observe
	met                         // a session came about in this life: the address is no forged one
	estimated                   // an estimate went into budgets of messages since they were last whole
)

// mode is that in which the stage and the pressure came about.
func (r *record) mode() Mode {
	if r.flags&observed != 0 {
		return ModeObserve
	}
	return ModeEnforce
}

func (r *record) setMode(m Mode) {
	if r.flags &^= observed; m == ModeObserve {
		r.flags |= observed
	}
}

// table holds the records. A slot is a number from 1 on and stays the same as long as its subscriber is known; 0 is
// none. Everything grows page by page and is never moved.
type table struct {
	seed        maphash.Seed
	memory      *pages
	index       index
	pages       []*[pageSlots]record
	long        pool[string]
	rare        pool[*trouble]
	free        uint32 // the first free slot
	high        uint32 // slots below were in use at some time
	count       int
	unlisted    int    // strangers among them
	first, last uint32 // to be saved, the oldest change first; some of them are not live any more
	marked      int    // those
}

func newTable(more Memory) table {
	memory := &pages{more: more}
	return table{seed: maphash.MakeSeed(), memory: memory, index: newIndex(memory), high: 1, long: pool[string]{all: make([]string, 1)}, rare: pool[*trouble]{all: make([]*trouble, 1)}}
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

func (t *table) hash(sub string) uint32 { return uint32(maphash.String(t.seed, sub)) }

// find is the slot of sub, or 0; tag is the hash of its name.
func (t *table) find(sub string) (slot, tag uint32) {
	tag = t.hash(sub)
	b := t.index.bucket(tag)
	for i := tag % bucketCells; b[i] != 0; i = (i + 1) % bucketCells {
		if slot = uint32(b[i]); uint32(b[i]>>32) == tag && t.named(t.record(slot), sub) {
			return slot, tag
		}
	}
	return 0, tag
}

// named tells whether r is that of sub. That open is not negative is asked to have its cache line on the way while the
// other one, with the name, is waited for.
func (t *table) named(r *record, sub string) bool {
	if n := int(r.name[0]); n <= shortName {
		return r.open >= 0 && n == len(sub) && string(r.name[1:1+n]) == sub
	}
	return t.long.all[binary.NativeEndian.Uint32(r.name[1:])] == sub
}

// name is a copy of the name in slot.
func (t *table) name(slot uint32) string {
	r := t.record(slot)
	if n := int(r.name[0]); n <= shortName {
		return string(r.name[1 : 1+n])
	}
	return t.long.all[binary.NativeEndian.Uint32(r.name[1:])]
}

// insert makes a record for sub, which is not known; 0 if there is no room.
func (t *table) insert(sub string, tag uint32) uint32 {
	slot := t.free
	if slot == 0 {
		if slot = t.high; int(slot/pageSlots) == len(t.pages) {
			t.pages = append(t.pages, take[[pageSlots]record](t.memory))
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
	*r = record{flags: live}
	if len(sub) > shortName {
		r.name[0] = longName
		binary.NativeEndian.PutUint32(r.name[1:], t.long.put(sub))
	} else {
		r.name[0] = uint8(len(sub))
		copy(r.name[1:], sub)
	}
	t.count++
	return slot
}

// remove forgets slot. Where it is still to be saved, it is free only when pop has come to it.
func (t *table) remove(slot uint32) {
	r := t.record(slot)
	t.index.remove(t.hash(t.name(slot)), slot)
	if r.name[0] == longName {
		t.long.drop(binary.NativeEndian.Uint32(r.name[1:]))
	}
	if r.rare != 0 {
		t.rare.drop(r.rare)
	}
	t.count--
	if r.flags&dirty != 0 {
		*r = record{flags: dirty, next: r.next}
		return
	}
	t.release(slot)
}

func (t *table) release(slot uint32) {
	*t.record(slot) = record{next: t.free}
	t.free = slot
}

// mark puts slot at the end of those to be saved, if it is not among them.
func (t *table) mark(slot uint32) {
	r := t.record(slot)
	if r.flags&dirty != 0 {
		return
	}
	r.flags |= dirty
	t.marked++
	r.next = 0
	if t.last == 0 {
		t.first = slot
	} else {
		t.record(t.last).next = slot
	}
	t.last = slot
}

// pop takes the first of those to be saved; 0 if there is none.
func (t *table) pop() uint32 {
	for t.first != 0 {
		slot := t.first
		r := t.record(slot)
		if t.first = r.next; t.first == 0 {
			t.last = 0
		}
		r.flags &^= dirty
		t.marked--
		r.next = 0
		if r.flags&live != 0 {
			return slot
		}
		t.release(slot)
	}
	return 0
}
