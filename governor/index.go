package governor

// index finds a slot of the table by the hash of a name: extendible hashing over buckets of open addressing. It never
// holds a pointer that the garbage collector would have to follow but those to its buckets, and it grows by one bucket
// at a time: the longest that an insertion takes is one split, 1536 cells moved within 32 KiB.
type index struct {
	memory  *pages
	buckets []*cells // by the leading depth bits of the tag; neighbours may share one
	ids     []uint32 // the same, as places in fill
	fill    []filling
	depth   uint8
	scratch cells
}

// cells is a bucket: a tag in the upper half of a cell, a slot in the lower; 0 is free. Probing is linear, from the
// tag's trailing bits on.
type cells [bucketCells]uint64

type filling struct {
	n     uint32
	depth uint8 // how many leading bits of the tag are the same in all of it
}

const (
	bucketCells = 2048
	bucketMost  = bucketCells / 4 * 3
	// mostDepth bounds the directory: 4096 buckets hold six million names. Beyond, a bucket is filled to the last cell
	// but one and then refuses. A keyed hash of a million names never comes near it.
	mostDepth = 12
)

func newIndex(memory *pages) index {
	return index{memory: memory, buckets: []*cells{take[cells](memory)}, ids: []uint32{0}, fill: make([]filling, 1)}
}

func (x *index) place(tag uint32) uint32 { return tag >> (32 - x.depth) }

// bucket is where tag belongs.
func (x *index) bucket(tag uint32) *cells { return x.buckets[x.place(tag)] }

// add puts slot under tag; false if there is no room.
func (x *index) add(tag, slot uint32) bool {
	for {
		at := x.place(tag)
		f := &x.fill[x.ids[at]]
		if f.n < bucketMost || f.depth == mostDepth && f.n < bucketCells-1 {
			x.buckets[at].put(tag, slot)
			f.n++
			return true
		}
		if f.depth == mostDepth {
			return false
		}
		x.split(at)
	}
}

func (b *cells) put(tag, slot uint32) {
	i := tag % bucketCells
	for b[i] != 0 {
		i = (i + 1) % bucketCells
	}
	b[i] = uint64(tag)<<32 | uint64(slot)
}

// split gives the bucket at place at a twin, for those whose next bit is 1.
func (x *index) split(at uint32) {
	id := x.ids[at]
	if x.fill[id].depth == x.depth {
		x.double()
		at *= 2
	}
	old, twin, twinID := x.buckets[at], take[cells](x.memory), uint32(len(x.fill))
	x.fill[id].depth++
	d := x.fill[id].depth
	x.fill = append(x.fill, filling{depth: d})
	run := uint32(1) << (x.depth - d) // places of the twin in the directory, behind as many of the old one
	first := at &^ (2*run - 1)
	for i := first + run; i < first+2*run; i++ {
		x.buckets[i], x.ids[i] = twin, twinID
	}
	x.scratch = *old
	*old = cells{}
	for _, c := range x.scratch {
		switch {
		case c == 0:
		case c>>(64-d)&1 == 0:
			old.put(uint32(c>>32), uint32(c))
		default:
			twin.put(uint32(c>>32), uint32(c))
			x.fill[id].n--
			x.fill[twinID].n++
		}
	}
}

func (x *index) double() {
	buckets, ids := make([]*cells, 2*len(x.buckets)), make([]uint32, 2*len(x.ids))
	for i := range buckets {
		buckets[i], ids[i] = x.buckets[i/2], x.ids[i/2]
	}
	x.buckets, x.ids = buckets, ids
	x.depth++
}

// remove takes slot out from under tag. Those behind it move up, so that probing needs no tombstones.
func (x *index) remove(tag, slot uint32) {
	at := x.place(tag)
	b := x.buckets[at]
	want := uint64(tag)<<32 | uint64(slot)
	i := tag % bucketCells
	for b[i] != want {
		if b[i] == 0 {
			panic("governor: a name that is known is not in the index")
		}
		i = (i + 1) % bucketCells
	}
	x.fill[x.ids[at]].n--
	for j := (i + 1) % bucketCells; b[j] != 0; j = (j + 1) % bucketCells {
		home := uint32(b[j]>>32) % bucketCells
		if (j-home)%bucketCells >= (j-i)%bucketCells { // it may stand at i
			b[i] = b[j]
			i = j
		}
	}
	b[i] = 0
}
