package destinations

import "net/netip"

// counter is one that a summary follows. Its network was contacted at most count times and at least count - over.
type counter struct {
	network     netip.Prefix
	count, over uint64
	bytes       uint64 // since it is followed
	place       int    // in heap
}

// summary counts the most frequent of a stream with a fixed number of counters: the Space-Saving algorithm (Metwally,
// Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005).
//
// With m counters and n additions no count is too high by more than n/m, none is too low, and every network with more than
// n/m is followed. Until more than m different ones have come, all counts are exact.
type summary struct {
	most  int
	total uint64
	of    map[netip.Prefix]*counter
	heap  []*counter // the least count first
}

func newSummary(most int) *summary {
	return &summary{most: most, of: make(map[netip.Prefix]*counter)}
}

func (s *summary) add(network netip.Prefix, bytes uint64) {
	s.total++
	c := s.of[network]
	switch {
	case c != nil:
	case len(s.heap) < s.most:
		c = &counter{network: network, place: len(s.heap)}
		s.of[network] = c
		s.heap = append(s.heap, c)
		s.up(c.place)
	default: // the least one makes room, and what it had is how much too high the new one may be
		c = s.heap[0]
		delete(s.of, c.network)
		c.network, c.over, c.bytes = network, c.count, 0
		s.of[network] = c
	}
	c.count++
	c.bytes += bytes
	s.down(c.place)
}

// least is how often a network may have been contacted that is not followed.
func (s *summary) least() uint64 {
	if len(s.heap) < s.most {
		return 0
	}
	return s.heap[0].count
}

// reset empties it.
func (s *summary) reset() {
	s.total = 0
	clear(s.of)
	s.heap = s.heap[:0]
}

func (s *summary) up(i int) {
	for i > 0 && s.heap[i].count < s.heap[(i-1)/2].count {
		s.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (s *summary) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s.heap); child++ {
			if s.heap[child].count < s.heap[least].count {
				least = child
			}
		}
		if least == i {
			return
		}
		s.swap(i, least)
		i = least
	}
}

func (s *summary) swap(i, j int) {
	s.heap[i], s.heap[j] = s.heap[j], s.heap[i]
	s.heap[i].place, s.heap[j].place = i, j
}
