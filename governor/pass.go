package governor

import (
	"math"
	"math/bits"
)

// quick is what pass needs of a limit, close together: a cache line.
type quick struct {
	token   int64
	inverse uint64 // of token, in 2^-64
	cost    int64  // what a session costs: a token, or nothing yet. A session that runs is a token of 1
	most    int64  // used beyond this, the session included, open has to say
	per     int64
	share   float64 // of the burst that one token is
	place   uint8
	kind    Kind
}

// rounding is how far apart two shares must be to be told apart. Quotients of numbers up to ten million are equal, or
// differ by more; and what is calculated from quick.share is off by less.
const rounding = 1 + 1e-14

// tokens is limit.tokens without a division, which is what costs here: the product is right or one too small.
func (q *quick) tokens(span int64) int64 {
	span += q.token - 1
	n, _ := bits.Mul64(uint64(span), q.inverse)
	if span-int64(n)*q.token >= q.token {
		n++
	}
	return int64(n)
}

// quicken prepares p for pass, where its sessions can go that way.
func (p *plan) quicken() {
	if len(p.nth) > 1 || p.places > inline {
		return
	}
	for i := range p.limits {
		l := &p.limits[i]
		q := quick{token: l.token, inverse: math.MaxUint64 / uint64(l.token), most: l.warnFrom, per: int64(l.Per), share: 1 / float64(l.Burst),
			place: uint8(l.place), kind: l.Of}
		switch l.Of {
		case Sessions, Destinations:
			q.cost = l.token
			p.pays = append(p.pays, uint8(i))
		case ConcurrentSessions:
			q.token, q.inverse, q.most = 1, math.MaxUint64, int64(min(l.warnMax, l.Limit))
		default:
			q.most = min(q.most, l.full-l.token)
		}
		p.quick = append(p.quick, q)
	}
}

// pass decides on a session that gives nothing to decide: of somebody who is known, who never was near a budget and is
// not now. It says exactly what open would, which costs several times as much; false: open has to say, and nothing has
// changed.
func (g *Governor) pass(d *Decision, a *Attempt, t int64) bool {
	slot, _ := g.find(a.Subscriber)
	if slot == 0 || g.slow {
		return false
	}
	r := g.record(slot)
	if r.rare != 0 || r.stage != StageObserve || r.mode() != g.mode || r.flags&unlisted != 0 != a.Unlisted {
		return false
	}
	p := g.shapes.all[r.shape]
	if !p.current || len(p.quick) != len(p.limits) || p.name != a.Plan {
		return false
	}
	to := networkOf(a.Destination)
	var met *known
	fullest, value, ratio := 0, int64(0), 0.0
	for i := range p.quick {
		q := &p.quick[i]
		u := max(0, r.wholeAt[q.place]-t)
		switch q.kind {
		case ConcurrentSessions:
			u = int64(r.open) + 1
		case Destinations:
			if to.kind != 0 {
				if met = r.met(to, t-q.per); met == nil {
					u += q.cost
				}
			}
		default:
			u += q.cost
		}
		if u > q.most {
			return false
		}
		if u <= 0 {
			continue
		}
		v := int64(1)
		if u > q.token {
			v = q.tokens(u)
		}
		if f := float64(v) * q.share; f > ratio { // the first of the fullest
			fullest, value, ratio = i, v, f*rounding
		}
	}
	for _, i := range p.pays {
		q := &p.quick[i]
		w := &r.wholeAt[q.place]
		if q.kind == Destinations {
			if met != nil {
				met.again(1)
				continue
			}
			if to.kind == 0 {
				continue
			}
			g.know(&entry{record: r, slot: slot, plan: p}, &p.limits[i], to, t, 1, t)
		}
		*w = max(*w, t) + q.cost
	}
	r.charged++
	r.open++
	g.mark(slot)
	d.Receipt = Receipt{at: t, charged: r.charged, to: to, ok: true}
	if len(p.limits) > 0 {
		l := &p.limits[fullest]
		d.Of, d.Value, d.Limit, d.Burst, d.Window = l.Of, int(value), l.Limit, l.Burst, l.Per
		d.Ratio = float64(value) / float64(l.Burst)
	}
	return true
}

// met is the charge of network to in the record, to the only budget of destinations of its plan (so that known.of is the
// network's kind), if it was later than after.
func (r *record) met(to network, after int64) *known {
	for i := range r.known {
		if k := &r.known[i]; k.is(to.kind, to.bits) {
			if k.at() > after {
				return k
			}
			return nil
		}
	}
	return nil
}
