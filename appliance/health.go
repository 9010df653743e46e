package appliance

import (
	"fmt"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/nfq"
)

// health turns faults into HEALTH records, once when they begin and once when
// they end.
type health struct {
	say func(records.Entry) bool
	now func() time.Time

	mu       sync.Mutex
	standing map[fault]bool // faults that were told and are not over
	last     nfq.Stats
	counted  map[string]*counted // by what, target and detail, see often
	rooms    rooms               // see watchRooms
	forgot   uint64              // see watchHistory
}

// tell says one thing that happened.
func (h *health) tell(f records.HealthFacts) {
	f.Time = h.now()
	h.say(records.Health(f))
}

// begin says that a fault of a target (or of none) stands, unless it was said
// already; true when it says so.
func (h *health) begin(f records.HealthFacts) bool {
	h.mu.Lock()
	of := fault{f.What, f.Target}
	known := h.standing[of]
	if h.standing == nil {
		h.standing = map[fault]bool{}
	}
	h.standing[of] = true
	h.mu.Unlock()
	if !known {
		h.tell(f)
	}
	return !known
}

// end says that a fault is over, if it stood; true when it says so.
func (h *health) end(what string) bool { return h.endOf(what, "") }

func (h *health) endOf(what, target string) bool {
	return h.endWith(records.HealthFacts{What: what, Target: target})
}

// endWith is endOf with more to say.
func (h *health) endWith(f records.HealthFacts) bool {
	of := fault{f.What, f.Target}
	h.mu.Lock()
	known := h.standing[of]
	delete(h.standing, of)
	h.mu.Unlock()
	if known {
		f.Good = true
		h.tell(f)
	}
	return known
}

type fault struct{ what, target string }

// grown is how much a counter has grown; one that began anew, since a reader that hung
// was replaced, by all that it has.
func grown(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// watchLane says what the fast lane lost or dropped meanwhile.
func (h *health) watchLane(now, last *nfq.LaneStats) {
	if now == nil {
		return
	}
	if last == nil {
		last = &nfq.LaneStats{}
	}
	for _, f := range []struct {
		what, target string
		n            uint64
		detail       string
	}{
		{"copies_lost", "fast lane", grown(now.Lost, last.Lost), "these copies found no room; the sessions of their subscribers go through the queue until the books are right again"},
		{"late", "fast lane", grown(now.Late, last.Late), "sessions began unasked in the moment in which they no longer might"},
		{"panic", "fast lane", grown(now.Panics, last.Panics), "a copy was not understood; please report this"},
		{"flood", "cut", grown(now.CutDropped, last.CutDropped), "SYNs of who is cut, beyond those that are answered with a reset, were dropped on arrival"},
		{"stood_still", "mailweir", grown(now.Unread, last.Unread), "nobody read the queues for some seconds (the process was stopped, or got no processor); these packets passed unjudged meanwhile"},
		{"flood", "in all", grown(now.TotalDropped, last.TotalDropped), "more SYNs than can be judged; these were dropped on arrival"},
		{"flood", "in all", grown(now.TotalPassed, last.TotalPassed), "more SYNs than can be judged; these passed unjudged"},
	} {
		h.often(records.HealthFacts{What: f.what, Target: f.target, Count: f.n, Detail: f.detail})
	}
}

// watchCopies says what of the copies of sessions inside TLS was lost meanwhile.
func (h *health) watchCopies(now, last *nfq.CopyStats) {
	if now == nil {
		return
	}
	if last == nil {
		last = &nfq.CopyStats{}
	}
	h.often(records.HealthFacts{What: "copies_lost", Target: "queue lane", Count: grown(now.Lost, last.Lost),
		Detail: "these copies of what servers say inside TLS found no room; messages_hi of their sessions is unknown where it matters"})
	h.often(records.HealthFacts{What: "copies_unmarked", Target: "queue lane", Count: grown(now.Unmarked, last.Unmarked),
		Detail: "conntrack did not take the mark of these sessions (has it forgotten them, or does somebody use zones?); they are not paced inside TLS"})
}

// often says what may happen every second at once and then once a minute, with how many
// there were meanwhile. It is to be called every second, also with none.
func (h *health) often(f records.HealthFacts) {
	now := h.now()
	h.mu.Lock()
	if h.counted == nil {
		h.counted = map[string]*counted{}
	}
	key := f.What + "/" + f.Target + "/" + f.Detail
	c := h.counted[key]
	if c == nil {
		c = &counted{what: f}
		h.counted[key] = c
	}
	c.n += f.Count
	due := c.n > 0 && (c.told.IsZero() || now.Sub(c.told) >= time.Minute || now.Before(c.told))
	if due {
		f.Count, c.n, c.told = c.n, 0, now
	}
	h.mu.Unlock()
	if due {
		h.tell(f)
	}
}

// flush tells what often has not told yet.
func (h *health) flush() {
	h.mu.Lock()
	var rest []records.HealthFacts
	for _, c := range h.counted {
		if c.n > 0 {
			c.what.Count, c.n = c.n, 0
			rest = append(rest, c.what)
		}
	}
	h.mu.Unlock()
	for _, f := range rest {
		h.tell(f)
	}
}

// counted is what happened since it was last told.
type counted struct {
	what records.HealthFacts
	n    uint64
	told time.Time
}

// watch compares the queues' figures with those of a second ago and says what
// the kernel dropped or passed without us meanwhile.
func (h *health) watch(now nfq.Stats) {
	h.mu.Lock()
	last := h.last
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.last = now
		h.mu.Unlock()
	}()
	h.watchLane(now.Lane, last.Lane)
	h.watchCopies(now.Copies, last.Copies)
	h.often(records.HealthFacts{What: "bridge_unanswered", Count: grown(unanswered(now), unanswered(last)),
		Detail: "these sessions were to be deferred, and reset since no way back to the client was known"})
	if n := grown(now.Replaced, last.Replaced); n > 0 {
		h.tell(records.HealthFacts{What: "reader_hangs", Count: n, Detail: "a reader of a queue did not come back and was replaced; its packets were dropped and their senders repeat them, running sessions are followed as found in mid-air"})
	}
	for i, q := range now.Queues {
		var before nfq.QueueStats
		if i < len(last.Queues) {
			before = last.Queues[i]
		}
		if q.Hangs {
			now.Queues[i] = before // nothing is known of it now
			continue
		}
		queue := fmt.Sprintf("queue %d", q.Number)
		if n := grown(q.Kernel.QueueDropped, before.Kernel.QueueDropped); n > 0 {
			h.tell(records.HealthFacts{What: "queue_overflow", Target: queue, Count: n, Detail: "the queue was full; these packets were dropped and their senders repeat them"})
		}
		if n := grown(q.Kernel.UserDropped, before.Kernel.UserDropped); n > 0 {
			h.tell(records.HealthFacts{What: "queue_overflow", Target: queue, Count: n, Detail: "the socket was full; these packets were dropped and their senders repeat them"})
		}
		if n := grown(q.Panics, before.Panics); n > 0 {
			h.tell(records.HealthFacts{What: "panic", Target: queue, Count: n, Detail: "a packet was not understood and passed; please report this"})
		}
		if n := grown(q.Passed["flow_table_full"], before.Passed["flow_table_full"]); n > 0 {
			h.tell(records.HealthFacts{What: "flow_table_full", Target: queue, Count: n, Detail: "more sessions than are followed at once; these packets passed unjudged"})
		}
	}
}
