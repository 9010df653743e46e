package governor

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Tick moves subscribers down the ladder as time passes, and forgets those of whom nothing is left; call it about once
// a second. A change's time is when it was due, not when it was noticed: how often Tick is called decides nothing.
func (g *Governor) Tick(now time.Time) []StageChange {
	g.mu.Lock()
	g.clock.step(now)
	g.tell(Input{Op: OpTick}, g.clock.at(now), now)
	g.mu.Unlock()
	changes := append(g.descents(now), g.forget(now)...)
	inOrder(changes)
	return changes
}

// SetPolicy replaces the policy. What has been used stays used, as many tokens by kind and window, and at most what the
// new budget holds; stages above the new highest one come down. From mode observe to enforce the pressure that mode
// observe only imagined is forgotten and its cuts end, since nobody had told those senders to stop. The other way, it is
// the caller who lets go of what is cut.
func (g *Governor) SetPolicy(p Policy, now time.Time) []StageChange {
	g.mu.Lock()
	g.use(p)
	g.tell(Input{Op: OpPolicy, Policy: &p}, g.clock.at(now), now)
	g.mu.Unlock()
	return g.settle(now)
}

// Policy is the one in force.
func (g *Governor) Policy() Policy {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.policy
}

// settle brings those above observe to the stage that is theirs now, oldest change first.
func (g *Governor) settle(now time.Time) []StageChange {
	changes := g.descents(now)
	inOrder(changes)
	return changes
}

func inOrder(changes []StageChange) {
	slices.SortStableFunc(changes, func(a, b StageChange) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Subscriber, b.Subscriber))
	})
}

// descents are the changes of settle, in no order.
func (g *Governor) descents(now time.Time) (changes []StageChange) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := len(g.watch); i > 0; { // downwards: who leaves the list is replaced by one that has been seen
		g.mu.rest(i)
		t := g.clock.at(now)
		if i = min(i, len(g.watch)); i == 0 {
			break
		}
		i--
		e := g.entry(g.watch[i])
		if c, ok := g.descend(&e, t, now); ok {
			changes = append(changes, c)
		}
	}
	return changes
}

func (g *Governor) descend(e *entry, t int64, now time.Time) (StageChange, bool) {
	g.current(e, t, now)
	stage, since, _ := e.settled(t)
	if stage == e.stage {
		return StageChange{}, false
	}
	if g.tape != nil {
		g.tell(Input{Op: OpDescend, Subscriber: g.name(e.slot)}, t, now)
	}
	why := e.lowered(stage)
	c := g.move(e, stage, since, now)
	c.Why = why
	g.mark(e.slot)
	return c, true
}

// lowered says why e comes down from its stage to stage to.
func (e *entry) lowered(to Stage) string {
	l := &e.plan.ladder
	switch {
	case e.stage > e.plan.highest:
		return fmt.Sprintf("the plan's highest stage is %s now", e.plan.highest)
	case e.stage == StageCut && e.t.lifted != "":
		return e.t.lifted
	case e.stage == StageCut:
		return fmt.Sprintf("the cut of %s is over", short(l.CutFor))
	case to == StageObserve:
		return fmt.Sprintf("below %d%% for %s", l.WarnAt, short(l.ReleaseAfter))
	case to == StageWarn:
		return fmt.Sprintf("below %d%%", l.WarnAt)
	}
	return fmt.Sprintf("below %d%%", l.PaceAt)
}

// current brings e to the policy in force. A plan that the policy no longer has stays as it was until the next attempt
// names another. Who only looks does this too; a new form of a plan is not saved for that, since restoring what was saved
// does the same again.
func (g *Governor) current(e *entry, t int64, now time.Time) {
	g.touches(e, t, now)
	if !e.plan.current {
		if p := g.plans[e.plan.name]; p != nil {
			g.adopt(e, p, t)
		}
	}
	g.lapsed(e, t, now)
	g.enforced(e, g.modeOf(e), "mode enforce begins: a cut of mode observe ends", t)
}
