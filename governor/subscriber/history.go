package subscriber

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// ended is a binding that was. With source CSV it tells that a prefix of the list changed hands at until: from whom
// (id) to whom (heir), "" being nobody.
type ended struct {
	prefix      netip.Prefix
	source      Source
	said        bool // it was ended, as against replaced
	vague       bool // as in claim
	id, heir    string
	session     string
	name        string // as in claim
	circuits    []string
	from, until int64 // Unix nanoseconds; from 0: not known
	bound       int64 // as in claim
	told        int64 // the last word of its source, by that one's clock
	before      uint64
}

// history keeps the bindings that ended last, up to MaxHistory, in the order in which they ended. They are numbered
// from 1 on; those of a prefix are linked by before, the newest first.
type history struct {
	ring      []ended // number n is at n % MaxHistory
	next      uint64  // number of the next one; 0 stands for 1
	oldest    uint64  // of those that are there
	newest    map[netip.Prefix]uint64
	lens      lengths
	listSince int64 // before it nobody is known to have had a prefix by the list
	gone      bygones
}

func (h *history) len() int { return int(max(h.next, 1) - max(h.oldest, 1)) }

func (h *history) at(n uint64) *ended { return &h.ring[n%MaxHistory] }

// put adds e under number n, which is beyond all the others.
func (h *history) put(n uint64, e ended) {
	if h.newest == nil {
		h.newest = map[netip.Prefix]uint64{}
	}
	if h.len() == 0 {
		h.oldest = n
	}
	if more := int(n%MaxHistory) + 1 - len(h.ring); more > 0 {
		h.ring = append(h.ring, make([]ended, more)...)
	}
	e.before = h.newest[e.prefix]
	if e.before == 0 {
		h.lens.add(e.prefix, 1)
	}
	h.newest[e.prefix] = n
	*h.at(n) = e
	h.next = n + 1
}

// drop takes away the oldest one.
func (h *history) drop() {
	n := h.oldest
	e := h.at(n)
	if h.newest[e.prefix] == n {
		delete(h.newest, e.prefix)
		h.lens.add(e.prefix, -1)
	}
	*e = ended{}
	h.oldest++
	for h.oldest < h.next && !h.at(h.oldest).prefix.IsValid() {
		h.oldest++ // a number that was never restored
	}
}

// of gives those of p, the newest first.
func (h *history) of(p netip.Prefix, yield func(*ended) bool) {
	for n := h.newest[p]; n >= h.oldest && n != 0; {
		e := h.at(n)
		if e.prefix != p || !yield(e) {
			return
		}
		n = e.before
	}
}

// repeatFor is how long a session that ended may not say the same again.
const repeatFor = 24 * time.Hour

// repeats tells whether b was said before by a session that has ended since: what somebody listened to and sends again.
// Without a time of the sender's own, whatever such a session says of the same line and prefix is taken for that.
func (h *history) repeats(b *Binding, id string, told, now int64) (yes bool) {
	steps := 0
	h.of(b.Prefix, func(e *ended) bool {
		if e.until < now-int64(repeatFor) || steps == 1024 {
			return false
		}
		steps++
		yes = e.source == b.Source && e.session == b.Session && e.id == id && (told <= e.told || e.said && !b.Dated)
		return !yes
	})
	return yes || h.gone.repeats(b, id, told, now)
}

// keep adds what ended to the history, in memory and to be saved.
func (d *Directory) keep(e ended) {
	if e.source != CSV && e.source != RADIUS && e.until <= e.from && !e.vague && d.readings.doubt == 0 {
		return // it never was; what RADIUS said must not be said again all the same
	}
	if d.history.len() == MaxHistory {
		d.forget()
		d.stats.Lost++
	}
	n := max(d.history.next, 1)
	d.put(n, e)
	d.dirty[historyKey(n)] = struct{}{}
	d.dirty[stateKey()] = struct{}{}
}

func (d *Directory) put(n uint64, e ended) {
	d.history.put(n, e)
	if !e.said && e.source == RADIUS {
		key := sessionKey{e.source, e.session}
		d.lost[key] = append(d.lost[key], n)
	}
}

// keepClaim keeps a claim that ends. told is when its source says that it ended; said that it was ended, as against
// replaced by somebody else's.
func (d *Directory) keepClaim(c *claim, told, now int64, said bool) {
	last := told
	if !said {
		last = c.told
	}
	if c.id != "" {
		d.keep(ended{prefix: c.prefix, source: c.source, id: strings.Clone(c.id), session: c.session.key.name, name: c.name,
			circuits: c.circuits, from: c.from, bound: c.bound, until: d.until(c, min(told, now)), told: last, said: said, vague: c.vague})
	}
}

// until is when c ends whose source says at: not before it began, but in doubt of the clock nobody knows which is wrong.
func (d *Directory) until(c *claim, at int64) int64 {
	if d.readings.doubt != 0 {
		return at
	}
	return max(at, c.from)
}

// forget drops the oldest.
func (d *Directory) forget() {
	n := d.history.oldest
	if e := d.history.at(n); !e.said && e.source == RADIUS {
		key := sessionKey{e.source, e.session}
		if rest := slices.DeleteFunc(d.lost[key], func(m uint64) bool { return m == n }); len(rest) > 0 {
			d.lost[key] = rest
		} else {
			delete(d.lost, key)
		}
	}
	d.outlive(n, d.history.at(n))
	d.history.drop()
	d.dirty[historyKey(n)] = struct{}{}
}

// At tells who had addr at t, by the box's wall clock, which is now, the best answer first: as Lookup would have decided,
// and as it decides for now or later. A zero From is not known: that of the list then answers for all the time before,
// another for none that is not sure. What ended longer ago than it is kept, or before the last MaxHistory that ended, is
// not known, nor is anything before 1970 or after 2200.
func (d *Directory) At(addr netip.Addr, t, now time.Time) []Binding {
	if !InReach(t) {
		return nil
	}
	addr = addr.Unmap().WithZone("")
	d.mu.Lock()
	defer d.mu.Unlock()
	d.read(now)
	at := stamp(t)
	if !t.Before(now) {
		at = math.MaxInt64
	}
	type candidate struct {
		Binding
		bound  int64
		madeUp bool
	}
	var all []candidate
	d.lens.covering(addr, func(p netip.Prefix) {
		d.renew(p)
		for c := d.claims[p]; c != nil; c = c.next {
			if from, _ := d.begun(c.from); c.id != "" && from <= at {
				all = append(all, candidate{d.binding(c), c.bound, c.madeUp()})
			}
		}
	})
	d.history.lens.covering(addr, func(p netip.Prefix) {
		d.history.of(p, func(e *ended) bool {
			if e.source != CSV && e.from <= at && at < e.until {
				all = append(all, candidate{d.ended(e), e.bound, madeUpID(e.id)})
			}
			return true
		})
	})
	for _, b := range d.listed(addr, at) {
		all = append(all, candidate{Binding: b})
	}
	slices.SortStableFunc(all, func(a, b candidate) int {
		if a.madeUp != b.madeUp {
			if a.madeUp {
				return 1
			}
			return -1
		}
		return cmp.Or(b.Prefix.Bits()-a.Prefix.Bits(), int(b.Source)-int(a.Source), cmp.Compare(b.bound, a.bound))
	})
	list := make([]Binding, len(all))
	for i, c := range all {
		list[i] = c.Binding
	}
	return list
}

// InReach tells whether At can know anything of t, whose year is 1970 to 2200.
func InReach(t time.Time) bool { y := t.UTC().Year(); return y >= 1970 && y <= 2200 }

// listed is who had addr at a time by the list: by what it says now and by the changes since.
func (d *Directory) listed(addr netip.Addr, at int64) (list []Binding) {
	t := d.view.Load().table
	prefixes := map[netip.Prefix]string{}
	if one, err := addr.Prefix(addr.BitLen()); err == nil {
		for p, row := range t.over(one) {
			prefixes[p] = t.ID(row)
		}
	}
	d.history.lens.covering(addr, func(p netip.Prefix) {
		if _, there := prefixes[p]; !there {
			prefixes[p] = ""
		}
	})
	for p, id := range prefixes {
		from, until := d.history.listSince, int64(0)
		d.history.of(p, func(e *ended) bool {
			switch {
			case e.source != CSV:
				return true
			case e.until < d.history.listSince:
				return false
			case at < e.until:
				id, until = e.id, e.until
				return true
			}
			if from = 0; e.heir == id { // else the list was changed while nobody looked
				from = e.until
			}
			return false
		})
		if id != "" && at >= from {
			list = append(list, Binding{Prefix: p, Subscriber: id, Source: CSV, From: d.shown(from, false), Until: wall(until)})
		}
	}
	return list
}

func (d *Directory) ended(e *ended) Binding {
	b := Binding{Prefix: e.prefix, Subscriber: e.id, Source: e.source, Session: e.session,
		Circuits: slices.Clone(e.circuits), From: d.shown(e.from, e.vague), Until: wall(e.until)}
	if e.source != API {
		b.User = e.name
	}
	return b
}

// Of is what id has now: by the list, and by every binding, also one that another source's overrules.
func (d *Directory) Of(id string) []Binding {
	var list []Binding
	if s, ok := d.Table().ByID(id); ok {
		for _, p := range s.Prefixes {
			list = append(list, Binding{Prefix: p, Subscriber: id, Source: CSV})
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.prefixesOf(id) {
		d.renew(p)
	}
	for c := d.lines[id]; c != nil; c = c.elder {
		list = append(list, d.binding(c))
	}
	slices.SortFunc(list, func(a, b Binding) int {
		return cmp.Or(a.Prefix.Compare(b.Prefix), int(b.Source)-int(a.Source))
	})
	return list
}
