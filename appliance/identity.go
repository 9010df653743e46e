package appliance

import (
	"net/netip"
	"sync/atomic"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/governor/subscriber"
)

// who is the subscriber behind an address, as the packet path needs it.
type who struct {
	id, plan string
	name     string
	binding  string // where the mapping comes from: csv, lease, radius or api; none for an unmapped source
}

// identity answers whose an address is. Nothing it is asked waits for anybody: the
// directory and the rules for strangers are replaced as a whole.
type identity struct {
	*subscriber.Directory
	strangers atomic.Pointer[strangers]
}

// strangers says how sources are counted that are nobody's.
type strangers struct {
	v4bits, v6bits int
	plan           string
}

func newIdentity(c *config.Config, table *subscriber.Table) *identity {
	i := &identity{Directory: subscriber.NewDirectory(table)}
	i.use(c)
	return i
}

// use takes a configuration's word on strangers.
func (i *identity) use(c *config.Config) {
	i.strangers.Store(&strangers{v4bits: c.Identity.IPv4Prefix, v6bits: c.Identity.IPv6Prefix, plan: c.Identity.UnmappedPlan})
}

// of never fails: a source that nobody holds is a subscriber of its own.
func (i *identity) of(addr netip.Addr) who {
	s := i.strangers.Load()
	if h, ok := i.Lookup(addr); ok {
		w := who{id: h.ID, plan: h.Plan, name: h.Name, binding: h.Source.String()}
		if w.plan == "" {
			w.plan = s.plan // a line that only RADIUS knows
		}
		return w
	}
	id := subscriber.Unmapped(addr, s.v4bits, s.v6bits)
	w := who{id: id, plan: s.plan}
	if chosen := i.PlanOf(id); chosen != "" {
		w.plan = chosen
	}
	return w
}

// mine tells whether addr belongs to subscriber id and nobody else lives where the
// kernel would cut for it, which with IPv6 is the whole /64.
func (i *identity) mine(id string, addr netip.Addr) bool {
	w := i.of(addr)
	if w.id != id {
		return false
	}
	if w.binding == "" && addr.Is6() && i.strangers.Load().v6bits > 64 {
		return false // unmapped neighbours in one /64 are counted apart
	}
	return i.Alone(addr)
}

// planOf is the plan of whoever has this id now; "" when nobody has.
func (i *identity) planOf(id string) string {
	if plan := i.PlanOf(id); plan != "" {
		return plan
	}
	if subscriber.Unlisted(id) {
		return i.strangers.Load().plan
	}
	return ""
}
