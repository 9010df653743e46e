// Package verify tells whether a chain of records is whole: that no number is missing, that each record is what the one after it says it
// was, and that they stand in their order.
//
// A record's prev is the hash of the record before (package records), and text_sum that of its own text. So a change of the structured data, the kind or the time of a
// record shows in the record after it, and one of the text in itself. Not noticed are changes of what the chain does not hold, since collectors rewrite it: priority and host name; and of
// the very last record, since nobody vouches for it yet.
package verify

import (
	"fmt"
	"slices"
)

// Item is one thing that was found, in the order in which it stands.
type Item struct {
	Where string // file:line, or file:offset

	Box         string // whose chain it is part of
	First, Last uint64 // the numbers of the record, or of those that were deleted on time and of which only the hash is left
	Prev        string // the hash that First carries, hexadecimal; "" where it is the box's first
	Hash        string // that of Last
	Anchor      bool   // only Last and Hash are known: somebody wrote down what the record was
	TextChanged bool

	Damage string // why nothing could be read here; then all above but Where is empty
	Lost   Ranges // numbers that a HEALTH record says are missing, and Target where
	Target string
}

// Ranges are numbers in ascending order: from, to, from, to ...
type Ranges []uint64

// What a Finding tells.
const (
	Gap       = "gap"       // numbers are missing
	Edited    = "edited"    // a record is not what it was
	Reordered = "reordered" // a record stands behind one that came after it
	Conflict  = "conflict"  // a number stands for two records
	Damaged   = "damaged"   // something cannot be read
)

// Finding is something that is not as it should be.
type Finding struct {
	Kind  string `json:"kind"`
	Where string `json:"where"`
	Box   string `json:"box,omitempty"`
	First uint64 `json:"first_seq,omitempty"`
	Last  uint64 `json:"last_seq,omitempty"`
	Text  string `json:"text"`

	order int
}

// Report is what a Checker found.
type Report struct {
	Records    int       `json:"records"`    // different ones
	Deleted    int       `json:"deleted"`    // of which only the hash is left
	Duplicates int       `json:"duplicates"` // the same record, once more
	Boxes      []Box     `json:"boxes"`
	Findings   []Finding `json:"findings"` // in the order in which they stand
}

// Whole tells whether nothing was found.
func (r *Report) Whole() bool { return len(r.Findings) == 0 }

// Box is one box's chain.
type Box struct {
	Box   string `json:"box"`
	First uint64 `json:"first_seq"`
	Last  uint64 `json:"last_seq"`
}

// Checker takes items in their order. It remembers some 150 bytes of each record.
type Checker struct {
	report Report
	boxes  map[string]*chain
	order  int
}

type chain struct {
	box      string
	entries  map[uint64]entry
	first    uint64
	max      uint64
	maxWhere string
	gaps     []gap
	waiting  map[uint64]waiting // records whose predecessor had not come, by its number
	broken   map[uint64]broken  // links that do not fit, by the number of the record that carries prev
	stated   []stated
}

type entry struct {
	hash  string // the first 16 bytes
	where string
}

type gap struct {
	from, to      uint64
	before, after string // where the records around it stand
	order         int
}

type waiting struct {
	prev, where string
	order       int
}

type broken struct {
	where, before string
	order         int
}

type stated struct {
	lost   Ranges
	by     uint64
	target string
}

// NewChecker makes one.
func NewChecker() *Checker { return &Checker{boxes: map[string]*chain{}} }

const kept = 32 // hexadecimal digits of a hash that are remembered

func short(hash string) string { return hash[:min(len(hash), kept)] }

// Add takes the next item.
func (c *Checker) Add(it Item) {
	c.order++
	if it.Damage != "" {
		c.find(Finding{Kind: Damaged, Where: it.Where, Text: it.Damage, order: c.order})
		return
	}
	b := c.boxes[it.Box]
	if b == nil {
		b = &chain{box: it.Box, entries: map[uint64]entry{}, first: it.First, waiting: map[uint64]waiting{}, broken: map[uint64]broken{}}
		c.boxes[it.Box] = b
		b.max = it.First - 1
	}
	if it.Anchor {
		if e, known := b.entries[it.Last]; known && e.hash != short(it.Hash) {
			c.find(Finding{Kind: Edited, Where: e.where, Box: it.Box, First: it.Last, Last: it.Last, order: c.order,
				Text: fmt.Sprintf("record %d is not what %s says it was", it.Last, it.Where)})
		} else if !known && it.Last > b.max && b.max >= b.first {
			b.gaps = append(b.gaps, gap{b.max + 1, it.Last, b.maxWhere, it.Where, c.order})
			b.max, b.maxWhere = it.Last, it.Where
		} else if !known {
			b.entries[it.Last] = entry{short(it.Hash), it.Where}
		}
		return
	}
	if len(it.Lost) > 0 {
		b.stated = append(b.stated, stated{it.Lost, it.First, it.Target})
	}
	if it.TextChanged {
		c.find(Finding{Kind: Edited, Where: it.Where, Box: it.Box, First: it.First, Last: it.Last, order: c.order,
			Text: fmt.Sprintf("the text of record %d was changed; its data were not", it.First)})
	}
	if e, known := b.entries[it.Last]; known && it.Last <= b.max {
		if e.hash == short(it.Hash) {
			c.report.Duplicates++
			return
		}
		c.find(Finding{Kind: Conflict, Where: it.Where, Box: it.Box, First: it.Last, Last: it.Last, order: c.order,
			Text: fmt.Sprintf("record %d stands here and at %s, and the two differ", it.Last, e.where)})
		return
	}
	b.take(c, &it)
}

// take adds what was not there before.
func (b *chain) take(c *Checker, it *Item) {
	if it.First == it.Last {
		c.report.Records++
	} else {
		c.report.Deleted += int(it.Last - it.First + 1)
	}
	b.entries[it.Last] = entry{short(it.Hash), it.Where}
	b.first = min(b.first, it.First)
	switch {
	case it.First > b.max+1:
		b.gaps = append(b.gaps, gap{b.max + 1, it.First - 1, b.maxWhere, it.Where, c.order})
	case it.First <= b.max:
		c.find(Finding{Kind: Reordered, Where: it.Where, Box: b.box, First: it.First, Last: it.Last, order: c.order,
			Text: fmt.Sprintf("record %d stands behind record %d", it.First, b.max)})
		b.fill(it.First, it.Last)
	}
	if it.Last > b.max {
		b.max, b.maxWhere = it.Last, it.Where
	}
	// The link to the one before, and the one from the one after, if that came first.
	if e, known := b.entries[it.First-1]; known {
		if e.hash != short(it.Prev) {
			b.broken[it.First] = broken{it.Where, e.where, c.order}
		}
	} else if it.First > 1 {
		b.waiting[it.First-1] = waiting{it.Prev, it.Where, c.order}
	}
	if w, waits := b.waiting[it.Last]; waits {
		delete(b.waiting, it.Last)
		if short(w.prev) != short(it.Hash) {
			b.broken[it.Last+1] = broken{w.where, it.Where, w.order}
		}
	}
}

// fill takes numbers out of the gaps.
func (b *chain) fill(from, to uint64) {
	var left []gap
	for _, g := range b.gaps {
		if to < g.from || from > g.to {
			left = append(left, g)
			continue
		}
		if g.from < from {
			low := g
			low.to = from - 1
			left = append(left, low)
		}
		if g.to > to {
			high := g
			high.from = to + 1
			left = append(left, high)
		}
	}
	b.gaps = left
}

func (c *Checker) find(f Finding) { c.report.Findings = append(c.report.Findings, f) }

// Report is what was found; nothing is added afterwards.
func (c *Checker) Report() Report {
	for _, b := range c.boxes {
		c.report.Boxes = append(c.report.Boxes, Box{b.box, b.first, b.max})
		for _, g := range b.gaps {
			f := Finding{Kind: Gap, Where: g.after, Box: b.box, First: g.from, Last: g.to, order: g.order}
			f.Text = fmt.Sprintf("records %d to %d are missing", g.from, g.to)
			if g.from == g.to {
				f.Text = fmt.Sprintf("record %d is missing", g.from)
			}
			if g.before != "" {
				f.Text += ", behind " + g.before
			}
			if by := b.statedBy(g.from, g.to); by != "" {
				f.Text += "; " + by
			}
			c.find(f)
		}
		for seq, l := range b.broken {
			f := Finding{Kind: Edited, Where: l.before, Box: b.box, First: seq - 1, Last: seq - 1, order: l.order,
				Text: fmt.Sprintf("record %d was changed: record %d at %s says that it was another", seq-1, seq, l.where)}
			if _, too := b.broken[seq+1]; too { // what the next one says of this one does not fit either: it is this one, in its prev
				f.Where, f.First, f.Last = l.where, seq, seq
				f.Text = fmt.Sprintf("record %d was changed: it fits neither the one before nor the one after", seq)
			} else if _, too := b.broken[seq-1]; too {
				continue // told by that one
			} else if seq == b.max {
				f.Text += "; or that one was, since it is the last"
			}
			c.find(f)
		}
	}
	slices.SortFunc(c.report.Boxes, func(a, b Box) int { return slices.Compare([]byte(a.Box), []byte(b.Box)) })
	slices.SortStableFunc(c.report.Findings, func(a, b Finding) int { return a.order - b.order })
	return c.report
}

// statedBy says which record tells that all these numbers are missing, "" if none does.
func (b *chain) statedBy(from, to uint64) string {
	for _, s := range b.stated {
		for i := 0; i+1 < len(s.lost); i += 2 {
			if s.lost[i] <= from && to <= s.lost[i+1] {
				return fmt.Sprintf("record %d says so (record_loss %s)", s.by, s.target)
			}
		}
	}
	return ""
}
