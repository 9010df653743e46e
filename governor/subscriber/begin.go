package subscriber

import (
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/gaissmai/bart"
)

// recalled is what Recall leaves for Begin.
type recalled struct {
	claims []*claim       // in the order in which they were saved, in which they are worked on more quickly than in a map's
	shared []netip.Prefix // that several of them have
}

// Begin takes the first list after Recall: bindings whose line is another by it than when they were saved change hands
// now. When it returns everybody is found; Follow is to be called then, in the background if there is something better
// to do. Until it has returned, Of and the counts of Stats and Strangers know of some bindings only.
//
// Nothing else may be going on. It uses all processors: a box that starts has nothing better to do.
func (d *Directory) Begin(t *Table, now time.Time) {
	if t == nil {
		t = &Table{}
	}
	d.tables.Lock()
	defer d.tables.Unlock()
	d.mu.Lock()
	d.coming = &coming{t, &bart.Table[*cell]{}}
	d.foreseeAll()
	d.mu.Unlock()
	d.turnTo(nil, false, now)
}

// foreseeAll is foresee for everything that was recalled.
func (d *Directory) foreseeAll() {
	all := d.recalled
	d.recalled = recalled{}
	rooms := make([]*cell, len(all.claims)) // nil: nobody's
	var work sync.WaitGroup
	each := len(rooms)/runtime.NumCPU() + 1
	for from := 0; from < len(rooms); from += each {
		work.Go(func() {
			for i := from; i < min(from+each, len(rooms)); i++ {
				c := all.claims[i]
				if id, row := resolve(d.coming.table, c.source, c.name, c.circuits); id != "" {
					rooms[i] = &cell{prefix: c.prefix}
					rooms[i].now.Store(&held{id: id, row: row, source: c.source})
				}
			}
		})
	}
	work.Wait()
	for _, room := range rooms {
		if room != nil {
			d.coming.cells.Insert(room.prefix, room)
		}
	}
	for _, p := range all.shared {
		d.foresee(p)
	}
}

// Follow ends what Begin left.
func (d *Directory) Follow() {
	d.tables.Lock()
	defer d.tables.Unlock()
	d.follow()
}
