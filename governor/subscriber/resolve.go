package subscriber

import (
	"net/netip"
	"runtime"
	"strings"
)

// resolve finds whose line a binding means: "" is nobody's. Row is its place in t, -1 for a line that t does not have. The
// name is the source's for whoever has it, see Binding.calls.
func resolve(t *Table, source Source, name string, circuits []string) (id string, row int32) {
	if source == API {
		if row, ok := t.Row(name); ok {
			return t.ID(row), row
		}
		return "", -1
	}
	if name != "" {
		if row, ok := t.circuit(name); ok {
			return t.ID(row), row
		}
		if row, ok := t.Row(name); ok && source == RADIUS {
			return t.ID(row), row
		}
		if row, ok := t.fold(name); ok && source == RADIUS {
			return t.ID(row), row
		}
	}
	for _, c := range circuits {
		if row, ok := t.circuit(c); ok {
			return t.ID(row), row
		}
	}
	if strings.TrimSpace(name) != "" && source == RADIUS {
		return lineOf(name), -1
	}
	return "", -1
}

// keepMoves keeps which prefixes of the list changed hands, or that too many did.
func (d *Directory) keepMoves(moves []move, whole bool, now int64) {
	for _, m := range moves {
		d.keep(ended{prefix: m.prefix, source: CSV, id: strings.Clone(m.from), heir: strings.Clone(m.to), until: now, told: now, said: true})
	}
	if whole {
		d.history.listSince = now
		d.dirty[stateKey()] = struct{}{}
	}
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
		case !ok && !add(p, before.ID(row), ""),
			ok && t.ID(to) != before.ID(row) && !add(p, before.ID(row), t.ID(to)):
			return nil, true
		}
	}
	for i, p := range t.nets {
		pace.step()
		row := t.owners[i]
		if _, had := before.owner(p); !had && !add(p, "", t.ID(row)) {
			return nil, true
		}
	}
	return moves, false
}
