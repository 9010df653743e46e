package verify

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
)

// journalChain reads a journal, and holds it against what others say of its box's last records. What was deleted on time left its hash there, so that the chain goes on; of what was deleted
// longer ago the journal says where it ended. What it says it never got is not known here. last is what the journal itself says.
func journalChain(dir, box string, ends []end) (c *Checker, last end, err error) {
	c = NewChecker()
	ends = c.without(dir, box, ends)
	r, err := journal.Read(dir)
	if errors.Is(err, fs.ErrNotExist) && c.none {
		return c, last, nil // which was said
	} else if errors.Is(err, fs.ErrNotExist) {
		f := Finding{Kind: Damaged, Where: dir, Box: box, Text: "there is no journal"}
		if n := highest(ends); n > 0 {
			f.Kind, f.First, f.Last, f.Text = Gap, 1, n, fmt.Sprintf("there is no journal, and the box made records up to %d", n)
		}
		c.find(f)
		return c, last, nil
	} else if err != nil {
		c.Add(Item{Where: dir, Unread: err.Error()})
		return c, last, nil
	}
	var before []Item // stubs before the first record: whose they are is not known yet
	err = r.Each(journal.Query{}, func(it *journal.Item) error {
		where := fmt.Sprintf("%s:%d", it.File, it.Offset)
		switch {
		case it.Damage != "":
			c.Add(Item{Where: where, Damage: it.Damage})
		case it.Stub != nil:
			s := stub(where, box, it.Stub)
			if box == "" && s.Damage == "" {
				before = append(before, s)
				return nil
			}
			c.Add(s)
		default:
			rec := &it.Record
			box = rec.Box
			for _, s := range before {
				s.Box = box
				c.Add(s)
			}
			before = nil
			i := Item{Where: where, Box: box, First: rec.Seq, Last: rec.Seq, Prev: rec.Value("prev"), Hash: rec.HexHash()}
			if !rec.TextKept() {
				i.Text = TextChanged
			}
			if rec.Kind == records.KindHealth && rec.Value("target") == ofJournal { // what spool and collectors lost it has all the same
				i.Lost, i.LostWhy = records.Lost(rec.Value), lossWords(rec.Value)
			}
			c.Add(i)
		}
		return nil
	})
	if err != nil {
		return nil, last, err
	}
	for _, s := range before { // there is no record
		c.Add(s)
	}
	last = c.last(box)
	if _, err := journal.LastOf(filepath.Dir(filepath.Clean(dir))); err != nil {
		c.Add(Item{Where: dir, Unread: fmt.Sprintf("what the journal had when the box was last stopped is not known: %v", err)})
	}
	c.begins(dir, box)
	if len(c.boxes) == 0 && highest(ends) > 0 {
		c.From(box, 0, dir)
	}
	c.against(ends, box)
	return c, last, nil
}

// without looks whether the box says that it has had no journal since some record: then what others say of later ones is nothing that a journal must have.
func (c *Checker) without(dir, box string, ends []end) (left []end) {
	none, said, err := journal.NoneOf(filepath.Dir(filepath.Clean(dir)))
	switch {
	case err != nil:
		c.Add(Item{Where: dir, Unread: fmt.Sprintf("whether the box had a journal at all is not known: %v", err)})
	case said:
		c.none = true
		c.find(Finding{Kind: Unread, Where: dir, Box: box, First: none.After + 1, Last: max(highest(ends), none.After+1),
			Text: fmt.Sprintf("the box says that it has had no journal since record %d (%s): of the records behind it nothing is known here", none.After, none.Why)})
		left = append(left, end{Head{Box: box, Seq: none.After}, "what the box says of its last journal"})
	}
	for _, e := range ends {
		if !said || e.Seq <= none.After {
			left = append(left, e)
		}
	}
	return left
}

// begins holds the first record of a journal against up to where the journal says that it deleted everything on time. It is read behind the records: what was deleted meanwhile is before them.
func (c *Checker) begins(dir, box string) {
	b := c.boxes[box]
	begin, err := journal.BeginOf(dir)
	switch {
	case err == nil:
		where := fmt.Sprintf("the begin of %s", dir)
		c.From(box, begin.After, where)
		c.Add(Item{Where: where, Box: box, First: begin.After + 1, Last: begin.After, Hash: begin.Hash, Anchor: true})
	case b == nil || b.first <= 1:
	case errors.Is(err, fs.ErrNotExist):
		c.Add(Item{Where: b.firstWhere, Unread: fmt.Sprintf("the journal begins with record %d and does not say up to where it deleted on time: whether records before it were taken away is not known", b.first)})
	default:
		c.Add(Item{Where: b.firstWhere, Unread: fmt.Sprintf("the journal begins with record %d, and whether records before it were taken away is not known: %v", b.first, err)})
	}
}

// stub is what stands where records were: deleted on time, or never written.
func stub(where, box string, s *journal.Stub) Item {
	it := Item{Where: where, Box: box, First: s.First, Last: s.Last, Prev: hexOf(s.Prev), Hash: hexOf(s.Hash)}
	switch {
	case s.First == 0 || s.Last < s.First:
		return Item{Where: where, Damage: fmt.Sprintf("it says that records %d to %d were here", s.First, s.Last)}
	case s.Why == journal.Lost:
		it.Anchor, it.Never = true, true
	}
	return it
}

func hexOf(b [32]byte) string {
	if b == ([32]byte{}) {
		return ""
	}
	return hex.EncodeToString(b[:])
}
