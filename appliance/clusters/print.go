package clusters

import (
	"container/list"
	"math/bits"
	"slices"
	"time"
)

// print is what is known of one JA4.
type print struct {
	ja4    string
	who    [2]who            // subscribers, in this memory and the one before
	spans  [horizons][2]span // this one and the one before
	orders uint64            // one bit for each JA3, more or less
	ja3    string            // the last one
	since  time.Duration     // age at its first session
	lines  int               // subscribers that ever came to it while it was known

	members []*member // who came lately, in the order in which they did
	card    *card     // the last one
	again   map[string]bool
	place   *list.Element
	shared  bool // in which list
}

// span is a part of a horizon.
type span struct {
	Came, Sessions, Messages int
	First, Familiar          int // sessions of who came, the first to a network; of them those to where the same subscriber sent before
	Where                    sketch
}

func newSpan() span { return span{Where: newSketch(whereBits)} }

// maxOf is how many members a print may have; who came first makes room. What has more is not rare.
const maxOf = 512

// member is a subscriber that came to a print.
type member struct {
	print       *print
	place       *list.Element
	subscriber  string
	since       time.Duration // age
	First, Last time.Time
	Sessions    int
	Messages    int
	where       [4]uint64 // networks, as a sketch of 256 bits
	known       bool      // it had another print before
}

// print is that of ja4, made if need be and put in front of its list.
func (c *Clusters) print(ja4 string) *print {
	p := c.prints[ja4]
	if p == nil {
		if c.fresh.Len() == maxFresh {
			c.forget(c.fresh)
		}
		p = &print{ja4: ja4, who: [2]who{newWho(), newWho()}, since: c.clock.age}
		for h := range p.spans {
			p.spans[h] = [2]span{newSpan(), newSpan()}
		}
		p.place = c.fresh.PushFront(p)
		c.prints[ja4] = p
		return p
	}
	l := c.fresh
	if p.shared {
		l = c.shared
	}
	l.MoveToFront(p.place)
	return p
}

// share puts a print that several subscribers have where the others do not push it out.
func (c *Clusters) share(p *print) {
	if p.shared {
		return
	}
	if c.shared.Len() == maxShared {
		c.forget(c.shared)
		c.lost++
	}
	c.fresh.Remove(p.place)
	p.place, p.shared = c.shared.PushFront(p), true
}

// forget makes room for one. That is never a print with a card that runs: there are fewer of these than either list holds.
func (c *Clusters) forget(l *list.List) {
	e := leastMissed(l)
	p := e.Value.(*print)
	for len(p.members) > 0 {
		c.leave(p.members[0])
	}
	l.Remove(e)
	delete(c.prints, p.ja4)
	delete(c.dirty, p)
}

// leastMissed is the print of the fewest subscribers, of those the one that was used longest ago, that has no card which runs: two lines that make up
// prints push out each other's and not what many use.
func leastMissed(l *list.List) *list.Element {
	least := l.Back()
	for e := least; e != nil; e = e.Prev() {
		p, q := e.Value.(*print), least.Value.(*print)
		switch {
		case p.card.runs():
		case q.card.runs() || p.lines < q.lines:
			least = e
		}
		if n := least.Value.(*print); !n.card.runs() && n.lines <= fewestShared {
			break
		}
	}
	return least
}

// fewestShared is how many subscribers a print has at least that several have.
const fewestShared = 2

// member is the page of a subscriber that came to a print; nil if it had it before. Who comes again gets a new one.
func (c *Clusters) member(p *print, subscriber string, comes, known bool, now time.Time) *member {
	i := slices.IndexFunc(c.of[subscriber], func(m *member) bool { return m.print == p })
	switch {
	case i >= 0 && !comes:
		m := c.of[subscriber][i]
		c.joined.MoveToFront(m.place)
		return m
	case i >= 0:
		c.leave(c.of[subscriber][i])
	case !comes:
		return nil
	default:
		if p.lines++; p.lines > 1 {
			c.share(p)
		}
	}
	if len(p.members) == maxOf {
		c.leave(p.members[0])
	}
	if c.joined.Len() == maxMembers {
		c.leave(c.joined.Back().Value.(*member))
	}
	m := &member{print: p, subscriber: subscriber, since: c.clock.age, First: now, known: known}
	m.place = c.joined.PushFront(m)
	p.members = append(p.members, m)
	c.of[subscriber] = append(c.of[subscriber], m)
	return m
}

// leave forgets a member.
func (c *Clusters) leave(m *member) {
	c.joined.Remove(m.place)
	m.print.members = without(m.print.members, m)
	if of := without(c.of[m.subscriber], m); len(of) > 0 {
		c.of[m.subscriber] = of
	} else {
		delete(c.of, m.subscriber)
	}
}

// Forget drops cards that ended before a time, and who was not seen with a print since; true if there was anything to drop. That the
// subscriber once had the print stays known, as a bit of a hash, for six to twelve weeks of running.
func (c *Clusters) Forget(before time.Time) (any bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.cards)
	c.cards = slices.DeleteFunc(c.cards, func(k *card) bool { return !k.runs() && k.Ended.Before(before) })
	any = len(c.cards) < n
	for _, p := range c.prints {
		if k := p.card; k != nil && !k.runs() && k.Ended.Before(before) {
			p.card, p.again = nil, nil
		}
	}
	for e := c.joined.Back(); e != nil; {
		m := e.Value.(*member)
		if e = e.Prev(); m.Last.Before(before) { // not in this order where the clock was set
			c.leave(m)
			any = true
		}
	}
	return any
}

func without(all []*member, m *member) []*member {
	for i, one := range all {
		if one == m {
			return append(all[:i], all[i+1:]...)
		}
	}
	return all
}

func (p *print) see(s Sighting, to, order uint64, comes bool) {
	for h := range p.spans {
		now := &p.spans[h][0]
		now.Sessions++
		now.Messages += max(s.Messages, 0)
		now.Where.add(to)
		if comes {
			now.Came++
		}
	}
	if s.JA3 != "" {
		p.orders |= 1 << (order % 64)
		p.ja3 = s.JA3
	}
}

// first counts a session of who came to the print, the first to its network.
func (p *print) first(familiar bool) {
	for h := range p.spans {
		p.spans[h][0].First++
		if familiar {
			p.spans[h][0].Familiar++
		}
	}
}

func (p *print) turn(h int) {
	s := &p.spans[h]
	s[0], s[1] = s[1], s[0]
	where := s[0].Where
	clear(where)
	s[0] = span{Where: where}
}

// see counts a session and tells whether it is the first to its network.
func (m *member) see(s Sighting, to uint64, now time.Time) (first bool) {
	where := sketch(m.where[:])
	first = !where.has(to)
	where.add(to)
	m.Last = now
	m.Sessions++
	m.Messages += max(s.Messages, 0)
	return first
}

// networks is how many networks a member sent to, about.
func (m *member) networks() int { return count(sketch(m.where[:])) }

// shuffles tells whether the client sends its extensions in another order each time.
func (p *print) shuffles() bool { return bits.OnesCount64(p.orders) > 8 }
