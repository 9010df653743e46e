package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/mailweir/mailweir/appliance/spool"
)

// rereads is how often a spool that a box rewrites at the same time is read until it stands still.
const rereads = 5

// spoolChain reads a spool, and holds what must be there against what others say of its box's last records. What must be there is what follows on that which every collector has
// (Checker.From); of a spool without a position it is not known, but for who says that there is no collector. last is what the spool itself says; its seq is 0 where nothing must be there.
func spoolChain(dir, box string, ends []end, o Options) (c *Checker, last end, err error) {
	for range rereads {
		if c, last, err = spoolOnce(dir, box, ends, o); !errors.Is(err, spool.ErrRewritten) {
			break
		}
	}
	return c, last, err
}

func spoolOnce(dir, box string, ends []end, o Options) (c *Checker, last end, err error) {
	c = NewChecker()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		c.find(Finding{Kind: Damaged, Where: dir, Box: box, Text: fmt.Sprintf("there is no spool, which every box has that has run; this one made records up to %d", highest(ends))})
		return c, last, nil
	}
	var before []Item // what stands before the first record: whose it is is not known yet
	add := func(it Item) {
		if it.Damage != "" {
			c.Add(it)
			return
		}
		if box == "" && it.Box == "" {
			before = append(before, it)
			return
		}
		if it.Box != "" {
			box = it.Box
		}
		for _, b := range append(before, it) {
			b.Box = box
			c.Add(b)
		}
		before = nil
	}
	err = spool.Each(dir, func(p spool.Place) error {
		where := fmt.Sprintf("%s:%d", p.File, p.Line)
		switch {
		case p.Damage != "":
			add(Item{Where: where, Damage: p.Damage})
		case p.Record == nil:
			add(Item{Where: where, First: p.Seq + 1, Last: p.Seq, Hash: p.Hash, Anchor: true})
		default:
			add(item(where, p.Record))
		}
		return nil
	})
	if err != nil {
		return nil, last, err
	}
	for _, b := range before { // there is no record
		c.Add(b)
	}
	aside, err := spool.Unreadable(dir)
	if err != nil {
		return nil, last, err
	}
	for _, path := range aside {
		c.Add(Item{Where: path, Unread: "the box could not read it, and set it aside"})
	}
	// Positions are read behind the records: what was deleted meanwhile is before them.
	positions, damaged, err := spool.Positions(dir)
	if err != nil {
		return nil, last, err
	}
	for _, path := range damaged {
		c.Add(Item{Where: path, Unread: "how far this collector got cannot be read: from where on records must be here is not known"})
	}
	switch {
	case len(positions) > 0:
		c.From(box, slices.Min(positions), dir)
		last = c.last(box)
		c.against(ends, box)
	case len(damaged) == 0 && !o.WithoutCollector:
		c.Add(Item{Where: dir, Unread: "no collector has a position here: from where on records must be here, and up to where, is not known (--without-collector: none is configured)"})
	}
	return c, last, nil
}
