package journal

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/mailweir/mailweir/appliance/records"
)

// Stub stands where records were.
type Stub struct {
	First, Last    uint64 // their numbers, all of them
	Prev           [32]byte
	Hash           [32]byte // of the last one, what the record behind it has as prev
	Why            Why
	Oldest, Newest int64 // their times, Unix milliseconds
}

// Why tells why records are not there any more.
type Why uint8

// The reasons. The zero value is none.
const (
	_       Why = iota
	Expired     // their time was over
	Bounded     // there was no room for them any more
	Lost        // they were never written: the disk was full or slow, the process died, or there was no journal
)

func (w Why) String() string {
	switch w {
	case Expired:
		return "retention"
	case Bounded:
		return "bytes"
	case Lost:
		return "lost"
	}
	return fmt.Sprintf("invalid(%d)", uint8(w))
}

// joins tells whether t, which comes next, can be told in the same stub.
func (s *Stub) joins(t *Stub) bool { return s.Why == t.Why && s.Last+1 == t.First && s.Hash == t.Prev }

func (s *Stub) join(t *Stub) {
	s.Last, s.Hash = t.Last, t.Hash
	s.Oldest, s.Newest = min(s.Oldest, t.Oldest), max(s.Newest, t.Newest)
}

// stubOf is what is left of a record.
func stubOf(r *records.Record, why Why) Stub {
	ms := r.Time.UnixMilli()
	s := Stub{First: r.Seq, Last: r.Seq, Hash: r.Hash(), Why: why, Oldest: ms, Newest: ms}
	hex.Decode(s.Prev[:], []byte(r.Value("prev"))) // the first record of a box has none, and so zeros
	return s
}

func appendStub(b []byte, s *Stub) []byte {
	b = append(b, rowStub, byte(s.Why))
	b = binary.AppendUvarint(binary.AppendUvarint(b, s.First), s.Last)
	b = binary.AppendVarint(binary.AppendVarint(b, s.Oldest), s.Newest)
	return append(append(b, s.Prev[:]...), s.Hash[:]...)
}

// row is a record as it stands in a file: what is needed to pass over it comes first.
type row struct {
	seq       uint64
	ms        int64
	session   bool
	severity  records.Severity
	canonical []byte
	text      []byte
}

func appendRecord(b []byte, r *records.Record) []byte {
	session := byte(0)
	if r.Kind == records.KindSession {
		session = 1
	}
	b = append(b, rowRecord, byte(r.Severity), session)
	b = binary.AppendVarint(binary.AppendUvarint(b, r.Seq), r.Time.UnixMilli())
	b = binary.AppendUvarint(b, uint64(len(r.Canonical())))
	return append(append(b, r.Canonical()...), r.Text...)
}

var errRow = errors.New("a row whose checksum is right cannot be read")

// decodeRow reads a payload: a row, or a stub.
func decodeRow(p []byte) (r row, s *Stub, err error) {
	switch {
	case len(p) > 3 && p[0] == rowRecord:
		c := cursor{b: p[3:]}
		r.severity, r.session = records.Severity(p[1]), p[2] == 1
		r.seq, r.ms = c.uvarint(), c.varint()
		canonical := c.text()
		if c.bad {
			return r, nil, errRow
		}
		r.canonical, r.text = canonical[:len(canonical):len(canonical)], c.b
		return r, nil, nil
	case len(p) > 2 && p[0] == rowStub:
		c := cursor{b: p[2:]}
		s = &Stub{Why: Why(p[1])}
		s.First, s.Last, s.Oldest, s.Newest = c.uvarint(), c.uvarint(), c.varint(), c.varint()
		copy(s.Prev[:], c.take(len(s.Prev)))
		copy(s.Hash[:], c.take(len(s.Hash)))
		if !c.bad && len(c.b) == 0 {
			return r, s, nil
		}
	}
	return r, nil, errRow
}

// record is the row's record.
func (r *row) record() (records.Record, error) {
	return records.Recall(r.canonical, r.severity, string(r.text))
}

// counted adds what a payload holds to a summary.
func (sum *summary) counted(r *row, s *Stub, held bool) {
	if s != nil {
		sum.Stubs++
		sum.numbers(s.First, s.Last)
		sum.at(s.Oldest)
		sum.at(s.Newest)
		return
	}
	sum.numbers(r.seq, r.seq)
	sum.at(r.ms)
	older := func(oldest *int64) {
		if *oldest == 0 || r.ms < *oldest {
			*oldest = r.ms
		}
	}
	switch {
	case held:
		sum.Held++
	case r.session:
		sum.Sessions++
		older(&sum.OldestSession)
	default:
		sum.Others++
		older(&sum.OldestOther)
	}
}
