package appliance

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/nfq/session"
)

// encryption remembers which servers offer STARTTLS, and tells of one that stops. A server
// that is broken does that, and somebody on the way who strips the offer. It keeps encryptionMost
// servers, those that were seen last.
type encryption struct {
	say func(records.Entry) bool

	mu      sync.Mutex
	servers map[netip.AddrPort]*offering
	oldest  *offering // of a ring in the order in which they were last seen
}

const (
	encryptionMost = 4096
	offersUsual    = 3 // so many sessions in a row with the offer make it usual, and so many without make it gone
)

type offering struct {
	server     netip.AddrPort
	with       int // sessions with the offer, in a row or before those without; not above offersUsual
	without    int // the last sessions, without it
	gone       bool
	since      time.Time // that it is gone
	prev, next *offering
}

func newEncryption(say func(records.Entry) bool) *encryption {
	return &encryption{say: say, servers: make(map[netip.AddrPort]*offering)}
}

// saw takes what a session with server told. Only the server's own list of what it can do says
// something: what its client asked for without an offer could be anything.
func (e *encryption) saw(server netip.AddrPort, f session.Facts, now time.Time) {
	if f.Offer == session.OfferUnknown || f.Unknown {
		return
	}
	if gone, changed := e.note(server, f.Offer == session.IsOffered, now); changed {
		detail := "STARTTLS is not offered any more: the server has changed, or somebody on the way takes it out"
		if !gone {
			detail = "STARTTLS is offered again"
		}
		if !e.say(records.Health(records.HealthFacts{Time: now, What: "starttls_gone", Good: !gone, Target: server.String(), Detail: detail})) {
			e.untold(server, gone)
		}
	}
}

// untold has it told with the next session, since there was no room for the record.
func (e *encryption) untold(server netip.AddrPort, gone bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if o := e.servers[server]; o != nil && o.gone == gone {
		o.gone = !gone
	}
}

// note reports whether the offer of server is gone, and whether that has changed.
func (e *encryption) note(server netip.AddrPort, offered bool, now time.Time) (gone, changed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.servers[server]
	switch {
	case o != nil:
	case !offered:
		return false, false // it never did, as far as we know
	case len(e.servers) < encryptionMost:
		o = &offering{server: server}
		o.prev, o.next = o, o
		e.servers[server] = o
	default:
		o = e.oldest
		delete(e.servers, o.server)
		e.take(o)
		*o = offering{server: server}
		o.prev, o.next = o, o
		e.servers[server] = o
	}
	e.take(o)
	e.put(o)
	if offered {
		o.with, o.without = min(o.with+1, offersUsual), 0
		changed = o.gone
		o.gone = false
		return false, changed
	}
	if o.without++; o.with < offersUsual || o.gone || o.without < offersUsual {
		return o.gone, false
	}
	o.gone, o.since = true, now
	return true, true
}

// goneOffer is a server that does not offer STARTTLS any more.
type goneOffer struct {
	server netip.AddrPort
	since  time.Time
}

// compare is the order of goneOffers: the last one first.
func (g goneOffer) compare(h goneOffer) int {
	return cmp.Or(h.since.Compare(g.since), g.server.Compare(h.server))
}

// goneOffers are those that are remembered.
func (e *encryption) goneOffers() (all []goneOffer) {
	e.mu.Lock()
	for _, o := range e.servers {
		if o.gone {
			all = append(all, goneOffer{o.server, o.since})
		}
	}
	e.mu.Unlock()
	slices.SortFunc(all, goneOffer.compare)
	return all
}

// put makes o the youngest.
func (e *encryption) put(o *offering) {
	if e.oldest == nil {
		e.oldest = o
		return
	}
	o.prev, o.next = e.oldest.prev, e.oldest
	o.prev.next, o.next.prev = o, o
}

// take takes o out of the ring, if it is in it.
func (e *encryption) take(o *offering) {
	if e.oldest == o {
		e.oldest = o.next
		if o.next == o {
			e.oldest = nil
		}
	}
	o.prev.next, o.next.prev = o.next, o.prev
	o.prev, o.next = o, o
}
