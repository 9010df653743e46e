package records

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

// Above is what of r is higher than seq.
func (r Ranges) Above(seq uint64) (higher Ranges) {
	for i := 0; i < len(r); i += 2 {
		if r[i+1] > seq {
			higher = append(higher, max(r[i], seq+1), r[i+1])
		}
	}
	return higher
}

// Without is what of r is not among others, which are in ascending order, too.
func (r Ranges) Without(others Ranges) (left Ranges) {
	k := 0
	for i := 0; i+1 < len(r); i += 2 {
		from, to := r[i], r[i+1]
		for k+1 < len(others) && others[k+1] < from {
			k += 2
		}
		for j := k; j+1 < len(others) && others[j] <= to && from <= to; j += 2 {
			if others[j] > from {
				left = append(left, from, others[j]-1)
			}
			if others[j+1] == ^uint64(0) {
				return left
			}
			from = max(from, others[j+1]+1)
		}
		if from <= to {
			left = append(left, from, to)
		}
	}
	return left
}

// With is what is among r or among others, which are in ascending order, too.
func (r Ranges) With(others Ranges) (all Ranges) {
	r = r.Without(others)
	for len(r) > 0 || len(others) > 0 {
		next := &r
		if len(r) == 0 || len(others) > 0 && others[0] < r[0] {
			next = &others
		}
		all.AddRange((*next)[0], (*next)[1])
		*next = (*next)[2:]
	}
	return all
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

// ParseRanges reads what String wrote. What is no number, or runs backwards, is left out.
func ParseRanges(text string) (r Ranges) {
	for word := range strings.SplitSeq(text, ",") {
		first, last, many := strings.Cut(word, "-")
		if !many {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 64)
		to, err2 := strconv.ParseUint(last, 10, 64)
		if err1 == nil && err2 == nil && from <= to {
			r = append(r, from, to)
		}
	}
	return r
}

// Covers tells whether all numbers from one to another are among r.
func (r Ranges) Covers(from, to uint64) bool {
	for i := 0; i+1 < len(r); i += 2 {
		if r[i] <= from && to <= r[i+1] {
			return true
		}
	}
	return false
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
