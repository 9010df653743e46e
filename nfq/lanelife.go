package nfq

import (
	"context"
	"time"
)

// After the lane broke it is tried again after firstRetry, then after twice as long each
// time, at most lastRetry.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// live follows until ctx ends. When copies cannot be waited for, only the lane ends: no
// session begins unasked, those that run go on through the queues, and after a while it is
// tried again.
func (fl *follower) live(ctx context.Context) {
	tell := fl.q.cfg.LaneBroken
	for pause := firstRetry; ; {
		began := time.Now()
		err := fl.readAll(ctx)
		if ctx.Err() != nil {
			return
		}
		fl.giveUp()
		tell(err)
		if time.Since(began) > lastRetry {
			pause = firstRetry
		}
		for err != nil {
			if !fl.rest(ctx, pause) {
				return
			}
			pause = min(2*pause, lastRetry)
			err = fl.lane.Wait(time.Now())
		}
		tell(nil)
	}
}

// rest waits for so long; false: ctx ended. What began in the very moment in which the lane
// was given up is handed over here.
func (fl *follower) rest(ctx context.Context, pause time.Duration) bool {
	for until := time.Now().Add(pause); time.Now().Before(until); {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(min(time.Second, time.Until(until))):
			fl.giveUp()
		}
	}
	return ctx.Err() == nil
}

// giveUp lets nobody begin a session unasked and hands all that run to the queues.
func (fl *follower) giveUp() {
	fl.lane.Alive(0)
	fl.leases.forget()
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.read()
	for f := range fl.table.flows.all() {
		if f.tracker != nil {
			fl.hand(f)
		}
	}
	fl.flush()
}

// Gap says that packets of sessions that began unasked may have gone by without a copy:
// the program was away from an interface. Those sessions go on through the queues, and
// whoever is silent for a minute from now on has ended unseen.
func (q *Queues) Gap() {
	fl := q.follower
	if fl == nil {
		return
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.read()
	for f := range fl.table.flows.all() {
		if f.tracker != nil {
			fl.hand(f)
			fl.table.touch(f, halfOpen, fl.at)
		}
	}
	fl.flush()
}
