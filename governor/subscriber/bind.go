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
	before := d.holderOf(b.Prefix)
	err := d.bind(&b, stamp(at), 0, stamp(now))
	d.publish()
	return Change{Prefix: b.Prefix, From: before, To: d.holderOf(b.Prefix), Source: b.Source, At: now}, err
}

// BindSession binds all the prefixes that one event names for one session. What the session had of the same family and
// length and does not have any more ends: its address has changed. The error is the first one; the others are counted.
func (d *Directory) BindSession(all []Binding, at, now time.Time) ([]Change, error) {
	if len(all) == 0 {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var first error
	var taken []netip.Prefix
	w := d.watch(now)
	for i := range all {
		b := all[i]
		b.Source, b.Session = all[0].Source, all[0].Session
		w.before(b.Prefix)
		err := d.bind(&b, stamp(at), 0, stamp(now))
		if err == nil || errors.Is(err, ErrUnknownLine) {
			taken = append(taken, b.Prefix)
		}
		if err != nil && first == nil {
			first = err
		}
	}
	if s := d.sessions[sessionKey{all[0].Source, all[0].Session}]; s != nil {
		for _, c := range slices.Clone(s.claims) {
			kind := func(p netip.Prefix) bool { return family(p) == family(c.prefix) && p.Bits() == c.prefix.Bits() }
			if slices.ContainsFunc(taken, kind) && !slices.Contains(taken, c.prefix) && !c.newer(stamp(at), stamp(now)) {
				w.before(c.prefix)
				d.end(c, stamp(at), stamp(now), true)
			}
		}
	}
	d.publish()
	return w.changes(all[0].Source), first
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
	old := d.claimOf(b.Source, b.Prefix, b.Session)
	if old != nil && old.newer(at, now) {
		d.stats.Stale++
		return ErrStale
	}
	id, row := resolve(d.view.Load().table, b)
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
		if old.name != b.calls() || !slices.Equal(old.circuits, b.Circuits) {
			old.name, old.circuits = strings.Clone(b.calls()), cloned(b.Circuits)
			d.dirty[old.key()] = struct{}{}
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
	key := sessionKey{b.Source, b.Session}
	s := d.sessions[key]
	if s == nil {
		key.name = strings.Clone(key.name)
		s = &session{key: key}
		d.sessions[key] = s
	}
	c := &claim{prefix: b.Prefix, source: b.Source, session: s, at: len(s.claims), name: strings.Clone(b.calls()),
		circuits: cloned(b.Circuits), id: id, row: row, from: from, bound: from, seen: seen}
	s.claims = append(s.claims, c)
	d.insert(c)
	d.decide(c.prefix)
	d.dirty[c.key()] = struct{}{}
	return c
}

func (d *Directory) insert(c *claim) {
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
	d.link(c)
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
	}
	c.elder, c.younger = nil, nil
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
	d.unlink(c)
	d.dirty[c.key()] = struct{}{}
}

// decide lets lookups find whoever is first of those that are somebody.
func (d *Directory) decide(p netip.Prefix) {
	c := d.claims[p]
	for c != nil && c.id == "" {
		c = c.next
	}
	room, there := d.cells.Get(p)
	switch {
	case c == nil && there && room.now.Load() != nil:
		room.now.Store(nil)
		d.free = append(d.free, p)
		if len(d.free) > minFree+d.bindings/4 {
			d.tidy(len(d.free) - minFree/2 - d.bindings/8)
		}
	case c == nil:
	case there:
		room.now.Store(c.held())
	default:
		room = &cell{prefix: p}
		room.now.Store(c.held())
		if d.inPlace {
			d.cells.Insert(p, room)
		} else {
			d.cells = d.cells.InsertPersist(p, room)
		}
	}
}

func (c *claim) held() *held { return &held{id: c.id, row: c.row, source: c.source} }

// minFree is how many free cells are kept at least, beside a quarter of the bindings.
const minFree = 1024

// tidy takes away the n cells that have been free for longest.
func (d *Directory) tidy(n int) {
	d.many(n)
	for _, p := range d.free[:n] {
		if room, there := d.cells.Get(p); !there || room.now.Load() != nil {
			continue
		}
		if d.inPlace {
			d.cells.Delete(p)
		} else {
			d.cells = d.cells.DeletePersist(p)
		}
	}
	d.free = slices.Clone(d.free[n:])
}

// many prepares for about n changes: copying the table once is cheaper then than copying a path of it each time.
func (d *Directory) many(n int) {
	if !d.inPlace && n > 64+d.cells.Size()/32 {
		d.cells, d.inPlace = d.cells.Clone(), true
	}
}

// holderOf is who has the whole of p by what is known now, published or not.
func (d *Directory) holderOf(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	v := *d.view.Load()
	v.cells = d.cells
	h, _ := v.around(p)
	return h.ID
}

// Unbind ends what source s holds p by, whoever's session it is.
func (d *Directory) Unbind(s Source, p netip.Prefix, at, now time.Time) (Change, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before, found := d.holderOf(p), false
	for c := d.claims[p]; c != nil; {
		next := c.next
		if c.source == s {
			d.end(c, stamp(at), stamp(now), true)
			found = true
		}
		c = next
	}
	d.publish()
	return Change{Prefix: p, From: before, To: d.holderOf(p), Source: s, At: now}, found
}

// End ends all that a session holds, and gives what changed by it. A session that was heard of after at goes on: the
// word is old.
func (d *Directory) End(s Source, session string, at, now time.Time) []Change {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.watch(now)
	key := sessionKey{s, session}
	if one := d.sessions[key]; one != nil {
		d.endSession(one, stamp(at), stamp(now), &w)
	}
	for _, n := range d.lost[key] {
		e := d.history.at(n)
		e.said, e.told = true, max(e.told, stamp(at))
		d.dirty[historyKey(n)] = struct{}{}
	}
	delete(d.lost, key)
	d.publish()
	return w.changes(s)
}

// EndAll ends every session of a source whose name begins with prefix, as when an access server starts anew. The
// caller's prefix ends in a separator, so that 10.0.0.1 does not end those of 10.0.0.11.
func (d *Directory) EndAll(s Source, prefix string, at, now time.Time) []Change {
	return d.endWhere(s, at, now, func(name string) bool { return strings.HasPrefix(name, prefix) })
}

// EndOthers ends every session of a source that is not among keep, such as lease files that are not watched any more.
func (d *Directory) EndOthers(s Source, keep []string, now time.Time) []Change {
	return d.endWhere(s, now, now, func(name string) bool { return !slices.Contains(keep, name) })
}

func (d *Directory) endWhere(s Source, at, now time.Time, which func(string) bool) []Change {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*session
	n := 0
	for key, one := range d.sessions {
		if key.source == s && which(key.name) {
			all = append(all, one)
			n += len(one.claims)
		}
	}
	d.many(n)
	w := d.watch(now)
	for _, one := range all {
		d.endSession(one, stamp(at), stamp(now), &w)
	}
	d.publish()
	return w.changes(s)
}

func (d *Directory) endSession(s *session, at, now int64, w *watcher) {
	for _, c := range slices.Clone(s.claims) {
		if c.newer(at, now) {
			d.stats.Stale++
			continue
		}
		w.before(c.prefix)
		d.end(c, at, now, true)
	}
}

// Replace takes in everything that a session holds now, such as the content of a lease file: what it held and is not in
// all ends, what is the same goes on. It gives what changed by it and how many of all are nobody's. A binding may say
// since when it is; the zero time is now. What is invalid or does not fit is left out and counted.
func (d *Directory) Replace(s Source, name string, all []Binding, now time.Time) (changes []Change, unknown int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := stamp(now)
	place := make(map[netip.Prefix]int, len(all)) // of those that stand there twice the last counts
	for i := range all {
		place[all[i].Prefix] = i
	}
	w := d.watch(now)
	if one := d.sessions[sessionKey{s, name}]; one != nil {
		d.many(len(all) - len(one.claims))
		for _, c := range slices.Clone(one.claims) {
			if _, still := place[c.prefix]; !still {
				w.before(c.prefix)
				d.end(c, n, n, true)
			}
		}
	} else {
		d.many(len(all))
	}
	for i := range all {
		b := all[i]
		if place[b.Prefix] != i {
			continue
		}
		b.Source, b.Session = s, name
		w.before(b.Prefix)
		if errors.Is(d.bind(&b, n, stamp(b.From), n), ErrUnknownLine) {
			unknown++
		}
	}
	d.publish()
	return w.changes(s), unknown
}

// Session is all that a session holds, by prefix, known or not: everything bound through the API with Session(API, "").
func (d *Directory) Session(s Source, name string) []Binding {
	d.mu.Lock()
	defer d.mu.Unlock()
	one := d.sessions[sessionKey{s, name}]
	if one == nil {
		return nil
	}
	list := make([]Binding, len(one.claims))
	for i, c := range one.claims {
		list[i] = c.binding()
	}
	slices.SortFunc(list, func(a, b Binding) int { return a.Prefix.Compare(b.Prefix) })
	return list
}

func (c *claim) binding() Binding {
	b := Binding{Prefix: c.prefix, Subscriber: c.id, Source: c.source, Session: c.session.key.name,
		Circuits: slices.Clone(c.circuits), From: wall(c.from)}
	if c.source != API {
		b.User = c.name
	}
	return b
}

// watcher finds out what a piece of work changed.
type watcher struct {
	d    *Directory
	now  time.Time
	was  map[netip.Prefix]string
	list []netip.Prefix
}

func (d *Directory) watch(now time.Time) watcher {
	return watcher{d: d, now: now, was: map[netip.Prefix]string{}}
}

// before notes who has p, once; call it before p is touched.
func (w *watcher) before(p netip.Prefix) {
	if _, ok := w.was[p]; !ok && p.IsValid() {
		w.was[p] = w.d.holderOf(p)
		w.list = append(w.list, p)
	}
}

func (w *watcher) changes(s Source) (all []Change) {
	for _, p := range w.list {
		if to := w.d.holderOf(p); to != w.was[p] {
			all = append(all, Change{Prefix: p, From: w.was[p], To: to, Source: s, At: w.now})
		}
	}
	return all
}
