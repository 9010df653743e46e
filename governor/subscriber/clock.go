package subscriber

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"
)

// epoch is 2020: a clock that shows less has not been set yet.
const epoch = int64(1577836800 * time.Second)

// unheard is how long nobody may look at the clock before a jump ahead cannot be told from that; Expire looks each minute.
const unheard = 90 * time.Second

// readings is what a directory knows of the box's wall clock, which is set now and then. Times are Unix nanoseconds.
//
// Set back by up to a week, it is right from then on: what it had stamped with times that are yet to come gets times
// that much earlier, or, if it was stamped before this clock was read first, the time of the step. Set back further, or
// to before 2020, it is doubted: that is rather a clock that lost its time. Nothing is changed then. If it comes back
// within a day, what it stamped meanwhile is put right; else it is believed. A beginning that is not exactly known any
// more is shown as none.
//
// Whatever the clock does, At says of the present what lookups say.
type readings struct {
	at    time.Time // the last one, with the machine's own count of time where it has that
	last  int64     // what it showed
	top   int64     // the most it showed since it was set back: no stamp is greater, except in doubt
	era   int64     // what it showed first, or after its last jump ahead
	doubt int64     // what it showed when it began to be doubted; 0: it is not
}

// read is the time that everything is stamped with that happens now. It does not go back because somebody read the clock
// before another and comes after him, nor by less than two seconds.
func (d *Directory) read(now time.Time) int64 {
	n, k := stamp(now), &d.readings
	last := k.last
	if late := k.at.Sub(now); late > 0 && counted(now) && counted(k.at) && (time.Duration(last-n)-late).Abs() < slack {
		if k.doubt != 0 {
			return last
		}
		return k.top
	}
	k.last, k.at = n, now
	if n < epoch || n < k.top-int64(jump) {
		return d.doubted(n, last)
	}
	switch {
	case k.doubt != 0:
		d.putRight(n, last)
	case n > last+int64(unheard):
		k.era = n
	}
	if n < k.top-int64(slack) {
		era, by := k.era, k.top-n
		d.restamp(n, func(s int64) (int64, bool) {
			switch {
			case s <= n:
				return s, false
			case s >= era:
				return s - by, false
			}
			return n, true
		})
		k.top, k.era = n, n
	}
	k.top = max(k.top, n)
	return k.top
}

// counted tells whether t has the machine's own count of time, which nobody sets.
func counted(t time.Time) bool { return t != t.Round(0) }

// doubted is what read does with a reading that is not believed at once.
func (d *Directory) doubted(n, last int64) int64 {
	k := &d.readings
	switch {
	case k.doubt == 0 || n < last-int64(slack):
		k.doubt = n
	case n > last+int64(jump): // from one wrong time to another
		d.putRight(n, last)
		k.doubt = n
	}
	since := k.doubt
	if n < epoch || n < since+int64(trial) {
		return n
	}
	d.restamp(n, func(s int64) (int64, bool) {
		if s > n {
			return since, true
		}
		return s, false
	})
	k.doubt, k.top, k.era = 0, n, since
	return n
}

// putRight moves what was stamped while the clock was doubted to where the clock has gone.
func (d *Directory) putRight(n, last int64) {
	k := &d.readings
	since, by := k.doubt, n-last
	d.restamp(n, func(s int64) (int64, bool) {
		switch {
		case s >= since && s <= last:
			return s + by, true
		case s < epoch && n >= epoch:
			return n, true
		}
		return s, false
	})
	k.doubt, k.era = 0, n
}

// restamp puts every time to where to has it, and tells whether that is vague. It takes a second for some million bindings.
func (d *Directory) restamp(now int64, to func(int64) (at int64, vague bool)) {
	d.renewAll() // with the time that its list has been in force since
	var pace pacer
	move := func(s *int64, vague *bool) (moved bool) {
		if *s == 0 {
			return false
		}
		at, less := to(*s)
		moved = at != *s
		*s, *vague = at, *vague || less
		return moved
	}
	var any bool
	told := func(s *int64) bool { // a sender's clock may be ahead of ours
		return (*s < epoch || *s > now+int64(ahead)) && move(s, &any)
	}
	for p, first := range d.claims {
		for c := first; c != nil; c = c.next {
			pace.step()
			moved := move(&c.from, &c.vague)
			moved = move(&c.bound, &any) || moved
			moved = move(&c.seen, &any) || moved
			if told(&c.told) || moved {
				d.dirty[c.key()] = struct{}{}
			}
		}
		if first.next != nil {
			d.reorder(p)
		}
	}
	h := &d.history
	for n := h.oldest; n < h.next; n++ {
		pace.step()
		e := h.at(n)
		if !e.prefix.IsValid() {
			continue
		}
		moved := move(&e.from, &e.vague)
		moved = move(&e.bound, &any) || moved
		moved = move(&e.until, &any) || moved
		if told(&e.told) || moved {
			d.dirty[historyKey(n)] = struct{}{}
		}
	}
	for i := range h.gone.list {
		pace.step()
		b := &h.gone.list[i]
		moved := move(&b.until, &any)
		if told(&b.told) || moved {
			d.dirty[historyKey(b.n)] = struct{}{}
		}
	}
	if move(&h.listSince, &any) {
		d.dirty[stateKey()] = struct{}{}
	}
}

// reorder puts the claims on p in order again.
func (d *Directory) reorder(p netip.Prefix) {
	var all []*claim
	for c := d.claims[p]; c != nil; c = c.next {
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b *claim) int {
		return cmp.Or(int(b.source)-int(a.source), cmp.Compare(b.bound, a.bound))
	})
	for i, c := range all[1:] {
		all[i].next = c
	}
	all[len(all)-1].next = nil
	d.claims[p] = all[0]
	d.decide(p)
}

// restored is read after everything was restored: what it was stamped with may be from a clock that was wrong.
func (d *Directory) restored(now time.Time) {
	k := &d.readings
	n := stamp(now)
	if n >= epoch {
		d.restamp(n, func(s int64) (int64, bool) {
			if s < epoch {
				return n, true
			}
			return s, false
		})
	}
	for _, first := range d.claims {
		for c := first; c != nil; c = c.next {
			k.top = max(k.top, c.from, c.bound, c.seen)
		}
	}
	for i := d.history.oldest; i < d.history.next; i++ {
		e := d.history.at(i)
		k.top = max(k.top, e.from, e.bound, e.until)
	}
	k.top = max(k.top, d.history.listSince)
	k.last, k.era = n, math.MaxInt64 // all of it is from before this clock was first read
	d.read(now)
}

// begun is since when something is known that was stamped with from: what is stamped with a time to come was there when
// the clock began to be doubted.
func (d *Directory) begun(from int64) (at int64, vague bool) {
	if k := &d.readings; k.doubt != 0 && from > k.last {
		return k.doubt, true
	}
	return from, false
}

// shown is from as people see it; the zero time is not known.
func (d *Directory) shown(from int64, vague bool) time.Time {
	if _, less := d.begun(from); less || vague {
		return time.Time{}
	}
	return wall(from)
}
