// Package subscriber says whose an address is, now and at any time in the past. A subscriber is a customer line. What
// the operator's list says of it is a Table, read from a CSV file, which never changes: a new file is a new table. A
// Directory puts on top of it what RADIUS, DHCP and the API say, who has which prefix now, and who had it before.
package subscriber

import (
	"hash/maphash"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"
)

// Subscriber is one customer line. Its slices belong to the table: read, do not write.
type Subscriber struct {
	ID       string
	Plan     string
	Prefixes []netip.Prefix
	Circuits []string // what the line is called elsewhere: RADIUS, DHCP
	Name     string
	Note     string
	Line     int // where it stands in the file, from 1
}

// Table finds subscribers. The zero value knows nobody. It is safe for concurrent use.
//
// A million lines with an IPv4 address, an IPv6 prefix, a circuit and a name each take about 300 bytes a line
// (BenchmarkParse), in few and mostly pointer-free pieces, so that a large list does not burden the garbage collector.
type Table struct {
	rows     rows
	order    []int32 // rows by ID
	plans    []string
	prefixes bart.Table[int32] // places in nets
	nets     []netip.Prefix
	owners   []int32 // rows of nets
	circuits []string
	lines    []int32 // rows of circuits
	byID     index
	byName   index          // of circuits
	byFold   index          // of circuits and, beyond them, rows, by foldKey
	alike    map[int32]bool // of byFold: several lines are called that but for case and blanks
	warnings Errors
}

// row is a line of the file. Its text is the ID, the name and the note.
type row struct {
	text     string
	line     int32
	nets     int32 // where its prefixes and circuits begin
	circuits int32
	plan     uint16
	name     uint16 // bytes
	nNets    uint16
	nCircuit uint16
	id       uint8 // bytes
}

// rows grow without being copied.
type rows struct {
	parts [][]row
	n     int
}

const partRows = 1 << 13

func (r *rows) at(i int32) *row { return &r.parts[i/partRows][i%partRows] }

func (r *rows) add(one row) {
	if r.n%partRows == 0 {
		r.parts = append(r.parts, make([]row, 0, min(partRows, max(16, r.n))))
	}
	last := len(r.parts) - 1
	r.parts[last] = append(r.parts[last], one)
	r.n++
}

func (t *Table) subscriber(i int32) Subscriber {
	r := t.rows.at(i)
	nets, circuits := r.nets+int32(r.nNets), r.circuits+int32(r.nCircuit)
	return Subscriber{ID: t.ID(i), Plan: t.plan(i), Name: t.Name(i), Note: r.text[int(r.id)+int(r.name):], Line: int(r.line),
		Prefixes: t.nets[r.nets:nets:nets], Circuits: t.circuits[r.circuits:circuits:circuits]}
}

// ID, Name and Order are for who looks at many: lines have numbers, from 0 to Len()-1, in the order of the file.
func (t *Table) ID(i int32) string {
	r := t.rows.at(i)
	return r.text[:r.id]
}

func (t *Table) Name(i int32) string {
	r := t.rows.at(i)
	return r.text[r.id : int(r.id)+int(r.name)]
}

func (t *Table) plan(i int32) string { return t.plans[t.rows.at(i).plan] }

// Lookup finds whose addr is: of nested prefixes, the longest decides. An IPv4 address mapped into IPv6 counts as IPv4.
func (t *Table) Lookup(addr netip.Addr) (Subscriber, bool) {
	if _, row, ok := t.cover(addr.Unmap()); ok {
		return t.subscriber(row), true
	}
	return Subscriber{}, false
}

// ByID finds a subscriber by its name in the file.
func (t *Table) ByID(id string) (Subscriber, bool) {
	if row, ok := t.Row(id); ok {
		return t.subscriber(row), true
	}
	return Subscriber{}, false
}

// All is every subscriber, sorted by ID. See After for a long list.
func (t *Table) All() []Subscriber {
	return slices.AppendSeq(make([]Subscriber, 0, t.Len()), t.After(""))
}

// After gives the subscribers whose ID is greater than id, sorted by ID: all of them after "".
func (t *Table) After(id string) iter.Seq[Subscriber] {
	return func(yield func(Subscriber) bool) {
		from, found := slices.BinarySearchFunc(t.order, id, func(row int32, id string) int { return strings.Compare(t.ID(row), id) })
		if found {
			from++
		}
		for _, row := range t.order[from:] {
			if !yield(t.subscriber(row)) {
				return
			}
		}
	}
}

// Plans are the names of all plans that somebody is under. They belong to the table.
func (t *Table) Plans() []string { return t.plans }

// Len is how many there are.
func (t *Table) Len() int { return t.rows.n }

// Warnings are what is allowed but may not be meant: prefixes inside those of another, for example. At most MaxWarnings
// are listed, and more is how many there are beyond.
func (t *Table) Warnings() (list []Error, more int) {
	return slices.Clone(t.warnings.List), t.warnings.More
}

// Alone tells whether whoever has addr has the whole of its /64, so that acting on the /64 hits nobody else: no prefix
// of another lies inside it, and it is not a piece of another's, nor are parts of it nobody's. An IPv4 address stands
// for itself and is always alone.
func (t *Table) Alone(addr netip.Addr) bool {
	if addr = addr.Unmap(); !addr.Is6() {
		return true
	}
	net64, err := addr.WithZone("").Prefix(64)
	if err != nil {
		return false
	}
	_, own, known := t.cover(addr)
	if _, around, ok := t.coverPrefix(net64); ok != known || around != own {
		return false
	}
	for _, row := range t.inside(net64) {
		if row != own {
			return false
		}
	}
	return true
}

// cover is the longest prefix that has addr, and whose it is; -1 for nobody.
func (t *Table) cover(addr netip.Addr) (netip.Prefix, int32, bool) {
	i, ok := t.prefixes.Lookup(addr)
	return t.net(i, ok)
}

// coverPrefix is the longest prefix that has the whole of p, and whose it is.
func (t *Table) coverPrefix(p netip.Prefix) (netip.Prefix, int32, bool) {
	i, ok := t.prefixes.LookupPrefix(p)
	return t.net(i, ok)
}

func (t *Table) net(i int32, ok bool) (netip.Prefix, int32, bool) {
	if !ok {
		return netip.Prefix{}, -1, false
	}
	return t.nets[i], t.owners[i], true
}

// owner is whose exactly p is.
func (t *Table) owner(p netip.Prefix) (row int32, ok bool) {
	i, ok := t.prefixes.Get(p)
	_, row, ok = t.net(i, ok)
	return row, ok
}

// inside gives p and every prefix in it, over gives p and every prefix around it, each with whose it is.
func (t *Table) inside(p netip.Prefix) iter.Seq2[netip.Prefix, int32] {
	return t.owned(t.prefixes.Subnets(p))
}

func (t *Table) over(p netip.Prefix) iter.Seq2[netip.Prefix, int32] {
	return t.owned(t.prefixes.Supernets(p))
}

func (t *Table) owned(nets iter.Seq2[netip.Prefix, int32]) iter.Seq2[netip.Prefix, int32] {
	return func(yield func(netip.Prefix, int32) bool) {
		for p, i := range nets {
			if !yield(p, t.owners[i]) {
				return
			}
		}
	}
}

// Order is the numbers of all lines, by ID. It belongs to the table.
func (t *Table) Order() []int32 { return t.order }

// Row is the number of the line with an ID.
func (t *Table) Row(id string) (int32, bool) {
	return t.byID.find(maphash.String(seed, id), func(i int32) bool { return t.ID(i) == id })
}

// circuit finds whose line is called c elsewhere.
func (t *Table) circuit(c string) (int32, bool) {
	i, ok := t.findCircuit(c)
	if !ok {
		return -1, false
	}
	return t.lines[i], true
}

// fold finds the one line that is called c, as a circuit or by its ID, but for case and blanks around it; none, if
// there are several.
func (t *Table) fold(c string) (row int32, ok bool) {
	var a, b [64]byte
	key := foldKey(a[:0], c)
	i, ok := t.byFold.find(maphash.Bytes(seed, key), func(i int32) bool { return string(foldKey(b[:0], t.called(i))) == string(key) })
	if !ok || t.alike[i] {
		return -1, false
	}
	return t.folded(i), true
}

// called is the text behind a number of byFold, folded the row.
func (t *Table) called(i int32) string {
	if n := int32(len(t.circuits)); i >= n {
		return t.ID(i - n)
	}
	return t.circuits[i]
}

func (t *Table) folded(i int32) int32 {
	if n := int32(len(t.circuits)); i >= n {
		return i - n
	}
	return t.lines[i]
}

// addFold puts what a line is called into byFold.
func (t *Table) addFold(i int32) {
	var a, b [64]byte
	key := foldKey(a[:0], t.called(i))
	hash := maphash.Bytes(seed, key)
	other, there := t.byFold.find(hash, func(j int32) bool { return string(foldKey(b[:0], t.called(j))) == string(key) })
	switch {
	case !there:
		t.byFold.add(hash, i)
	case t.folded(other) != t.folded(i):
		if t.alike == nil {
			t.alike = map[int32]bool{}
		}
		t.alike[other] = true
	}
}

func (t *Table) findCircuit(c string) (int32, bool) {
	var a, b [64]byte
	key := appendKey(a[:0], c)
	return t.byName.find(maphash.Bytes(seed, key), func(i int32) bool {
		return string(appendKey(b[:0], t.circuits[i])) == string(key)
	})
}

// Unmapped is the name under which a source in nobody's prefix is counted: its own prefix of the length given for its
// family, such as "100.64.9.9/32"; "invalid" for no address. A length out of range stands for the whole address.
func Unmapped(addr netip.Addr, v4bits, v6bits int) string {
	addr = addr.Unmap().WithZone("")
	bits := v6bits
	if addr.Is4() {
		bits = v4bits
	}
	if bits < 0 || bits > addr.BitLen() {
		bits = addr.BitLen()
	}
	p, err := addr.Prefix(bits)
	if err != nil || !addr.IsValid() {
		return "invalid"
	}
	return p.String()
}
