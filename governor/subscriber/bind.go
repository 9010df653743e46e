package subscriber

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Bind takes in that b.Prefix belongs to a line since at; now is the box's clock, and an event from the future counts
// as now's. What held the prefix by the same source ends: a newer session has the address, whoever forgot to say so. The same
// session may say it again at any time; that confirms it.
//
// The errors are ErrInvalid, ErrStale, ErrEnded, ErrFull and ErrUnknownLine. With the last one the binding counts all
// the same, for nobody (except from API, which may name only subscribers of the list): the prefix may have changed hands.
func (d *Directory) Bind(b Binding, at, now time.Time) (Change, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.read(now)
	before := d.holderOf(b.Prefix)
	err := d.bind(&b, stamp(at), 0, n)
	d.publish()
	return Change{Prefix: b.Prefix, From: before, To: d.holderOf(b.Prefix), Source: b.Source, At: now}, err
}

// BindSession binds all the prefixes that one event names for one session. What the session had of the same kind and does
// not have any more ends: its address has changed. The error is the first one; the others are counted.
func (d *Directory) BindSession(all []Binding, at, now time.Time) ([]Change, error) {
	if len(all) == 0 {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var first error
	var taken []netip.Prefix
	n := d.read(now)
	w := d.watch(now)
	for i := range all {
		b := all[i]
		b.Source, b.Session = all[0].Source, all[0].Session
		w.before(b.Prefix)
		err := d.bind(&b, stamp(at), 0, n)
		if err == nil || errors.Is(err, ErrUnknownLine) {
			taken = append(taken, b.Prefix)
		}
		if err != nil && first == nil {
			first = err
		}
	}
	if s := d.sessions[sessionKey{all[0].Source, all[0].Session}]; s != nil {
		for _, c := range slices.Clone(s.claims) {
			alike := func(p netip.Prefix) bool { return kind(p) == kind(c.prefix) }
			if slices.ContainsFunc(taken, alike) && !slices.Contains(taken, c.prefix) && !c.newer(stamp(at), n) {
				w.before(c.prefix)
				d.end(c, stamp(at), n, true)
			}
		}
	}
	d.publish()
	return w.changes(all[0].Source), first
}

// kind is what a prefix of a session is: addresses and networks of one length are of one kind, and so are delegated IPv6
// prefixes, which are those that are neither an address nor a /64, of any length.
func kind(p netip.Prefix) int {
	switch bits := p.Bits(); {
	case family(p) == 0:
		return -bits
	case bits == 64 || bits == 128:
		return bits
	}
	return 1
}

// bind takes in one binding: told is when its source says that it happened, from since when it is if that is known (0: told).
func (d *Directory) bind(b *Binding, told, from, now int64) error {
	if !b.bindable() {
		d.stats.Invalid++
		return ErrInvalid
	}
	if told <= 0 {
		told = now
	}
	at := min(told, now)
	if from <= 0 || from > at {
		from = at
	}
	d.renew(b.Prefix)
	old := d.claimOf(b.Source, b.Prefix, b.Session)
	if old != nil && old.newer(at, now) {
		d.stats.Stale++
		return ErrStale
	}
	id, row := resolve(d.view.Load().table, b.Source, b.calls(), b.Circuits)
	if b.Source == API && id == "" {
		return ErrUnknownLine
	}
	same := old != nil && old.session.key.name == b.Session
	if !same && b.Source == RADIUS && d.history.repeats(b, id, told, now) {
		d.stats.Ended++
		return ErrEnded
	}
	switch {
	case same && old.id == id:
		if old.seen = max(old.seen, at); old.seen > now+int64(ahead) {
			old.seen, old.told = at, 0
		}
		old.told = max(old.told, told)
		if old.seen > old.saved+int64(saveSeen) || old.name != b.calls() || !slices.Equal(old.circuits, b.Circuits) {
			old.name, old.circuits = strings.Clone(b.calls()), cloned(b.Circuits)
			d.dirty[old.key()] = struct{}{}
			d.foresee(b.Prefix)
		}
	default:
		if old == nil && d.bindings >= MaxBindings {
			d.stats.Full++
			return ErrFull
		}
		if old != nil {
			d.keepClaim(old, told, now, same)
			d.remove(old)
		}
		d.begin(b, id, row, from, at).told = told
	}
	if id == "" {
		return ErrUnknownLine
	}
	if row < 0 {
		d.stranger(d.claimOf(b.Source, b.Prefix, b.Session))
	}
	return nil
}

// newer tells whether c was heard of after at; not if that was in a future that was none.
func (c *claim) newer(at, now int64) bool {
	return at < c.seen-int64(slack) && c.seen <= now+int64(ahead)
}

func cloned(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	c := make([]string, len(list))
	for i, s := range list {
		c[i] = strings.Clone(s)
	}
	return c
}

// claimOf is what a new word of this source on p would replace: for leases that of the same file, since another file's
// word stands as long as it is written there.
func (d *Directory) claimOf(s Source, p netip.Prefix, session string) *claim {
	for c := d.claims[p]; c != nil; c = c.next {
		if c.source == s && (s != Lease || c.session.key.name == session) {
			return c
		}
	}
	return nil
}

// begin adds a claim; there is none that it replaces.
func (d *Directory) begin(b *Binding, id string, row int32, from, seen int64) *claim {
	c := &claim{prefix: b.Prefix, source: b.Source, name: strings.Clone(b.calls()),
		circuits: cloned(b.Circuits), id: id, row: row, era: d.era, from: from, bound: from, seen: seen}
	d.hold(c, b.Session)
	d.link(c)
	d.decide(c.prefix)
	d.dirty[c.key()] = struct{}{}
	return c
}

// hold puts c to the claims of its session and of its prefix.
func (d *Directory) hold(c *claim, name string) {
	key := sessionKey{c.source, name}
	s := d.sessions[key]
	if s == nil {
		key.name = strings.Clone(key.name)
		s = &session{key: key}
		d.sessions[key] = s
	}
	c.session, c.at = s, len(s.claims)
	s.claims = append(s.claims, c)
	first := d.claims[c.prefix]
	if first == nil {
		d.lens.add(c.prefix, 1)
	}
	if first == nil || c.better(first) {
		c.next = first
		d.claims[c.prefix] = c
	} else {
		before := first
		for before.next != nil && !c.better(before.next) {
			before = before.next
		}
		c.next = before.next
		before.next = c
	}
	d.bindings++
	d.bySource[c.source]++
}

// link puts c to the others of its line, unlink takes it away.
func (d *Directory) link(c *claim) {
	if c.id == "" {
		d.unknown++
		return
	}
	c.elder, c.younger = d.lines[c.id], nil
	if c.elder != nil {
		c.elder.younger = c
	} else if c.madeUp() {
		d.made.lines++
	}
	d.lines[c.id] = c
}

func (d *Directory) unlink(c *claim) {
	if c.id == "" {
		d.unknown--
		return
	}
	if c.elder != nil {
		c.elder.younger = c.younger
	}
	switch {
	case c.younger != nil:
		c.younger.elder = c.elder
	case c.elder != nil:
		delete(d.lines, c.id) // the key's text goes with its claim
		d.lines[c.elder.id] = c.elder
	default:
		delete(d.lines, c.id)
		if c.madeUp() {
			d.made.lines--
		}
	}
	c.elder, c.younger = nil, nil
	d.made.forget(c)
}

// better orders the claims on one prefix; what came last goes first.
func (c *claim) better(than *claim) bool {
	if c.source != than.source {
		return c.source > than.source
	}
	return c.bound >= than.bound
}

// end takes a claim away and keeps it in the history, see keepClaim.
func (d *Directory) end(c *claim, told, now int64, said bool) {
	d.renew(c.prefix)
	d.keepClaim(c, told, now, said)
	d.remove(c)
	d.decide(c.prefix)
}

// remove takes a claim away; the caller decides who has its prefix now.
func (d *Directory) remove(c *claim) {
	if first := d.claims[c.prefix]; first != c {
		before := first
		for before.next != c {
			before = before.next
		}
		before.next = c.next
	} else if c.next != nil {
		d.claims[c.prefix] = c.next
	} else {
		delete(d.claims, c.prefix)
		d.lens.add(c.prefix, -1)
	}
	s := c.session
	last := len(s.claims) - 1
	s.claims[c.at] = s.claims[last]
	s.claims[c.at].at = c.at
	s.claims[last] = nil
	if s.claims = s.claims[:last]; last == 0 {
		delete(d.sessions, s.key)
	}
	d.bindings--
	d.bySource[c.source]--
	d.unlink(c)
	d.dirty[c.key()] = struct{}{}
}
