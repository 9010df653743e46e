package governor

import (
	"encoding/binary"
	"math"
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
	ipv6 uint8 = 1<<7 | 1
)

func networkOf(p netip.Prefix) network {
	switch a, bits := p.Addr(), p.Bits(); {
	case bits < 0:
	case a.Is4():
		b := a.As4()
		return network{binary.BigEndian.Uint32(b[:]) &^ (math.MaxUint32 >> bits), ipv4}
	case a.Is6():
		b := a.As16()
		high, low := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
		high &^= math.MaxUint64 >> bits
		low &^= math.MaxUint64 >> max(0, bits-64)
		return network{uint32(mix(mix(high)^low) >> 32), ipv6}
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

// known is a network that was charged to a budget of destinations, in 14 bytes.
type known struct {
	moment [8]byte // when it was charged
	bits   [4]byte
	of     uint8 // limit.nth, and whether it is of IPv6 in the first bit; 0: free
	opens  uint8 // sessions to it since then, of which none was withdrawn
}

// manyOpens is where known.opens stays: so many sessions are not all withdrawn.
const manyOpens = 255

func (k *known) at() int64 { return int64(binary.NativeEndian.Uint64(k.moment[:])) }

// nth is the budget's.
func (k *known) nth() uint8 { return k.of &^ (ipv6 - 1) }

func (k *known) network() network {
	return network{binary.NativeEndian.Uint32(k.bits[:]), k.of&(ipv6-1) | 1}
}

// tagged is network to as it stands in known.of of budget l.
func (l *limit) tagged(to network) uint8 { return to.kind - 1 | l.nth }

func (k *known) is(of uint8, bits uint32) bool {
	return binary.NativeEndian.Uint32(k.bits[:]) == bits && k.of == of
}

// fresh tells whether k still counts: until a whole window of l has passed since it was charged.
func (k *known) fresh(l *limit, now int64) bool { return now-k.at() < int64(l.Per) }

// again notes sessions more to a network that was charged.
func (k *known) again(opens uint8) { k.opens = uint8(min(manyOpens, int(k.opens)+int(opens))) }

// chargedFor finds the charge of network to on budget l; nil if there is none that still counts.
func (e *entry) chargedFor(l *limit, to network, now int64) *known {
	if k := e.find(l.tagged(to), to.bits); k != nil && k.fresh(l, now) {
		return k
	}
	return nil
}

func (e *entry) find(of uint8, bits uint32) *known {
	for i := range e.known {
		if k := &e.known[i]; k.is(of, bits) {
			return k
		}
	}
	if e.t != nil {
		for i := range e.t.known {
			if k := &e.t.known[i]; k.is(of, bits) {
				return k
			}
		}
	}
	return nil
}

// know writes down that network to was charged to budget l, in the place of an earlier charge of it, of one that does
// not count any more, or of the oldest where there are limit plus burst of them (which only a plan that defers nothing
// brings about).
func (g *Governor) know(e *entry, l *limit, to network, at int64, opens uint8, now int64) {
	place := e.find(l.tagged(to), to.bits)
	if place == nil {
		place = e.spare(l, now)
	}
	if place == nil {
		tr := g.troubled(e)
		tr.known = append(tr.known, known{})
		place = &tr.known[len(tr.known)-1]
	}
	binary.NativeEndian.PutUint64(place.moment[:], uint64(at))
	binary.NativeEndian.PutUint32(place.bits[:], to.bits)
	place.of, place.opens = l.tagged(to), opens
}

// spare is a place for one charge more to budget l; nil if there is none.
func (e *entry) spare(l *limit, now int64) *known {
	var oldest *known
	n := 0
	fits := func(k *known) bool {
		if k.of == 0 || !k.fresh(e.plan.destinations(k), now) {
			return true
		}
		if k.nth() == l.nth {
			if n++; oldest == nil || k.at() < oldest.at() {
				oldest = k
			}
		}
		return false
	}
	for i := range e.known {
		if fits(&e.known[i]) {
			return &e.known[i]
		}
	}
	if e.t != nil {
		for i := range e.t.known {
			if fits(&e.t.known[i]) {
				return &e.t.known[i]
			}
		}
	}
	if n < l.Limit+l.Burst {
		return nil
	}
	return oldest
}

// knows tells whether any charge still counts.
func (e *entry) knows(now int64) bool {
	for i := range e.known {
		if k := &e.known[i]; k.of != 0 && k.fresh(e.plan.destinations(k), now) {
			return true
		}
	}
	if e.t != nil {
		for i := range e.t.known {
			if k := &e.t.known[i]; k.of != 0 && k.fresh(e.plan.destinations(k), now) {
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
	for i := range from {
		if k := &from[i]; k.nth() == o.nth && k.fresh(l, now) {
			g.know(e, l, k.network(), k.at(), manyOpens, now)
		}
	}
}

// destinations is the budget that k was charged to.
func (p *plan) destinations(k *known) *limit { return &p.limits[p.nth[k.nth()-1]] }
