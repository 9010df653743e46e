package verify

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
)

// Journal checks a journal, up to its box's head where that is known. What was deleted on time left its hash there, so that the chain goes on; what was deleted longer ago left
// nothing, so that the first number says nothing of those before.
func Journal(dir string, head Head) (Report, error) {
	c := NewChecker()
	box := head.Box
	r, err := journal.Read(dir)
	if errors.Is(err, fs.ErrNotExist) && head.Seq > 0 {
		c.find(Finding{Kind: Gap, Where: dir, Box: box, First: 1, Last: head.Seq, Text: fmt.Sprintf("there is no journal, and the box made records up to %d", head.Seq)})
		return c.Report(), nil
	} else if err != nil {
		return Report{}, err
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
				i.Lost, i.Target = lost(rec.Value)
			}
			c.Add(i)
		}
		return nil
	})
	if err != nil {
		return Report{}, err
	}
	for _, s := range before { // there is no record
		c.Add(s)
	}
	if head.Seq > 0 {
		if len(c.boxes) == 0 {
			c.From(box, 0, dir)
		}
		c.Add(Item{Where: stateName, Box: box, First: head.Seq + 1, Last: head.Seq, Hash: head.Hash, Anchor: true})
	}
	return c.Report(), nil
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
