package governor

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// chunk is how many subscribers are walked over before others get their turn at the mutex.
const chunk = 64

// turns is the governor's mutex. A session's decision takes it with hurry and is next, whoever else wants it; all that
// walks over many subscribers gives it back with rest after each chunk of them.
//
// A plain sync.Mutex is not enough: whoever waits for it is woken by Unlock, but finds it taken again by the walker, until
// it has waited for a whole millisecond (its starvation mode).
type turns struct {
	sync.Mutex
	hurried atomic.Int32 // sessions that wait for it
}

// hurry is Lock for who is on a packet's way.
func (t *turns) hurry() {
	if t.TryLock() {
		return
	}
	t.hurried.Add(1)
	t.Lock()
	t.hurried.Add(-1)
}

// rest gives the mutex to others once in a chunk, and takes it back when no session waits for it any more. Sessions hold
// it for a fraction of a microsecond; should they come without a pause, the walker still goes on after patience turns.
func (t *turns) rest(i int) {
	if i%chunk != 0 {
		return
	}
	t.Unlock()
	t.giveWay()
	t.Lock()
}

// giveWay is for who has just given the mutex back and will want it again.
func (t *turns) giveWay() {
	runtime.Gosched()
	for n := 0; n < patience && t.hurried.Load() > 0; n++ {
		runtime.Gosched()
	}
}

const patience = 1000
