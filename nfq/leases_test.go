package nfq

import (
	"testing"
	"time"
)

// counting lets each holder have so many sessions in all; beside runs once, while an
// allowance has been asked for and not yet been given to the kernel.
type counting struct {
	lessor
	left   int
	beside func()
}

func (c *counting) Open(f Flow, now time.Time) Opening {
	c.left--
	return c.lessor.Open(f, now)
}

func (c *counting) Lease(_ Flow, _ any, most int, _ time.Time) int {
	n := max(min(most, c.left), 0)
	if f := c.beside; f != nil {
		c.beside = nil
		f()
	}
	return n
}

// Two queues have a SYN of one holder each. The second is judged between the moment in which
// the first asks how large a lease may be and the one in which it gives it.
func TestALeaseIsNeverLargerThanWhatIsLeft(t *testing.T) {
	c := &counting{left: 5}
	b := &twoLanes{lane: newFakeLane(), lessor: &c.lessor}
	b.bench = newBench(t, Config{Policy: c, Lane: b.lane, Count: 2})
	other := b.q.workers[1]
	c.beside = func() {
		other.batch([]queued{{id: 999, ip: newTalk(4001).syn(), length: len(newTalk(4001).syn())}}, b.now, nil)
	}
	b.send(newTalk(4000).syn())
	if n := b.lane.leases[0]; int(n) > c.left {
		t.Errorf("the kernel lets %d sessions begin unasked, and %d are left", n, c.left)
	}
}
