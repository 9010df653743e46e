package journal

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// What is known of a subscriber (governor.OpState) is written for each at every checkpoint, and so in few bytes: the plan's
// budgets once a frame, moments as distances from the input's, those that have passed as 0, and what only those above
// observe have as JSON.

// form is a plan's budgets, which a state refers to by its place among those of its frame.
type form struct {
	Plan    string
	Budgets []governor.Budget
}

// rare is what only few have.
type rare struct {
	Since, Until, Confirmed, Calm, Ended time.Duration            `json:",omitempty"`
	Lifted, Case                         string                   `json:",omitempty"`
	Cause                                governor.Cause           `json:",omitzero"`
	Exemption                            *governor.SavedExemption `json:",omitempty"`
	Plan                                 *governor.Plan           `json:",omitempty"`
	Last                                 time.Duration            `json:",omitempty"` // Carried.Ended
	Whole                                []time.Duration          `json:",omitempty"` // of each budget; 0: it is not yet
	Forgave                              *governor.SavedRelease   `json:",omitempty"`
}

// Bits of a state's first byte.
const (
	isEstimated = 1 << iota
	isEnforced
	isMet
	hasTrouble
	hasRare
)

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("journal: " + err.Error()) // numbers and texts always marshal
	}
	return b
}

// form is the number of a plan's budgets in the frame; fresh: it was not there yet.
func (e *encoder) form(s *governor.Saved) (n int, fresh bool) {
	for i := range e.forms {
		if f := &e.forms[i]; f.Plan == s.Plan && slices.EqualFunc(f.Budgets, s.Budgets, func(a governor.Budget, b governor.SavedBudget) bool { return a == b.Budget }) {
			return i, false
		}
	}
	f := form{Plan: s.Plan}
	for i := range s.Budgets {
		f.Budgets = append(f.Budgets, s.Budgets[i].Budget)
	}
	e.forms = append(e.forms, f)
	return len(e.forms) - 1, true
}

func appendNetwork(b []byte, n governor.Network) []byte {
	six := byte(0)
	if n.IPv6 {
		six = 1
	}
	return binary.LittleEndian.AppendUint32(append(b, six), n.Bits)
}

func (c *cursor) network() governor.Network {
	six := c.byte() == 1
	if b := c.take(4); b != nil {
		return governor.Network{Bits: binary.LittleEndian.Uint32(b), IPv6: six}
	}
	return governor.Network{}
}

// state writes what an input knows of its subscriber.
func (e *encoder) state(b []byte, in *governor.Input) []byte {
	s, c, at := in.Saved, in.Carried, in.At
	if c == nil {
		c = &governor.Carried{}
	}
	later := func(t time.Duration) { b = binary.AppendUvarint(b, uint64(max(0, t-at))) }
	place, bits := len(b), byte(0)
	b = append(b, 0, byte(s.Stage))
	n, fresh := e.form(s)
	if b = binary.AppendUvarint(b, uint64(n)); fresh {
		b = text(b, string(marshal(e.forms[n])))
	}
	for i := range s.Budgets {
		later(s.Budgets[i].WholeAt)
		later(s.Budgets[i].CalmAt)
		if s.Estimated {
			later(s.Budgets[i].SureAt)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s.Destinations)))
	for i, d := range s.Destinations {
		opens := byte(255)
		if i < len(c.Opens) {
			opens = c.Opens[i]
		}
		b = appendNetwork(append(b, byte(d.Budget), opens), d.Network)
		b = binary.AppendUvarint(b, uint64(max(0, at-d.At)))
	}
	b = binary.AppendUvarint(b, uint64(len(s.Retries)))
	for _, r := range s.Retries {
		b = binary.AppendVarint(appendNetwork(b, r.Network), int64(r.Every))
		b = binary.AppendVarint(binary.AppendVarint(b, int64(r.WholeAt-at)), int64(at-r.UsedAt))
	}
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(max(0, c.Open))), uint64(c.Charged))
	set := func(is bool, bit byte) {
		if is {
			bits |= bit
		}
	}
	set(s.Estimated, isEstimated)
	set(s.Mode == governor.ModeEnforce, isEnforced)
	set(c.Met, isMet)
	set(c.Trouble, hasTrouble)
	if s.Stage != governor.StageObserve || s.Exemption != nil || c.Plan != nil || c.Ended != 0 || c.Forgave != nil {
		bits |= hasRare
		b = text(b, string(marshal(rare{s.Since, s.Until, s.Confirmed, s.Calm, s.Ended, s.Lifted, s.Case, s.Cause, s.Exemption, c.Plan, c.Ended, wholeBefore(s, at), c.Forgave})))
	}
	b[place] = bits
	return b
}

// wholeBefore is when the budgets of a subscriber above observe became whole, those that are; nil: none is.
func wholeBefore(s *governor.Saved, at time.Duration) (all []time.Duration) {
	if s.Stage == governor.StageObserve {
		return nil
	}
	for i := range s.Budgets {
		if whole := s.Budgets[i].WholeAt; whole != 0 && whole <= at {
			if all == nil {
				all = make([]time.Duration, len(s.Budgets))
			}
			all[i] = whole
		}
	}
	return all
}

// state reads what encoder.state wrote. forms are those of the frame so far.
func (c *cursor) state(in *governor.Input, forms *[]form) error {
	s, carried, at := &governor.Saved{Subscriber: in.Subscriber, Unlisted: in.Unlisted}, &governor.Carried{}, in.At
	later := func() time.Duration {
		if d := c.uvarint(); d > 0 {
			return at + time.Duration(d)
		}
		return 0
	}
	bits := c.byte()
	s.Stage = governor.Stage(c.byte())
	n := c.uvarint()
	if n == uint64(len(*forms)) {
		var f form
		if err := c.json(&f); err != nil {
			return err
		}
		*forms = append(*forms, f)
	}
	if c.bad || n >= uint64(len(*forms)) {
		return errRow
	}
	f := &(*forms)[n]
	if s.Plan, s.Estimated = f.Plan, bits&isEstimated != 0; bits&isEnforced != 0 {
		s.Mode = governor.ModeEnforce
	}
	s.Budgets = make([]governor.SavedBudget, len(f.Budgets))
	for i, budget := range f.Budgets {
		s.Budgets[i] = governor.SavedBudget{Budget: budget, WholeAt: later(), CalmAt: later()}
		if s.Estimated {
			s.Budgets[i].SureAt = later()
		}
	}
	for n := c.uvarint(); n > 0 && !c.bad; n-- {
		d := governor.SavedDestination{Budget: int(c.byte())}
		carried.Opens = append(carried.Opens, c.byte())
		d.Network = c.network()
		d.At = at - time.Duration(c.uvarint())
		s.Destinations = append(s.Destinations, d)
	}
	for n := c.uvarint(); n > 0 && !c.bad; n-- {
		r := governor.SavedRetry{Network: c.network(), Every: time.Duration(c.varint())}
		r.WholeAt = at + time.Duration(c.varint())
		r.UsedAt = at - time.Duration(c.varint())
		s.Retries = append(s.Retries, r)
	}
	carried.Open, carried.Charged = int(c.uvarint()), uint32(c.uvarint())
	carried.Met, carried.Trouble = bits&isMet != 0, bits&hasTrouble != 0
	if bits&hasRare != 0 {
		var r rare
		if err := c.json(&r); err != nil {
			return err
		}
		s.Since, s.Until, s.Confirmed, s.Calm, s.Ended = r.Since, r.Until, r.Confirmed, r.Calm, r.Ended
		s.Lifted, s.Case, s.Cause, s.Exemption = r.Lifted, r.Case, r.Cause, r.Exemption
		carried.Plan, carried.Ended, carried.Forgave = r.Plan, r.Last, r.Forgave
		for i, whole := range r.Whole[:min(len(r.Whole), len(s.Budgets))] {
			if whole != 0 {
				s.Budgets[i].WholeAt = whole
			}
		}
	}
	in.Saved, in.Carried, in.Unlisted = s, carried, false
	return nil
}

// json reads a text of JSON.
func (c *cursor) json(to any) error {
	j := c.text()
	if c.bad {
		return errRow
	}
	if err := json.Unmarshal(j, to); err != nil {
		return fmt.Errorf("%w: %w", errRow, err)
	}
	return nil
}

// receipt writes that of an input.
func receipt(b []byte, in *governor.Input) []byte {
	b = binary.AppendVarint(b, int64(in.At-in.Receipt.At))
	return appendNetwork(binary.AppendUvarint(b, uint64(in.Receipt.Charged)), in.Receipt.To)
}

func (c *cursor) receipt(in *governor.Input) {
	in.Receipt = governor.SavedReceipt{At: in.At - time.Duration(c.varint()), Charged: uint32(c.uvarint()), OK: true}
	in.Receipt.To = c.network()
}
