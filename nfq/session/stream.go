package session

import "sync"

// Bounds of the reorder window of one direction. A segment further ahead than
// ringSize bytes, or one that would make more islands than maxIslands, is not kept.
const (
	ringSize   = 16 << 10
	maxIslands = 16
	// maxAhead is how far beyond what we delivered a sequence number is believed
	// where no stretch was released: more than any window in flight before DATA.
	maxAhead = 16 << 20
)

// island is a run of bytes that came ahead of a hole, in offsets of its stream.
type island struct{ start, end int64 }

// stream puts one direction in order. Positions are offsets from the first byte
// after the SYN (or the first byte seen), unwrapped to 64 bits.
type stream struct {
	known  bool // next is meaningful
	seen   bool // payload came by
	syn    bool // isn is meaningful
	isn    uint32
	next   uint32 // sequence number of the byte at offset off
	off    int64  // every byte before was delivered or given up
	fin    int64  // offset of the FIN, -1: none yet
	ring   *[ringSize]byte
	island [maxIslands]island
	n      int // islands in use, in order, never touching each other
}

var rings = sync.Pool{New: func() any { return new([ringSize]byte) }}

// begin sets where offset 0 is.
func (s *stream) begin(seq uint32) {
	s.known, s.next, s.off = true, seq, 0
	s.drop()
}

// at is the offset of seq, within 2 GiB either side of what was delivered.
func (s *stream) at(seq uint32) int64 { return s.off + int64(int32(seq-s.next)) }

// beyond is the offset of seq after a stretch that the kernel passed: up to
// 4 GiB ahead, a few MiB (maxAhead) behind.
func (s *stream) beyond(seq uint32) int64 {
	d := seq - s.next
	if d > 1<<32-maxAhead {
		return s.off + int64(int32(d))
	}
	return s.off + int64(d)
}

// high is the end of what came by, holes or not.
func (s *stream) high() int64 {
	if s.n > 0 {
		return s.island[s.n-1].end
	}
	return s.off
}

// advance moves to offset to, and forgets islands that lie before it.
func (s *stream) advance(to int64) {
	s.next += uint32(to - s.off)
	s.off = to
	gone := 0
	for gone < s.n && s.island[gone].end <= to {
		gone++
	}
	if gone > 0 {
		s.n = copy(s.island[:], s.island[gone:s.n])
	}
	if s.n > 0 {
		s.island[0].start = max(s.island[0].start, to)
		return
	}
	s.drop()
}

// drop gives the window's memory back.
func (s *stream) drop() {
	s.n = 0
	if s.ring != nil {
		rings.Put(s.ring)
		s.ring = nil
	}
}

// ready is the next run of bytes that lies in order in the window, nil if
// there is none. A run that wraps around comes in two calls. The bytes are the
// window's own: they are valid until the stream changes.
func (s *stream) ready() []byte {
	if s.n == 0 || s.island[0].start > s.off {
		return nil
	}
	from := int(s.off % ringSize)
	length := int(s.island[0].end - s.off)
	return s.ring[from:min(from+length, ringSize)]
}

// store keeps the part of p, which starts at offset off ahead of a hole, that
// fits the window and is not there yet: the first copy of a byte wins, as it
// does in a receiver's queue. It reports false where nothing could be kept.
func (s *stream) store(off int64, p []byte) bool {
	end := min(off+int64(len(p)), s.off+ringSize)
	if off >= end {
		return false
	}
	p = p[:end-off]
	first := 0
	for first < s.n && s.island[first].end < off {
		first++
	}
	last := first
	for last < s.n && s.island[last].start <= end {
		last++
	}
	if first == last && s.n == maxIslands {
		return false
	}
	if s.ring == nil {
		s.ring = rings.Get().(*[ringSize]byte)
	}
	merged := island{off, end}
	pos := off
	for _, have := range s.island[first:last] {
		if have.start > pos {
			s.write(pos, p[pos-off:have.start-off])
		}
		pos = max(pos, have.end)
		merged.start, merged.end = min(merged.start, have.start), max(merged.end, have.end)
	}
	if pos < end {
		s.write(pos, p[pos-off:])
	}
	if first == last {
		copy(s.island[first+1:s.n+1], s.island[first:s.n])
		s.n++
	} else {
		s.n = first + 1 + copy(s.island[first+1:], s.island[last:s.n])
	}
	s.island[first] = merged
	return true
}

func (s *stream) write(off int64, p []byte) {
	n := copy(s.ring[off%ringSize:], p)
	copy(s.ring[:], p[n:])
}
