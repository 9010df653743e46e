package governor

import "time"

// Carried is what a checkpoint keeps of a subscriber beside what is saved: what a restart forgets on purpose.
type Carried struct {
	Open    int           // sessions running
	Charged uint32        // counter that receipts refer to
	Met     bool          // a session came about
	Trouble bool          // it has more than its record, be it nothing that is saved
	Ended   time.Duration // the moment of this name of trouble
	Opens   []uint8       // of Saved.Destinations, sessions to each
	Plan    *Plan         // the one it is under, where the policy has none of that name; nil: the policy has
	Forgave *SavedRelease // its release can be taken back; nil: none can
}

// SavedReceipt is a Receipt as a tape keeps it.
type SavedReceipt struct {
	At      time.Duration
	Charged uint32
	To      Network
	OK      bool
}

func (r Receipt) saved() SavedReceipt {
	return SavedReceipt{At: time.Duration(r.at), Charged: r.charged, To: r.to.saved(), OK: r.ok}
}

func (r SavedReceipt) restored() Receipt {
	return Receipt{at: int64(r.At), charged: r.Charged, to: r.To.restored(), ok: r.OK}
}

// Checkpoint tells the tape everything that is known now, so that it can be played from here on: OpCheckpoint, an OpState for everybody, and
// OpCheckpointed. It walks over all and gives the mutex back after each few dozen; then it calls room, which may wait, as for a disk. What happens
// meanwhile is on the tape between the states: each state is that of its own place, and whoever plays the tape passes over what happens to
// those whose state has not come yet. now reads the clock. One at a time.
func (g *Governor) Checkpoint(now func() time.Time, room func()) { g.checkpoint(now, room, chunk) }

func (g *Governor) checkpoint(now func() time.Time, room func(), every int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tape == nil {
		return
	}
	policy := g.policy
	g.tellMark(Input{Op: OpCheckpoint, Policy: &policy}, now())
	n := 0
	rest := func() {
		if n++; n%every == 0 {
			g.mu.Unlock()
			room()
			g.mu.giveWay()
			g.mu.Lock()
		}
	}
	for g.copied = 1; g.copied < g.high; {
		slot := g.copied
		g.copied++
		g.tellState(slot, now())
		rest()
	}
	for len(g.late) > 0 {
		slot := g.late[len(g.late)-1]
		g.late = g.late[:len(g.late)-1]
		g.tellState(slot, now())
		if len(g.late) > every { // the last of them and the end are told in one go
			rest()
		}
	}
	g.copied, g.late = 0, nil
	g.tellMark(Input{Op: OpCheckpointed}, now())
}

// recopy has a checkpoint under way tell of a slot again, or at all.
func (g *Governor) recopy(slot uint32) {
	if slot < g.copied {
		g.late = append(g.late, slot)
	}
}

func (g *Governor) tellMark(in Input, now time.Time) {
	in.Cases, in.Session = g.stats.Cases, g.opened
	g.tell(in, g.clock.at(now), now)
}

func (g *Governor) tellState(slot uint32, now time.Time) {
	if g.record(slot).flags&live == 0 {
		return
	}
	e, t := g.entry(slot), g.clock.at(now)
	g.current(&e, t, now) // as somebody who looks: then it is under the policy's plan, if there is one
	kept := e.flags & stored
	s := g.saved(&e, t)
	e.flags = e.flags&^stored | kept
	c := Carried{Open: int(e.open), Charged: e.charged, Met: e.flags&met != 0, Opens: e.savedOpens(nil, e.known[:], t)}
	if e.t != nil {
		c.Trouble = true
		c.Ended, c.Opens = time.Duration(e.t.ended), e.savedOpens(c.Opens, e.t.known, t)
	}
	c.Forgave = g.savedUnforgiven(&e, t)
	if g.plans[e.plan.name] == nil {
		c.Plan = e.plan.configured()
	}
	g.tell(Input{Op: OpState, Subscriber: s.Subscriber, Saved: &s, Carried: &c}, t, now)
}

// savedOpens are the sessions to each network that savedKnown gives.
func (e *entry) savedOpens(to []uint8, from []known, t int64) []uint8 {
	for i := range from {
		if k := &from[i]; k.of != 0 && k.fresh(e.plan.destinations(k), t) {
			to = append(to, k.opens)
		}
	}
	return to
}

// configured is the plan as it was configured.
func (p *plan) configured() *Plan {
	c := &Plan{Name: p.name, HighestStage: p.highest, Ladder: p.ladder}
	for i := range p.limits {
		c.Budgets = append(c.Budgets, p.limits[i].Budget)
	}
	return c
}

// carry gives e, which has just been restored, what c has beside what is saved.
func (g *Governor) carry(e *entry, s *Saved, c *Carried) {
	e.open, e.charged = int32(c.Open), c.Charged
	if c.Met {
		e.flags |= met
	}
	if c.Trouble {
		g.troubled(e).ended = int64(c.Ended)
	}
	e.opened(s.Destinations, c.Opens)
	if c.Forgave != nil {
		g.restoreUnforgiven(e, c.Forgave)
	}
}

// opened notes how many sessions there were to each of the networks that were restored.
func (e *entry) opened(to []SavedDestination, opens []uint8) {
	for i, k := range to {
		if i >= len(opens) || k.Budget < 0 || k.Budget >= len(e.plan.limits) || e.plan.limits[k.Budget].Of != Destinations {
			continue
		}
		to := k.Network.restored()
		if known := e.find(e.plan.limits[k.Budget].tagged(to), to.bits); known != nil {
			known.opens = opens[i]
		}
	}
}
