package governor

import "unsafe"

// Memory gives size bytes of zeroed memory for good, aligned to a cache line at least; it may lie outside of Go's heap. nil:
// there is none, and Go's heap is used.
type Memory func(size int) []byte

// pages is where the table's memory comes from: what a few subscribers need from Go's heap, what is beyond from Memory, in
// large pieces.
type pages struct {
	more  Memory
	piece []byte // what is left of the last one
	small int    // bytes that came from Go's heap instead
}

const (
	pieceSize = 4 << 20
	smallSize = 2 * (pageSlots*recordSize + bucketCells*8)
)

// take gives room for a T, which has no pointers.
func take[T any](p *pages) *T {
	size := int(unsafe.Sizeof(*new(T)))
	if p.more == nil || p.small+size <= smallSize {
		p.small += size
		return new(T)
	}
	if len(p.piece) < size {
		if p.piece = p.more(pieceSize); len(p.piece) < size {
			p.more = nil
			return new(T)
		}
	}
	at := unsafe.Pointer(unsafe.SliceData(p.piece))
	p.piece = p.piece[size:]
	return (*T)(at)
}
