// Package share keeps how many sessions and bytes were in clear, turned to TLS with STARTTLS, or began with it, for each
// minute, hour and day, and tells when the encrypted share shifts from one week to the next.
//
// # On the disk
//
// Each step has a file that is a ring: 64 bytes for each step of the retention, overwritten when it comes round again. For
// 400 days that is 36.9 MB of minutes (92 kB for each day that had mail in all its minutes, since what was never written
// takes no place), 614 kB of hours and 26 kB of days. There are at most 2^20 minutes, two years of them, in 67 MB.
//
// What a place holds says of which time it is, and has a checksum. So a clock that is wrong for an hour, be it 1970 or
// 2036, overwrites what the minutes of an hour take and nothing else; and what is damaged is left out.
//
// What was counted is written once a minute, and the files are synced every five: a crash costs at most a minute, a power
// cut at most about five.
package share

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// Kind is how a session was.
type Kind uint8

// The kinds. Unknown is what was found in mid-air, or is no SMTP.
const (
	Clear Kind = iota
	StartTLS
	Implicit
	Unknown
	kinds
)

// Words are the kinds as API and metrics say them.
var Words = [kinds]string{Clear: "clear", StartTLS: "starttls", Implicit: "implicit", Unknown: "unknown"}

// Step is a length of time for which there are counts.
type Step uint8

// The steps.
const (
	Minute Step = iota
	Hour
	Day
	steps
)

var lengths = [steps]time.Duration{time.Minute, time.Hour, 24 * time.Hour}

// Length is how long a step is.
func (s Step) Length() time.Duration { return lengths[s] }

// begin is when the step began that t is in, in UTC, as Unix seconds.
func (s Step) begin(t time.Time) int64 {
	length := int64(lengths[s] / time.Second)
	u := t.Unix()
	return u - ((u%length)+length)%length
}

// Count is what a step had, by Kind.
type Count struct {
	Sessions [kinds]uint64
	Bytes    [kinds]uint64 // both ways
}

func (c *Count) add(d Count) {
	for k := range c.Sessions {
		c.Sessions[k] += d.Sessions[k]
		c.Bytes[k] += d.Bytes[k]
	}
}

// Known is how many sessions are known to have been encrypted or not.
func (c Count) Known() uint64 { return c.Sessions[Clear] + c.Sessions[StartTLS] + c.Sessions[Implicit] }

// Encrypted is the encrypted share of the sessions that are known; 0 of none.
func (c Count) Encrypted() float64 {
	if c.Known() == 0 {
		return 0
	}
	return float64(c.Sessions[StartTLS]+c.Sessions[Implicit]) / float64(c.Known())
}

// Point is a step with what it had.
type Point struct {
	Start time.Time
	Count
}

// place is how many bytes a step takes: when it began, sessions in 32 bits and bytes in 64, and a CRC-32C.
const place = 64

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(begin int64, c Count) (b [place]byte) {
	binary.LittleEndian.PutUint64(b[0:], uint64(begin))
	for k := range kinds {
		binary.LittleEndian.PutUint32(b[8+4*k:], uint32(min(c.Sessions[k], 1<<32-1)))
		binary.LittleEndian.PutUint64(b[24+8*k:], c.Bytes[k])
	}
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// decode gives back what encode made; ok is false for what is empty or damaged.
func decode(b []byte) (begin int64, c Count, ok bool) {
	if len(b) != place || crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]) {
		return 0, c, false
	}
	for k := range kinds {
		c.Sessions[k] = uint64(binary.LittleEndian.Uint32(b[8+4*k:]))
		c.Bytes[k] = binary.LittleEndian.Uint64(b[24+8*k:])
	}
	return int64(binary.LittleEndian.Uint64(b)), c, true
}
