// Package records makes the records that leave the box: what happened, in the words of RFC 5424, numbered and chained.
//
// An Entry says what happened (Session, Decision, Stage, Audit, Config, Health). A Chain makes a Record of it: it adds the
// number, the hash of the record before, and the parameters that all have. A Record's Line is what goes to syslog.
// Writer stands between the packet path and all that: Say never blocks.
//
// The chain: `prev` is the SHA-256, in hexadecimal, of the previous record's canonical form, which is
//
//	KIND SP TIMESTAMP SP SD-ELEMENT
//
// MSGID, timestamp (UTC, milliseconds, Z) and structured data exactly as they stand in the line. Priority, host name, process
// and the text for people are not part of it: collectors rewrite those. The first record of a box has no prev.
package records

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind is what a record is about. It is the MSGID of the line.
type Kind string

// The kinds that exist today.
const (
	KindSession  Kind = "SESSION"
	KindDecision Kind = "DECISION"
	KindStage    Kind = "STAGE"
	KindAudit    Kind = "AUDIT"
	KindConfig   Kind = "CONFIG"
	KindHealth   Kind = "HEALTH"
)

// Severity is that of RFC 5424 section 6.2.1. The zero value is emergency there, which nothing here is.
type Severity uint8

// The severities in use.
const (
	Error   Severity = 3
	Warning Severity = 4
	Notice  Severity = 5
	Info    Severity = 6
)

// Param is one parameter. Its order in a record is part of the chain.
type Param struct{ Name, Value string }

// Entry is something that happened, not yet numbered.
type Entry struct {
	Kind     Kind
	Severity Severity
	Time     time.Time
	Mode     string // the mode it was decided in, where the entry knows it better than the chain
	Params   []Param
	Text     string // one line for people
}

// Record is an Entry with its place in the chain. Params begin with the common ones.
type Record struct {
	Kind     Kind
	Severity Severity
	Time     time.Time // UTC, whole milliseconds
	Seq      uint64    // 1, 2, 3 ... without gaps per box
	Box      string
	Params   []Param
	Text     string
}

// Value is that of the named parameter, or "".
func (r *Record) Value(name string) string {
	for _, p := range r.Params {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

const (
	sdID = "mailweir@32473"
	// maxValue bounds a parameter, in bytes, so that a record fits into a UDP datagram whatever a client made up.
	maxValue   = 1024
	timeLayout = "2006-01-02T15:04:05.000Z"
)

// Stamp writes a time as records do: UTC, milliseconds. The zero time is "".
func Stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeLayout)
}

// AppendCanonical appends the bytes whose SHA-256 the next record carries as prev.
func (r *Record) AppendCanonical(b []byte) []byte {
	b = append(b, r.Kind...)
	b = append(b, ' ')
	b = r.Time.AppendFormat(b, timeLayout)
	b = append(b, ' ')
	return r.appendData(b)
}

// Hash is the prev of the record after this one.
func (r *Record) Hash() string {
	sum := sha256.Sum256(r.AppendCanonical(nil))
	return hex.EncodeToString(sum[:])
}

// AppendLine appends the record as one line of RFC 5424, without a line end. facility is 0 to 23.
func (r *Record) AppendLine(b []byte, facility int) []byte {
	b = append(b, '<')
	b = strconv.AppendInt(b, int64(facility)*8+int64(r.Severity), 10)
	b = append(b, ">1 "...)
	b = r.Time.AppendFormat(b, timeLayout)
	b = append(b, ' ')
	b = append(b, hostName(r.Box)...)
	b = append(b, " mailweir - "...)
	b = append(b, r.Kind...)
	b = append(b, ' ')
	b = r.appendData(b)
	if r.Text != "" {
		b = append(b, ' ')
		text := clean(r.Text)
		if strings.IndexFunc(text, func(c rune) bool { return c >= utf8.RuneSelf }) >= 0 {
			b = append(b, "\uFEFF"...) // RFC 5424 section 6.4: UTF-8 beyond ASCII says so
		}
		b = append(b, text...)
	}
	return b
}

func (r *Record) appendData(b []byte) []byte {
	b = append(b, '[')
	b = append(b, sdID...)
	for _, p := range r.Params {
		b = append(b, ' ')
		b = append(b, p.Name...)
		b = append(b, '=', '"')
		for i := range len(p.Value) { // RFC 5424 section 6.3.3: only these three are escaped
			switch c := p.Value[i]; c {
			case '"', '\\', ']':
				b = append(b, '\\', c)
			default:
				b = append(b, c)
			}
		}
		b = append(b, '"')
	}
	return append(b, ']')
}

// hostName makes the HOSTNAME of the line: 1 to 255 printable ASCII characters.
func hostName(box string) string {
	name := strings.Map(func(c rune) rune {
		if c <= ' ' || c >= 0x7f {
			return '-'
		}
		return c
	}, box)
	if name == "" {
		return "-"
	}
	return name[:min(len(name), 255)]
}

// clean makes a value safe to print wherever it ends up: valid UTF-8, no line ends or other controls, nothing that turns the
// direction of text, and no longer than maxValue. What a client chose (SNI, JA4) passes through here like everything else.
func clean(s string) string {
	if plain(s) { // which nearly all are
		return s
	}
	s = strings.Map(func(c rune) rune {
		if c == utf8.RuneError || unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) || c == '\u2028' || c == '\u2029' || c == '\uFEFF' {
			return unicode.ReplacementChar
		}
		return c
	}, s)
	if len(s) <= maxValue {
		return s
	}
	return strings.ToValidUTF8(s[:maxValue-3], "") + "..."
}

// plain tells whether s is printable ASCII and short enough: then there is nothing to clean.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= maxValue
}

// cleaned drops empty values and cleans the others; the result shares nothing with params.
func cleaned(dst, params []Param) []Param {
	for _, p := range params {
		if p.Value != "" {
			dst = append(dst, Param{p.Name, clean(p.Value)})
		}
	}
	return dst
}
