// Package subscriber says whose an address is. A subscriber is a customer line with its prefixes, read from a CSV file
// into a table that never changes; a new file is a new table.
package subscriber

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

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
type Table struct {
	prefixes bart.Table[*Subscriber]
	byID     map[string]*Subscriber
	all      []Subscriber // by ID
	circuits map[string]int32
}

func (t *Table) id(row int32) string   { return t.all[row].ID }
func (t *Table) plan(row int32) string { return t.all[row].Plan }
func (t *Table) name(row int32) string { return t.all[row].Name }

func (t *Table) rowOf(s *Subscriber) int32 {
	i, _ := slices.BinarySearchFunc(t.all, s.ID, func(a Subscriber, id string) int { return cmp.Compare(a.ID, id) })
	return int32(i)
}

func (t *Table) row(id string) (int32, bool) {
	s, ok := t.byID[id]
	if !ok {
		return -1, false
	}
	return t.rowOf(s), true
}

func (t *Table) circuit(key string) (int32, bool) {
	row, ok := t.circuits[key]
	return row, ok
}

func (t *Table) cover(addr netip.Addr) (netip.Prefix, int32, bool) {
	return t.coverPrefix(netip.PrefixFrom(addr.WithZone(""), addr.BitLen()))
}

func (t *Table) coverPrefix(p netip.Prefix) (netip.Prefix, int32, bool) {
	found, s, ok := t.prefixes.LookupPrefixLPM(p)
	if !ok {
		return found, -1, false
	}
	return found, t.rowOf(s), true
}

func (t *Table) owner(p netip.Prefix) (int32, bool) {
	s, ok := t.prefixes.Get(p)
	if !ok {
		return -1, false
	}
	return t.rowOf(s), true
}

func (t *Table) rows(all iter.Seq2[netip.Prefix, *Subscriber]) iter.Seq2[netip.Prefix, int32] {
	return func(yield func(netip.Prefix, int32) bool) {
		for p, s := range all {
			if !yield(p, t.rowOf(s)) {
				return
			}
		}
	}
}

func (t *Table) inside(p netip.Prefix) iter.Seq2[netip.Prefix, int32] {
	return t.rows(t.prefixes.Subnets(p))
}
func (t *Table) over(p netip.Prefix) iter.Seq2[netip.Prefix, int32] {
	return t.rows(t.prefixes.Supernets(p))
}
func (t *Table) prefixesInFile() iter.Seq2[netip.Prefix, int32] { return t.rows(t.prefixes.All()) }

// Lookup finds whose addr is: of nested prefixes, the longest decides. An IPv4 address mapped into IPv6 counts as IPv4.
func (t *Table) Lookup(addr netip.Addr) (Subscriber, bool) {
	if s, ok := t.prefixes.Lookup(addr.Unmap()); ok {
		return *s, true
	}
	return Subscriber{}, false
}

// ByID finds a subscriber by its name in the file.
func (t *Table) ByID(id string) (Subscriber, bool) {
	if s, ok := t.byID[id]; ok {
		return *s, true
	}
	return Subscriber{}, false
}

// All is every subscriber, sorted by ID.
func (t *Table) All() []Subscriber { return slices.Clone(t.all) }

// Len is how many there are.
func (t *Table) Len() int { return len(t.all) }

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
	own, known := t.prefixes.Lookup(addr)
	if around, ok := t.prefixes.LookupPrefix(net64); ok != known || around != own {
		return false
	}
	for _, s := range t.prefixes.Subnets(net64) {
		if s != own {
			return false
		}
	}
	return true
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
