package lane

import "fmt"

// Stats counts since Open. A packet that is not ours is in none of them.
type Stats struct {
	Fast        uint64 // packets let through by lease, SYNs included
	Handed      uint64 // packets of flows that are the queue's
	Copies      uint64
	CopiedBytes uint64 // of IP packets
	Lost        uint64 // copies for which there was no room
	EndsUnnoted uint64 // of these, ends for which LostEnds had no room either

	SYNFast  uint64 // took a token
	SYNAgain uint64 // came again, without a token
	SYNQueue SYNQueue

	CutAnswered, CutDropped   uint64 // SYNs of who is cut: left to be reset, and dropped
	FloodDropped, FloodPassed uint64 // SYNs beyond their line's meter
	CrowdDropped              uint64 // SYNs of lines that send many, while the queue was crowded
	TotalDropped, TotalPassed uint64 // SYNs beyond the meter of all

	Unread uint64 // packets that passed unjudged since nobody reads the queues

	ShortCut uint64 // of Fast: packets that the program forwarded by itself
	Stack    Stack
}

// Stack counts packets of the lane, without the SYNs of clients, that the kernel forwarded
// in its own way, by reason.
type Stack struct {
	Shut   uint64 // no short cut is allowed (ShortCut)
	Begins uint64 // the session begins, or interfaces have changed since it did
	Odd    uint64 // IP options, a VLAN tag, a mark of others', not to our MAC address, a wrong checksum
	Path   uint64 // comes or leaves by other interfaces than the session began by
	Length uint64 // longer than what leaves may be
	Route  uint64 // not to be forwarded, the neighbour is not known, or a way that only the kernel knows
}

// SYNQueue counts the SYNs without a lease by reason. Those that no flood meter stopped
// took the way of the queue.
type SYNQueue struct {
	Odd      uint64 // with payload, FIN or RST
	Unknown  uint64 // source not known
	Stale    uint64 // source known in an earlier generation
	NotAlive uint64 // Alive is over
	Lost     uint64 // copies of the lease were lost
	Inside   uint64 // for another subscriber
	Handed   uint64 // of a flow that is the queue's, once more
	Ring     uint64 // no room for the copy
	Table    uint64 // no room for the flow
	Token    uint64 // lease used up
	Waited   uint64 // one that waited before, sent again
}

// Stats adds up what all processors have counted.
func (l *Lane) Stats() (Stats, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var s Stats
	if l.closed {
		return s, errClosed
	}
	var each []programStats
	if err := l.coll.Maps[programMapCounters].Lookup(uint32(0), &each); err != nil {
		return s, fmt.Errorf("fast lane: read the counters: %w", err)
	}
	for i := range each {
		s.add(&each[i])
	}
	return s, nil
}

func (s *Stats) add(p *programStats) {
	s.Fast += p.Fast
	s.Handed += p.Handed
	s.Copies += p.Copies
	s.CopiedBytes += p.CopiedBytes
	s.Lost += p.Lost
	s.EndsUnnoted += p.EndsUnnoted
	s.SYNFast += p.SynFast
	s.SYNAgain += p.SynAgain
	s.SYNQueue.Odd += p.SynOdd
	s.SYNQueue.Unknown += p.SynUnknown
	s.SYNQueue.Stale += p.SynStale
	s.SYNQueue.NotAlive += p.SynDead
	s.SYNQueue.Lost += p.SynLost
	s.SYNQueue.Inside += p.SynInside
	s.SYNQueue.Handed += p.SynHanded
	s.SYNQueue.Ring += p.SynRing
	s.SYNQueue.Table += p.SynTable
	s.SYNQueue.Token += p.SynToken
	s.SYNQueue.Waited += p.SynWaited
	s.CutAnswered += p.CutAnswered
	s.CutDropped += p.CutDropped
	s.FloodDropped += p.FloodDropped
	s.FloodPassed += p.FloodPassed
	s.CrowdDropped += p.CrowdDropped
	s.Unread += p.Unread
	s.TotalDropped += p.TotalDropped
	s.TotalPassed += p.TotalPassed
	s.ShortCut += p.ShortCut
	s.Stack.Shut += p.StackShut
	s.Stack.Begins += p.StackBegins
	s.Stack.Odd += p.StackOdd
	s.Stack.Path += p.StackPath
	s.Stack.Length += p.StackLength
	s.Stack.Route += p.StackRoute
}
