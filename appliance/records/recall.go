package records

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Recall makes the Record again of which Canonical gave canonical; severity and text are not part of that. It keeps canonical.
// What is none is an error, whatever it is.
func Recall(canonical []byte, severity Severity, text string) (Record, error) {
	kind, rest, _ := bytes.Cut(canonical, []byte{' '})
	stamp, _, ok := bytes.Cut(rest, []byte{' '})
	r := Record{Kind: Kind(kind), Severity: severity, Text: text, canonical: canonical, data: len(kind) + len(stamp) + 2}
	if !ok || !bytes.HasPrefix(canonical[r.data:], []byte(dataBegin)) || !bytes.HasSuffix(canonical, []byte(dataEnd)) {
		return Record{}, errors.New("no record in canonical form")
	}
	var err error
	if r.Time, err = time.Parse(timeLayout, string(stamp)); err != nil {
		return Record{}, fmt.Errorf("the record's time: %w", err)
	}
	if !r.params().sound() {
		return Record{}, errors.New("the record's parameters are not whole")
	}
	if r.Seq, err = strconv.ParseUint(r.Value("seq"), 10, 64); err != nil || r.Seq == 0 {
		return Record{}, fmt.Errorf("the record's seq is %q", r.Value("seq"))
	}
	r.Box = r.Value("box")
	return r, nil
}

// sound tells whether p can be taken apart by next.
func (p params) sound() bool {
	for len(p) > 0 {
		name, rest, ok := bytes.Cut(p[1:], []byte(`="`))
		if p[0] != ' ' || !ok || len(name) == 0 {
			return false
		}
		end := 0
		for end < len(rest) && rest[end] != '"' {
			if rest[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(rest) {
			return false
		}
		p = rest[end+1:]
	}
	return true
}

// Hash is the SHA-256 of Canonical: what the record after this one carries as prev, in hexadecimal.
func (r *Record) Hash() [32]byte { return r.hash() }
