package sources

import (
	"fmt"
	"time"
)

// When a source looks like many senders behind one address.
const (
	CrowdClients = 6                // different TLS clients that came back ...
	CrowdBack    = 10 * time.Minute // ... so long after their first session or later ...
	CrowdMemory  = 24 * time.Hour   // ... and were there within that time;
	CrowdNow     = 3                // so many of them
	CrowdRecent  = time.Hour        // within that time

	hold = 3 * time.Hour // a TLS client that did not come back keeps its place that long
)

// print is one TLS client of a source.
type print struct {
	stack       uint64 // 0: none
	first, last uint32 // Unix seconds
}

func (p print) back() bool { return p.last-p.first >= uint32(CrowdBack/time.Second) }

// within tells whether the client was there less than d before now. A clock that went back makes everything recent.
func (p print) within(d time.Duration, now uint32) bool {
	return p.stack != 0 && (p.last > now || now-p.last < uint32(d/time.Second))
}

// begun tells whether the client was there first less than d before now.
func (p print) begun(d time.Duration, now uint32) bool {
	return p.first > now || now-p.first < uint32(d/time.Second)
}

// use takes in that a TLS client was there. When there is no place, one that was not there for CrowdMemory makes room, else
// the oldest of those that did not come back within hold; where there is none either, the new one is left out. So neither a
// bot that invents a cipher list for each session nor a crowd of more clients than there are places keeps pushing out those
// that would come back.
func (p *page) use(stack uint64, now uint32) {
	var place *print
	for i := range p.prints {
		f := &p.prints[i]
		if !f.within(CrowdMemory, now) {
			*f = print{}
		}
		if f.stack == stack {
			if now < f.last { // the clock went back: who came back did so all the same
				f.first = now - min(f.last-f.first, now)
			}
			f.last = now
			return
		}
		if (f.stack == 0 || !f.back() && !f.begun(hold, now)) && (place == nil || f.first < place.first) {
			place = f
		}
	}
	if place != nil {
		*place = print{stack, now, now}
	}
}

// clients counts the TLS clients of the last CrowdMemory, at most maxPrints.
func (p *page) clients(now uint32) int {
	n := 0
	for _, f := range p.prints {
		if f.within(CrowdMemory, now) {
			n++
		}
	}
	return n
}

// back counts the TLS clients that came back within CrowdMemory, and those of them that were there within CrowdRecent.
func (p *page) back(now uint32) (all, recent int) {
	for _, f := range p.prints {
		if f.back() && f.within(CrowdMemory, now) {
			all++
			if f.within(CrowdRecent, now) {
				recent++
			}
		}
	}
	return all, recent
}

// crowded tells whether p looks like many senders behind one address.
func (p *page) crowded(now uint32) bool {
	all, recent := p.back(now)
	return all >= CrowdClients && recent >= CrowdNow
}

// crowd says why p looks so; "" when it does not.
func (p *page) crowd(now uint32) string {
	if !p.crowded(now) {
		return ""
	}
	all, recent := p.back(now)
	return fmt.Sprintf("%d different TLS clients came back within 24 h, %d of them were there in the last hour", all, recent)
}
