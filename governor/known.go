package governor

import (
	"encoding/binary"
	"net/netip"
)

// MaxDestinations bounds the limit and the burst of a budget of destinations: what was charged is remembered network by
// network, up to their sum, and looked through for every session.
const MaxDestinations = 1000

// network is a destination as it is compared: exactly for IPv4, by a hash of 32 bits for IPv6. Two IPv6 networks may so
// pass for one: a new one is mistaken for one of n known ones with a probability of n/2^32, and then costs nothing.
type network struct {
	bits uint32
	kind uint8 // 0: none, ipv4 or ipv6
}

const (
	ipv4 uint8 = 1
	ipv6 uint8 = 2
)

func networkOf(p netip.Prefix) network {
	a := p.Addr()
	switch {
	case a.Is4():
		b := p.Masked().Addr().As4()
		return network{binary.BigEndian.Uint32(b[:]), ipv4}
	case a.Is6():
		b := p.Masked().Addr().As16()
		h := mix(binary.BigEndian.Uint64(b[:8])) ^ binary.BigEndian.Uint64(b[8:])
		return network{uint32(mix(h) >> 32), ipv6}
	}
	return network{}
}

// mix is the finalizer of splitmix64: every bit of x decides about every bit of the result. It must stay as it is, for
// what was saved.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// known is a network that was charged to a budget of destinations.
type known struct {
	at    int64 // when it was charged
	bits  uint32
	of    uint8 // limit.nth; 0: free
	kind  uint8
	opens uint8 // sessions to it since then, of which none was withdrawn
}

// manyOpens is where known.opens stays: so many sessions are not all withdrawn.
const manyOpens = 255

func (k *known) is(l *limit, to network) bool {
	return k.bits == to.bits && k.of == l.nth && k.kind == to.kind
}

// fresh tells whether k still counts: until a whole window of l has passed since it was charged.
func (k *known) fresh(l *limit, now int64) bool { return now-k.at < int64(l.Per) }

// charged finds the charge of network to on budget l; nil if there is none that still counts.
func (e *entry) chargedFor(l *limit, to network, now int64) *known {
	for i := range e.known {
		if k := &e.known[i]; k.is(l, to) {
			if k.fresh(l, now) {
				return k
			}
			return nil
		}
	}
	if e.t != nil {
		for i := range e.t.known {
			if k := &e.t.known[i]; k.is(l, to) {
				if k.fresh(l, now) {
					return k
				}
				return nil
			}
		}
	}
	return nil
}

// know writes down that network to was charged to budget l, in the place of an earlier charge of it, of one that does
// not count any more, or of the oldest where there are limit plus burst of them (which only a plan that defers nothing
// brings about).
func (g *Governor) know(e *entry, l *limit, to network, at int64, opens uint8, now int64) {
	var place, oldest *known
	n := 0
	look := func(k *known) bool {
		switch {
		case k.is(l, to):
			place = k
			return true
		case k.of == 0, !k.fresh(e.plan.destinations(k.of), now):
			if place == nil {
				place = k
			}
		case k.of == l.nth:
			if n++; oldest == nil || k.at < oldest.at {
				oldest = k
			}
		}
		return false
	}
	found := false
	for i := range e.known {
		found = found || look(&e.known[i])
	}
	if e.t != nil {
		for i := 0; !found && i < len(e.t.known); i++ {
			found = look(&e.t.known[i])
		}
	}
	if place == nil && n >= l.Limit+l.Burst {
		place = oldest
	}
	if place == nil {
		tr := g.troubled(e)
		tr.known = append(tr.known, known{})
		place = &tr.known[len(tr.known)-1]
	}
	*place = known{at: at, bits: to.bits, of: l.nth, kind: to.kind, opens: opens}
}

// again notes sessions more to a network that was charged.
func (k *known) again(opens uint8) { k.opens = uint8(min(manyOpens, int(k.opens)+int(opens))) }

// knows tells whether any charge still counts.
func (e *entry) knows(now int64) bool {
	for i := range e.known {
		if k := &e.known[i]; k.of != 0 && k.fresh(e.plan.destinations(k.of), now) {
			return true
		}
	}
	if e.t != nil {
		for i := range e.t.known {
			if k := &e.t.known[i]; k.of != 0 && k.fresh(e.plan.destinations(k.of), now) {
				return true
			}
		}
	}
	return false
}

// forgetKnown forgets what was charged.
func (e *entry) forgetKnown() {
	e.known = [len(e.known)]known{}
	if e.t != nil {
		e.t.known = nil
	}
}

// carryKnown gives e, now under the plan of budget l, the networks that were charged to o, its earlier form.
func (g *Governor) carryKnown(e *entry, l, o *limit, from []known, now int64) {
	for _, k := range from {
		if k.of == o.nth && k.fresh(l, now) {
			g.know(e, l, network{k.bits, k.kind}, k.at, manyOpens, now)
		}
	}
}

// destinations is the budget that known.of stands for.
func (p *plan) destinations(nth uint8) *limit { return &p.limits[p.nth[nth-1]] }
