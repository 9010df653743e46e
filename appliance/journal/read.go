package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// Reader reads a journal's directory, also while somebody writes it, and changes nothing.
type Reader struct {
	Tell func(Reading) // is told how far Inputs is, behind each frame, by whoever called that; nil: nobody is

	dir   string
	holds held
}

// Read makes a reader of a journal's directory.
func Read(dir string) (*Reader, error) {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return nil, fmt.Errorf("journal: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("journal: %s is no directory", dir)
	}
	h, err := readHolds(dir)
	if err != nil { // the records can be read all the same
		h = held{unknown: err.Error()}
	}
	return &Reader{dir: dir, holds: h}, nil
}

// Item is a place in the chain: a record, or the stub of some, or damage.
type Item struct {
	Record records.Record // Seq 0: none
	Stub   *Stub          // nil: none
	Damage string         // what cannot be read here; "": nothing
	Held   []string       // the cases that hold the record
	File   string
	Offset int64 // in the file, of the frame
}

// Query says which records are wanted. The zero value wants all.
type Query struct {
	Kinds      []records.Kind
	Subscriber string
	Case       string           // the case that a record names, or that holds it
	Severity   records.Severity // this one or worse; 0: any
	Event      string
	Text       string    // that a parameter or the text for people has in it: see records.NewNeedle
	From, To   time.Time // To is not included
	Above      uint64    // numbers above it
	Below      uint64    // numbers below it; 0: all

	needle *records.Needle // what a row must have in it; nil: not made yet
}

// sharpen makes what rows are looked through for. It is called once, before rows are looked at.
func (q *Query) sharpen() {
	n := records.NewNeedle(q.Text, records.Param{Name: "subscriber", Value: q.Subscriber}, records.Param{Name: "event", Value: q.Event})
	q.needle = &n
}

// may tells whether a row may be wanted, by what is in front of it.
func (q *Query) may(r *row) bool {
	switch {
	case q.Below > 0 && r.seq >= q.Below, r.seq <= q.Above,
		!q.From.IsZero() && r.ms < ceilMilli(q.From), !q.To.IsZero() && r.ms >= ceilMilli(q.To):
		return false
	case q.Severity > 0 && r.severity > q.Severity: // the worse the lower, as in RFC 5424
		return false
	case len(q.Kinds) > 0 && !slices.ContainsFunc(q.Kinds, func(k records.Kind) bool {
		return bytes.HasPrefix(r.canonical, append([]byte(k), ' '))
	}):
		return false
	}
	return q.needle.In(r.canonical, r.text)
}

// Filter is the query for records that are in memory; what a case holds without naming it, it does not know.
func (q Query) Filter() func(*records.Record) bool {
	q.sharpen()
	return func(r *records.Record) bool {
		line := row{seq: r.Seq, ms: r.Time.UnixMilli(), severity: r.Severity, canonical: r.Canonical()}
		if q.Text != "" {
			line.text = []byte(r.Text)
		}
		return q.may(&line) && q.wants(r, nil)
	}
}

// ceilMilli is t in Unix milliseconds, rounded up: records have whole ones.
func ceilMilli(t time.Time) int64 {
	return t.Add(time.Millisecond - 1).UnixMilli()
}

func (q *Query) wants(r *records.Record, held []string) bool {
	if q.Subscriber != "" && r.Value("subscriber") != q.Subscriber {
		return false
	}
	return q.Case == "" || r.Value("case") == q.Case || slices.Contains(held, q.Case)
}

// bare tells whether stubs and damage are wanted, too.
func (q *Query) bare() bool {
	return len(q.Kinds) == 0 && q.Subscriber == "" && q.Case == "" && q.Severity == 0 && q.Event == "" && q.Text == "" && q.From.IsZero() && q.To.IsZero() && q.Above == 0 && q.Below == 0
}

// Each gives what q wants, the oldest first; with the zero Query also stubs and damage, so that it is the whole chain. It
// ends with the first error of give, or of reading.
func (r *Reader) Each(q Query, give func(*Item) error) error {
	q.sharpen()
	return r.files(recordsFamily, func(s *segment, last bool) error {
		if q.passes(s) {
			return nil
		}
		return r.file(s, last, &q, give)
	})
}

// passes tells whether q wants nothing of a file.
func (q *Query) passes(s *segment) bool {
	return s.sum.LastSeq > 0 && (s.sum.LastSeq <= q.Above && s.sum.FirstSeq <= q.Above || !q.From.IsZero() && s.sum.Newest < q.From.UnixMilli() || !q.To.IsZero() && s.sum.Oldest >= ceilMilli(q.To))
}

// files gives the files of a family in their order. Their sums are there where they are complete.
func (r *Reader) files(family string, give func(s *segment, last bool) error) error {
	all, err := segmentsIn(r.dir, family)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	for i, s := range all {
		if _, err := s.peek(); errors.Is(err, fs.ErrNotExist) {
			continue // its time has come meanwhile
		} else if err != nil {
			return fmt.Errorf("journal: %s: %w", s.path, err)
		}
		if err := give(s, i == len(all)-1); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) file(s *segment, last bool, q *Query, give func(*Item) error) error {
	data, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	complete := s.sum != summary{}
	ended := strings.HasSuffix(string(data), trailer)
	whole, end, err := frames(data, func(at int, payload []byte, bad string) error {
		if bad == "" && !complete {
			s.take(payload)
		}
		it := Item{File: s.path, Offset: int64(at), Damage: bad}
		if last && bad != "" && at+len(payload) == len(data) && !ended {
			return nil // it is being written
		}
		var wanted bool
		if bad == "" {
			wanted = r.item(&it, payload, q)
		} else {
			wanted = q.bare()
		}
		if !wanted {
			return nil
		}
		return give(&it)
	})
	if rest := len(data) - whole; err == nil && end > 0 && rest > 0 && (!last || rest == 4+len(trailer)) && q.bare() { // a shorter one is being written
		return give(&Item{File: s.path, Offset: int64(whole), Damage: unended})
	}
	return err
}

// item fills in what a payload holds; false: q does not want it.
func (r *Reader) item(it *Item, payload []byte, q *Query) bool {
	line, stub, err := decodeRow(payload)
	switch {
	case err != nil:
		it.Damage = err.Error()
		return q.bare()
	case stub != nil:
		it.Stub = stub
		return q.bare()
	case !q.may(&line):
		return false
	}
	if it.Record, err = line.record(); err != nil {
		it.Damage = err.Error()
		return q.bare()
	}
	it.Held = holders(r.holds.all, &it.Record)
	return q.wants(&it.Record, it.Held)
}

// Holes gives the times between which records are missing that did not go for their age: damaged, lost or gone to make room, or none has their
// number. from is the zero time where there is none before. newest is the time of the last record: whether there were others behind it nobody knows.
func (r *Reader) Holes(give func(from, to time.Time) error) (newest time.Time, err error) {
	var last uint64 // number
	missing := false
	err = r.files(recordsFamily, func(s *segment, latest bool) error {
		data, err := os.ReadFile(s.path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		_, _, err = frames(data, func(at int, payload []byte, bad string) error {
			line, stub, err := decodeRow(payload)
			switch {
			case latest && bad != "" && at+len(payload) == len(data): // it is being written
			case bad != "" || err != nil:
				missing = true
			case stub != nil:
				missing = missing || stub.Why != Expired || last > 0 && stub.First != last+1
				last = stub.Last
			default:
				missing = missing || last > 0 && line.seq != last+1
				at := time.UnixMilli(line.ms)
				if missing {
					if err := give(newest, at); err != nil {
						return err
					}
				}
				last, newest, missing = line.seq, at, false
			}
			return nil
		})
		return err
	})
	return newest, err
}

// Dir is where the journal of a data directory is.
func Dir(data string) string { return filepath.Join(data, "journal") }
