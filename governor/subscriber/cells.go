package subscriber

import (
	"net/netip"
	"slices"
)

// decide lets lookups find whoever is first of those that are known, or else first of those that are made up.
func (d *Directory) decide(p netip.Prefix) {
	d.foresee(p)
	var c *claim
	for one := d.claims[p]; one != nil; one = one.next {
		if one.id != "" && (c == nil || c.madeUp()) {
			c = one
		}
		if c != nil && !c.madeUp() {
			break
		}
	}
	room, there := d.cells.Get(p)
	switch {
	case c == nil && there && room.now.Load() != nil:
		room.now.Store(nil)
		d.free = append(d.free, p)
		if len(d.free) > minFree+d.bindings/4 {
			d.tidy(len(d.free) - minFree/2 - d.bindings/8)
		}
	case c == nil:
	case there:
		room.now.Store(c.held())
	default:
		room = &cell{prefix: p}
		room.now.Store(c.held())
		if d.inPlace {
			d.cells.Insert(p, room)
		} else {
			d.cells = d.cells.InsertPersist(p, room)
		}
	}
}

func (c *claim) held() *held { return &held{id: c.id, row: c.row, source: c.source} }

// minFree is how many free cells are kept at least, beside a quarter of the bindings.
const minFree = 1024

// tidy takes away the n cells that have been free for longest.
func (d *Directory) tidy(n int) {
	d.many(n)
	for _, p := range d.free[:n] {
		if room, there := d.cells.Get(p); !there || room.now.Load() != nil {
			continue
		}
		if d.inPlace {
			d.cells.Delete(p)
		} else {
			d.cells = d.cells.DeletePersist(p)
		}
	}
	d.free = slices.Clone(d.free[n:])
}

// many prepares for about n changes: copying the table once is cheaper then than copying a path of it each time.
func (d *Directory) many(n int) {
	if !d.inPlace && n > 64+d.cells.Size()/32 {
		d.cells, d.inPlace = d.cells.Clone(), true
	}
}

// holderOf is who has the whole of p by what is known now, published or not.
func (d *Directory) holderOf(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	v := *d.view.Load()
	v.cells = d.cells
	return v.around(p).id
}
