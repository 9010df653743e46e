package nfq

import (
	"github.com/mailweir/mailweir/nfq/lane"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/ruleset"
	"github.com/mailweir/mailweir/nfq/session"
)

// Stats is a snapshot of all queues. Counters count since Open.
type Stats struct {
	Queues   []QueueStats
	Flows    int        // known now, those that ended a moment ago included
	Held     int        // packets held now
	Replaced uint64     // readers that hung and were replaced
	Lane     *LaneStats // nil: there is no fast lane
	Copies   *CopyStats // nil: the server's packets inside TLS go through the queue
}

// CopyStats are the figures of what servers say inside TLS: packets that passed with a copy.
type CopyStats struct {
	Flows    int    // of which copies are made now
	Copies   uint64 // that came
	Lost     uint64 // that did not, for want of room; the estimates of their sessions know of it
	Stray    uint64 // of flows that were over
	Unparsed uint64 // not understood
	Remarked uint64 // flows that went back to the queue, or were cut
	Unmarked uint64 // flows that should have, and conntrack did not take it
}

// LaneStats are the figures of the fast lane, the kernel's and ours.
type LaneStats struct {
	lane.Stats
	Holders   int               // who have a lease
	Addresses int               // that may use one
	Sessions  int               // that may begin unasked, those included whose copies were not read yet
	Evicted   uint64            // leases that made room for others
	Flows     int               // followed now
	Opened    uint64            // sessions that began unasked
	Moved     uint64            // flows handed over to the queues
	Late      uint64            // sessions that began unasked and that Open then would have stopped
	Losses    uint64            // times that copies were found to be lost
	LostEnds  uint64            // sessions whose end was among them
	Panics    uint64            // caught
	Passed    map[string]uint64 // copies of no session, by reason: see QueueStats
}

// QueueStats are the figures of one queue. At rest
//
//	Packets == sum of Verdicts + HeldNow
//
// The keys of the maps are fit for metric labels, and all of them are always
// there, so that a counter does not appear only when it first counts.
type QueueStats struct {
	Number  uint16
	Packets uint64 // taken from the kernel

	// Verdicts given: "accept", "drop", and by the state that an accepting
	// verdict put into the flow's mark: "see", "up", "both", "deferred", "cut", "copied".
	Verdicts map[string]uint64
	// Passed counts packets that passed without judgement, by reason: those of
	// packet.Reason, and not_governed, mid_air, stray, empty, flow_table_full,
	// hold_bound, after_end, stopping, panic, forged.
	Passed map[string]uint64
	// Dropped counts drop verdicts by reason: retransmission_of_held.
	Dropped map[string]uint64

	HeldNow int
	Held    uint64 // packets that were held so far

	Flows   int    // known now
	Opened  uint64 // sessions whose first SYN was seen
	MidAir  uint64 // flows found in mid-air
	Adopted uint64 // flows taken over from the fast lane
	// Unanswered sessions were to be deferred, and reset since WayBack knew no way.
	Unanswered uint64
	Ended      map[string]uint64 // sessions that ended, by session.EndReason; half_open: the server never answered; evicted: the flow table was full
	Panics     uint64            // caught, in the policy or in us
	Batches    uint64            // receive batches

	Hangs         bool   // its reader does, and nothing else is known of it; it is replaced before long
	Overruns      uint64 // ENOBUFS that the socket reported (none are expected with NETLINK_NO_ENOBUFS)
	Stale         uint64 // verdicts for packets that the kernel no longer had (ENOENT)
	VerdictErrors uint64 // verdicts that the kernel refused otherwise
	Unparsed      uint64 // messages of the kernel that were not understood
	Abandoned     uint64 // packets without a verdict when Run ended; the kernel dropped them

	Kernel KernelQueue // after Run: as it was at the end

	remarked, unmarked uint64 // see CopyStats
}

// passReason says why a packet passed unjudged; the numbers below
// packet.Reasons are those of packet.Reason.
type passReason uint8

const (
	passNotGoverned   = passReason(packet.Reasons) + iota // no governed port
	passMidAir                                            // of a flow whose SYN we did not see
	passStray                                             // SYN+ACK, FIN or RST of no known flow
	passEmpty                                             // neither payload nor SYN, FIN, RST: an acknowledgement
	passFlowTableFull                                     // a new flow, and no room
	passHoldBound                                         // was to be held, but enough is held already
	passAfterEnd                                          // of a flow that is over
	passStopping                                          // came while we stopped
	passPanic                                             // we or the policy panicked on it
	passForged                                            // in a server's name, from the side of its client
	passReasons
)

func (r passReason) String() string {
	if int(r) < packet.Reasons {
		return packet.Reason(r).String()
	}
	switch r {
	case passNotGoverned:
		return "not_governed"
	case passMidAir:
		return "mid_air"
	case passStray:
		return "stray"
	case passEmpty:
		return "empty"
	case passFlowTableFull:
		return "flow_table_full"
	case passHoldBound:
		return "hold_bound"
	case passAfterEnd:
		return "after_end"
	case passStopping:
		return "stopping"
	case passPanic:
		return "panic"
	case passForged:
		return "forged"
	}
	return "unknown"
}

// ended counts ends beyond those of session.EndReason.
type ended uint8

const (
	endedHalfOpen = ended(session.EndShutdown) + 1 + iota
	endedEvicted
	endeds
)

func (e ended) String() string {
	switch e {
	case endedHalfOpen:
		return "half_open"
	case endedEvicted:
		return "evicted"
	}
	return session.EndReason(e).String()
}

// counters are guarded by the worker's mutex.
type counters struct {
	packets, batches         uint64
	accepted, dropped        uint64
	marked                   [ruleset.Copied + 1]uint64
	passed                   [passReasons]uint64
	ended                    [endeds]uint64
	held, opened, midAir     uint64
	adopted                  uint64
	unanswered               uint64
	panics                   uint64
	heldNow, retransmissions uint64
	abandoned                uint64
	remarked, unmarked       uint64
}

// Stats takes each worker's lock for a moment.
func (q *Queues) Stats() Stats {
	var s Stats
	kernel := q.kernel.read()
	for _, w := range q.queues() {
		one := w.stats()
		if k, ok := kernel[w.number]; ok {
			one.Kernel = k
		}
		s.Queues = append(s.Queues, one)
		s.Flows += one.Flows
		s.Held += one.HeldNow
	}
	s.Replaced = q.replaced.Load()
	if c := q.copies; c != nil {
		s.Copies = c.stats()
		for _, one := range s.Queues {
			s.Copies.Remarked += one.remarked
			s.Copies.Unmarked += one.unmarked
		}
	}
	if q.follower != nil {
		s.Lane = q.follower.laneStats()
		s.Flows += s.Lane.Flows
	}
	return s
}

func (fl *follower) laneStats() *LaneStats {
	one := fl.stats()
	fl.mu.Lock()
	tally := fl.tally
	fl.mu.Unlock()
	s := &LaneStats{Evicted: fl.leases.evictions(), Flows: one.Flows, Opened: one.Opened, Moved: tally.handed,
		Late: tally.late, Losses: tally.losses, LostEnds: tally.ends, Panics: one.Panics, Passed: one.Passed}
	s.Stats, _ = fl.lane.Stats() // none after it was closed
	s.Holders, s.Addresses, s.Sessions = fl.leases.count()
	return s
}

func (w *worker) stats() QueueStats {
	if !w.take() {
		return QueueStats{Number: w.number, Hangs: true}
	}
	c, flows, last := w.count, w.table.flows.n, w.last
	w.mu.Unlock()

	s := QueueStats{
		Number: w.number, Packets: c.packets, Batches: c.batches,
		HeldNow: int(c.heldNow), Held: c.held,
		Flows: flows, Opened: c.opened, MidAir: c.midAir, Adopted: c.adopted, Unanswered: c.unanswered, Panics: c.panics, Abandoned: c.abandoned, Kernel: last,
		Verdicts: map[string]uint64{"accept": c.accepted, "drop": c.dropped},
		Dropped:  map[string]uint64{"retransmission_of_held": c.retransmissions},
		Passed:   map[string]uint64{},
		Ended:    map[string]uint64{},
	}
	s.remarked, s.unmarked = c.remarked, c.unmarked
	for i, n := range c.marked {
		s.Verdicts[ruleset.State(i).String()] = n
	}
	for i := passReason(packet.OK) + 1; i < passReasons; i++ {
		s.Passed[i.String()] = c.passed[i]
	}
	for i := range endeds {
		s.Ended[i.String()] = c.ended[i]
	}
	e := w.reader.errors()
	s.Overruns, s.Stale, s.VerdictErrors, s.Unparsed = e.overruns.Load(), e.stale.Load(), e.refused.Load(), e.unparsed.Load()
	return s
}
