package appliance

import (
	"context"
	"time"
)

// catchUp tells what came to an end while the box was off, when it did, and then
// closes the cases that the governor does not know any more.
func (a *Appliance) catchUp() {
	now := a.now()
	a.settled(a.gov.Tick(now))
	a.expired()
	a.cases.reconcile(a.caseOf, now)
	a.forgetOld()
}

// tick lets time release subscribers.
func (a *Appliance) tick(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			n++
			a.second(n)
			stats := a.queues.Stats()
			a.health.watch(stats)
			if a.floods != nil {
				a.floods.watch(stats.Lane)
			}
			switch {
			case n%rulesetLook == 0:
				a.resteer()
			case n%laneLook == 0:
				a.relane()
			}
		}
	}
}

// second does what comes up in each second, of which this is the n-th, and has nothing to do with the network. Only tick uses it.
func (a *Appliance) second(n int) {
	a.settled(a.gov.Tick(a.now()))
	a.expired()
	a.health.watchRooms(rooms{a.gov.Stats(), a.cases.missed()})
	a.watchJournal()
	a.watchNetwork()
	a.watchClock()
	if err := a.updates.look(a.opt.DataDir, a.health); err != nil {
		a.log.Error("what became of the last update", "err", err)
	}
	if n%crowdLook == 0 {
		a.lookAtCrowds()
		a.forgetOld()
	}
}

// forgetOld drops what is over its time: cases, cards and notices, and what the journal has. Then it is taken out of the raw files, too. Only tick uses
// it, and who starts it.
func (a *Appliance) forgetOld() {
	keep := a.cfg.Load().Retention.Records
	a.who.Retain(keep)
	if now := a.now(); a.clock.sound(now) {
		a.holdsEnd()
		before := now.Add(-keep)
		if a.holdCases() {
			a.cases.forget(before)
		}
		if a.observer.prints.Forget(before) {
			a.observer.saveSoon.Store(true)
		}
		a.notices.Expire(now)
		a.journal.Sweep(now)
		a.eraser.forgotten(before)
	}
}
