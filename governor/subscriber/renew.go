package subscriber

import (
	"net/netip"
	"runtime"
	"time"

	"github.com/gaissmai/bart"
)

// A new list is taken in three steps, so that RADIUS, leases and lookups go on while a million bindings are resolved anew.
// Nobody waits longer than for some hundred of them.
//
//  1. What lookups of bindings will need is prepared by the new list, beside what they use. Who comes or goes meanwhile
//     does so in both.
//  2. In one moment lookups go over to the new list, and with it to what was prepared.
//  3. What only people and the history ask for, whose line a claim is, follows claim by claim. Whoever needs one that has not
//     followed yet brings it there first, see renew.

// coming is a list that is being prepared.
type coming struct {
	table *Table
	cells *bart.Table[*cell] // of bindings, by table; no lookup reads them yet
}

// renewal is a list in force that not all claims have followed to.
type renewal struct {
	since   int64                   // it has been in force
	touched map[netip.Prefix]Source // of claims that changed hands by it, some more than MaxTold at most
}

// SetTable takes a new list: who has which circuit is found anew for every binding, and which prefixes of the list
// changed hands is kept for At and given back. Of a list that changes more than MaxTold prefixes none is told or kept:
// whoever keeps something by address looks at all of it again, and before now nobody is known to have had a prefix by
// the list.
//
// It takes some seconds with a million bindings. Lookups, Bind and the like go on meanwhile; they are by the old list
// until all is prepared, and what Of says of a line may be incomplete while its bindings follow to the new one.
func (d *Directory) SetTable(t *Table, now time.Time) []Change {
	if t == nil {
		t = &Table{}
	}
	d.tables.Lock()
	defer d.tables.Unlock()
	d.follow() // to the list before
	moves, whole := t.differs(d.Table())
	d.prepare(t)
	old, next := d.turnTo(moves, whole, now)
	touched := d.follow()
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

// prepare is the first step.
func (d *Directory) prepare(t *Table) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.coming = &coming{t, &bart.Table[*cell]{}}
	var pace pacer
	for p := range d.claims { // who comes meanwhile is prepared when he comes
		d.foresee(p)
		d.giveWay(&pace)
	}
}

// giveWay gives the mutex to others now and then during long work.
func (d *Directory) giveWay(p *pacer) {
	if *p++; *p&255 == 0 {
		d.mu.Unlock()
		runtime.Gosched()
		d.mu.Lock()
	}
}

// foresee is decide by the list that is coming, if there is one.
func (d *Directory) foresee(p netip.Prefix) {
	if d.coming == nil {
		return
	}
	var best *held
	for c := d.claims[p]; c != nil && (best == nil || best.madeUp()); c = c.next {
		if id, row := resolve(d.coming.table, c.source, c.name, c.circuits); id != "" && (best == nil || row >= 0) {
			best = &held{id: id, row: row, source: c.source}
		}
	}
	d.coming.cells.Modify(p, func(room *cell, there bool) (*cell, bool) {
		if best == nil {
			return nil, true
		}
		if !there {
			room = &cell{prefix: p}
		}
		room.now.Store(best)
		return room, false
	})
}

// turnTo is the second step: it gives what lookups used before, and what they use now.
func (d *Directory) turnTo(moves []move, whole bool, now time.Time) (old, next *view) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old = d.view.Load()
	n := d.read(now)
	d.keepMoves(moves, whole, n)
	next = &view{table: d.coming.table, cells: d.coming.cells, plans: old.plans}
	d.cells, d.free, d.coming = next.cells, nil, nil
	d.era, d.renewal = 3-d.era, &renewal{n, map[netip.Prefix]Source{}}
	d.view.Store(next)
	return old, next
}

// follow is the third step: it gives the prefixes of claims that changed hands.
func (d *Directory) follow() map[netip.Prefix]Source {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.renewal == nil {
		return nil
	}
	var pace pacer
	for p := range d.claims { // who comes meanwhile is of the new list
		d.renew(p)
		d.giveWay(&pace)
	}
	touched := d.renewal.touched
	d.renewal = nil
	return touched
}

// renew brings the claims on p to the list in force. Whoever looks at a claim's line, or changes a claim, calls it before.
func (d *Directory) renew(p netip.Prefix) {
	if d.renewal == nil {
		return
	}
	for c := d.claims[p]; c != nil; c = c.next {
		if c.era == d.era {
			continue
		}
		id, row := d.resolved(c)
		if c.era != 0 {
			d.unlink(c)
		}
		c.era = d.era
		if id != c.id {
			d.keepClaim(c, d.renewal.since, d.renewal.since, true)
			c.from, c.vague = d.renewal.since, false
			d.dirty[c.key()] = struct{}{}
			if len(d.renewal.touched) <= MaxTold {
				d.renewal.touched[p] = c.source
			}
		}
		c.id, c.row = id, row // of the same id, too: the text of the old list is not to be kept for it
		d.link(c)
		if c.madeUp() {
			d.stranger(c)
		}
	}
}

// resolved is resolve by the list in force. Where a claim is the only one on its prefix, it is what lookups find.
func (d *Directory) resolved(c *claim) (id string, row int32) {
	if d.claims[c.prefix] != c || c.next != nil {
		return resolve(d.Table(), c.source, c.name, c.circuits)
	}
	if room, there := d.cells.Get(c.prefix); there {
		if h := room.now.Load(); h != nil {
			return h.id, h.row
		}
	}
	return "", -1
}

// renewAll brings every claim to the list in force, at once.
func (d *Directory) renewAll() {
	if d.renewal == nil {
		return
	}
	var pace pacer
	for p := range d.claims {
		pace.step()
		d.renew(p)
	}
}

// Bound appends to list the prefixes that id has by bindings, in no order, also those that another's overrules.
func (d *Directory) Bound(list []netip.Prefix, id string) []netip.Prefix {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.prefixesOf(id) {
		d.renew(p)
	}
	for c := d.lines[id]; c != nil; c = c.elder {
		list = append(list, c.prefix)
	}
	return list
}

// prefixesOf are those of the claims that are linked as a line's.
func (d *Directory) prefixesOf(id string) (all []netip.Prefix) {
	for c := d.lines[id]; c != nil && d.renewal != nil; c = c.elder {
		all = append(all, c.prefix)
	}
	return all
}
