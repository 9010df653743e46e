package governor

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// The bounds of a policy. The configuration refuses what is outside; the governor itself moves such a value to the
// bound, so that no arithmetic here can overflow, on 32-bit machines neither.
const (
	MaxLimit   = 1_000_000            // of Budget.Limit and Budget.Burst, from 1
	MinPer     = time.Second          // the shortest window
	MaxPer     = 366 * 24 * time.Hour // the longest window, and the longest an empty budget may take to refill
	MaxPercent = 1000                 // of WarnAt, PaceAt and DeferAt, from 1
	MaxCutAt   = 10_000               // of CutAt, from 1
	MaxHold    = 10 * time.Minute     // of PaceMax
	MaxRest    = 30 * 24 * time.Hour  // of CutFor and ReleaseAfter
	maxBudgets = 64                   // of a plan; what is beyond is not counted
)

// retryConcurrent is when to retry after too many sessions at once: nobody knows when one of them ends.
const retryConcurrent = 30 * time.Second

// forever is a moment that does not come by waiting alone.
const forever = math.MaxInt64

// limit is a Budget ready for deciding. Its state is one number, the moment at which it is whole again (the theoretical
// arrival time of GCRA), in nanoseconds of the governor's clock: a budget with k of its tokens used is whole again k
// token times from now. All spans here are nanoseconds.
type limit struct {
	Budget
	place    int   // of its state, see entry.whole; none for concurrent sessions
	sure     int   // of what is certain of it, see entry.sureAt; of a budget of messages only
	nth      uint8 // of a budget of destinations: the first, the second …; 0 for any other
	token    int64 // the time one token takes to come back: Per/Limit, rounded up
	full     int64 // as much may be used: DeferAt per cent of the burst, but one token at least
	debt     int64 // as much may be owed by running sessions: one burst more than full
	paceFrom int64 // used beyond this is waited for
	warnMax  int   // the most tokens used that are below WarnAt
	warnFrom int64 // used beyond this is more than warnMax
	paceMax  int   // the most tokens used that are below PaceAt
	cutMin   int   // the fewest that are at CutAt
}

func clamp[T int | int64 | time.Duration](v, low, high T) T { return max(low, min(v, high)) }

func newLimit(b Budget, l Ladder) limit {
	most := MaxLimit
	if b.Of == Destinations {
		most = MaxDestinations
	}
	b.Limit = clamp(b.Limit, 1, most)
	if b.Burst <= 0 || b.Of == ConcurrentSessions {
		b.Burst = b.Limit
	}
	lim := limit{Budget: b}
	if b.Of == ConcurrentSessions {
		lim.Per, lim.token = 0, int64(retryConcurrent)
	} else {
		lim.Per = clamp(b.Per, MinPer, MaxPer)
		lim.token = (int64(lim.Per) + int64(b.Limit) - 1) / int64(b.Limit)
		lim.Burst = clamp(b.Burst, 1, int(min(int64(most), int64(MaxPer)/lim.token)))
	}
	whole := int64(lim.Burst) * lim.token
	lim.full = max(share(whole, l.DeferAt), lim.token)
	lim.debt = lim.full + whole
	lim.paceFrom = share(whole, l.PaceAt)
	lim.warnMax = below(lim.Burst, l.WarnAt)
	lim.warnFrom = int64(lim.warnMax) * lim.token
	lim.paceMax = below(lim.Burst, l.PaceAt)
	lim.cutMin = int((int64(lim.Burst)*int64(l.CutAt) + 99) / 100)
	return lim
}

// share is percent per cent of whole, rounded down.
func share(whole int64, percent int) int64 {
	return whole/100*int64(percent) + whole%100*int64(percent)/100
}

// below is the largest number that is less than percent per cent of burst.
func below(burst, percent int) int { return int((int64(burst)*int64(percent) - 1) / 100) }

// used is how much of a budget that is whole again at wholeAt is gone now, as a span.
func used(wholeAt, now int64) int64 { return max(0, wholeAt-now) }

// tokens is a span in tokens, rounded up.
func (l *limit) tokens(span int64) int {
	switch { // most are at none or one, and a division is what costs here
	case span <= 0:
		return 0
	case span <= l.token:
		return 1
	}
	return int((span + l.token - 1) / l.token)
}

// pressed is the pressure that an attempt adds: a leaky count with the budget's own token time. It is bounded where it
// would change nothing any more.
func (l *limit) pressed(calmAt, now int64) int64 {
	return now + min(used(calmAt, now)+l.token, l.mostPressure())
}

func (l *limit) mostPressure() int64 { return int64(l.Burst) * l.token * (MaxCutAt / 100) }

// carry turns the state of an earlier form of this budget into the present one: as many tokens are used, but not more
// than the present one holds.
func (l *limit) carry(old *limit, wholeAt, now int64) int64 {
	if l.Of == ConcurrentSessions {
		return 0
	}
	if old.Budget == l.Budget {
		return min(wholeAt, now+l.debt)
	}
	return now + min(scale(used(wholeAt, now), l.token, old.token), l.full)
}

// scale is span*to/from, saturating.
func scale(span, to, from int64) int64 {
	hi, lo := bits.Mul64(uint64(span), uint64(to))
	if hi >= uint64(from) {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, uint64(from))
	return int64(min(q, math.MaxInt64))
}

// plan is a Plan ready for deciding.
type plan struct {
	name    string
	highest Stage
	ladder  Ladder
	limits  []limit
	nth     []int   // which of limits are budgets of destinations
	places  int     // budgets that have a state
	sures   int     // places beside those in the record for what is certain of budgets of messages
	quick   []quick // the same as limits, for pass; empty where that cannot be
	pays    []uint8 // which of them a session is charged to
	few     int     // with no more sessions running than this, concurrent ones are below WarnAt

	shape   uint16 // place in Governor.shapes, while somebody is under it
	users   int
	current bool // the policy's, and not an earlier one
}

func newPlan(p Plan) *plan {
	l := p.Ladder
	if l == (Ladder{}) {
		l = DefaultLadder()
	}
	l.WarnAt = clamp(l.WarnAt, 1, MaxPercent)
	l.PaceAt = clamp(l.PaceAt, l.WarnAt, MaxPercent)
	l.DeferAt = clamp(l.DeferAt, l.PaceAt, MaxPercent)
	l.CutAt = clamp(l.CutAt, l.DeferAt, MaxCutAt)
	l.PaceMax = clamp(l.PaceMax, 0, MaxHold)
	l.CutFor = clamp(l.CutFor, 0, MaxRest)
	l.ReleaseAfter = clamp(l.ReleaseAfter, 0, MaxRest)
	c := &plan{name: p.Name, highest: min(p.HighestStage, StageCut), ladder: l, few: math.MaxInt32}
	for _, b := range p.Budgets {
		if b.Of != Unknown && b.Of < kinds && len(c.limits) < maxBudgets {
			c.add(newLimit(b, l))
		}
	}
	c.placeSures()
	c.quicken()
	return c
}

// placeSures gives the budgets of messages a second place each, for what is certain of them: what the record has room
// for, as with the preset residential, and then in trouble. It comes when all budgets were added.
func (p *plan) placeSures() {
	next := p.places
	for i := range p.limits {
		if l := &p.limits[i]; l.Of == Messages {
			l.sure = next
			next++
		}
	}
	p.sures = max(0, next-max(p.places, inline))
}

// same tells whether p and q decide alike.
func (p *plan) same(q *plan) bool {
	return p != nil && p.name == q.name && p.highest == q.highest && p.ladder == q.ladder && slices.Equal(p.limits, q.limits)
}

// add gives the plan one budget more.
func (p *plan) add(l limit) {
	switch l.Of {
	case ConcurrentSessions:
		p.few = min(p.few, l.warnMax)
	case Destinations:
		p.nth = append(p.nth, len(p.limits))
		l.nth = uint8(len(p.nth))
		fallthrough
	default:
		l.place = p.places
		p.places++
	}
	p.limits = append(p.limits, l)
}
