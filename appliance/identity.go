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
	binding  string // where the mapping comes from: csv, or none for an unmapped source
}

// identity answers whose an address is. The table is replaced as a whole at a
// reload, so that a lookup never sees half of a new list.
type identity struct {
	current atomic.Pointer[mapping]
}

type mapping struct {
	table          *subscriber.Table
	v4bits, v6bits int
	unmappedPlan   string
}

// set takes a configuration's view of who is who. Call it before the first of.
func (i *identity) set(c *config.Config, table *subscriber.Table) {
	i.current.Store(&mapping{
		table:        table,
		v4bits:       c.Identity.IPv4Prefix,
		v6bits:       c.Identity.IPv6Prefix,
		unmappedPlan: c.Identity.UnmappedPlan,
	})
}

// of never fails: a source that nobody's prefix covers is a subscriber of its own.
func (i *identity) of(addr netip.Addr) who {
	m := i.current.Load()
	if s, ok := m.table.Lookup(addr); ok {
		return who{id: s.ID, plan: s.Plan, name: s.Name, binding: "csv"}
	}
	return who{id: subscriber.Unmapped(addr, m.v4bits, m.v6bits), plan: m.unmappedPlan}
}

func (i *identity) table() *subscriber.Table { return i.current.Load().table }

// mine tells whether addr belongs to subscriber id and nobody else lives where the
// kernel would cut for it, which with IPv6 is the whole /64.
func (i *identity) mine(id string, addr netip.Addr) bool {
	m := i.current.Load()
	if i.of(addr).id != id {
		return false
	}
	if _, listed := m.table.Lookup(addr); !listed && addr.Is6() && m.v6bits > 64 {
		return false // unmapped neighbours in one /64 are counted apart
	}
	return m.table.Alone(addr)
}

// planOf is the plan of whoever has this id now; "" when nobody has.
func (i *identity) planOf(id string) string {
	m := i.current.Load()
	if s, ok := m.table.ByID(id); ok {
		return s.Plan
	}
	if _, err := netip.ParsePrefix(id); err == nil {
		return m.unmappedPlan
	}
	return ""
}
