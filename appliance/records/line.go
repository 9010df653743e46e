package records

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Line is what a line that was stored somewhere says of a record: what the chain is made of, and the text for people.
// Its slices are those of the line.
type Line struct {
	Seq   uint64
	Time  time.Time // UTC, milliseconds
	Text  []byte    // without the byte order mark; empty where a collector dropped it
	kind  []byte
	stamp []byte // as written
	data  []byte // [mailweir@32473 ... ]
}

// Why a line is no record.
var (
	// ErrNoRecord is a line of something else: the structured data of mailweir does not stand in it.
	ErrNoRecord = errors.New("no record of mailweir")
	// ErrBadRecord is a line that has it, and is not whole.
	ErrBadRecord = errors.New("a record of mailweir that is not whole")
)

// ParseLine finds the record in a line: one of RFC 5424 as AppendLine makes it, or what a collector made of it. The collector may have put
// its own words before the timestamp, and may have written the timestamp in another of RFC 3339's forms.
func ParseLine(line []byte) (Line, error) {
	at := bytes.Index(line, []byte(dataBegin+` seq="`))
	if at < 1 {
		if bytes.Contains(line, []byte("mailweir@")) {
			return Line{}, fmt.Errorf("%w: its structured data does not begin with %s seq=", ErrBadRecord, dataBegin)
		}
		return Line{}, ErrNoRecord
	}
	var l Line
	end := dataEndOf(line[at:])
	if end < 0 {
		return Line{}, fmt.Errorf("%w: its structured data is cut or damaged", ErrBadRecord)
	}
	l.data = line[at : at+end]
	l.Text = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(line[at+end:]), []byte("\uFEFF")))

	// Before the structured data stand TIMESTAMP HOSTNAME APP-NAME PROCID MSGID, whatever comes before those.
	head := bytes.TrimRight(line[:at], " ")
	var words [5][]byte
	for i := len(words) - 1; i >= 0; i-- {
		head = bytes.TrimRight(head, " ")
		cut := bytes.LastIndexByte(head, ' ')
		words[i], head = head[cut+1:], head[:max(cut, 0)]
	}
	l.stamp, l.kind = words[0], words[4]
	if app := string(words[2]); app != appName {
		return Line{}, fmt.Errorf("%w: its application is %.32q", ErrBadRecord, app)
	}
	if len(l.kind) == 0 || string(words[3]) != "-" {
		return Line{}, fmt.Errorf("%w: before its structured data stand not PROCID (-) and MSGID", ErrBadRecord)
	}
	var err error
	if l.Time, err = parseStamp(l.stamp); err != nil {
		return Line{}, fmt.Errorf("%w: its time is %.64q", ErrBadRecord, l.stamp)
	}
	if l.Seq, err = strconv.ParseUint(string(params(l.data[len(dataBegin):len(l.data)-1]).raw("seq")), 10, 64); err != nil || l.Seq == 0 {
		return Line{}, fmt.Errorf("%w: its seq is no number", ErrBadRecord)
	}
	return l, nil
}

func parseStamp(b []byte) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, string(b))
	return t.UTC(), err
}

// dataEndOf is how long the SD-ELEMENT at the beginning of b is, negative where it is not one (RFC 5424 section 6.3).
func dataEndOf(b []byte) int {
	i := len(dataBegin)
	for i < len(b) {
		switch b[i] {
		case ']':
			return i + 1
		case ' ':
		default:
			return -1
		}
		eq := bytes.Index(b[i+1:], []byte(`="`))
		if eq < 1 || bytes.ContainsAny(b[i+1:i+1+eq], ` ]"`) {
			return -1
		}
		i += 1 + eq + 2
		for i < len(b) && b[i] != '"' {
			if b[i] == '\\' {
				i++
			}
			i++
		}
		i++
	}
	return -1
}

// Kind is the record's.
func (l *Line) Kind() Kind { return Kind(l.kind) }

// Value is that of the named parameter, or "".
func (l *Line) Value(name string) string {
	return params(l.data[len(dataBegin) : len(l.data)-1]).value(name)
}

// Hash is what the record after this one carries as prev, in hexadecimal.
func (l *Line) Hash() string {
	h := sha256.New()
	h.Write(l.kind)
	h.Write([]byte{' '})
	h.Write(l.Time.AppendFormat(nil, timeLayout))
	h.Write([]byte{' '})
	h.Write(l.data)
	return hex.EncodeToString(h.Sum(nil))
}

// TextKept tells whether the text for people is the one the record was made with, or was left out by who stored it.
func (l *Line) TextKept() bool {
	sum := l.Value("text_sum")
	return sum == "" || len(l.Text) == 0 || textSum(string(l.Text)) == sum
}

// TextKept tells whether the text is the one that the record was made with.
func (r *Record) TextKept() bool {
	sum := r.Value("text_sum")
	return sum == "" || textSum(r.Text) == sum
}

// textSum is the parameter text_sum: the first half of the SHA-256 of the text, in hexadecimal.
func textSum(text string) string {
	sum := sha256.Sum256([]byte(strings.TrimSpace(text)))
	return hex.EncodeToString(sum[:sha256.Size/2])
}
