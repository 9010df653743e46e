package governor

import "time"

// What Explain remembers: as many decisions of one subscriber, for so long, and as many of all together, of which those
// of strangers are a quarter.
const (
	decidedEach      = 50
	decidedAll       = 1 << 16
	decidedStrangers = decidedAll / 4
	keepDecided      = 24 * time.Hour
)

// remember keeps d for Explain. Where the room for all is used up, one of those who have the most decisions gives one for
// it, the one whose last is the oldest: so everybody has some.
func (g *Governor) remember(e *entry, d Decision, now int64) {
	t := g.troubled(e)
	d.Change = nil
	t.last = now
	m := &g.decided[e.class()]
	own := t.decided.n == decidedEach // whose oldest gives way
	if !own && m.n >= m.most {
		g.stats.DecisionsCut++
		if most := m.fullest(); most != nil && most.decided.n > t.decided.n {
			m.remove(most)
			most.decided.drop()
			most.decided.shrink()
			m.add(most)
		} else {
			own = true
		}
	}
	m.remove(t)
	if own {
		t.decided.drop()
	}
	t.decided.put(d)
	m.add(t)
}

// remembered are those of a class who have decisions, by how many: all with as many are a list in the order in which
// they were put there.
type remembered struct {
	most, n int // decisions
	by      [decidedEach + 1]struct{ oldest, newest *trouble }
}

// fullest is the first of those who have the most; nil if nobody has any.
func (m *remembered) fullest() *trouble {
	for n := decidedEach; n > 0; n-- {
		if t := m.by[n].oldest; t != nil {
			return t
		}
	}
	return nil
}

// add counts t in, as the newest.
func (m *remembered) add(t *trouble) {
	if t.decided.n == 0 {
		return
	}
	m.n += t.decided.n
	l := &m.by[t.decided.n]
	if t.older = l.newest; t.older == nil {
		l.oldest = t
	} else {
		t.older.newer = t
	}
	l.newest = t
}

func (m *remembered) remove(t *trouble) {
	if t.decided.n == 0 {
		return
	}
	m.n -= t.decided.n
	l := &m.by[t.decided.n]
	if t.older == nil {
		l.oldest = t.newer
	} else {
		t.older.newer = t.newer
	}
	if t.newer == nil {
		l.newest = t.older
	} else {
		t.newer.older = t.older
	}
	t.older, t.newer = nil, nil
}

// ring is a queue of at most decidedEach decisions. Once shrunk it has room for at most four times as many as are in it.
type ring struct {
	room     []Decision
	first, n int
}

func (r *ring) put(d Decision) {
	if r.n == len(r.room) {
		r.resize(min(max(1, 2*r.n), decidedEach))
	}
	r.room[(r.first+r.n)%len(r.room)] = d
	r.n++
}

// drop forgets the oldest, if there is one.
func (r *ring) drop() {
	if r.n > 0 {
		r.room[r.first] = Decision{}
		r.first = (r.first + 1) % len(r.room)
		r.n--
	}
}

// shrink gives back room.
func (r *ring) shrink() {
	if r.n == 0 {
		r.room, r.first = nil, 0
	} else if r.n <= len(r.room)/4 {
		r.resize(len(r.room) / 2)
	}
}

func (r *ring) resize(to int) {
	room := make([]Decision, to)
	r.copy(room)
	r.room, r.first = room, 0
}

func (r *ring) copy(to []Decision) {
	for i := range r.n {
		to[i] = r.room[(r.first+i)%len(r.room)]
	}
}

// list is a copy, the oldest first.
func (r *ring) list() []Decision {
	all := make([]Decision, r.n)
	r.copy(all)
	return all
}
