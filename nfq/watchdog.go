package nfq

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// watch looks for workers that hang: that have had one batch in hand for longer than
// Config.HungAfter, because the policy or a system call does not return. Closing the
// queue makes the kernel drop what that worker had, which its senders send again; while
// nobody has bound the queue the rules let it pass; then another worker takes its place,
// which finds the running flows in mid-air. Where that happens more than maxReplaced
// times within replacedIn, replacing does not help: Run ends with an error, and whoever
// started the process starts it anew.
func (q *Queues) watch(ctx context.Context, start func(w *worker)) error {
	t := time.NewTicker(min(q.cfg.HungAfter/4, time.Second))
	defer t.Stop()
	judges := func(d time.Duration) {
		if fl := q.follower; fl != nil {
			fl.lane.Judging(d)
		}
	}
	judges(judging)
	defer judges(0) // from there on the queues pass by themselves
	var replaced []time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		judges(judging)
		for _, w := range q.queues() {
			now := q.cfg.Now()
			hangs := w.inHand(now)
			if hangs < q.cfg.HungAfter {
				continue
			}
			close(w.abandoned)
			if replaced = append(replaced, now); len(replaced) > maxReplaced {
				if now.Sub(replaced[0]) < replacedIn {
					return fmt.Errorf("queue %d: its reader hangs, and so did %d before it", w.number, maxReplaced)
				}
				replaced = replaced[1:]
			}
			next, err := q.replace(w)
			if err != nil {
				return fmt.Errorf("queue %d: its reader hangs and cannot be replaced: %w", w.number, err)
			}
			q.cfg.Log.Error("the reader of a queue hangs; its packets are dropped and sent again, and another one takes its place", "queue", w.number, "for", hangs)
			start(next)
		}
	}
}

// judging is after how long without a word from here the lane takes the process for dead, also
// if it has not ended: one that is stopped, or gets no processor. More would be two tries of who
// connects.
const judging = 5 * time.Second

const (
	maxReplaced = 3
	replacedIn  = time.Minute
)

// inHand is for how long w has had the batch that it has in hand; 0: it has none.
func (w *worker) inHand(now time.Time) time.Duration {
	since := time.Duration(w.busy.Load())
	if since == 0 {
		return 0
	}
	return w.q.sinceOpen(now) - since
}

// sinceOpen is above zero, and no step of the wall clock moves it.
func (q *Queues) sinceOpen(now time.Time) time.Duration { return max(now.Sub(q.opened), 1) }

// take locks w.mu for somebody who must not hang with w; false: w hangs, and is replaced
// before long.
func (w *worker) take() bool {
	for until := time.Now().Add(takeTime); !w.mu.TryLock(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			return false
		}
	}
	return true
}

// takeTime is longer than any batch takes that does not hang.
const takeTime = time.Second

// replace puts another worker in the place of w, which hangs.
func (q *Queues) replace(w *worker) (*worker, error) {
	closed := make(chan struct{})
	go func() { // waits for a system call of w's, if it hangs in one
		defer close(closed)
		w.reader.close()
	}()
	select {
	case <-closed:
	case <-time.After(bindTimeout):
		return nil, errors.New("its socket cannot be closed")
	}
	r, err := q.bind(w.number, readerOptions{netns: int(q.netns.Fd()), length: q.cfg.Length, buffer: q.cfg.SocketBuffer, failOpen: q.cfg.FailOpen, log: q.cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	if q.copies != nil {
		q.copies.leave(w)
	}
	next := newWorker(q, w.number, r)
	q.replacing.Lock()
	defer q.replacing.Unlock()
	for i := range q.workers {
		if q.workers[i] == w {
			q.workers[i] = next
		}
	}
	q.replaced.Add(1)
	return next, nil
}

// tended runs w until it ends or is abandoned.
func (w *worker) tended(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-w.abandoned:
		return nil
	}
}
