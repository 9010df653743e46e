package session

import "sync"

// Behind a hole nobody says where the next of the server's records begins. What looks like the head of one is believed when another
// one stands where it ends: that a head (RFC 8446, section 5.1) is there by chance has a probability of some 2^-24. The record in front
// is one that was seen, too.

const (
	maxFound  = 4         // heads that wait for the one behind them
	maxSought = 256 << 10 // bytes after which nobody looks any more
)

// seeking is the search for a record's head.
type seeking struct {
	start int64 // offset behind the last record that is known
	have  int   // bytes of window
	// window is the last bytes that came by one behind the other, and acks what the server had received when it said them.
	window [recordHeader]byte
	acks   [recordHeader]int64
	found  [maxFound]found
	n      int
}

// found is what may be a record.
type found struct {
	from, next int64 // offsets of its head and behind it
	length     int   // of its body
	ack        int64
}

var searches = sync.Pool{New: func() any { return new(seeking) }}

// seek begins the search: of what comes behind offset start nothing is known.
func (s *sealed) seek(start int64) {
	s.seeking = searches.Get().(*seeking)
	*s.seeking = seeking{start: start}
	s.torn = true
	s.estimate.tear()
}

// found ends the search.
func (s *sealed) found() {
	if s.seeking != nil {
		searches.Put(s.seeking)
		s.seeking = nil
	}
}

// search looks through p, which is what the server said from offset off on, and gives what is behind the head that was found.
func (s *sealed) search(off int64, p []byte) (int64, []byte) {
	k := s.seeking
	for i, b := range p {
		copy(k.window[:], k.window[1:])
		copy(k.acks[:], k.acks[1:])
		last := recordHeader - 1
		k.window[last], k.acks[last] = b, s.acks.of(off+int64(i))
		k.have = min(k.have+1, recordHeader)
		if k.have == recordHeader && s.head(off+int64(i)-int64(last)) {
			return off + int64(i) + 1, p[i+1:]
		}
	}
	s.missed(off + int64(len(p)))
	return off, nil
}

// missed: up to offset to nothing was found.
func (s *sealed) missed(to int64) {
	s.estimate.missed(to - s.seeking.start)
	if to-s.seeking.start > maxSought {
		s.blind = true
	}
}

// head looks at the window, which begins at offset from, and reports whether it is where records go on.
func (s *sealed) head(from int64) bool {
	k, r := s.seeking, &s.records
	h := &k.window
	length := int(h[3])<<8 | int(h[4])
	is := recordType(h[0]) && h[1] == r.head[1] && h[2] == r.head[2] && length <= maxRecord
	kept := 0
	for _, f := range k.found[:k.n] {
		switch {
		case f.next == from && is:
			s.estimate.missed(f.from - k.start)
			s.estimate.record(f.length, f.ack)
			s.at, r.head, r.have, r.left = k.acks[0], *h, 0, length
			s.found()
			return true
		case f.next > from:
			k.found[kept] = f
			kept++
		}
	}
	k.n = kept
	if is && h[0] == recordData && length >= int(s.estimate.framing.add) && k.n < maxFound {
		k.found[k.n] = found{from: from, next: from + recordHeader + int64(length), length: length, ack: k.acks[0]}
		k.n++
	}
	return false
}

// hole: n bytes from offset off on, while the search was on, were not seen.
func (s *sealed) hole(off, n int64) {
	k := s.seeking
	k.have = 0
	kept := 0
	for _, f := range k.found[:k.n] {
		if f.next >= off+n {
			k.found[kept] = f
			kept++
		}
	}
	k.n = kept
	s.missed(off + n)
}
