package records

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Line is what a line that was stored somewhere says of a record: what the chain is made of, and the text for people.
// Its slices are those of the line.
type Line struct {
	Seq   uint64
	Time  time.Time // UTC, milliseconds
	Text  []byte    // all that stands behind the structured data and a space, without the byte order mark; empty where a collector dropped it
	kind  []byte
	stamp []byte // as written
	data  []byte // [mailweir@32473 ... ]
}

// Why a line is no record.
var (
	// ErrNoRecord is a line of something else: it does not begin with a record of mailweir.
	ErrNoRecord = errors.New("no record of mailweir")
	// ErrBadRecord is a line that does, and it is not whole.
	ErrBadRecord = errors.New("a record of mailweir that is not whole")
)

// ParseLine reads the record of a line: one of RFC 5424 as AppendLine makes it, with or without its priority and version, and with its timestamp in
// whichever form of RFC 3339. It must begin with the line. A record that is quoted further on, in the text of another or in what somebody made a program log, is
// none; the same for a line with words before it, which a caller who knows that his collector writes such takes off first.
func ParseLine(line []byte) (Line, error) {
	line = bytes.TrimSuffix(line, []byte{'\r'})
	rest := bytes.TrimPrefix(afterPriority(line), []byte("1 "))
	var words [5][]byte // TIMESTAMP HOSTNAME APP-NAME PROCID MSGID
	for i := range words {
		var ok bool
		if words[i], rest, ok = bytes.Cut(rest, []byte{' '}); !ok || len(words[i]) == 0 {
			return Line{}, ErrNoRecord
		}
	}
	l := Line{stamp: words[0], kind: words[4]}
	var stamped error
	l.Time, stamped = parseStamp(l.stamp)
	named := string(words[2]) == appName && string(words[3]) == "-"
	switch {
	case !bytes.HasPrefix(rest, []byte(dataBegin+" ")):
		if named && stamped == nil && !bytes.HasPrefix(rest, []byte("-")) {
			return Line{}, fmt.Errorf("%w: its structured data does not begin with %s", ErrBadRecord, dataBegin)
		}
		return Line{}, ErrNoRecord
	case !named:
		return Line{}, fmt.Errorf("%w: before its structured data stand not APP-NAME (%s), PROCID (-) and MSGID", ErrBadRecord, appName)
	case stamped != nil:
		return Line{}, fmt.Errorf("%w: its time is %.64q", ErrBadRecord, l.stamp)
	}
	end := dataEndOf(rest)
	if end < 0 {
		return Line{}, fmt.Errorf("%w: its structured data is cut or damaged", ErrBadRecord)
	}
	l.data = rest[:end]
	l.Text = bytes.TrimPrefix(bytes.TrimPrefix(rest[end:], []byte{' '}), []byte("\uFEFF"))
	seq, ok := bytes.CutPrefix(l.data[len(dataBegin):], []byte(` seq="`))
	var err error
	if l.Seq, err = strconv.ParseUint(string(seq[:max(bytes.IndexByte(seq, '"'), 0)]), 10, 64); !ok || err != nil || l.Seq == 0 {
		return Line{}, fmt.Errorf("%w: its seq is no number", ErrBadRecord)
	}
	return l, nil
}

// afterPriority is what follows the PRI of a line, which need not be there.
func afterPriority(line []byte) []byte {
	i := 1
	for i < len(line) && i <= 3 && '0' <= line[i] && line[i] <= '9' {
		i++
	}
	if i > 1 && i < len(line) && line[0] == '<' && line[i] == '>' {
		return line[i+1:]
	}
	return line
}

// MayBegin tells whether a record's line may begin with these bytes and be cut off before its structured data, as where a collector died.
func MayBegin(cut []byte) bool {
	words := bytes.Split(cut, []byte{' '})
	if bytes.HasPrefix(words[0], []byte{'<'}) {
		if !priority.Match(words[0]) || len(words) > 1 && !bytes.HasSuffix(words[0], []byte(">1")) {
			return false
		}
		words = words[1:]
	}
	for i, word := range words {
		last := i == len(words)-1
		expected := [...]string{"", "", appName, "-", "", dataBegin}
		switch {
		case i >= len(expected):
		case len(word) == 0 && !last:
			return false
		case i == 0:
			if len(bytes.Trim(word, "0123456789-T:.Z+")) > 0 {
				return false
			}
		case expected[i] != "" && string(word) != expected[i] && !(last && strings.HasPrefix(expected[i], string(word))):
			return false
		}
	}
	return true
}

var priority = regexp.MustCompile(`^<\d{0,3}>?1?$`)

// Quoted matches where a record may begin within a line, at its timestamp, wherever it stands.
var Quoted = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d) \S+ ` + appName + ` - [A-Z]+ ` + regexp.QuoteMeta(dataBegin) + ` seq="`)

// parseStamp reads a timestamp. Collectors write it in forms of their own, but no record has more than milliseconds: what is behind them was added.
func parseStamp(b []byte) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, string(b))
	if err == nil && beyondMillis.Match(b) {
		err = errors.New("it has digits beyond milliseconds")
	}
	return t.UTC(), err
}

var beyondMillis = regexp.MustCompile(`[.,]\d{3}\d*[1-9]`)

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

// TextKept tells whether the text for people is the one the record was made with, to the byte. It is not where it was left out: see TextMissing.
func (l *Line) TextKept() bool { return kept(l.Value("text_sum"), string(l.Text)) }

// TextMissing tells whether the record was made with a text, and none is there.
func (l *Line) TextMissing() bool { return len(l.Text) == 0 && l.Value("text_sum") != "" }

// TextKept tells whether the text is the one that the record was made with, to the byte.
func (r *Record) TextKept() bool { return kept(r.Value("text_sum"), r.Text) }

func kept(sum, text string) bool {
	if sum == "" {
		return text == ""
	}
	return textSum(text) == sum
}

// textSum is the parameter text_sum: the first half of the SHA-256 of the text, in hexadecimal.
func textSum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:sha256.Size/2])
}
