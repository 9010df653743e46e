package nfq

import (
	"errors"
	"time"

	"github.com/mailweir/mailweir/nfq/session"
)

const (
	// sweepEvery is how often flows are looked at for expiry.
	sweepEvery = time.Second
	// sweepAtOnce bounds how many are expired in one go, under the lock.
	sweepAtOnce = 1024
	// settleTime bounds how long packets are still answered after the end.
	settleTime = 2 * time.Second
)

// keep lets go of held packets, expires flows and does what Reset asked for,
// until done is closed.
func (w *worker) keep(done <-chan struct{}) {
	timer := time.NewTimer(sweepEvery)
	defer timer.Stop()
	var out []verdict
	for {
		select {
		case <-done:
			return
		case <-w.wake:
		case <-timer.C:
		}
		var next time.Duration
		out, next = w.tend(w.q.cfg.Now(), out)
		w.send(out)
		timer.Reset(next)
	}
}

// tend does what is due at now and says when to come again.
func (w *worker) tend(now time.Time, out []verdict) ([]verdict, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resetAsked(now)
	w.letGoDue(now)
	next := sweepEvery
	if w.sweep(now) {
		next = 0
	}
	if w.lane != nil {
		w.lane.flush()
	}
	if len(w.holds) > 0 {
		next = min(next, w.holds[0].until.Sub(now))
	}
	return w.swap(out), max(next, 0)
}

// rouse wakes the keeper.
func (w *worker) rouse() {
	select {
	case w.wake <- struct{}{}:
	default: // it is going to wake up anyway
	}
}

func (w *worker) want(match func(Flow, any) bool) {
	w.asking.Lock()
	w.asks = append(w.asks, match)
	w.asking.Unlock()
	w.rouse()
}

func (w *worker) resetAsked(now time.Time) {
	w.asking.Lock()
	asks := w.asks
	w.asks = nil
	w.asking.Unlock()
	for _, match := range asks {
		w.resetMatching(match, now)
	}
}

func (w *worker) resetMatching(match func(Flow, any) bool, now time.Time) {
	defer func() { // match is not ours
		if cause := recover(); cause != nil {
			w.caught(cause, now)
		}
	}()
	for f := range w.table.flows.all() {
		if f.tracker != nil && match(f.Flow, f.handle) {
			w.end(f, session.EndCut, ended(session.EndCut), now)
		}
	}
}

// sweep expires flows that were silent for too long; more says that it stopped
// before it was through.
func (w *worker) sweep(now time.Time) (more bool) {
	n := 0
	for c := classes; c > 0; { // over and closed are the last: others come there
		c--
		for f := w.table.oldest(c); f != nil && now.Sub(f.seen) >= w.timeouts[c]; f = w.table.oldest(c) {
			if n++; n > sweepAtOnce {
				return true
			}
			as := ended(session.EndTimeout)
			if c == halfOpen {
				as = endedHalfOpen
			}
			w.end(f, session.EndTimeout, as, now)
			if c != aborted { // those stay for their stragglers
				w.forget(f)
			}
		}
	}
	return false
}

// settle answers what is held and what is still under way to us, closes all
// flows and the queue. When the queue is broken there is nobody to answer.
func (w *worker) settle(intact bool) error {
	defer w.reader.close()
	var err error
	if intact {
		err = w.drain()
	}
	kernel := w.q.kernel.read()[w.number]
	if w.q.copies != nil {
		w.q.copies.catchUp()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hear(w.q.cfg.Now())
	w.last, w.count.abandoned = kernel, uint64(kernel.Depth)
	w.endAll()
	return err
}

// endAll closes all flows.
func (w *worker) endAll() {
	now := w.q.cfg.Now()
	w.letGoAll(now) // nothing, unless the queue is broken
	for f := range w.table.flows.all() {
		w.end(f, session.EndShutdown, ended(session.EndShutdown), now)
	}
	w.q.flows.Add(-int64(w.table.flows.n))
	w.table.init(w.q.cfg.MaxFlows)
}

// drain ends when the kernel has no packet left in the queue: shut, it takes no
// more, so an empty queue stays empty.
func (w *worker) drain() error {
	shut := w.reader.shut() // without it more may come, but not for longer than settleTime
	w.reader.interrupt()    // from here on a read does not wait
	w.mu.Lock()
	w.letGoAll(w.q.cfg.Now())
	out := w.swap(nil)
	w.mu.Unlock()
	w.send(out)
	for until := time.Now().Add(settleTime); time.Now().Before(until); {
		packets, err := w.reader.read()
		if errors.Is(err, errInterrupted) {
			if w.q.kernel.read()[w.number].Depth == 0 {
				break
			}
			continue
		}
		if err != nil {
			return errors.Join(shut, err)
		}
		w.mu.Lock()
		w.count.packets += uint64(len(packets))
		for i := range packets {
			w.pass(&packets[i], passStopping)
		}
		out = w.swap(out)
		w.mu.Unlock()
		w.send(out)
	}
	return errors.Join(shut, w.failure())
}
