package session

import "sync"

// sealed follows the server's records after the handshake. What the client sends
// the kernel passes; how much that was the server's acknowledgements tell.
type sealed struct {
	records  records
	acks     acks
	estimate estimate
	at       int64    // what the server had received when it sent the record in hand
	blind    bool     // where records begin is not known any more
	torn     bool     // a header was lost
	seeking  *seeking // for the next one
	hungUp   bool     // the server closed first
	clear    bool     // the server went back to speak in clear: it has given up TLS, and the session
}

var seals = sync.Pool{New: func() any { return new(sealed) }}

// seal goes on with what the server says from now on, after a handshake.
func (t *Tracker) seal() {
	h := t.tls
	s := seals.Get().(*sealed)
	*s = sealed{records: h.side[Down]}
	s.estimate.begin(framingOf(h.version, h.suite), h.end, t.facts.TLS == TLSImplicit)
	if r := t.opt.Record; r != nil {
		*r = Recording{framing: s.estimate.framing, doubt: s.estimate.doubt, begin: h.end}
	}
	t.forgetClear()
	t.up.drop()
	t.mode, t.tls, t.sealed = inSeal, nil, s
	t.estimated = true
}

// unseal gives the memory back. What was estimated stays.
func (t *Tracker) unseal() {
	if t.sealed == nil {
		return
	}
	t.tell()
	s := t.sealed
	t.lo, t.hi = s.estimate.bounds()
	t.lo = max(t.lo, s.estimate.told)
	t.blind = t.blind || s.blind
	s.found()
	seals.Put(s)
	t.sealed = nil
}

// sealedBytes reads the server's bytes from offset off on.
func (t *Tracker) sealedBytes(off int64, p []byte) {
	s := t.sealed
	r := &s.records
	if s.seeking != nil && !s.blind {
		if off, p = s.search(off, p); s.seeking == nil {
			t.count()
		}
	}
	for len(p) > 0 && !s.blind && !s.clear {
		if r.left > 0 {
			n := min(r.left, len(p))
			r.left -= n
			p, off = p[n:], off+int64(n)
			continue
		}
		if r.have == 0 {
			s.at = s.acks.of(off)
		}
		n := copy(r.head[r.have:], p)
		r.have += n
		p, off = p[n:], off+int64(n)
		if r.have > 2 && r.head[0] >= '4' && r.head[0] <= '5' && r.head[1] >= '0' && r.head[1] <= '5' {
			s.clear = true
			return
		}
		if r.have < recordHeader {
			continue
		}
		r.have = 0
		r.left = int(r.head[3])<<8 | int(r.head[4])
		if !recordType(r.head[0]) || r.head[1] != 3 || r.left > maxRecord {
			t.loseRecords()
			return
		}
		t.count()
	}
}

// count takes the record whose head is in hand.
func (t *Tracker) count() {
	s := t.sealed
	if s.records.kind() != recordData {
		return
	}
	if rec := t.opt.Record; rec != nil {
		rec.heard = append(rec.heard, heard{s.records.left, s.at})
	}
	s.estimate.record(s.records.left, s.at)
	t.tell()
}

// sealedHole: n bytes of the server were not seen. Within a record that does no harm.
func (t *Tracker) sealedHole(n int64) {
	s := t.sealed
	if s.blind || s.clear {
		return
	}
	r, off := &s.records, t.down.off
	switch {
	case s.seeking != nil:
		s.hole(off, n)
	case r.have == 0 && int64(r.left) >= n:
		r.left -= int(n)
	default:
		s.seek(off + int64(r.left) - int64(r.have))
		r.left, r.have = 0, 0
		s.missed(off + n)
	}
}

// loseRecords: what the server says are no records. The fewest messages are still known.
func (t *Tracker) loseRecords() {
	t.sealed.blind = true
}

// tell tells of messages that there were for certain enough.
func (t *Tracker) tell() {
	e := &t.sealed.estimate
	for lo := e.least(); e.told < lo; e.told++ {
		t.emit(Event{Kind: Message, Estimated: true})
	}
}

// acks are the acknowledgement numbers of the server's segments, by the offset from
// which on they hold. Segments come in disorder; what is kept of them is bounded, and a byte
// of which the own number is not known has that of one before.
type acks struct {
	marks [maxMarks]ackMark
	n     int
}

type ackMark struct{ from, ack int64 }

const maxMarks = 6

// segment notes that bytes from offset from on came with ack; read is how far the server's bytes were read. It reports false
// where there is no room.
func (a *acks) segment(from, ack, read int64) bool {
	for a.n > 1 && a.marks[1].from <= read {
		a.n = copy(a.marks[:], a.marks[1:a.n])
	}
	from = max(from, read)
	i := a.n
	for i > 0 && a.marks[i-1].from >= from {
		i--
	}
	if i < a.n {
		ack = min(ack, a.marks[i].ack) // sent again, later than what comes behind it
	}
	switch {
	case i < a.n && a.marks[i].from == from:
		return true // the first copy counts
	case i > 0 && a.marks[i-1].ack >= ack:
		return true
	case i < a.n && a.marks[i].ack == ack:
		a.marks[i].from = from
		return true
	case a.n == maxMarks:
		return false
	}
	copy(a.marks[i+1:a.n+1], a.marks[i:a.n])
	a.marks[i] = ackMark{from, ack}
	a.n++
	return true
}

// of is the acknowledgement number with which the byte at offset off came.
func (a *acks) of(off int64) int64 {
	ack := int64(0)
	for _, m := range a.marks[:a.n] {
		if m.from > off {
			break
		}
		ack = m.ack
	}
	return ack
}
