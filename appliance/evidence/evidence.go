// Package evidence makes the pack of a case that an abuse desk hands on: what happened in plain words, the sessions as a table, the
// records they were made of, a report in XARF 4, and the hashes of all of them.
//
// A pack is made of records alone and is the same, byte for byte, as long as the records are: its times are those of the case.
package evidence

import (
	"archive/zip"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
)

const (
	// Before is how long before the case opened sessions are part of it: the longest window of the ready-made plans, which what they
	// used up then counted in.
	Before = 24 * time.Hour
	// MaxRecords bounds the sessions and decisions in a pack: of more it has the newest, and says what it left out.
	MaxRecords = 20000
)

// Archive gives the records of a subscriber of some kinds, From included and To not, oldest first. It ends with the first error of give.
type Archive interface {
	Select(kinds []records.Kind, subscriber string, from, to time.Time, give func(*records.Record) error) error
}

// Case is what a pack is about.
type Case struct {
	ID, Subscriber, Name, Plan string
	Box                        string
	Opened, Closed             time.Time // Closed zero: it goes on
	Highest, Reason            string
	Changes                    []Change
}

// Change is a change of stage.
type Change struct {
	At               time.Time
	From, To, Reason string
}

// Reporter is who hands the report on; the zero value: a pack has no XARF report.
type Reporter struct {
	Organization, Contact string // name, e-mail address
}

// pack is one being made.
type pack struct {
	Case
	by   Reporter
	made time.Time // of the newest thing in it

	sessions, decisions int
	observed, enforced  bool // there are records of this mode
	left                left
	first, last         time.Time
	src                 map[netip.Addr]int // sessions by source
	port                map[netip.Addr]string
	dst                 map[string]int // by network
	ja4                 map[string]int
	messages            int

	csv, lines bytes.Buffer
	rows       []int // where each session's row begins in csv
}

// Make makes the pack of a case, up to a time. It asks the archive twice: first for what there is, so that it need not keep it.
func Make(c Case, by Reporter, from Archive, to time.Time) ([]byte, error) {
	p := &pack{Case: c, by: by, made: c.Opened, src: map[netip.Addr]int{}, port: map[netip.Addr]string{}, dst: map[string]int{}, ja4: map[string]int{}}
	if !c.Closed.IsZero() && c.Closed.Before(to) {
		to = c.Closed.Add(time.Millisecond)
	}
	for _, ch := range c.Changes {
		p.newest(ch.At)
	}
	each := func(give func(*records.Record) error) error {
		return from.Select([]records.Kind{records.KindSession, records.KindDecision, records.KindStage}, c.Subscriber, c.Opened.Add(-Before), to, give)
	}
	var last newest
	table := newTable(&p.csv)
	err := each(func(r *records.Record) error {
		if bounded(r) {
			last.add(r.Seq)
		}
		switch r.Value("mode") { // what the box is told now may be another
		case governor.ModeObserve.String():
			p.observed = true
		case governor.ModeEnforce.String():
			p.enforced = true
		}
		return nil
	})
	if err == nil {
		first := last.first()
		err = each(func(r *records.Record) error {
			if bounded(r) && r.Seq < first {
				p.left.add(r)
				return nil
			}
			return p.take(r, table)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("evidence of case %s: %w", c.ID, err)
	}
	if err := table.flush(); err != nil {
		return nil, fmt.Errorf("evidence of case %s: %w", c.ID, err)
	}
	return p.zip()
}

func (p *pack) newest(t time.Time) {
	if t.After(p.made) {
		p.made = t
	}
}

// take adds a record.
func (p *pack) take(r *records.Record, table *table) error {
	p.newest(r.Time)
	p.lines.Write(r.AppendLine(nil, facility))
	p.lines.WriteByte('\n')
	if r.Kind != records.KindSession {
		if r.Kind == records.KindDecision {
			p.decisions++
		}
		return nil
	}
	p.sessions++
	if p.first.IsZero() {
		p.first = r.Time
	}
	p.last = r.Time
	if src, err := netip.ParseAddr(r.Value("src")); err == nil {
		p.src[src]++
		p.port[src] = r.Value("sport")
	}
	if dst, err := netip.ParseAddr(r.Value("dst")); err == nil {
		p.dst[network(dst)]++
	}
	if ja4 := r.Value("ja4"); ja4 != "" {
		p.ja4[ja4]++
	}
	p.messages += atLeast(r)
	if err := table.flush(); err != nil { // so that the buffer has all rows before this one
		return err
	}
	p.rows = append(p.rows, p.csv.Len())
	return table.add(r)
}

// facility of the lines in a pack: local4, the default of syslog.
const facility = 20

// network is the /24 or /48 of an address, as a person writes it.
func network(a netip.Addr) string {
	bits := 48
	if a = a.Unmap(); a.Is4() {
		bits = 24
	}
	n, _ := a.Prefix(bits) // fewer than it has
	return n.String()
}

// most is a count by word, largest first, then by the word.
func most[K cmp.Ordered](counts map[K]int) []K {
	return slices.SortedFunc(maps.Keys(counts), func(a, b K) int { return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b)) })
}

// source is the address with the most sessions; the zero Addr without any.
func (p *pack) source() netip.Addr {
	var best netip.Addr
	for a, n := range p.src {
		if !best.IsValid() || n > p.src[best] || n == p.src[best] && a.Less(best) {
			best = a
		}
	}
	return best
}

// file is one of a pack.
type file struct {
	name string
	data []byte
}

// zip writes all files and their hashes.
func (p *pack) zip() ([]byte, error) {
	files := []file{{"sessions.csv", p.csv.Bytes()}, {"records.log", p.lines.Bytes()}}
	report, err := p.xarf()
	switch {
	case errors.Is(err, errNoReport):
	case err != nil:
		return nil, err
	default:
		files = append(files, file{"xarf.json", report})
	}
	page, err := p.page(err)
	if err != nil {
		return nil, err
	}
	files = slices.Insert(files, 0, file{"report.html", page})
	var sums bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&sums, "%s  %s\n", sum(f.data), f.name) // sha256sum -c reads it
	}
	files = append(files, file{"SHA256SUMS", sums.Bytes()})

	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range files {
		w, err := z.CreateHeader(&zip.FileHeader{Name: "case-" + p.ID + "/" + f.name, Method: zip.Deflate, Modified: p.made.UTC()})
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(w, bytes.NewReader(f.data)); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}
