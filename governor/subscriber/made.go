package subscriber

import (
	"net/netip"
	"strings"
)

// madeUp is about lines that RADIUS names and the list does not have.
type madeUp struct {
	lines     int    // how many there are
	last      *claim // one of them: the one heard of last, if it has not ended since
	overruled int    // claims of theirs on what somebody known has
	over      *claim // one of those
}

// Strangers is what an operator should know of lines that RADIUS names and the list does not have.
type Strangers struct {
	Lines int    // how many there are
	User  string // the User-Name of one of them, that heard of last; "" when that one has ended
	// Overruled is how many prefixes RADIUS gives to such a line although somebody known has them, and keeps them. It is
	// as of the last word of RADIUS on each, or of the last new list.
	Overruled int
	Example   Overruled // one of those; the zero value when it has ended
}

// Overruled is a prefix that RADIUS gives to User, whom the list does not have, and that stays with Holder.
type Overruled struct {
	Prefix       netip.Prefix
	User, Holder string
}

// Strangers tells about lines that only RADIUS knows.
func (d *Directory) Strangers() Strangers {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Strangers{Lines: d.made.lines, Overruled: d.made.overruled}
	if c := d.made.last; c != nil {
		s.User = c.name
	}
	if c := d.made.over; c != nil {
		s.Example = Overruled{c.prefix, c.name, c.overrule}
	}
	return s
}

// madeUp tells whether c is of a line that only RADIUS knows.
func (c *claim) madeUp() bool { return c.row < 0 && c.id != "" }

// madeUpID tells the same of an id, which no list can have.
func madeUpID(id string) bool { return strings.HasPrefix(id, userPrefix) }

// stranger notes a word of RADIUS on a made-up line, and who has the prefix instead.
func (d *Directory) stranger(c *claim) {
	d.made.last = c
	if c.overrule != "" {
		d.made.overruled--
	}
	if c.overrule = d.holderOf(c.prefix); c.overrule == "" || madeUpID(c.overrule) {
		c.overrule = ""
		if d.made.over == c {
			d.made.over = nil
		}
		return
	}
	d.made.overruled++
	d.made.over = c
}

// forget is called when c ends or is of another line now.
func (m *madeUp) forget(c *claim) {
	if m.last == c {
		m.last = nil
	}
	if m.over == c {
		m.over = nil
	}
	if c.overrule != "" {
		m.overruled--
		c.overrule = ""
	}
}
