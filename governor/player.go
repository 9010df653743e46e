package governor

import (
	"fmt"
	"time"
)

// PlayerOptions say how a tape is played.
type PlayerOptions struct {
	// Policy is in force all the time; nil: the policies of the tape, each in its time, and everything as it was.
	Policy *Policy
	// PlanOf is the plan of Policy that a subscriber has who had plan was; nil: the same.
	PlanOf func(sub, was string, unlisted bool) string

	Decision func(Decision)    // told of every one, also of those that say pass
	Change   func(StageChange) // told of every change of stage
	Began    func(StageChange) // told of the stage of everybody who is above observe where the tape begins, or a life; nil: nobody is
}

// Player has what a tape holds happen again, in a governor of its own.
//
// With the policies of the tape it happens as it did: the same decisions, one by one, from the begin of a life or the end of a checkpoint on, as long
// as the tape misses nothing (Exact). With another policy sessions that this one denies are not charged, nor what
// happened in them, and those that run when it cuts end; sessions that were denied then and would not have been are charged
// and end at once, since nobody knows what they would have done (Guessed). A life begins with what this policy knows.
type Player struct {
	opt     PlayerOptions
	g       *Governor
	running map[uint64]playing
	stands  stand
	shapes  map[string]*plan // plans that the policy does not have, of a checkpoint
	before  uint64           // sessions up to this number began before the tape did
	begun   bool             // this life's first Open was seen
	lives   int              // begins that were seen
	shift   time.Duration    // added to the tape's clock
	last    time.Time
	lost    uint64        // Lost when the checkpoint began from which it is played
	looked  time.Duration // on the tape's clock
	forgot  time.Duration

	Exact    bool // as it was, and all of it
	Inputs   uint64
	Sessions uint64
	Guessed  uint64 // sessions that were denied then and would not have been
	Lost     uint64 // inputs that the tape misses
	Diverged uint64 // sessions that were let through then and not now, or the other way, although all is as it was
}

// stand is how much of what the box knew the player knows.
type stand uint8

const (
	knowsSome stand = iota // the tape has begun within a life
	telling                // within the checkpoint from which it is played: those are known whose state has come
	knowsAll
	passing // the same, within a checkpoint that tells nothing new
)

// playing is a session that runs.
type playing struct {
	sub     string
	receipt Receipt
}

// NewPlayer makes a player that has played nothing yet.
func NewPlayer(opt PlayerOptions) *Player {
	return &Player{opt: opt, running: map[uint64]playing{}}
}

// Governor is the one that was played last, nil before the first input.
func (p *Player) Governor() *Governor { return p.g }

// Last is the time of the last input.
func (p *Player) Last() time.Time { return p.last }

func (p *Player) asRecorded() bool { return p.opt.Policy == nil }

// Play takes the tape's next input.
func (p *Player) Play(in *Input) {
	p.Inputs++
	switch {
	case in.Op == OpLost: // it has no time of its own
		p.Lost += uint64(in.Cost)
		p.Exact = false
		return
	case in.Op == OpBegin:
		p.begin(in)
		return
	case in.Op == OpCheckpoint && p.stands != knowsAll, in.Op == OpCheckpoint && p.asRecorded() && !p.Exact:
		p.fill(in)
		return
	case in.Op == OpCheckpoint:
		p.stands = passing
		return
	}
	if p.g == nil { // the tape begins within a life
		p.g = New(p.policy(), in.Now)
		if in.Session > 0 && in.Op != OpOpen {
			p.before = in.Session
		}
	}
	p.last = in.Now
	p.g.clock.t, p.g.clock.last = int64(in.At+p.shift), in.Now
	if p.stands == telling && p.unfilled(in) {
		return
	}
	switch in.Op {
	case OpOpen:
		p.open(in)
	case OpSpend, OpEstimate, OpAccepted, OpClose, OpWithdraw:
		p.within(in)
	case OpRelease:
		if c, ok := p.g.Release(in.Subscriber, in.Now); ok && c.From != StageObserve {
			p.changed(c)
		}
	case OpUnrelease:
		changes, _ := p.g.Unrelease(in.Subscriber, in.Now)
		for _, c := range changes {
			p.changed(c)
		}
	case OpExempt:
		// What is refused now was taken then: only where there is no room is it lost, as the sessions are.
		_ = p.g.Exempt(in.Subscriber, p.plan(in), Exemption{Until: in.Now.Add(in.Lasts), Reason: in.Reason, By: in.By}, in.Now)
	case OpUnexempt:
		p.g.Unexempt(in.Subscriber, in.Now)
	case OpPlan:
		p.g.under(in.Subscriber, p.plan(in), p.g.clock.t)
	case OpState:
		if p.stands != passing {
			p.state(in)
		}
	case OpCheckpointed:
		p.filled(in)
	default:
		if p.asRecorded() {
			p.moved(in)
		} else if in.Op == OpTick {
			p.tick(in)
		}
	}
}

// Looks at who comes down the ladder, and at whom to forget, are rarer than a box's, which are one a second: a change of stage is
// of the time when it was due, whenever it is noticed, and only of two within lookEvery the first is not seen.
const (
	lookEvery   = 5 * time.Second
	forgetEvery = time.Minute
)

func (p *Player) tick(in *Input) {
	if since := in.At - p.looked; since >= 0 && since < lookEvery {
		return
	}
	p.looked = in.At
	for _, c := range p.g.settle(in.Now) {
		p.changed(c)
	}
	if since := in.At - p.forgot; since >= 0 && since < forgetEvery {
		return
	}
	p.forgot = in.At
	for _, c := range p.g.forget(in.Now) {
		p.changed(c)
	}
}

func (p *Player) policy() Policy {
	if p.opt.Policy != nil {
		return *p.opt.Policy
	}
	return Policy{}
}

// begin begins a life. With a policy of its own it knows what the one before knew.
func (p *Player) begin(in *Input) {
	old := p.g
	p.lives++
	clear(p.running)
	p.before, p.begun, p.last, p.stands, p.shapes = 0, false, in.Now, knowsAll, nil
	p.g = New(p.policy(), in.Now)
	p.g.clock.t, p.g.clock.last = int64(in.At+p.shift), in.Now
	if p.asRecorded() {
		p.Exact = true
		p.g.stats.Cases = in.Cases
		return
	}
	if old == nil {
		return
	}
	if p.g.clock.t < old.clock.t { // budgets were lost then; here they are not
		p.shift += time.Duration(old.clock.t - p.g.clock.t)
		p.g.clock.t = old.clock.t
	}
	p.g.stats.Cases = old.stats.Cases
	all, _ := old.Snapshot(0, old.Count(), old.clock.last)
	shapes := map[string]*plan{}
	for i := range all {
		p.g.restore(&all[i], shapes, in.Now)
	}
}

// state takes what was known when the life began: of the first one only, with a policy of its own.
func (p *Player) state(in *Input) {
	s := in.Saved
	if s == nil || s.Stage >= stages || s.Subscriber == "" || !p.asRecorded() && p.lives > 1 {
		return
	}
	if e, known := p.g.lookup(s.Subscriber); known {
		if p.stands != telling {
			return
		}
		p.g.drop(&e) // it is told again, since something was not known when it was told first
	}
	shapes := map[string]*plan{}
	if in.Carried != nil && in.Carried.Plan != nil {
		shapes[s.Plan] = p.shape(in.Carried.Plan)
	}
	p.g.restore(s, shapes, in.Now)
	e, known := p.g.lookup(s.Subscriber)
	if !known {
		return
	}
	if in.Carried != nil {
		p.g.carry(&e, s, in.Carried)
	}
	if e.stage > StageObserve && p.opt.Began != nil {
		p.opt.Began(StageChange{Subscriber: s.Subscriber, Plan: e.plan.name, Mode: p.g.modeOf(&e), From: e.stage, To: e.stage, At: in.Now, Case: s.Case, Why: e.t.cause.reason()})
	}
}

// shape is a plan that the policy does not have, the same for all who are under it.
func (p *Player) shape(of *Plan) *plan {
	key := fmt.Sprintf("%+v", *of)
	if p.shapes[key] == nil {
		if p.shapes == nil {
			p.shapes = map[string]*plan{}
		}
		p.shapes[key] = newPlan(*of)
	}
	return p.shapes[key]
}

// fill begins anew with a checkpoint.
func (p *Player) fill(in *Input) {
	clear(p.running)
	p.shapes, p.stands, p.Exact = nil, telling, false
	p.begun, p.last = true, in.Now
	policy := p.policy()
	if p.asRecorded() && in.Policy != nil {
		policy = *in.Policy
	}
	if p.lives == 0 {
		p.lives = 1
	}
	p.g = New(policy, in.Now)
	p.g.clock.t, p.g.clock.last = int64(in.At+p.shift), in.Now
	p.g.stats.Cases, p.before, p.lost = in.Cases, in.Session, p.Lost
}

// unfilled tells whether what happens is passed over: it happens to somebody whose state is still to come.
func (p *Player) unfilled(in *Input) bool {
	switch in.Op {
	case OpState, OpCheckpointed, OpPolicy, OpTick, OpEnd:
		return false
	}
	_, known := p.g.lookup(in.Subscriber)
	return !known
}

// filled ends a checkpoint.
func (p *Player) filled(in *Input) {
	if p.stands == telling {
		p.g.stats.Cases, p.before = in.Cases, in.Session
		p.Exact = p.asRecorded() && p.Lost == p.lost
	}
	p.stands = knowsAll
}

// moved does what time, or somebody who looked, did to a subscriber.
func (p *Player) moved(in *Input) {
	g, t := p.g, p.g.clock.t
	if in.Op == OpPolicy {
		if in.Policy != nil {
			g.use(*in.Policy)
		}
		return
	}
	e, ok := g.lookup(in.Subscriber)
	if !ok {
		return
	}
	var c StageChange
	changed := false
	switch in.Op {
	case OpDescend:
		c, changed = g.descend(&e, t, in.Now)
	case OpForget:
		c, changed = g.forgetOne(&e, t, in.Now)
	case OpTouch:
		g.current(&e, t, in.Now)
	}
	if changed {
		p.changed(c)
	}
}

func (p *Player) plan(in *Input) string {
	if p.opt.PlanOf == nil {
		return in.Plan
	}
	return p.opt.PlanOf(in.Subscriber, in.Plan, in.Unlisted)
}

func (p *Player) open(in *Input) {
	p.Sessions++
	if !p.begun {
		p.begun = true
		p.before = max(p.before, in.Session-1)
	}
	d := p.g.Open(Attempt{Subscriber: in.Subscriber, Plan: p.plan(in), Destination: in.Destination, Unlisted: in.Unlisted}, in.Now)
	p.decided(d)
	switch {
	case d.LetThrough() && in.Ran:
		p.running[in.Session] = playing{in.Subscriber, d.Receipt}
	case d.LetThrough() && p.asRecorded(), !d.LetThrough() && in.Ran && p.asRecorded():
		p.Diverged++
		if d.LetThrough() {
			p.g.Close(in.Subscriber, in.Now)
		}
	case d.LetThrough():
		p.Guessed++
		p.g.Close(in.Subscriber, in.Now)
	}
}

// within is what happens in a session that runs here, too.
func (p *Player) within(in *Input) {
	s, runs := p.running[in.Session]
	if !runs && in.Session > p.before && !p.asRecorded() {
		return
	}
	switch in.Op {
	case OpSpend:
		p.decided(p.g.Spend(in.Subscriber, p.plan(in), in.Of, in.Cost, in.Now))
	case OpEstimate:
		p.decided(p.g.SpendEstimated(in.Subscriber, p.plan(in), in.Cost, in.Now))
	case OpAccepted:
		p.g.Accepted(in.Subscriber, in.Cost, in.Now)
	case OpClose:
		p.g.Close(in.Subscriber, in.Now)
		delete(p.running, in.Session)
	case OpWithdraw:
		if !runs || p.asRecorded() {
			s.receipt = in.Receipt.restored()
		}
		p.g.Withdraw(in.Subscriber, s.receipt, in.Now)
		delete(p.running, in.Session)
	}
}

func (p *Player) decided(d Decision) {
	if p.opt.Decision != nil {
		p.opt.Decision(d)
	}
	if d.Change != nil {
		p.changed(*d.Change)
	}
}

// changed tells of a change of stage. Whoever is cut loses the sessions that run; as it was, the tape says when each ended.
func (p *Player) changed(c StageChange) {
	if p.opt.Change != nil {
		p.opt.Change(c)
	}
	if p.asRecorded() || c.To != StageCut || c.Mode != ModeEnforce {
		return
	}
	for n, s := range p.running {
		if s.sub == c.Subscriber {
			p.g.Close(s.sub, p.last)
			delete(p.running, n)
		}
	}
}
