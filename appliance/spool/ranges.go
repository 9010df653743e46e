package spool

import (
	"strconv"
	"strings"
)

// Ranges are numbers in ascending order: from, to, from, to ...
type Ranges []uint64

// Add takes a number that is higher than all before.
func (r *Ranges) Add(seq uint64) { r.AddRange(seq, seq) }

// AddRange takes the numbers from one to another; they are higher than all before.
func (r *Ranges) AddRange(from, to uint64) {
	if n := len(*r); n > 0 && (*r)[n-1]+1 == from {
		(*r)[n-1] = to
		return
	}
	*r = append(*r, from, to)
}

// First is the lowest number; there must be one.
func (r Ranges) First() uint64 { return r[0] }

// Last is the highest number; there must be one.
func (r Ranges) Last() uint64 { return r[len(r)-1] }

// Count is how many numbers there are.
func (r Ranges) Count() (n uint64) {
	for i := 0; i < len(r); i += 2 {
		n += r[i+1] - r[i] + 1
	}
	return n
}

// above is what of r is higher than seq.
func (r Ranges) above(seq uint64) (higher Ranges) {
	for i := 0; i < len(r); i += 2 {
		if r[i+1] > seq {
			higher = append(higher, max(r[i], seq+1), r[i+1])
		}
	}
	return higher
}

// maxWords is how long the String of a piece is at most, so that it fits into a parameter of a record.
const maxWords = 1000

// Pieces are the numbers in pieces whose String fits into a parameter of a record each.
func (r Ranges) Pieces() (pieces []Ranges) {
	from, size := 0, 0
	for i := 0; i < len(r); i += 2 {
		n := len(r[i:i+2].String()) + 1
		if size+n > maxWords {
			pieces = append(pieces, r[from:i])
			from, size = i, 0
		}
		size += n
	}
	return append(pieces, r[from:])
}

// String writes the numbers as 3-7,9.
func (r Ranges) String() string {
	var b strings.Builder
	for i := 0; i < len(r); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(r[i], 10))
		if r[i+1] > r[i] {
			b.WriteString("-" + strconv.FormatUint(r[i+1], 10))
		}
	}
	return b.String()
}
