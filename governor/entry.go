package governor

import "time"

// entry is what is known of one subscriber. All moments are nanoseconds of the governor's clock.
type entry struct {
	id       string
	plan     *plan
	wholeAt  []int64 // by the plan's limits: when the budget is whole again
	t        *trouble
	exempt   *exemption
	at       int32 // place in Governor.all
	watched  int32 // place in Governor.watch, or -1
	open     int32 // sessions running
	stage    Stage
	mode     Mode // under which stage and pressure came about
	dirty    bool // is in Governor.dirty
	unlisted bool // a stranger
	stored   bool // has been given out for saving: the store may know it
}

// trouble is what only a subscriber needs who was over something at some time.
type trouble struct {
	calmAt    []int64 // by the plan's limits: when the pressure is gone
	since     int64   // the stage's begin
	until     int64   // the cut's end
	confirmed int64   // the last attempt that asked for the present stage
	calm      int64   // since when every budget is below WarnAt, perhaps a moment to come; concurrent sessions apart
	ended     int64   // the last end of a session while there were many, or of a cut: nothing calms down before
	cause     Cause   // why the stage was entered
	caseNo    string
	decided   []Decision // the last notable ones, a ring once it is full
	next      int        // where the ring goes on
	last      int64      // when the last of them was
}

func newEntry(id string, p *plan, m Mode) *entry {
	return &entry{id: id, plan: p, wholeAt: make([]int64, len(p.limits)), watched: -1, mode: m}
}

func (e *entry) troubled() *trouble {
	if e.t == nil {
		e.t = &trouble{calmAt: make([]int64, len(e.plan.limits))}
	}
	return e.t
}

// calmAt is the end of the pressure on the plan's budget i.
func (e *entry) calmAt(i int) int64 {
	if e.t == nil {
		return 0
	}
	return e.t.calmAt[i]
}

// adopt puts e under plan p. What is used is carried over by kind and window, the first to the first, the second to the
// second; a budget that is new is whole.
func (e *entry) adopt(p *plan, now int64) {
	if e.plan == p {
		return
	}
	old, wholeAt, t := e.plan, e.wholeAt, e.t
	e.plan, e.wholeAt = p, make([]int64, len(p.limits))
	var calmAt []int64
	if t != nil {
		calmAt, t.calmAt = t.calmAt, make([]int64, len(p.limits))
	}
	taken := make([]bool, len(old.limits))
	for i := range p.limits {
		l := &p.limits[i]
		for j := range old.limits {
			o := &old.limits[j]
			if taken[j] || o.Of != l.Of || o.Per != l.Per {
				continue
			}
			taken[j] = true
			e.wholeAt[i] = l.carry(o, wholeAt[j], now)
			if t != nil {
				most := int64(l.Burst) * l.token * (MaxCutAt / 100)
				t.calmAt[i] = now + min(scale(used(calmAt[j], now), l.token, o.token), most)
			}
			break
		}
	}
	if t != nil {
		t.calm = min(t.calm, now)
		if at, _ := e.belowAt(false); at > now {
			t.calm = at
		}
	}
}

// enforced ends what mode observe only imagined: nobody had told the sender to stop, so its pressure is forgotten and
// a cut ends. What was really used stays used.
func (e *entry) enforced(m Mode, now int64) {
	if e.mode == ModeObserve && m == ModeEnforce && e.t != nil {
		clear(e.t.calmAt)
		e.t.until = min(e.t.until, now)
	}
	e.mode = m
}

// idle tells whether nothing would be lost if e were forgotten, but its decisions if they are older than keep.
func (e *entry) idle(now int64, keep time.Duration) bool {
	if e.open != 0 || e.stage != StageObserve || e.exempt != nil {
		return false
	}
	for _, at := range e.wholeAt {
		if at > now {
			return false
		}
	}
	if e.t == nil {
		return true
	}
	for _, at := range e.t.calmAt {
		if at > now {
			return false
		}
	}
	return len(e.t.decided) == 0 || now-e.t.last > int64(keep)
}

// What Explain remembers: as many decisions of one subscriber, for so long, and as many of all together.
const (
	decidedEach = 50
	decidedAll  = 1 << 16
	keepDecided = 24 * time.Hour
)

// remember keeps d for Explain. Where the room for all is used up, a subscriber's oldest makes room for its own newest.
func (g *Governor) remember(e *entry, d Decision, now int64) {
	t := e.troubled()
	d.Change = nil
	t.last = now
	switch {
	case len(t.decided) < decidedEach && g.decided < decidedAll:
		// while it grows it is in order, because next stays 0 until then
		if t.next != 0 {
			t.decided = inOrder(t.decided, t.next)
			t.next = 0
		}
		t.decided = append(t.decided, d)
		g.decided++
	case len(t.decided) > 0:
		t.decided[t.next] = d
		t.next = (t.next + 1) % len(t.decided)
	default:
		g.stats.DecisionsCut++
	}
}

func inOrder(ring []Decision, next int) []Decision {
	out := make([]Decision, 0, len(ring)+1)
	return append(append(out, ring[next:]...), ring[:next]...)
}
