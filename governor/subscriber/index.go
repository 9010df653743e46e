package subscriber

import (
	"hash/maphash"
	"strings"
)

// seed is one for all tables, so that a hash says the same to each.
var seed = maphash.MakeSeed()

// index finds numbers by the hash of what they stand for, in open addressing. It holds no pointers and no keys: eq
// tells whether a number is the one.
type index struct {
	slots []slot // a power of two
	n     int
}

type slot struct {
	hash  uint32
	value int32 // plus one; 0 is free
}

func (x *index) find(hash uint64, eq func(int32) bool) (int32, bool) {
	if len(x.slots) == 0 {
		return -1, false
	}
	h, mask := uint32(hash), uint32(len(x.slots)-1)
	for i := h & mask; ; i = (i + 1) & mask {
		s := x.slots[i]
		if s.value == 0 {
			return -1, false
		}
		if s.hash == h && eq(s.value-1) {
			return s.value - 1, true
		}
	}
}

// add puts v in; it is not there yet.
func (x *index) add(hash uint64, v int32) {
	if (x.n+1)*4 > len(x.slots)*3 {
		old := x.slots
		x.slots = make([]slot, max(16, 2*len(old)))
		for _, s := range old {
			if s.value != 0 {
				x.put(s)
			}
		}
	}
	x.put(slot{uint32(hash), v + 1})
	x.n++
}

func (x *index) put(s slot) {
	mask := uint32(len(x.slots) - 1)
	i := s.hash & mask
	for x.slots[i].value != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

// texts keeps many short strings in few pieces of memory.
type texts struct {
	piece *strings.Builder
	size  int // of the last piece
}

// A piece is twice as large as the one before, up to maxPiece.
const minPiece, maxPiece = 4 << 10, 256 << 10

// add copies parts, one after the other, and gives them as one string.
func (t *texts) add(parts ...[]byte) string {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n == 0 {
		return ""
	}
	if t.piece == nil || t.piece.Cap()-t.piece.Len() < n {
		t.piece = &strings.Builder{}
		t.size = max(minPiece, min(2*t.size, maxPiece))
		t.piece.Grow(max(t.size, n))
	}
	from := t.piece.Len()
	for _, p := range parts {
		t.piece.Write(p)
	}
	return t.piece.String()[from:]
}
