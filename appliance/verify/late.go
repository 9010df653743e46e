package verify

import "fmt"

// leap is a record that numbers are missing before. If those come behind it, one after the other, it is the record that stands in the wrong place, and not all of them.
type leap struct {
	seq   uint64
	item  Item
	order int
	after uint64 // the highest number before it
	where string
	first bool // it is the first of its box
	late  []Finding
}

// early is a record that stood before its place.
type early struct {
	item  Item
	order int
}

// leaps notes a record that numbers are missing before.
func (b *chain) leaps(c *Checker, it *Item, after uint64) {
	b.landed(c)
	if it.First == it.Last && it.First > after+1 {
		b.leap = &leap{it.First, *it, c.order, after, b.maxWhere, after == 0 && b.max == it.First-1, nil}
	}
}

// landed takes back the doubt about the last leap: what came late did.
func (b *chain) landed(c *Checker) {
	if b.leap != nil {
		c.report.Findings = append(c.report.Findings, b.leap.late...)
		b.leap = nil
	}
}

// late takes a record that stands behind one of a higher number.
func (b *chain) late(c *Checker, it *Item) {
	f := Finding{Kind: Reordered, Where: it.Where, Box: b.box, First: it.First, Last: it.Last, order: c.order, cause: "late",
		Text: fmt.Sprintf("record %d stands behind record %d", it.First, b.max)}
	l := b.leap
	switch {
	case l == nil || it.First <= l.after || len(l.late) > 0 && l.late[0].Last+1 != it.First:
		b.landed(c)
		c.find(f)
	case len(l.late) == 0:
		l.late = append(l.late, f)
	default: // the second that goes on as if that record were not there
		b.takeBack(c, l)
		return
	}
	b.fill(it.First, it.Last)
	if it.Last < b.first-1 {
		b.gaps = append(b.gaps, gap{it.Last + 1, b.first - 1, it.Where, b.firstWhere, c.order})
	}
}

// takeBack names the record that leapt, and goes on as before it. The item that is being taken is the second behind it.
func (b *chain) takeBack(c *Checker, l *leap) {
	before := l.late[0]
	c.find(Finding{Kind: Reordered, Where: l.item.Where, Box: b.box, First: l.seq, Last: l.seq, order: l.order,
		Text: fmt.Sprintf("record %d stands before record %d", l.seq, before.First)})
	b.leap = nil
	delete(b.entries, l.seq)
	delete(b.waiting, l.seq-1)
	delete(b.broken, l.seq)
	c.report.Records--
	b.early[l.seq] = early{l.item, l.order}
	b.fill(l.after+1, l.seq-1)
	if l.first {
		b.first, b.firstWhere = before.First, before.Where
	} else if before.First > l.after+1 {
		b.gaps = append(b.gaps, gap{l.after + 1, before.First - 1, l.where, before.Where, before.order})
	}
	b.max, b.maxWhere = before.Last, before.Where
}

// arrived puts records that stood before their place where they belong.
func (b *chain) arrived(c *Checker) {
	e, waits := b.early[b.max+1]
	if waits {
		delete(b.early, b.max+1)
		now := c.order
		c.order = e.order
		b.take(c, &e.item)
		c.order = now
	}
}
