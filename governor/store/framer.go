package store

import (
	"encoding/binary"
	"fmt"

	"github.com/mailweir/mailweir/governor"
)

// writeEvery is how many bytes of frames are given to the disk at once.
const writeEvery = 256 << 10

// maxState is the most that stands before plans and records: four varints.
const maxState = 4 * binary.MaxVarintLen64

// A payload is the governor's state, the plans that its records are of, and the records. So each frame can be read
// without any other, and what all subscribers of a plan share is in it once.
//
// A time of the governor's clock is written as its distance to the clock of the frame, since that is small.

// framer makes frames of records. It is reused, for its memory.
type framer struct {
	out     []byte // frames that are not yet given away
	plans   []byte // of the frame that is being made
	records []byte
	count   int
	shapes  []shape
}

// shape is a plan as far as records depend on it.
type shape struct {
	plan    string
	budgets []governor.Budget
}

func (s *shape) is(of *governor.Saved) bool {
	if s.plan != of.Plan || len(s.budgets) != len(of.Budgets) {
		return false
	}
	for i := range s.budgets {
		if s.budgets[i] != of.Budgets[i].Budget {
			return false
		}
	}
	return true
}

// encode gives frames with all of subs to write, at least one, each with st.
func (f *framer) encode(salt uint32, st governor.SavedState, subs []governor.Saved, write func([]byte) error) error {
	f.reset()
	f.out = f.out[:0]
	for i := range subs {
		f.add(st, &subs[i])
		n := len(f.records) + len(f.plans)
		if n > maxPayload-maxState {
			return fmt.Errorf("subscriber %.100q: its record is too long (%d bytes)", subs[i].Subscriber, n)
		} else if n < frameFull {
			continue
		}
		f.frame(salt, st, kindRecords)
		if len(f.out) >= writeEvery {
			if err := write(f.out); err != nil {
				return err
			}
			f.out = f.out[:0]
		}
	}
	if f.count > 0 || len(subs) == 0 {
		f.frame(salt, st, kindRecords)
	}
	if len(f.out) == 0 {
		return nil
	}
	return write(f.out)
}

// end is the frame that ends a snapshot.
func (f *framer) end(salt uint32, st governor.SavedState) []byte {
	f.reset()
	f.out = f.out[:0]
	f.frame(salt, st, kindEnd)
	return f.out
}

func (f *framer) reset() {
	f.plans, f.records, f.shapes, f.count = f.plans[:0], f.records[:0], f.shapes[:0], 0
}

// frame puts what was added into a frame.
func (f *framer) frame(salt uint32, st governor.SavedState, kind byte) {
	from := len(f.out)
	f.out = append(f.out, make([]byte, headerLen)...)
	f.out = appendState(f.out, st)
	f.out = binary.AppendUvarint(f.out, uint64(len(f.shapes)))
	f.out = append(f.out, f.plans...)
	f.out = append(f.out, f.records...)
	seal(f.out, from, kind, f.count, salt)
	f.reset()
}

func (f *framer) add(st governor.SavedState, s *governor.Saved) {
	f.count++
	at := -1
	if !s.Gone {
		if at = f.shape(s); at < 0 {
			at = f.newShape(s)
		}
	}
	f.records = appendRecord(f.records, s, at, st.Clock)
}

// shape is the number of the shape of s in this frame, the newest ones looked at first; -1 if it is not there yet.
func (f *framer) shape(s *governor.Saved) int {
	for i := len(f.shapes) - 1; i >= 0; i-- {
		if f.shapes[i].is(s) {
			return i
		}
	}
	return -1
}

func (f *framer) newShape(s *governor.Saved) int {
	if len(f.shapes) < cap(f.shapes) {
		f.shapes = f.shapes[:len(f.shapes)+1]
	} else {
		f.shapes = append(f.shapes, shape{})
	}
	n := &f.shapes[len(f.shapes)-1]
	n.plan, n.budgets = s.Plan, n.budgets[:0]
	f.plans = appendText(f.plans, s.Plan)
	f.plans = binary.AppendUvarint(f.plans, uint64(len(s.Budgets)))
	for i := range s.Budgets {
		b := &s.Budgets[i].Budget
		n.budgets = append(n.budgets, *b)
		f.plans = append(f.plans, byte(b.Of))
		for _, v := range [...]int64{int64(b.Limit), int64(b.Per), int64(b.Burst)} {
			f.plans = binary.AppendVarint(f.plans, v)
		}
	}
	return len(f.shapes) - 1
}
