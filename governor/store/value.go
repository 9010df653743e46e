package store

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// version of the form of a value. A value of another version is left out on reading.
const version = 2

// A value is: version, then the fields as varints (times and counts signed, enums and lengths unsigned), strings with
// their length before them, and a CRC-32C of all of it. Enums are stored as numbers: new ones are added at the end.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(b []byte, s *governor.Saved) []byte {
	b = append(b, version)
	b = text(b, s.Plan)
	b = append(b, byte(s.Mode), byte(s.Stage))
	for _, d := range []time.Duration{s.Since, s.Until, s.Confirmed, s.Calm, s.Ended} {
		b = binary.AppendVarint(b, int64(d))
	}
	b = text(b, s.Case)
	b = append(b, byte(s.Cause.Of))
	for _, n := range []int64{int64(s.Cause.Value), int64(s.Cause.Limit), int64(s.Cause.Burst), int64(s.Cause.Window)} {
		b = binary.AppendVarint(b, n)
	}
	b = binary.AppendUvarint(b, uint64(len(s.Budgets)))
	for _, u := range s.Budgets {
		b = append(b, byte(u.Of))
		for _, n := range []int64{int64(u.Limit), int64(u.Per), int64(u.Burst), int64(u.WholeAt), int64(u.CalmAt)} {
			b = binary.AppendVarint(b, n)
		}
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func text(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes a value apart. After the first thing that is not there, everything is zero and ok is false.
type reader struct {
	b  []byte
	ok bool
}

func (r *reader) number() int64 {
	n, size := binary.Varint(r.b)
	return advance(r, n, size)
}

func (r *reader) length() uint64 {
	n, size := binary.Uvarint(r.b)
	return advance(r, n, size)
}

func advance[T int64 | uint64](r *reader, n T, size int) T {
	if size <= 0 {
		r.b, r.ok = nil, false
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.ok = false
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) text() string {
	n := r.length()
	if n > uint64(len(r.b)) {
		r.b, r.ok = nil, false
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) duration() time.Duration { return time.Duration(r.number()) }

// decode reads a value; false if it is damaged or of another version.
func decode(b []byte) (s governor.Saved, ok bool) {
	if len(b) < 5 || b[0] != version || crc32.Checksum(b[:len(b)-4], castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return s, false
	}
	r := &reader{b: b[1 : len(b)-4], ok: true}
	s.Plan = r.text()
	s.Mode, s.Stage = governor.Mode(r.byte()), governor.Stage(r.byte())
	for _, d := range []*time.Duration{&s.Since, &s.Until, &s.Confirmed, &s.Calm, &s.Ended} {
		*d = r.duration()
	}
	s.Case = r.text()
	s.Cause.Of = governor.Kind(r.byte())
	s.Cause.Value, s.Cause.Limit, s.Cause.Burst = int(r.number()), int(r.number()), int(r.number())
	s.Cause.Window = r.duration()
	n := r.length()
	if n > uint64(len(r.b)) {
		return s, false
	}
	s.Budgets = make([]governor.SavedBudget, n)
	for i := range s.Budgets {
		u := &s.Budgets[i]
		u.Of = governor.Kind(r.byte())
		u.Limit, u.Per, u.Burst = int(r.number()), r.duration(), int(r.number())
		u.WholeAt, u.CalmAt = r.duration(), r.duration()
	}
	return s, r.ok && len(r.b) == 0
}
