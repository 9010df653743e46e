package sources

// none is no page.
const none int32 = -1

// list is pages in the order in which they were seen last, by their prev and next.
type list struct {
	head, tail   int32
	length, most int
}

func (l *list) push(pages []page, i int32) {
	pages[i].prev, pages[i].next = none, l.head
	if l.head != none {
		pages[l.head].prev = i
	} else {
		l.tail = i
	}
	l.head = i
	l.length++
}

func (l *list) remove(pages []page, i int32) {
	p := &pages[i]
	if p.prev != none {
		pages[p.prev].next = p.next
	} else {
		l.head = p.next
	}
	if p.next != none {
		pages[p.next].prev = p.prev
	} else {
		l.tail = p.prev
	}
	l.length--
}

// index finds pages by hash: open addressing with linear probing, at most half full, so that it never grows and a removal
// leaves no trace.
type index []int32 // page, counted from 1; 0: empty

func newIndex(capacity int) index {
	size := 2
	for size < 2*capacity {
		size *= 2
	}
	return make(index, size)
}

func (x index) slot(hash uint32) uint32 { return hash & uint32(len(x)-1) }

func (x index) find(pages []page, k key, hash uint32) int32 {
	for s := x.slot(hash); x[s] != 0; s = x.slot(s + 1) {
		if p := &pages[x[s]-1]; p.hash == hash && p.key == k {
			return x[s] - 1
		}
	}
	return none
}

func (x index) add(hash uint32, i int32) {
	s := x.slot(hash)
	for x[s] != 0 {
		s = x.slot(s + 1)
	}
	x[s] = i + 1
}

// remove takes page i out, and moves those behind it that had wanted its slot, or one before.
func (x index) remove(pages []page, hash uint32, i int32) {
	s := x.slot(hash)
	for x[s] != i+1 {
		s = x.slot(s + 1)
	}
	for next := x.slot(s + 1); x[next] != 0; next = x.slot(next + 1) {
		wanted := x.slot(pages[x[next]-1].hash)
		if x.slot(next-wanted) >= x.slot(next-s) {
			x[s], s = x[next], next
		}
	}
	x[s] = 0
}
