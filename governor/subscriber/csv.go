package subscriber

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

// MaxErrors is how many errors of one file are listed, and MaxWarnings how many warnings; what is beyond is counted, up to
// a point.
const (
	MaxErrors   = 1000
	MaxWarnings = 20
)

// longestMessage bounds what is kept of a message, in bytes: it may quote a field of the file.
const longestMessage = 1000

// manyErrors is where reading stops: whatever this is, it is no list of subscribers.
const manyErrors = 10_000

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 256 << 20

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

func (e *Errors) add(one Error, most int) {
	if len(e.List) == most {
		e.More++
		return
	}
	e.List = append(e.List, one)
}

func (e *Errors) sort() {
	slices.SortStableFunc(e.List, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// The columns. Only the first two are required.
const (
	colSubscriber = iota
	colPlan
	colPrefixes
	colCircuits
	colName
	colNote
)

var columns = []string{"subscriber", "plan", "prefixes", "circuits", "name", "note"}

// Parse reads a subscribers file. The first line that is no comment names the columns; file is only for messages; known
// says which plans there are (nil: any). All that is wrong is told at once, as *Errors, and then there is no table.
//
// A million lines take about a second of one CPU. Whoever waits for that CPU gets it several thousand times meanwhile.
func Parse(file string, r io.Reader, known func(plan string) bool) (*Table, error) {
	p := &parser{file: file, known: known, t: &Table{}, plans: map[string]int{}}
	p.in = newRecords(r, p.bad)
	p.parse()
	if p.in.err != nil && !errors.Is(p.in.err, errTooBig) {
		return nil, fmt.Errorf("read %s: %w", file, p.in.err)
	}
	if p.errs.More > 0 || len(p.errs.List) > 0 {
		p.errs.sort()
		return nil, &p.errs
	}
	p.finish()
	return p.t, nil
}

type parser struct {
	file  string
	known func(string) bool
	in    *records
	t     *Table
	place []int // column to field, -1: not there
	wide  int   // columns that are there
	plans map[string]int
	texts texts
	errs  Errors
	pace  pacer
}

func (p *parser) bad(line, column int, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if len(message) > longestMessage {
		message = strings.ToValidUTF8(message[:longestMessage], "") + " ..."
	}
	p.errs.add(Error{p.file, line, column, message}, MaxErrors)
}

func (p *parser) parse() {
	for p.in.read() {
		p.pace.step()
		if p.place == nil {
			if !p.header() {
				return
			}
			continue
		}
		if p.row(); p.errs.More > manyErrors {
			return
		}
	}
	switch {
	case errors.Is(p.in.err, errTooBig):
		p.errs = Errors{}
		p.bad(0, 0, "%v", errTooBig)
	case p.place == nil && len(p.errs.List) == 0:
		p.bad(1, 1, "no header line: %s", strings.Join(columns, ","))
	}
}

func (p *parser) header() bool {
	p.place = slices.Repeat([]int{-1}, len(columns))
	p.wide = len(p.in.fields)
	before := len(p.errs.List)
	for i, f := range p.in.fields {
		line, col := p.in.place(f.at)
		c := slices.Index(columns, string(f.value))
		switch {
		case c < 0:
			p.bad(line, col, "unknown column %q; allowed: %s", f.value, strings.Join(columns, ", "))
		case p.place[c] >= 0:
			p.bad(line, col, "column %q stands here twice", f.value)
		default:
			p.place[c] = i
		}
	}
	for c, name := range columns[:2] {
		if p.place[c] < 0 {
			p.bad(p.in.line, 1, "column %q is missing", name)
		}
	}
	return len(p.errs.List) == before
}

// field is a column's value; a line may end before its last columns.
func (p *parser) field(column int) []byte {
	if i := p.place[column]; i >= 0 && i < len(p.in.fields) {
		return p.in.fields[i].value
	}
	return nil
}

// wrong tells what is wrong with the value of a column.
func (p *parser) wrong(column int, format string, args ...any) {
	line, col := p.in.line, 1
	if i := p.place[column]; i >= 0 && i < len(p.in.fields) {
		line, col = p.in.place(p.in.fields[i].at)
	}
	p.bad(line, col, format, args...)
}

func (p *parser) row() {
	t := p.t
	this := int32(t.rows.n)
	id, name, note := p.field(colSubscriber), p.field(colName), p.field(colNote)
	r := row{line: int32(p.in.line), nets: int32(len(t.nets)), circuits: int32(len(t.circuits)), plan: p.plan(id)}
	if bytes.ContainsFunc(name, unicode.IsControl) {
		p.wrong(colName, "name %q of subscriber %q: control characters are not allowed", name, id)
	}
	if bytes.ContainsFunc(note, func(r rune) bool { return unicode.IsControl(r) && r != '\t' && r != '\n' }) {
		p.wrong(colNote, "note of subscriber %q: control characters are not allowed", id)
	}
	why := badID(id)
	if why != "" {
		p.wrong(colSubscriber, "subscriber %q: %s", id, why)
		id = nil
	}
	r.text, r.id, r.name = p.texts.add(id, name, note), uint8(len(id)), uint16(len(name))
	hash := maphash.String(seed, r.text[:r.id])
	if other, twice := t.byID.find(hash, func(i int32) bool { return t.ID(i) == r.text[:r.id] }); twice {
		p.wrong(colSubscriber, "subscriber %q is already on line %d", id, t.rows.at(other).line)
	} else if why == "" {
		t.byID.add(hash, this)
	}
	t.rows.add(r)
	one := t.rows.at(this)
	for text := range strings.FieldsSeq(string(p.field(colPrefixes))) {
		p.prefix(this, text)
	}
	for text := range strings.FieldsSeq(string(p.field(colCircuits))) {
		p.circuit(this, text)
	}
	one.nNets, one.nCircuit = uint16(len(t.nets)-int(r.nets)), uint16(len(t.circuits)-int(r.circuits))
	if len(p.in.fields) > p.wide {
		line, col := p.in.place(p.in.fields[p.wide].at)
		p.bad(line, col, "more fields than the header has columns (%d)", p.wide)
	}
}

// plan is the number of the plan of this line.
func (p *parser) plan(id []byte) uint16 {
	name := p.field(colPlan)
	if n, ok := p.plans[string(name)]; ok {
		return uint16(n)
	}
	switch {
	case len(name) == 0:
		p.wrong(colPlan, "subscriber %q has no plan", id)
		return 0
	case p.known != nil && !p.known(string(name)):
		p.wrong(colPlan, "unknown plan %q of subscriber %q", name, id)
		return 0
	case len(p.t.plans) > math.MaxUint16:
		p.wrong(colPlan, "more than %d plans", math.MaxUint16)
		return 0
	}
	n := len(p.t.plans)
	p.t.plans = append(p.t.plans, string(name))
	p.plans[p.t.plans[n]] = n
	return uint16(n)
}

// badID refuses names that could not be told apart from others in a log line, a URL or from who is in no list.
func badID(id []byte) string {
	switch {
	case len(id) == 0:
		return "the name is empty"
	case len(id) > 128:
		return "longer than 128 bytes"
	case bytes.ContainsFunc(id, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return "blanks and control characters are not allowed"
	case string(id) == "." || string(id) == "..":
		return `"." and ".." stand for a directory in a URL; choose another`
	case bytes.HasPrefix(id, []byte(userPrefix)):
		return `"` + userPrefix + `" begins the names of lines that are in no list; choose another`
	case bytes.IndexByte(id, '/') < 0:
		return ""
	}
	if _, err := netip.ParsePrefix(string(id)); err == nil {
		return "a prefix is the name of an unmapped source; choose another"
	}
	return ""
}

func (p *parser) prefix(this int32, text string) {
	t := p.t
	net, err := parsePrefix(text)
	if err != nil {
		p.wrong(colPrefixes, "prefix %q of subscriber %q: %v", text, p.field(colSubscriber), err)
		return
	}
	if i, ok := t.prefixes.Get(net); ok {
		other := t.owners[i]
		p.wrong(colPrefixes, "prefix %s of subscriber %q is already that of %q on line %d", net, p.field(colSubscriber),
			t.ID(other), t.rows.at(other).line)
		return
	}
	t.prefixes.Insert(net, int32(len(t.nets)))
	t.nets, t.owners = append(t.nets, net), append(t.owners, this)
}

func (p *parser) circuit(this int32, text string) {
	t := p.t
	if i, ok := t.findCircuit(text); ok {
		as := ""
		if t.circuits[i] != text {
			as = fmt.Sprintf(" (as %q)", t.circuits[i])
		}
		other := t.lines[i]
		p.wrong(colCircuits, "circuit %q is already that of %q on line %d%s", text, t.ID(other), t.rows.at(other).line, as)
		return
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		p.wrong(colCircuits, "circuit %q: control characters are not allowed", text)
		return
	}
	var b [64]byte
	t.byName.add(maphash.Bytes(seed, appendKey(b[:0], text)), int32(len(t.circuits)))
	t.circuits, t.lines = append(t.circuits, p.texts.add([]byte(text))), append(t.lines, this)
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

// finish sorts what is in order and looks for what may not be meant.
func (p *parser) finish() {
	t := p.t
	t.order = make([]int32, t.rows.n)
	for i := range t.order {
		t.order[i] = int32(i)
	}
	slices.SortFunc(t.order, func(a, b int32) int {
		p.pace.step()
		return strings.Compare(t.ID(a), t.ID(b))
	})
	for i, net := range t.nets {
		p.pace.step()
		if net.Bits() <= 1 {
			continue
		}
		around, other, ok := t.coverPrefix(netip.PrefixFrom(net.Addr(), net.Bits()-1).Masked())
		if this := t.owners[i]; ok && other != this {
			p.warn(this, "prefix %s of subscriber %q lies inside %s of %q on line %d: of both, the longer one decides",
				net, t.ID(this), around, t.ID(other), t.rows.at(other).line)
		}
	}
	for i, c := range t.circuits {
		p.pace.step()
		if other, ok := t.Row(c); ok && other != t.lines[i] {
			p.warn(t.lines[i], "circuit %q of subscriber %q is the name of the subscriber on line %d: as a RADIUS User-Name it is %q",
				c, t.ID(t.lines[i]), t.rows.at(other).line, t.ID(t.lines[i]))
		}
	}
	for i := range int32(len(t.circuits) + t.rows.n) {
		p.pace.step()
		t.addFold(i)
	}
	t.warnings.sort()
}

func (p *parser) warn(row int32, format string, args ...any) {
	p.t.warnings.add(Error{p.file, int(p.t.rows.at(row).line), 1, fmt.Sprintf(format, args...)}, MaxWarnings)
}
