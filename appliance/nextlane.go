package appliance

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"time"

	"github.com/mailweir/mailweir/governor"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// Why the next session of a subscriber waits for a verdict, or does not: words fit for labels.
const (
	laneLease       = "lease"        // it does not wait
	laneOff         = "off"          // there is no fast lane
	laneNotAttached = "not_attached" // it is on no interface
	laneNotAlive    = "not_alive"    // nobody reads its copies
	laneCopiesLost  = "copies_lost"
	laneStage       = "stage"
	laneBudget      = "budget"
	laneNoPlan      = "no_plan"
	laneUsedUp      = "used_up"
	laneAsksFirst   = "asks_first"
)

var laneReasons = []string{laneLease, laneOff, laneNotAttached, laneNotAlive, laneCopiesLost, laneStage, laneBudget, laneNoPlan, laneUsedUp, laneAsksFirst}

// nextSession says whether the next session of a subscriber waits for a verdict, and why.
func (a *Appliance) nextSession(id string) webadmin.Lane {
	if reason, why := a.lane.unusable(); reason != "" {
		return waits(reason, why)
	}
	l, leased := a.queues.Lease(id)
	switch {
	case !leased:
	case l.Suspended:
		return waits(laneCopiesLost, "copies of its sessions were lost: until the books are right again")
	case l.Left > 0 && len(l.Addresses) > 0:
		v := webadmin.Lane{Reason: laneLease, Why: fmt.Sprintf("%d sessions may begin so", l.Left), Sessions: l.Left, Addresses: []string{}}
		if l.Left == 1 {
			v.Why = "1 session may begin so"
		}
		for _, addr := range l.Addresses {
			v.Addresses = append(v.Addresses, addr.String())
		}
		return v
	}
	switch obstacle, why := a.gov.Obstacle(id, a.now()); obstacle {
	case governor.StageTooHigh:
		return waits(laneStage, "watched: "+why)
	case governor.BudgetTooLow:
		return waits(laneBudget, "near a budget: "+why)
	case governor.NoPlan:
		return waits(laneNoPlan, "the configuration has no plan of its name")
	}
	if leased && len(l.Addresses) > 0 {
		return waits(laneUsedUp, "none may begin without one any more: the next asks for more")
	}
	return waits(laneAsksFirst, "not known to the fast lane yet: the first session asks")
}

func waits(reason, why string) webadmin.Lane {
	return webadmin.Lane{Waits: true, Reason: reason, Why: why, Addresses: []string{}}
}

// census counts by reason what the next sessions of all subscribers meet that the governor
// knows. Nobody may change it.
type census struct {
	next    map[string]int64
	waiting []webadmin.Waiting
}

const (
	censusKept   = 2 * time.Second // a census is good for so long at least,
	censusPart   = 50              // and fifty times as long as it takes to make
	waitingShown = 10
)

// whoWaits is somebody whose next session waits for a verdict.
type whoWaits struct {
	governor.Brief
	webadmin.Waiting
}

// lots decide who of equals is shown: not the order of ids, which would tell of them to who may not see any. They stay the same as long as the program runs.
var lots = maphash.MakeSeed()

// compare puts first who is nearest to trouble.
func (p whoWaits) compare(q whoWaits) int {
	if c := cmp.Or(cmp.Compare(q.Stage, p.Stage), cmp.Compare(q.Fullest, p.Fullest)); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(maphash.String(lots, p.Brief.Subscriber), maphash.String(lots, q.Brief.Subscriber)), cmp.Compare(p.Brief.Subscriber, q.Brief.Subscriber))
}

func (a *Appliance) censusMaker() maker[*census] {
	return maker[*census]{now: a.now, find: a.makeCensus, fits: func(*census) bool { return true }, part: censusPart, least: censusKept, most: math.MaxInt64}
}

func (a *Appliance) makeCensus(ctx context.Context, now time.Time) *census {
	c := &census{next: map[string]int64{}}
	first := best[whoWaits]{most: waitingShown, compare: whoWaits.compare}
	n := 0
	a.gov.Each(now, func(b governor.Brief) bool {
		n++
		letOthers(n)
		l := a.nextSession(b.Subscriber)
		c.next[l.Reason]++
		if l.Waits && l.Reason != laneAsksFirst && l.Reason != laneOff && l.Reason != laneNotAttached {
			first.add(whoWaits{b, webadmin.Waiting{Subscriber: b.Subscriber, Reason: l.Reason, Why: l.Why}})
		}
		return n&255 != 0 || ctx.Err() == nil
	})
	for _, w := range first.sorted() {
		c.waiting = append(c.waiting, w.Waiting)
	}
	return c
}
