package verify

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
)

// journalChain reads a journal, and holds it against what others say of its box's last records. What was deleted on time left its hash there, so that the chain goes on; what was deleted
// longer ago left nothing, so that the first number says nothing of those before. last is what the journal itself says.
func journalChain(dir, box string, ends []end) (c *Checker, last end, err error) {
	c = NewChecker()
	r, err := journal.Read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		f := Finding{Kind: Damaged, Where: dir, Box: box, Text: "there is no journal"}
		if n := highest(ends); n > 0 {
			f.Kind, f.First, f.Last, f.Text = Gap, 1, n, fmt.Sprintf("there is no journal, and the box made records up to %d", n)
		}
		c.find(f)
		return c, last, nil
	} else if err != nil {
		return nil, last, err
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
			if rec.Kind == records.KindHealth {
				i.Lost, i.LostWhy = lost(rec.Value)
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
	if len(c.boxes) == 0 && highest(ends) > 0 {
		c.From(box, 0, dir)
	}
	c.against(ends, box)
	return c, last, nil
}

// stub is what stands where records were: deleted on time, or never written.
func stub(where, box string, s *journal.Stub) Item {
	it := Item{Where: where, Box: box, First: s.First, Last: s.Last, Prev: hexOf(s.Prev), Hash: hexOf(s.Hash)}
	switch {
	case s.First == 0 || s.Last < s.First:
		return Item{Where: where, Damage: fmt.Sprintf("it says that records %d to %d were here", s.First, s.Last)}
	case s.Why == journal.Lost:
		it.Anchor = true
	}
	return it
}

func hexOf(b [32]byte) string {
	if b == ([32]byte{}) {
		return ""
	}
	return hex.EncodeToString(b[:])
}
