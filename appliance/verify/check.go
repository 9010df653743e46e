package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// Item is one thing that was found, in the order in which it stands.
type Item struct {
	Where string // file:line, or file:offset

	Box         string // whose chain it is part of
	First, Last uint64 // the numbers of the record, or of those that were deleted on time and of which only the hash is left
	Prev        string // the hash that First carries, hexadecimal; "" where it is the box's first
	Hash        string // that of Last
	Anchor      bool   // only Last and Hash, if it is not "", are known: somebody wrote down what the record was. First to Last are said to be missing, none if First is higher
	Never       bool   // of an anchor: the records from First on never were there, as what is read says itself
	Text        Text

	Damage, Unread string         // why nothing could be read here, of a record or of something that nobody knows; then all above but Where is empty
	Lost           records.Ranges // numbers that a HEALTH record says are missing, and LostWhy what it says and where
	LostWhy        string
	LostOf         []string // the collectors that miss them, as the record names them; nil: it names none

	twiceAfter uint64 // numbers behind it may have been given to other records before this one, as it says itself; 0: it says nothing

	doubt records.Ranges // numbers of which a HEALTH record says that the collector it names may be missing some

	cause string    // of Unread: the same for all that have the same
	at    time.Time // of a line: when the record was made
}

// Text is how the text of a record for people is.
type Text uint8

// The zero value is for what has no text, or the one it was made with.
const (
	TextKept Text = iota
	TextChanged
	TextMissing
	TextTorn // the end of the line is missing, as where a collector died; the record may come again, whole
)

// Checker takes items in their order. It remembers some 150 bytes of each record.
type Checker struct {
	report Report
	boxes  map[string]*chain
	order  int
	none   bool // the box says that it has no journal

	log       bool            // what is read is a collector's
	collector string          // whose, as the box calls it; "": that is not known
	others    map[string]bool // collectors whose losses were taken for a reason though it is not known whose log it is
}

type chain struct {
	box        string
	begun      bool
	entries    map[uint64]entry
	first      uint64
	firstWhere string
	max        uint64
	maxWhere   string
	gaps       []gap
	waiting    map[uint64]waiting // records whose predecessor had not come, by its number
	broken     map[uint64]broken  // links that do not fit, by the number of the record that carries prev
	stated     []stated
	twice      []twice
	torn       map[uint64]place // records of which so far only the beginning has come
	textless   map[uint64]place // records of which the text was left out
	texts      int              // and how many have theirs
	quoted     map[uint64]string
	leap       *leap
	early      map[uint64]early // records that stand before their place, until that comes
	had        uint64           // records up to here need not be there: see From
}

type place struct {
	where string
	order int
}

type entry struct {
	hash   string // the first 16 bytes
	where  string
	anchor bool // only somebody's word for it
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
	anchor        bool // before is only somebody's word
	order         int
}

// NewChecker makes one.
func NewChecker() *Checker { return &Checker{boxes: map[string]*chain{}} }

const kept = 32 // hexadecimal digits of a hash that are remembered

func short(hash string) string { return hash[:min(len(hash), kept)] }

func (c *Checker) chain(box string) *chain {
	b := c.boxes[box]
	if b == nil {
		b = &chain{box: box, entries: map[uint64]entry{}, waiting: map[uint64]waiting{}, broken: map[uint64]broken{}, torn: map[uint64]place{}, textless: map[uint64]place{},
			quoted: map[uint64]string{}, early: map[uint64]early{}}
		c.boxes[box] = b
	}
	return b
}

// Add takes the next item.
func (c *Checker) Add(it Item) {
	c.order++
	switch {
	case it.Damage != "":
		c.find(Finding{Kind: Damaged, Where: it.Where, Text: it.Damage, order: c.order})
		return
	case it.Unread != "":
		c.find(Finding{Kind: Unread, Where: it.Where, Text: it.Unread, cause: it.cause, order: c.order})
		return
	}
	b := c.chain(it.Box)
	if it.Anchor {
		b.anchor(c, &it)
		return
	}
	if !b.begun {
		b.begin(it.First, it.Where)
		b.leaps(c, &it, 0)
	}
	if len(it.Lost) > 0 {
		b.stated = append(b.stated, stated{it.Lost, it.First, it.LostWhy, false, it.LostOf})
	}
	if len(it.doubt) > 0 {
		b.stated = append(b.stated, stated{it.doubt, it.First, it.LostWhy, true, it.LostOf})
	}
	if it.twiceAfter > 0 {
		b.twice = append(b.twice, twice{it.First, it.twiceAfter})
	}
	if e, known := b.entries[it.Last]; known && it.Last <= b.max {
		switch {
		case e.hash == short(it.Hash) && !e.anchor:
			c.report.Duplicates++
			b.text(c, &it, true)
			return
		case e.hash != short(it.Hash) && e.anchor:
			c.find(Finding{Kind: Edited, Where: it.Where, Box: it.Box, First: it.Last, Last: it.Last, order: c.order,
				Text: fmt.Sprintf("record %d is not what %s says it was", it.Last, e.where)})
		case e.hash != short(it.Hash):
			c.find(Finding{Kind: Conflict, Where: it.Where, Box: it.Box, First: it.Last, Last: it.Last, order: c.order,
				Text: fmt.Sprintf("record %d stands here and at %s, and the two differ", it.Last, e.where)})
			return
		}
	}
	b.text(c, &it, false)
	b.take(c, &it)
}

// begin notes the first number that is there.
func (b *chain) begin(first uint64, where string) {
	if !b.begun {
		b.begun, b.first, b.max, b.firstWhere = true, first, first-1, where
	}
}

// anchor takes somebody's word for what a record was.
func (b *chain) anchor(c *Checker, it *Item) {
	if !b.begun {
		b.begin(min(it.First, it.Last+1), it.Where)
	}
	e, known := b.entries[it.Last]
	switch {
	case known:
		if it.Hash != "" && e.hash != short(it.Hash) {
			c.find(Finding{Kind: Edited, Where: e.where, Box: it.Box, First: it.Last, Last: it.Last, order: c.order,
				Text: fmt.Sprintf("record %d is not what %s says it was", it.Last, it.Where)})
		}
		return
	case it.Last > b.max && it.Never:
		b.landed(c)
		from := max(it.First, b.max+1)
		if from > b.max+1 {
			b.gaps = append(b.gaps, gap{b.max + 1, from - 1, b.maxWhere, it.Where, c.order})
		}
		c.find(Finding{Kind: Unread, Where: it.Where, Box: it.Box, First: from, Last: it.Last, order: c.order, cause: "never",
			Text: fmt.Sprintf("records %d to %d were never here, as the journal says itself: what they said is not known", from, it.Last)})
		b.max, b.maxWhere = it.Last, it.Where
	case it.Last > b.max:
		b.landed(c)
		b.gaps = append(b.gaps, gap{b.max + 1, it.Last, b.maxWhere, it.Where, c.order})
		b.max, b.maxWhere = it.Last, it.Where
	}
	if it.Hash != "" {
		b.entries[it.Last] = entry{short(it.Hash), it.Where, true}
		b.link(it.Last, it.Hash, it.Where, true)
	}
}

// text looks at what became of a record's text; again: the record is there already.
func (b *chain) text(c *Checker, it *Item, again bool) {
	at := place{it.Where, c.order}
	_, torn := b.torn[it.First]
	if it.Text != TextTorn {
		delete(b.torn, it.First)
	}
	switch it.Text {
	case TextKept:
		b.texts++
	case TextTorn:
		if !again || torn {
			b.torn[it.First] = at
		}
	case TextMissing:
		b.textless[it.First] = at
	case TextChanged:
		c.find(Finding{Kind: Edited, Where: it.Where, Box: it.Box, First: it.First, Last: it.Last, order: c.order,
			Text: fmt.Sprintf("the text of record %d was changed; its data were not", it.First)})
	}
}

// take adds what was not there before.
func (b *chain) take(c *Checker, it *Item) {
	if it.First == it.Last {
		c.report.Records++
	} else {
		c.report.Deleted += int(it.Last - it.First + 1)
	}
	b.entries[it.Last] = entry{short(it.Hash), it.Where, false}
	switch {
	case it.First > b.max && it.First-b.max > 1:
		b.leaps(c, it, b.max)
		b.gaps = append(b.gaps, gap{b.max + 1, it.First - 1, b.maxWhere, it.Where, c.order})
	case it.First > b.max:
		if b.leap == nil || b.leap.seq != it.First { // not the first of all itself
			b.landed(c)
		}
	default:
		b.late(c, it)
	}
	b.first = min(b.first, it.First)
	if it.Last > b.max {
		b.max, b.maxWhere = it.Last, it.Where
	}
	if e, known := b.entries[it.First-1]; known {
		if e.hash != short(it.Prev) {
			b.broken[it.First] = broken{it.Where, e.where, e.anchor, c.order}
		}
	} else if it.First > 1 {
		b.waiting[it.First-1] = waiting{it.Prev, it.Where, c.order}
	}
	b.link(it.Last, it.Hash, it.Where, false)
	b.arrived(c)
}

// link looks whether the record after seq, if that came first, follows on it.
func (b *chain) link(seq uint64, hash, where string, anchor bool) {
	if w, waits := b.waiting[seq]; waits {
		delete(b.waiting, seq)
		if short(w.prev) != short(hash) {
			b.broken[seq+1] = broken{w.where, where, anchor, w.order}
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

// From says that all records of a box after a number must be there, and that those up to it need not, whoever took them away: nobody waits for them any more. So no number up to it
// is a gap. It is said behind the last item.
func (c *Checker) From(box string, after uint64, where string) {
	c.order++
	b := c.chain(box)
	b.had = after
	switch {
	case !b.begun:
		b.begin(after+1, where)
		b.maxWhere = where
	case b.first > after+1:
		b.gaps = append(b.gaps, gap{after + 1, b.first - 1, "", b.firstWhere, 0})
		b.first = after + 1
	}
}

// maxQuoted bounds how many quotations are remembered.
const maxQuoted = 10_000

// Quote notes where a record is quoted by something that is none. It counts for nothing but words.
func (c *Checker) Quote(box string, seq uint64, where string) {
	if b := c.chain(box); len(b.quoted) < maxQuoted {
		b.quoted[seq] = where
	}
}

// Note adds a note to the report.
func (c *Checker) Note(format string, args ...any) {
	c.report.Notes = append(c.report.Notes, fmt.Sprintf(format, args...))
}

func (c *Checker) find(f Finding) { c.report.Findings = append(c.report.Findings, f) }

// Report is what was found; nothing is added afterwards.
func (c *Checker) Report() Report {
	for _, b := range c.boxes {
		if !b.begun {
			continue // of which there are only quotations
		}
		b.landed(c)
		c.report.Boxes = append(c.report.Boxes, Box{b.box, b.first, b.max})
		for _, g := range b.gaps {
			if g.from = max(g.from, b.had+1); g.from <= g.to {
				c.find(b.missing(c, g))
			}
		}
		for seq, l := range b.broken {
			if f, told := b.changed(seq, l); told {
				c.find(f)
			}
		}
		for seq, at := range b.torn {
			c.find(Finding{Kind: Edited, Where: at.where, Box: b.box, First: seq, Last: seq, order: at.order,
				Text: fmt.Sprintf("the text of record %d is cut off, and it does not come again", seq)})
		}
		b.withoutText(c)
		for i := range c.report.Findings {
			b.again(&c.report.Findings[i])
		}
	}
	if len(c.others) > 0 {
		c.Note("whose log this is is not known: what is said of %s explains a gap only where the log is his (--collector URL)", strings.Join(slices.Sorted(maps.Keys(c.others)), ", "))
	}
	slices.SortFunc(c.report.Boxes, func(a, b Box) int { return strings.Compare(a.Box, b.Box) })
	slices.SortStableFunc(c.report.Findings, func(a, b Finding) int { return a.order - b.order })
	return c.report
}

// withoutText tells of records without their text: of each, or at once where not one has its own, as with a collector that keeps none.
func (b *chain) withoutText(c *Checker) {
	all := b.texts == 0 && len(b.textless) > 1
	first := Finding{Kind: Unread, Box: b.box, Text: fmt.Sprintf("not one of the %d records has its text: what the texts were is not known (--without-text: this collector keeps none)", len(b.textless))}
	for seq, at := range b.textless {
		f := Finding{Kind: Edited, Where: at.where, Box: b.box, First: seq, Last: seq, order: at.order, Text: fmt.Sprintf("the text of record %d was taken away", seq)}
		if !all {
			c.find(f)
		} else if first.Where == "" || at.order < first.order {
			first.Where, first.order = at.where, at.order
		}
	}
	if all {
		c.find(first)
	}
}

// missing tells of a gap.
func (b *chain) missing(c *Checker, g gap) Finding {
	f := Finding{Kind: Gap, Where: g.after, Box: b.box, First: g.from, Last: g.to, order: g.order}
	f.Text = fmt.Sprintf("records %d to %d are missing", g.from, g.to)
	if g.from == g.to {
		f.Text = fmt.Sprintf("record %d is missing", g.from)
	}
	if g.before != "" {
		f.Text += ", behind " + g.before
	}
	by, cause, of := b.statedBy(g.from, g.to, c.collector)
	f.cause = cause
	switch {
	case by != "":
		f.Text += "; " + by
		c.unsure(of)
	case c.collector != "":
		if by, _, _ = b.statedBy(g.from, g.to, ""); by != "" {
			f.Text += fmt.Sprintf("; nothing says so of %s; of others, %s", c.collector, by)
		}
	}
	for seq, where := range b.quoted {
		if g.from <= seq && seq <= g.to {
			f.Text += fmt.Sprintf("; %s quotes a record %d behind other words", where, seq)
			break
		}
	}
	return f
}

// changed tells of a link that does not fit; false where another finding tells it.
func (b *chain) changed(seq uint64, l broken) (Finding, bool) {
	f := Finding{Kind: Edited, Where: l.before, Box: b.box, First: seq - 1, Last: seq - 1, order: l.order,
		Text: fmt.Sprintf("record %d was changed: record %d at %s says that it was another", seq-1, seq, l.where)}
	if l.anchor {
		f.Text = fmt.Sprintf("record %d was another than is said here, or record %d at %s was changed", seq-1, seq, l.where)
	}
	if _, too := b.broken[seq+1]; too { // what the next one says of this one does not fit either: it is this one, in its prev
		f.Where, f.First, f.Last = l.where, seq, seq
		f.Text = fmt.Sprintf("record %d was changed: it fits neither the one before nor the one after", seq)
	} else if _, too := b.broken[seq-1]; too {
		return f, false // told by that one
	} else if seq == b.max && !l.anchor {
		f.Text += "; or that one was, since it is the last"
	}
	return f, true
}
