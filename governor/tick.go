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
	g.mu.Unlock()
	changes := g.settle(now)
	g.forget(now)
	return changes
}

// SetPolicy replaces the policy. What has been used stays used, as many tokens by kind and window, and at most what the
// new budget holds; stages above the new highest one come down. From mode observe to enforce the pressure that mode
// observe only imagined is forgotten and its cuts end, since nobody had told those senders to stop. The other way, it is
// the caller who lets go of what is cut.
func (g *Governor) SetPolicy(p Policy, now time.Time) []StageChange {
	g.mu.Lock()
	g.use(p)
	g.mu.Unlock()
	return g.settle(now)
}

// settle brings those above observe to the stage that is theirs now, oldest change first.
func (g *Governor) settle(now time.Time) []StageChange {
	changes := g.descents(now)
	slices.SortFunc(changes, func(a, b StageChange) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Subscriber, b.Subscriber))
	})
	return changes
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
// names another.
func (g *Governor) current(e *entry, t int64, now time.Time) {
	if !e.plan.current {
		if p := g.plans[e.plan.name]; p != nil {
			g.adopt(e, p, t)
		}
	}
	g.lapsed(e, t, now)
	e.enforced(g.modeOf(e), "mode enforce begins: a cut of mode observe ends", t)
}

// forget drops idle subscribers, some at each call, so that all are looked at within minutes.
func (g *Governor) forget(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for n := int(g.high)/256 + 64; n > 0 && g.count > 0; n-- {
		g.mu.rest(n)
		t := g.clock.at(now)
		keep := keepDecided
		if g.count > g.most/4*3 {
			keep = -1
		}
		if g.sweep >= g.high {
			g.sweep = 1
		}
		if g.record(g.sweep).flags&live != 0 {
			if e := g.entry(g.sweep); e.idle(t, keep) {
				g.drop(&e)
			} else {
				g.relieve(&e, t, keep)
			}
		}
		g.sweep++
	}
}

// relieve drops what e does not need any more beside its record.
func (g *Governor) relieve(e *entry, now int64, keep time.Duration) {
	if e.t == nil || e.stage != StageObserve {
		return
	}
	e.t.known = slices.DeleteFunc(e.t.known, func(k known) bool { return k.of == 0 || !k.fresh(e.plan.destinations(&k), now) })
	if len(e.t.known) == 0 {
		e.t.known = nil
	}
	if len(e.t.known) == 0 && len(e.t.more) == 0 && e.t.idle(now, keep) {
		g.decided -= len(e.t.decided)
		g.rare.drop(e.rare)
		e.rare, e.t = 0, nil
	}
}

func (g *Governor) drop(e *entry) {
	g.stranger(e, false)
	g.unwatch(e)
	delete(g.exempt, e.slot)
	g.stages[e.stage]--
	if e.t != nil {
		g.decided -= len(e.t.decided)
	}
	if e.flags&stored != 0 {
		g.gone[g.name(e.slot)] = struct{}{}
	}
	g.left(e.plan)
	g.remove(e.slot)
}
