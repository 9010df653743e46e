package subscriber

import (
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Unbind ends what source s holds p by, whoever's session it is.
func (d *Directory) Unbind(s Source, p netip.Prefix, at, now time.Time) (Change, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.read(now)
	before, found := d.holderOf(p), false
	for c := d.claims[p]; c != nil; {
		next := c.next
		if c.source == s {
			d.end(c, stamp(at), n, true)
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
	this := d.read(now)
	w := d.watch(now)
	key := sessionKey{s, session}
	if one := d.sessions[key]; one != nil {
		d.endSession(one, stamp(at), this, &w)
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

// endAtOnce is how many bindings end before others that wait for the directory have their turn.
const endAtOnce = 1000

func (d *Directory) endWhere(s Source, at, now time.Time, which func(string) bool) []Change {
	var keys []sessionKey
	d.mu.Lock()
	for key := range d.sessions {
		if key.source == s && which(key.name) {
			keys = append(keys, key)
		}
	}
	d.mu.Unlock()
	var changes []Change
	for len(keys) > 0 {
		d.mu.Lock()
		n := d.read(now)
		w := d.watch(now)
		for len(keys) > 0 && len(w.list) < endAtOnce {
			if one := d.sessions[keys[0]]; one != nil {
				d.endSession(one, stamp(at), n, &w)
			}
			keys = keys[1:]
		}
		d.publish()
		changes = append(changes, w.changes(s)...)
		d.mu.Unlock()
		runtime.Gosched()
	}
	return changes
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
	n := d.read(now)
	w := d.watch(now)
	var pace pacer
	still := make(map[*claim]struct{}, len(all))
	if had := d.sessions[sessionKey{s, name}]; had == nil {
		d.many(len(all))
	} else {
		d.many(len(all) - len(had.claims))
	}
	for i := range all {
		pace.step()
		b := all[i]
		b.Source, b.Session = s, name
		d.renew(b.Prefix)
		c := d.claimOf(s, b.Prefix, name)
		if c == nil || c.session.key.name != name || c.name != b.calls() || !slices.Equal(c.circuits, b.Circuits) {
			w.before(b.Prefix)
			if err := d.bind(&b, n, stamp(b.From), n); err != nil && !errors.Is(err, ErrUnknownLine) {
				continue
			}
			if c = d.claimOf(s, b.Prefix, name); c == nil { // API names nobody
				unknown++
				continue
			}
		}
		if c.seen = n; d.claims[c.prefix].source > Lease {
			w.before(c.prefix)
			d.yield(c, n)
		}
		still[c] = struct{}{}
		if c.id == "" {
			unknown++
		}
	}
	if one := d.sessions[sessionKey{s, name}]; one != nil {
		for _, c := range slices.Clone(one.claims) {
			pace.step()
			if _, ok := still[c]; !ok {
				w.before(c.prefix)
				d.end(c, n, n, true)
			}
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
		d.renew(c.prefix)
		list[i] = d.binding(c)
	}
	slices.SortFunc(list, func(a, b Binding) int { return a.Prefix.Compare(b.Prefix) })
	return list
}

func (d *Directory) binding(c *claim) Binding {
	b := Binding{Prefix: c.prefix, Subscriber: c.id, Source: c.source, Session: c.session.key.name,
		Circuits: slices.Clone(c.circuits), From: d.shown(c.from, c.vague)}
	if c.source == API {
		b.Subscriber = c.name // also when the list does not have it any more
	} else {
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
