package subscriber

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxErrors is how many errors of one file are told; what is beyond is counted.
const MaxErrors = 20

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 64 << 20

// Error is one thing wrong with the file.
type Error struct {
	File         string
	Line, Column int // from 1; the column counts bytes and is that of the field
	Message      string
}

func (e Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors is everything wrong with the file, one a line, in its order.
type Errors struct {
	List []Error // at most MaxErrors
	More int     // how many were not listed
}

func (e *Errors) Error() string {
	var b strings.Builder
	for i, one := range e.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.Error())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\nand %d more", e.More)
	}
	return b.String()
}

var columns = []string{"subscriber", "plan", "prefixes", "circuits", "name", "note"}

// Parse reads a subscribers file. The first line that is no comment names the columns; file is only for messages; known
// says which plans there are (nil: any). All that is wrong is told at once, as *Errors, and then there is no table.
func Parse(file string, r io.Reader, known func(plan string) bool) (*Table, error) {
	p := &parser{file: file, known: known, t: &Table{byID: map[string]*Subscriber{}},
		prefixes: map[netip.Prefix]*Subscriber{}, circuits: map[string]*Subscriber{}}
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	p.parse(data)
	if p.errs.More > 0 || len(p.errs.List) > 0 {
		slices.SortStableFunc(p.errs.List, func(a, b Error) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, &p.errs
	}
	p.build()
	return p.t, nil
}

type parser struct {
	file     string
	known    func(string) bool
	csv      *csv.Reader
	t        *Table
	rows     []*Subscriber
	prefixes map[netip.Prefix]*Subscriber
	circuits map[string]*Subscriber
	place    map[string]int // column name to field
	errs     Errors
}

func (p *parser) bad(line, column int, format string, args ...any) {
	if len(p.errs.List) == MaxErrors {
		p.errs.More++
		return
	}
	p.errs.List = append(p.errs.List, Error{p.file, line, column, fmt.Sprintf(format, args...)})
}

func (p *parser) parse(data []byte) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(data) > MaxSize {
		p.bad(0, 0, "larger than %d MiB", MaxSize>>20)
		return
	}
	if i := firstInvalid(data); i >= 0 {
		line := 1 + bytes.Count(data[:i], []byte{'\n'})
		p.bad(line, i-bytes.LastIndexByte(data[:i], '\n'), "not UTF-8: byte 0x%02x", data[i])
		return
	}
	p.csv = csv.NewReader(bytes.NewReader(data))
	p.csv.Comment = '#'
	p.csv.FieldsPerRecord = -1
	p.csv.TrimLeadingSpace = true
	for {
		rec, err := p.csv.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if pe := (*csv.ParseError)(nil); errors.As(err, &pe) {
			p.bad(pe.StartLine, 1, "%v (a field with a quote is written \"like \"\"this\"\"\")", pe.Err)
			continue
		}
		if p.place == nil {
			if !p.header(rec) {
				return
			}
			continue
		}
		p.row(rec)
	}
	if p.place == nil && len(p.errs.List) == 0 {
		p.bad(1, 1, "no header line: %s", strings.Join(columns, ","))
	}
}

func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return -1
}

func (p *parser) header(rec []string) bool {
	p.place = map[string]int{}
	before := len(p.errs.List)
	for i, name := range rec {
		name = strings.TrimSpace(name)
		line, col := p.csv.FieldPos(i)
		_, twice := p.place[name]
		switch {
		case !slices.Contains(columns, name):
			p.bad(line, col, "unknown column %q; allowed: %s", name, strings.Join(columns, ", "))
		case twice:
			p.bad(line, col, "column %q stands here twice", name)
		}
		p.place[name] = i
	}
	for _, name := range columns[:2] {
		if _, ok := p.place[name]; !ok {
			line, _ := p.csv.FieldPos(0)
			p.bad(line, 1, "column %q is missing", name)
		}
	}
	return len(p.errs.List) == before
}

// field is a column's value with its place; a line may end before its last columns.
func (p *parser) field(rec []string, name string) (value string, line, col int) {
	i, ok := p.place[name]
	if !ok || i >= len(rec) {
		line, _ = p.csv.FieldPos(0)
		return "", line, 1
	}
	line, col = p.csv.FieldPos(i)
	return strings.TrimSpace(rec[i]), line, col
}

func (p *parser) row(rec []string) {
	s := &Subscriber{}
	var line, col int
	s.ID, line, col = p.field(rec, "subscriber")
	s.Line = line
	if why := badID(s.ID); why != "" {
		p.bad(line, col, "subscriber %q: %s", s.ID, why)
	} else if other := p.t.byID[s.ID]; other != nil {
		p.bad(line, col, "subscriber %q is already on line %d", s.ID, other.Line)
	} else {
		p.t.byID[s.ID] = s
	}
	s.Plan, line, col = p.field(rec, "plan")
	if s.Plan == "" {
		p.bad(line, col, "subscriber %q has no plan", s.ID)
	} else if p.known != nil && !p.known(s.Plan) {
		p.bad(line, col, "unknown plan %q of subscriber %q", s.Plan, s.ID)
	}
	list, line, col := p.field(rec, "prefixes")
	for _, text := range strings.Fields(list) {
		p.prefix(s, text, line, col)
	}
	list, line, col = p.field(rec, "circuits")
	for _, c := range strings.Fields(list) {
		if other := p.circuits[c]; other != nil {
			p.bad(line, col, "circuit %q is already that of %q on line %d", c, other.ID, other.Line)
			continue
		}
		p.circuits[c] = s
		s.Circuits = append(s.Circuits, c)
	}
	s.Name, _, _ = p.field(rec, "name")
	s.Note, _, _ = p.field(rec, "note")
	if len(rec) > len(p.place) {
		line, col = p.csv.FieldPos(len(p.place))
		p.bad(line, col, "more fields than the header has columns (%d)", len(p.place))
	}
	p.rows = append(p.rows, s)
}

// badID refuses names that could not be told apart from others in a log line, a URL or from an unmapped source.
func badID(id string) string {
	switch {
	case id == "":
		return "the name is empty"
	case len(id) > 128:
		return "longer than 128 bytes"
	case strings.ContainsFunc(id, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return "blanks and control characters are not allowed"
	case id == "." || id == "..":
		return `"." and ".." stand for a directory in a URL; choose another`
	}
	if _, err := netip.ParsePrefix(id); err == nil {
		return "a prefix is the name of an unmapped source; choose another"
	}
	return ""
}

func (p *parser) prefix(s *Subscriber, text string, line, col int) {
	pfx, err := parsePrefix(text)
	if err != nil {
		p.bad(line, col, "prefix %q of subscriber %q: %v", text, s.ID, err)
		return
	}
	if other := p.prefixes[pfx]; other != nil {
		p.bad(line, col, "prefix %s of subscriber %q is already that of %q on line %d", pfx, s.ID, other.ID, other.Line)
		return
	}
	p.prefixes[pfx] = s
	s.Prefixes = append(s.Prefixes, pfx)
}

func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, errors.New("neither an address nor a prefix")
		}
		if a.Zone() != "" {
			return netip.Prefix{}, errors.New("a zone is not allowed")
		}
		if a.Is4In6() {
			return netip.Prefix{}, fmt.Errorf("write %s", a.Unmap())
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	pfx, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, errors.New("neither an address nor a prefix")
	case pfx.Addr().Is4In6():
		return netip.Prefix{}, errors.New("an IPv4 address in IPv6 form: write it as IPv4")
	case pfx != pfx.Masked():
		return netip.Prefix{}, fmt.Errorf("it has bits beyond /%d: write %s, or %s for the one address", pfx.Bits(), pfx.Masked(), pfx.Addr())
	case pfx.Bits() == 0:
		return netip.Prefix{}, errors.New("it covers everybody")
	}
	return pfx, nil
}

func (p *parser) build() {
	slices.SortFunc(p.rows, func(a, b *Subscriber) int { return cmp.Compare(a.ID, b.ID) })
	p.t.all = make([]Subscriber, len(p.rows))
	for i, s := range p.rows {
		p.t.all[i] = *s
		p.t.byID[s.ID] = &p.t.all[i]
		for _, pfx := range s.Prefixes {
			p.t.prefixes.Insert(pfx, &p.t.all[i])
		}
		for _, c := range s.Circuits {
			if p.t.circuits == nil {
				p.t.circuits = map[string]int32{}
			}
			p.t.circuits[circuitKey(c)] = int32(i)
		}
	}
}
