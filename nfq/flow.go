package nfq

import (
	"time"

	"github.com/mailweir/mailweir/nfq/ruleset"
	"github.com/mailweir/mailweir/nfq/session"
)

// class is how far a flow is. Each class is a list in the order of last
// activity, so that expiry looks at the oldest only.
type class uint8

const (
	over     class = iota // ended; known a while longer, for its stragglers
	aborted               // a reset was seen; whether its receiver took it, the next seconds tell
	halfOpen              // the server has not answered the SYN
	answered              // it has, but nobody said anything yet
	running               // payload was seen
	released              // the kernel passes at least the client's packets
	classes
)

// timeouts are how long a flow of each class may be silent.
type timeouts [classes]time.Duration

// defaultTimeouts: a client waits 5 minutes for the greeting, and the longest
// wait of a client is 10 minutes for the reply to the end of data (RFC 5321,
// section 4.5.3.2); a released flow is silent towards us while mail flows. What
// goes on after a reset does so at once.
var defaultTimeouts = timeouts{
	over:     30 * time.Second,
	aborted:  5 * time.Second,
	halfOpen: time.Minute,
	answered: 6 * time.Minute,
	running:  15 * time.Minute,
	released: time.Hour,
}

// flow is a TCP connection in a worker's table.
type flow struct {
	Flow
	tracker *session.Tracker // nil when over
	handle  any
	midAir  bool // the SYN was not seen: the policy was not asked
	isn     uint32

	// Once the server has spoken, only a SYN+ACK of it begins another session.
	spoke     bool
	serverISN uint32 // of its SYN+ACK, with greeted
	greeted   bool
	nextISN   uint32 // of the last SYN in the middle of the session, with asked
	asked     bool

	// told is the state that the last verdict put into the mark, valid when
	// marked. For flows that are over, wanted is what stragglers get.
	told   ruleset.State
	marked bool
	wanted ruleset.State

	hold    time.Duration // the next reply is held this long
	held    *held
	heldFor time.Duration // in all
	unheld  int           // passed over the bound
	dropped int

	class      class
	seen       time.Time
	prev, next *flow
}

// state is what the kernel should do with the flow's packets.
func (f *flow) state() ruleset.State {
	if f.tracker == nil || f.tracker.Ended() {
		return f.wanted
	}
	switch f.tracker.Release() {
	case session.ReleaseUp:
		return ruleset.Up
	case session.ReleaseBoth:
		return ruleset.Both
	}
	return ruleset.See
}

// table holds a worker's flows. It is guarded by the worker's mutex.
type table struct {
	flows map[Flow]*flow
	lists [classes]flow // sentinels of rings
	free  *flow         // chained by next
	spare int
}

// maxSpare bounds the flows kept for reuse.
const maxSpare = 1024

func (t *table) init() {
	t.flows = map[Flow]*flow{}
	for c := range t.lists {
		l := &t.lists[c]
		l.prev, l.next = l, l
	}
}

// add makes a flow of class halfOpen.
func (t *table) add(key Flow, now time.Time) *flow {
	f := t.free
	if f != nil {
		t.free = f.next
		t.spare--
		*f = flow{}
	} else {
		f = &flow{}
	}
	f.Flow = key
	t.flows[key] = f
	t.touch(f, halfOpen, now)
	return f
}

// touch notes activity and puts f at the young end of the list of c.
func (t *table) touch(f *flow, c class, now time.Time) {
	f.unlink()
	f.class, f.seen = c, now
	l := &t.lists[c]
	f.prev, f.next = l.prev, l
	l.prev.next = f
	l.prev = f
}

func (t *table) remove(f *flow) {
	f.unlink()
	delete(t.flows, f.Flow)
	if t.spare < maxSpare {
		*f = flow{next: t.free}
		t.free = f
		t.spare++
	}
}

// oldest is nil when no flow is of class c.
func (t *table) oldest(c class) *flow {
	if f := t.lists[c].next; f != &t.lists[c] {
		return f
	}
	return nil
}

func (f *flow) unlink() {
	if f.next != nil {
		f.prev.next, f.next.prev = f.next, f.prev
		f.prev, f.next = nil, nil
	}
}
