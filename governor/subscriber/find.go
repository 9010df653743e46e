package subscriber

import (
	"cmp"
	"iter"
	"net/netip"
	"runtime"
	"strings"
	"unicode/utf8"
)

// Rows is a set of lines of one table, a bit for each.
type Rows []uint64

// NoRows is an empty set of t's lines.
func (t *Table) NoRows() Rows { return make(Rows, (t.Len()+63)/64) }

func (r Rows) Has(row int32) bool { return r[row/64]>>(row%64)&1 != 0 }

func (r Rows) Add(row int32) { r[row/64] |= 1 << (row % 64) }

// Find adds to found the lines whose ID or name has text in it, which is in lower case, and those under one of plans by the
// list. It needs no index: a list's texts lie in memory one after the other, in the order of the file.
func (t *Table) Find(found Rows, text string, plans map[string]bool) {
	under := make([]bool, len(t.plans))
	for i, plan := range t.plans {
		under[i] = plans[plan]
	}
	var pace pacer
	for i := range int32(t.rows.n) {
		pace.step()
		r := t.rows.at(i)
		name := int(r.id) + int(r.name)
		// Of both together first: mostly that is not there, and one look is enough.
		if under[r.plan] || ContainsFold(r.text[:name], text) && (ContainsFold(r.text[:r.id], text) || ContainsFold(r.text[r.id:name], text)) {
			found.Add(i)
		}
	}
}

// Within adds to found the lines that have, by the list, a prefix in p or around it. All prefixes lie one after the other,
// too: where p has very many of them, that is several times as fast as the tree in which they are looked up.
func (t *Table) Within(found Rows, p netip.Prefix) {
	var pace pacer
	for i, net := range t.nets {
		pace.step()
		if net.Overlaps(p) {
			found.Add(t.owners[i])
		}
	}
}

// Within gives who has a prefix in p or around it by a binding, also one that another's overrules; somebody may come more than once.
func (d *Directory) Within(p netip.Prefix) iter.Seq[string] {
	return func(yield func(string) bool) {
		cells := d.view.Load().cells
		some := make([]netip.Prefix, 0, atOnce)
		for _, bound := range []iter.Seq2[netip.Prefix, *cell]{cells.Subnets(p), cells.Supernets(p)} {
			for prefix := range bound {
				if some = append(some, prefix); len(some) == atOnce {
					if !d.give(some, yield) {
						return
					}
					some = some[:0]
				}
			}
		}
		d.give(some, yield)
	}
}

// atOnce is for how many prefixes the mutex is held.
const atOnce = 64

// give gives who has prefixes by bindings; false: yield wants no more.
func (d *Directory) give(prefixes []netip.Prefix, yield func(string) bool) bool {
	for _, id := range d.holding(prefixes) {
		if !yield(id) {
			return false
		}
	}
	runtime.Gosched()
	return true
}

func (d *Directory) holding(prefixes []netip.Prefix) (ids []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range prefixes {
		d.renew(p)
		for c := d.claims[p]; c != nil; c = c.next {
			if c.id != "" {
				ids = append(ids, c.id)
			}
		}
	}
	return ids
}

// ContainsFold tells whether text, which is in lower case, is in s without regard to case.
func ContainsFold(s, text string) bool {
	if text == "" {
		return true
	}
	first := text[0]
	other := first // in upper case
	if first >= 'a' && first <= 'z' {
		other = first &^ 0x20
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			return strings.Contains(strings.ToLower(s), text)
		case (c == first || c == other) && beginsFold(s[i:], text):
			return true
		}
	}
	return false
}

func beginsFold(s, text string) bool {
	if len(s) < len(text) {
		return false
	}
	for i := range len(text) {
		if lower(s[i]) != text[i] {
			return false
		}
	}
	return true
}

// CompareFold is the order of people's lists: the case of ASCII letters makes no difference.
func CompareFold(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		if c := cmp.Compare(lower(a[i]), lower(b[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}
