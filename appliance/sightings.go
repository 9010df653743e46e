package appliance

import (
	"net/netip"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/share"
	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/session"
)

// sighting is a session that came to its end, as those need it who look at all of them together.
type sighting struct {
	ja4, ja3   string
	subscriber string
	network    netip.Prefix
	bytes      int64
	messages   int32
	kind       share.Kind
}

// sightings hands sessions over from the packet path to the observer: two buffers, of which one is filled while the other is
// read. What is found full is counted and left out.
type sightings struct {
	mu   sync.Mutex
	fill []sighting
	lost uint64

	spare []sighting // only take has it
}

// sightingsAtOnce is what fits into a buffer: sessions of more than half a second at the highest rates, 0.9 MB each.
const sightingsAtOnce = 8192

func newSightings() *sightings {
	return &sightings{fill: make([]sighting, 0, sightingsAtOnce), spare: make([]sighting, 0, sightingsAtOnce)}
}

// add is called under a worker's lock. It allocates nothing.
func (s *sightings) add(one sighting) {
	s.mu.Lock()
	if len(s.fill) < cap(s.fill) {
		s.fill = append(s.fill, one)
	} else {
		s.lost++
	}
	s.mu.Unlock()
}

// take gives what came since it was last called. It is valid until the next call; only one may take.
func (s *sightings) take() []sighting {
	clear(s.spare) // whose strings are kept no longer
	s.mu.Lock()
	defer s.mu.Unlock()
	full := s.fill
	s.fill, s.spare = s.spare[:0], full
	return full
}

func (s *sightings) missed() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// sightingOf is what others than its worker want to know of a session.
func sightingOf(v *visit, network netip.Prefix, s *nfq.Summary) sighting {
	return sighting{
		ja4: s.JA4, ja3: s.JA3, subscriber: v.id, network: network, bytes: s.BytesUp + s.BytesDown,
		messages: int32(max(s.Messages, s.MessagesLo)), kind: kindOf(&s.Facts),
	}
}

func kindOf(f *session.Facts) share.Kind {
	switch {
	case f.TLS == session.TLSStartTLS:
		return share.StartTLS
	case f.TLS == session.TLSImplicit:
		return share.Implicit
	case f.Unknown:
		return share.Unknown
	}
	return share.Clear
}

// drainEvery is how often sightings are read.
const drainEvery = 200 * time.Millisecond
