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
	h.mu.Lock()
	known := h.standing[fault{what, target}]
	delete(h.standing, fault{what, target})
	h.mu.Unlock()
	if known {
		h.tell(records.HealthFacts{What: what, Target: target, Good: true})
	}
	return known
}

type fault struct{ what, target string }

// watch compares the queues' figures with those of a second ago and says what
// the kernel dropped or passed without us meanwhile.
func (h *health) watch(now nfq.Stats) {
	h.mu.Lock()
	last := h.last
	h.last = now
	h.mu.Unlock()
	for i, q := range now.Queues {
		var before nfq.QueueStats
		if i < len(last.Queues) {
			before = last.Queues[i]
		}
		queue := fmt.Sprintf("queue %d", q.Number)
		if n := q.Kernel.QueueDropped - before.Kernel.QueueDropped; n > 0 {
			h.tell(records.HealthFacts{What: "queue_overflow", Target: queue, Count: n, Detail: "the queue was full; these packets were dropped and their senders repeat them"})
		}
		if n := q.Kernel.UserDropped - before.Kernel.UserDropped; n > 0 {
			h.tell(records.HealthFacts{What: "queue_overflow", Target: queue, Count: n, Detail: "the socket was full; these packets were dropped and their senders repeat them"})
		}
		if n := q.Panics - before.Panics; n > 0 {
			h.tell(records.HealthFacts{What: "panic", Target: queue, Count: n, Detail: "a packet was not understood and passed; please report this"})
		}
		if n := q.Passed["flow_table_full"] - before.Passed["flow_table_full"]; n > 0 {
			h.tell(records.HealthFacts{What: "flow_table_full", Target: queue, Count: n, Detail: "more sessions than are followed at once; these packets passed unjudged"})
		}
	}
}
