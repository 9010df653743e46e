package store

import (
	"encoding/binary"
	"math/bits"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// reader takes a payload apart. After the first thing that is not there everything is zero, and ok is false.
type reader struct {
	b  []byte
	ok bool
}

func (r *reader) fail() {
	r.b, r.ok = nil, false
}

// number and unsigned read varints, of which a start reads tens of millions.
func (r *reader) number() int64 {
	u := r.unsigned()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *reader) unsigned() uint64 {
	if len(r.b) >= 8 {
		x := binary.LittleEndian.Uint64(r.b)
		if end := ^x & 0x8080808080808080; end != 0 { // the first byte without its highest bit is the last one
			x &= end ^ (end - 1)
			r.b = r.b[bits.TrailingZeros64(end)/8+1:]
			x = x&0x007f007f007f007f | x&0x7f007f007f007f00>>1 // groups of 7 bits become groups of 14, 28, 56
			x = x&0x00003fff00003fff | x&0x3fff00003fff0000>>2
			return x&0x000000000fffffff | x&0x0fffffff00000000>>4
		}
	}
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return n
}

// count is a number of things that take at least one byte each.
func (r *reader) count() int {
	n := r.unsigned()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) text() string {
	n := r.count()
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) state() governor.SavedState {
	return governor.SavedState{Wall: time.Unix(0, r.number()), Clock: time.Duration(r.number()), Cases: r.unsigned()}
}

// times reads what appendTimes wrote.
func (r *reader) times(clock time.Duration, times ...*time.Duration) {
	which := r.byte()
	for i, t := range times {
		if *t = 0; which&(1<<i) != 0 {
			*t = clock + time.Duration(r.number())
		}
	}
	if which>>len(times) != 0 {
		r.fail()
	}
}

func (r *reader) budgetTimes(of []governor.SavedBudget, clock time.Duration, which func(*governor.SavedBudget) *time.Duration) {
	var times [8]*time.Duration
	for from := 0; from < len(of); from += len(times) {
		n := min(len(times), len(of)-from)
		for i := range n {
			times[i] = which(&of[from+i])
		}
		r.times(clock, times[:n]...)
	}
}

func (r *reader) network() (n governor.Network, budget int) {
	what := r.unsigned()
	if len(r.b) < 4 || what>>1 > 1<<16 {
		r.fail()
		return n, 0
	}
	n = governor.Network{Bits: binary.BigEndian.Uint32(r.b), IPv6: what&1 != 0}
	r.b = r.b[4:]
	return n, int(what >> 1)
}

// decoder takes frames apart. It is reused, for its memory.
type decoder struct {
	saved     governor.Saved
	exemption governor.SavedExemption
	shapes    []shape
}

// records gives every record of a payload to each, which keeps nothing of it, and says how many there were.
func (d *decoder) records(payload []byte, each func(*governor.Saved)) (got uint64, err error) {
	r := &reader{b: payload, ok: true}
	clock := r.state().Clock
	d.shapes = d.shapes[:0]
	for range r.count() {
		if d.shape(r); !r.ok {
			return 0, errPayload
		}
	}
	for len(r.b) > 0 {
		if d.record(r, clock); !r.ok {
			return got, errPayload
		}
		got++
		each(&d.saved)
	}
	if !r.ok {
		return got, errPayload
	}
	return got, nil
}

func (d *decoder) shape(r *reader) {
	s := shape{plan: r.text()}
	s.budgets = make([]governor.Budget, r.count())
	for i := range s.budgets {
		s.budgets[i] = governor.Budget{Of: governor.Kind(r.byte()), Limit: int(r.number()), Per: time.Duration(r.number()), Burst: int(r.number())}
	}
	d.shapes = append(d.shapes, s)
}

// record reads one record into d.saved, whose slices it uses again.
func (d *decoder) record(r *reader, clock time.Duration) {
	s := &d.saved
	what, mode := r.byte(), governor.Mode(r.byte())
	*s = governor.Saved{Subscriber: r.text(), Mode: mode, Gone: what&isGone != 0, Unlisted: what&isUnlisted != 0, Estimated: what&isEstimated != 0,
		Budgets: s.Budgets[:0], Destinations: s.Destinations[:0], Retries: s.Retries[:0]}
	if s.Gone && what != isGone {
		r.fail()
	}
	if s.Gone || !r.ok {
		return
	}
	n := r.unsigned()
	if n >= uint64(len(d.shapes)) {
		r.fail()
		return
	}
	s.Plan = d.shapes[n].plan
	for _, b := range d.shapes[n].budgets {
		s.Budgets = append(s.Budgets, governor.SavedBudget{Budget: b})
	}
	r.budgetTimes(s.Budgets, clock, func(u *governor.SavedBudget) *time.Duration { return &u.WholeAt })
	if what&hasCalm != 0 {
		r.budgetTimes(s.Budgets, clock, func(u *governor.SavedBudget) *time.Duration { return &u.CalmAt })
	}
	if what&hasSure != 0 {
		r.budgetTimes(s.Budgets, clock, func(u *governor.SavedBudget) *time.Duration { return &u.SureAt })
	}
	if what&hasTrouble != 0 {
		s.Stage, s.Cause.Of = governor.Stage(r.byte()), governor.Kind(r.byte())
		r.times(clock, &s.Since, &s.Until, &s.Confirmed, &s.Calm, &s.Ended)
		s.Cause.Value, s.Cause.Limit, s.Cause.Burst = int(r.number()), int(r.number()), int(r.number())
		s.Cause.Window = time.Duration(r.number())
		s.Case = r.text()
	}
	if what&hasExempt != 0 {
		r.times(clock, &d.exemption.Since, &d.exemption.Until)
		d.exemption.Reason, d.exemption.By = r.text(), r.text()
		s.Exemption = &d.exemption
	}
	if what&hasNetworks != 0 {
		for range r.count() {
			var one governor.SavedDestination
			one.Network, one.Budget = r.network()
			one.At = clock + time.Duration(r.number())
			s.Destinations = append(s.Destinations, one)
		}
		for range r.count() {
			var one governor.SavedRetry
			one.Network, _ = r.network()
			one.Every = time.Duration(r.number())
			r.times(clock, &one.WholeAt, &one.UsedAt)
			s.Retries = append(s.Retries, one)
		}
	}
}

// decodeState is the state at the beginning of a payload.
func decodeState(payload []byte) (governor.SavedState, bool) {
	r := &reader{b: payload, ok: true}
	st := r.state()
	return st, r.ok
}
