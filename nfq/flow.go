package nfq

import (
	"net/netip"
	"time"

	"github.com/mailweir/mailweir/nfq/ruleset"
	"github.com/mailweir/mailweir/nfq/session"
)

// class is how far a flow is. Each class is a list in the order of last
// activity, so that expiry looks at the oldest only.
type class uint8

const (
	closed   class = iota // ended by both sides' FIN; known for what comes twice
	over                  // ended otherwise; known a while longer, for its stragglers
	aborted               // a reset was seen; whether its receiver took it, the next seconds tell
	halfOpen              // the server has not answered the SYN
	answered              // it has, but nobody said anything yet
	running               // payload was seen
	released              // the kernel passes at least the client's packets
	classes
)

// touchEvery is how exactly silence is measured: a flow goes to the end of its list no
// more often.
const touchEvery = 100 * time.Millisecond

// timeouts are how long a flow of each class may be silent.
type timeouts [classes]time.Duration

// defaultTimeouts: a client waits 5 minutes for the greeting, and the longest
// wait of a client is 10 minutes for the reply to the end of data (RFC 5321,
// section 4.5.3.2); a released flow is silent towards us while mail flows. What
// goes on after a reset does so at once. After both sides' FIN nothing is said any
// more, and of such flows there are thousands a second.
var defaultTimeouts = timeouts{
	closed:   2 * time.Second,
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
	midAir  bool   // the SYN was not seen: the policy was not asked
	port    uint32 // of a bridge, by which the client's packets come; 0: it is not known
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
	owned  bool // copies of it are the worker's
	wanted ruleset.State
	reset  bool // over, by a reset

	// Of the fast lane.
	laned     bool   // the kernel's flow table has it
	kernelISN uint32 // under this ISN: that of the last SYN, also of one in the middle of the session
	handed    bool   // its packets come into the queues
	number    uint32 // of the lease by which it began
	lease     *lease // that one, if it is known
	bulk      int    // bytes of the message in hand that were copied

	hold      time.Duration // the next reply is held this long, from its arrival on
	holdUntil time.Time     // or until then
	held      *held
	heldFor   time.Duration // in all
	unheld    int           // to be held, and passed
	dropped   int

	copied bool // inside TLS copies will do: nothing of it was to be held there yet

	class      class
	seen       time.Time
	prev, next *flow
	link       *flow // in the index

	client         *client
	older, younger *flow // of the same client and equally alive
}

// alive reports whether somebody loses something when a flow of class c is forgotten.
func (c class) alive() bool { return c >= answered }

// client is who has flows in a table: an address, or an IPv6 /64.
type client struct {
	addr  netip.Addr
	flows int
	alive [2]struct{ first, last *flow } // [1]: those that are alive; the oldest first
}

func (c *client) list(f *flow) *struct{ first, last *flow } {
	if f.class.alive() {
		return &c.alive[1]
	}
	return &c.alive[0]
}

func (c *client) put(f *flow) {
	l := c.list(f)
	f.older, f.younger = l.last, nil
	if l.last != nil {
		l.last.younger = f
	} else {
		l.first = f
	}
	l.last = f
}

func (c *client) take(f *flow) {
	l := c.list(f)
	if f.older != nil {
		f.older.younger = f.younger
	} else {
		l.first = f.younger
	}
	if f.younger != nil {
		f.younger.older = f.older
	} else {
		l.last = f.older
	}
}

// oldest is the flow that the client misses least.
func (c *client) oldest() *flow {
	if c.alive[0].first != nil {
		return c.alive[0].first
	}
	return c.alive[1].first
}

// state is what the kernel should do with the flow's packets.
func (f *flow) state() ruleset.State {
	if f.tracker == nil || f.tracker.Ended() {
		return f.wanted
	}
	switch f.tracker.Release() {
	case session.ReleaseUp:
		if f.copied && f.tracker.Sealed() && f.held == nil && f.hold == 0 && f.holdUntil.IsZero() {
			return ruleset.Copied
		}
		return ruleset.Up
	case session.ReleaseBoth:
		return ruleset.Both
	}
	return ruleset.See
}

// table holds a worker's flows. It is guarded by the worker's mutex.
type table struct {
	flows   index
	clients map[netip.Addr]*client
	lists   [classes]flow // sentinels of rings
	free    *flow         // chained by next
	spare   int
}

// minSpare flows are kept for reuse, and as many more as there are in use.
const minSpare = 1024

// init empties t and makes it ready for about so many flows.
func (t *table) init(flows int) {
	t.flows, t.clients = newIndex(flows), map[netip.Addr]*client{}
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
	f.Flow, f.class = key, halfOpen
	t.put(f, now)
	return f
}

// put takes in f, from wherever it is.
func (t *table) put(f *flow, now time.Time) {
	t.flows.add(f)
	addr := clientNet(f.Flow)
	c := t.clients[addr]
	if c == nil {
		c = &client{addr: addr}
		t.clients[addr] = c
	}
	c.flows++
	f.client = c
	c.put(f)
	t.touch(f, f.class, now)
}

// touch notes activity and puts f at the young end of the list of c.
func (t *table) touch(f *flow, c class, now time.Time) {
	f.unlink()
	if c.alive() != f.class.alive() {
		f.client.take(f)
		f.class = c
		f.client.put(f)
	}
	f.class, f.seen = c, now
	l := &t.lists[c]
	f.prev, f.next = l.prev, l
	l.prev.next = f
	l.prev = f
}

// take takes f out, for another table.
func (t *table) take(f *flow) {
	f.unlink()
	f.client.take(f)
	if f.client.flows--; f.client.flows == 0 {
		delete(t.clients, f.client.addr)
	}
	t.flows.remove(f)
}

func (t *table) remove(f *flow) {
	t.take(f)
	if t.spare < minSpare+t.flows.n {
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
