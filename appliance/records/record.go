// Package records makes the records that leave the box: what happened, in the words of RFC 5424, numbered and chained.
//
// An Entry says what happened (Session, Decision, Stage, Audit, Config, Health, Cluster, Share). A Chain makes a Record of it: it adds the
// number, the hash of the record before, and the parameters that all have. A Record's Line is what goes to syslog.
// Writer stands between the packet path and all that: Say never blocks.
//
// The chain: `prev` is the SHA-256, in hexadecimal, of the previous record's canonical form, which is
//
//	KIND SP TIMESTAMP SP SD-ELEMENT
//
// MSGID, timestamp (UTC, milliseconds, Z) and structured data exactly as they stand in the line. Priority, host name, process
// and the text for people are not part of it: collectors rewrite or leave out those. The parameter text_sum vouches for the text
// where it is there. The first record of a box has no prev.
package records

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
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
	KindCluster  Kind = "CLUSTER"
	KindShare    Kind = "SHARE"
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

// Entry is something that happened, not yet numbered.
type Entry struct {
	Kind     Kind
	Severity Severity
	Time     time.Time
	Mode     string // the mode it was decided in, where the entry knows it better than the chain
	Text     string // one line for people

	params params
}

// Params are the entry's own parameters, as they were before they were escaped.
func (e Entry) Params() []Param { return e.params.list() }

// Record is an Entry with its place in the chain. It is not changed once it is made.
type Record struct {
	Kind     Kind
	Severity Severity
	Time     time.Time // UTC, whole milliseconds
	Seq      uint64    // 1, 2, 3 ... without gaps per box
	Box      string
	Text     string

	canonical []byte
	data      int // where in canonical the structured data begins
}

// Params are the parameters, the common ones first, as they were before they were escaped.
func (r *Record) Params() []Param { return r.params().list() }

// Value is that of the named parameter, or "".
func (r *Record) Value(name string) string { return r.params().value(name) }

func (r *Record) params() params {
	return params(r.canonical[r.data+len(dataBegin) : len(r.canonical)-len(dataEnd)])
}

const (
	appName    = "mailweir"
	dataBegin  = "[mailweir@32473"
	dataEnd    = "]"
	timeLayout = "2006-01-02T15:04:05.000Z"
)

// Stamp writes a time as records do: UTC, milliseconds. The zero time is "".
func Stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeLayout)
}

// Canonical is what the next record carries the SHA-256 of as prev. It is not to be changed.
func (r *Record) Canonical() []byte { return r.canonical }

// hash is what the record after this one carries as prev.
func (r *Record) hash() [sha256.Size]byte { return sha256.Sum256(r.canonical) }

// HexHash is Hash as the record after this one carries it.
func (r *Record) HexHash() string {
	sum := r.hash()
	return hex.EncodeToString(sum[:])
}

// AppendLine appends the record as one line of RFC 5424, without a line end. facility is 0 to 23.
func (r *Record) AppendLine(b []byte, facility int) []byte {
	b = append(b, '<')
	b = strconv.AppendInt(b, int64(facility)*8+int64(r.Severity), 10)
	b = append(b, ">1 "...)
	b = append(b, r.canonical[len(r.Kind)+1:r.data]...)
	b = append(b, hostName(r.Box)...)
	b = append(b, " "+appName+" - "...)
	b = append(b, r.Kind...)
	b = append(b, ' ')
	b = append(b, r.canonical[r.data:]...)
	if r.Text != "" {
		b = append(b, ' ')
		if strings.IndexFunc(r.Text, func(c rune) bool { return c >= utf8.RuneSelf }) >= 0 {
			b = append(b, "\uFEFF"...) // RFC 5424 section 6.4: UTF-8 beyond ASCII says so
		}
		b = append(b, r.Text...)
	}
	return b
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
