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

// alone tells whether nobody else lives where the kernel would cut for addr.
func (i *identity) alone(addr netip.Addr) bool { return i.table().Alone(addr) }
