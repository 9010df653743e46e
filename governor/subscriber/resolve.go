package subscriber

import (
	"net/netip"
	"runtime"
	"strings"
	"time"

	"github.com/gaissmai/bart"
)

// resolve finds whose line a binding means: "" is nobody's. Row is its place in t, -1 for a line that t does not have. The
// name is the source's for whoever has it, see Binding.calls.
func resolve(t *Table, source Source, name string, circuits []string) (id string, row int32) {
	if source == API {
		if row, ok := t.row(name); ok {
			return t.id(row), row
		}
		return "", -1
	}
	if name != "" {
		if row, ok := t.circuit(name); ok {
			return t.id(row), row
		}
		if row, ok := t.row(name); ok && source == RADIUS {
			return t.id(row), row
		}
		if row, ok := t.fold(name); ok && source == RADIUS {
			return t.id(row), row
		}
	}
	for _, c := range circuits {
		if row, ok := t.circuit(c); ok {
			return t.id(row), row
		}
	}
	if strings.TrimSpace(name) != "" && source == RADIUS {
		return lineOf(name), -1
	}
	return "", -1
}

// SetTable takes a new list: who has which circuit is found anew for every binding, and which prefixes of the list
// changed hands is kept for At and given back. Of a list that changes more than MaxTold prefixes none is told or kept:
// whoever keeps something by address looks at all of it again, and before now nobody is known to have had a prefix by
// the list.
//
// Lookups go on meanwhile. Bind and the like wait while bindings are resolved anew: a million of
// them take some seconds.
func (d *Directory) SetTable(t *Table, now time.Time) []Change {
	if t == nil {
		t = &Table{}
	}
	d.tables.Lock()
	defer d.tables.Unlock()
	moves, whole := t.differs(d.Table())

	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.view.Load()
	n := d.read(now)
	for _, m := range moves {
		d.keep(ended{prefix: m.prefix, source: CSV, id: strings.Clone(m.from), heir: strings.Clone(m.to), until: n, told: n, said: true})
	}
	if whole {
		d.history.listSince = n
		d.dirty[stateKey()] = struct{}{}
	}
	touched := d.rebuild(t, n)
	next := &view{table: t, cells: d.cells, plans: old.plans}
	d.view.Store(next)
	if whole {
		return nil
	}
	for _, m := range moves {
		touched[m.prefix] = CSV
	}
	var changes []Change
	for p, s := range touched {
		if before, after := old.around(p).id, next.around(p).id; before != after {
			changes = append(changes, Change{Prefix: p, From: before, To: after, Source: s, At: now})
		}
	}
	return changes
}

// rebuild resolves every binding by t and gives those whose line is another now. The caller publishes.
func (d *Directory) rebuild(t *Table, now int64) map[netip.Prefix]Source {
	touched := map[netip.Prefix]Source{}
	d.unknown, d.lines, d.made = 0, make(map[string]*claim, len(d.lines)), madeUp{}
	d.cells, d.free, d.inPlace = &bart.Table[*cell]{}, nil, true
	var pace pacer
	for p, first := range d.claims {
		for c := first; c != nil; c = c.next {
			pace.step()
			id, row := resolve(t, c.source, c.name, c.circuits)
			if id != c.id {
				d.keepClaim(c, now, now, true)
				c.from, c.vague = now, false
				d.dirty[c.key()] = struct{}{}
				if len(touched) <= MaxTold {
					touched[p] = c.source
				}
			}
			c.id, c.row, c.overrule = id, row, ""
			d.link(c)
		}
		d.decide(p)
	}
	d.inPlace = false
	d.overruleAll(t, &pace)
	return touched
}

// pacer lets others run now and then during long work, so that on a small machine nobody waits for the end of a time
// slice (10 ms) because of it.
type pacer int

func (p *pacer) step() {
	if *p++; *p&255 == 0 {
		runtime.Gosched()
	}
}

// move is a prefix of the list that another subscriber has now; "" is nobody.
type move struct {
	prefix   netip.Prefix
	from, to string
}

// differs compares who has which prefix in t and in the list before it. Beyond MaxTold of them there are none, and whole
// is true.
func (t *Table) differs(before *Table) (moves []move, whole bool) {
	var pace pacer
	add := func(p netip.Prefix, from, to string) bool {
		moves = append(moves, move{p, from, to})
		return len(moves) <= MaxTold
	}
	for i, p := range before.nets {
		pace.step()
		row := before.owners[i]
		to, ok := t.owner(p)
		switch {
		case !ok && !add(p, before.id(row), ""),
			ok && t.id(to) != before.id(row) && !add(p, before.id(row), t.id(to)):
			return nil, true
		}
	}
	for i, p := range t.nets {
		pace.step()
		row := t.owners[i]
		if _, had := before.owner(p); !had && !add(p, "", t.id(row)) {
			return nil, true
		}
	}
	return moves, false
}
