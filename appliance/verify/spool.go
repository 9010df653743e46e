package verify

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mailweir/mailweir/appliance/spool"
)

// rereads is how often a spool that a box rewrites at the same time is read until it stands still.
const rereads = 5

// Spool checks a spool: from what every collector has to its box's head, where that is known. Without a collector the box keeps nothing there, and nothing is asked for.
func Spool(dir string, head Head) (r Report, err error) {
	for range rereads {
		if r, err = spoolOnce(dir, head); !errors.Is(err, spool.ErrRewritten) {
			break
		}
	}
	return r, err
}

func spoolOnce(dir string, head Head) (Report, error) {
	c := NewChecker()
	box := head.Box
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
	err := spool.Each(dir, func(p spool.Place) error {
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
		return Report{}, err
	}
	for _, b := range before { // there is no record
		c.Add(b)
	}
	aside, err := spool.Unreadable(dir)
	if err != nil {
		return Report{}, err
	}
	for _, path := range aside {
		c.Add(Item{Where: path, Unread: "the box could not read it, and set it aside"})
	}
	// Positions are read behind the records: what was deleted meanwhile is before them.
	positions, damaged, err := spool.Positions(dir)
	if err != nil {
		return Report{}, err
	}
	for _, path := range damaged {
		c.Add(Item{Where: path, Unread: "how far this collector got cannot be read: from where on records must be here is not known"})
	}
	switch {
	case len(positions) > 0:
		c.From(box, slices.Min(positions), dir)
		if head.Seq > 0 {
			c.Add(Item{Where: stateName, Box: box, First: head.Seq + 1, Last: head.Seq, Hash: head.Hash, Anchor: true})
		}
	case len(damaged) == 0:
		c.Note("no collector has a position in %s: what is missing there at the beginning or the end cannot be told", dir)
	}
	return c.Report(), nil
}
