package governor

import (
	"fmt"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The oracle keeps levels that drain second by second and walks the ladder by its rules, one second at a time. It knows
// nothing of moments at which something will be whole, nor of anything that is computed later than it happens.
type oracle struct {
	mode                          Mode
	plan                          Plan
	budgets                       []*level
	open                          int
	now, confirmed, until, calmed int64 // seconds; calmed: since when everything is below WarnAt, -1 if it is not
	stage                         Stage
	cause                         int // value when it was cut
	causeOf                       int
	tries                         map[netip.Prefix]*tries // networks denied; the zero one stands for all
	exempt                        int64                   // until then; 0: not
}

type level struct {
	Budget
	tok, used, press int64 // nanoseconds
	charged          map[netip.Prefix]int64
}

// tries are the retries to one network.
type tries struct {
	used, every int64
	last        int64
}

// take is one more of at most most.
func (r *tries) take(every, most int64) bool {
	if r.every > 0 {
		q := new(big.Int).Mul(big.NewInt(r.used), big.NewInt(every))
		r.used = q.Div(q, big.NewInt(r.every)).Int64()
	}
	r.every = every
	if r.used+every > most*every {
		return false
	}
	r.used += every
	return true
}

func newOracle(p Policy) *oracle {
	o := &oracle{mode: p.Mode, plan: p.Plans[0], calmed: 0, tries: map[netip.Prefix]*tries{}}
	for _, b := range o.plan.Budgets {
		l := &level{Budget: b, tok: int64(30 * time.Second), charged: map[netip.Prefix]int64{}}
		if b.Of == ConcurrentSessions {
			l.Burst = b.Limit
		} else {
			l.tok = int64(b.Per) / int64(b.Limit)
		}
		o.budgets = append(o.budgets, l)
	}
	return o
}

func (o *oracle) value(l *level) int64 {
	if l.Of == ConcurrentSessions {
		return int64(o.open)
	}
	return (l.used + l.tok - 1) / l.tok
}

// reaches: value is at least at per cent of the burst.
func (l *level) reaches(value int64, at int) bool { return value*100 >= int64(at)*int64(l.Burst) }

func (o *oracle) anyReaches(at int) bool {
	for _, l := range o.budgets {
		if l.reaches(o.value(l), at) {
			return true
		}
	}
	return false
}

// applies is the mode that holds.
func (o *oracle) applies() Mode {
	if o.exempt > 0 {
		return ModeObserve
	}
	return o.mode
}

// unexempt ends an exemption now.
func (o *oracle) unexempt() {
	o.exempt = 0
	if o.mode == ModeEnforce {
		for _, l := range o.budgets {
			l.press = 0
		}
		clear(o.tries)
		o.until = min(o.until, o.now)
	}
}

// knows tells whether network to was charged within the window.
func (o *oracle) knows(l *level, to netip.Prefix) bool {
	at, ok := l.charged[to]
	return ok && o.now-at < int64(l.Per/time.Second)
}

// retry tells whether a denied attempt is one, the slowest budget that denies having token tok.
func (o *oracle) retry(to netip.Prefix, tok int64) bool {
	if !to.IsValid() || o.plan.HighestStage < StageDefer {
		return false
	}
	every := min(tok/6, int64(15*time.Second))
	if o.tries[netip.Prefix{}] == nil {
		o.tries[netip.Prefix{}] = &tries{}
	}
	room := o.tries[netip.Prefix{}].take(every/3, 60)
	r, known := o.denied(to)
	return r.take(every, 20) && known && room
}

// denied notes that network to was denied, and tells whether it was before.
func (o *oracle) denied(to netip.Prefix) (r *tries, known bool) {
	r = o.tries[to]
	if known = r != nil && o.now-r.last <= 24*60*60; !known {
		r = &tries{}
		o.tries[to] = r
	}
	r.last = o.now
	return r, known
}

// settle applies the rules of this second.
func (o *oracle) settle() {
	if o.exempt > 0 && o.now >= o.exempt {
		o.unexempt()
	}
	l := o.plan.Ladder
	hold := min(30, int64(l.ReleaseAfter/time.Second))
	held := o.now < o.confirmed+hold
	if o.anyReaches(l.WarnAt) {
		o.calmed = -1
	} else if o.calmed < 0 {
		o.calmed = o.now
	}
	if o.stage == StageCut && o.now >= o.until {
		o.stage = StageDefer
		if o.calmed >= 0 {
			o.calmed = max(o.calmed, o.until)
		}
	}
	if o.stage == StageDefer && !o.anyReaches(l.PaceAt) && !held {
		o.stage = StagePace
	}
	if o.stage == StagePace && !o.anyReaches(l.WarnAt) && !held {
		o.stage = StageWarn
	}
	if o.stage == StageWarn && o.calmed >= 0 && o.now >= o.calmed+int64(l.ReleaseAfter/time.Second) && !held {
		o.stage = StageObserve
	}
}

func (o *oracle) second() {
	o.now++
	for _, l := range o.budgets {
		l.used = max(0, l.used-int64(time.Second))
		l.press = max(0, l.press-int64(time.Second))
	}
	for _, r := range o.tries {
		r.used = max(0, r.used-int64(time.Second))
	}
	o.settle()
}

type verdict struct {
	action Action
	wait   time.Duration
	value  int64
	of     int // index of the budget
	level  Stage
	retry  bool
}

// harder is the order in which verdicts of several budgets are preferred.
func (o *oracle) harder(a, b verdict) bool {
	if a.action != b.action {
		return a.action > b.action
	}
	if a.wait != b.wait {
		return a.wait > b.wait
	}
	return a.value*int64(o.budgets[b.of].Burst) > b.value*int64(o.budgets[a.of].Burst)
}

func (o *oracle) full(l *level) int64 {
	return max(l.tok, int64(l.Burst)*l.tok*int64(o.plan.Ladder.DeferAt)/100)
}

// gentle is the verdict when used is used and nothing is refused.
func (o *oracle) gentle(i int, used int64, holds bool) verdict {
	l, lad := o.budgets[i], o.plan.Ladder
	v := verdict{value: (used + l.tok - 1) / l.tok, of: i}
	if l.reaches(v.value, lad.WarnAt) {
		v.action, v.level = ActionWarn, StageWarn
	}
	if l.reaches(v.value, lad.PaceAt) {
		v.level = StagePace
		wait := min(used-int64(l.Burst)*l.tok*int64(lad.PaceAt)/100, int64(lad.PaceMax))
		if wait > 0 && holds {
			v.action, v.wait = ActionPace, time.Duration(wait)
		}
	}
	return v
}

func (o *oracle) attempt(to netip.Prefix) verdict {
	o.settle()
	if o.stage == StageCut {
		if to.IsValid() {
			o.denied(to)
		}
		if o.applies() == ModeObserve {
			o.open++
		}
		return verdict{action: ActionCut, wait: time.Duration(o.until-o.now) * time.Second, value: int64(o.cause), of: o.causeOf}
	}
	refused := map[int]bool{}
	slowest := int64(0)
	for i, l := range o.budgets {
		switch {
		case l.Of == ConcurrentSessions:
			refused[i] = o.open >= l.Limit
		case l.Of == Destinations && (!to.IsValid() || o.knows(l, to)):
		default:
			refused[i] = l.used+l.tok > o.full(l)
		}
		if refused[i] {
			slowest = max(slowest, l.tok)
		}
	}
	fits := slowest == 0
	retry := !fits && o.retry(to, slowest)
	var worst verdict
	for i, l := range o.budgets {
		var v verdict
		switch {
		case refused[i] && l.Of == ConcurrentSessions:
			v = verdict{ActionDefer, 30 * time.Second, int64(o.open) + 1, i, StageDefer, false}
		case refused[i]:
			v = verdict{ActionDefer, time.Duration(l.used + l.tok - o.full(l)), o.value(l) + 1 + (l.press+l.tok-1)/l.tok, i, StageDefer, false}
			pressed := (min(l.used, o.full(l))+l.tok-1)/l.tok + 1 + (l.press+l.tok-1)/l.tok
			if o.plan.HighestStage == StageCut && l.reaches(pressed, o.plan.Ladder.CutAt) && !retry {
				v.action, v.level, v.wait = ActionCut, StageCut, o.plan.Ladder.CutFor
			}
		case l.Of == ConcurrentSessions:
			v = verdict{value: int64(o.open) + 1, of: i}
			if l.reaches(v.value, o.plan.Ladder.WarnAt) {
				v.action, v.level = ActionWarn, StageWarn
			}
		case l.Of == Sessions || l.Of == Destinations && to.IsValid() && !o.knows(l, to):
			v = o.gentle(i, l.used+l.tok, true)
		default:
			v = o.gentle(i, l.used, l.Of != Destinations)
		}
		if i == 0 || o.harder(v, worst) {
			worst = v
		}
	}
	for i, l := range o.budgets {
		if refused[i] && !retry && l.Of != ConcurrentSessions {
			l.press = min(l.press+l.tok, 100*int64(l.Burst)*l.tok)
		}
		costs := l.Of == Sessions || l.Of == Destinations && to.IsValid() && !o.knows(l, to)
		if !costs || !fits && o.plan.HighestStage >= StageDefer {
			continue
		}
		l.used = max(l.used, min(l.used+l.tok, o.full(l)))
		if l.Of == Destinations {
			l.charged[to] = o.now
		}
	}
	worst.retry = retry
	worst = o.cap(worst)
	if o.applies() == ModeObserve || worst.action <= ActionPace {
		o.open++
	}
	o.rise(worst)
	return worst
}

func (o *oracle) cap(v verdict) verdict {
	h := o.plan.HighestStage
	v.level = min(v.level, h)
	if v.action <= Action(h) {
		return v
	}
	switch h {
	case StagePace:
		v.action, v.wait = ActionPace, min(v.wait, o.plan.Ladder.PaceMax)
		if v.wait == 0 {
			v.action = ActionWarn
		}
	case StageWarn:
		v.action, v.wait = ActionWarn, 0
	case StageObserve:
		v.action, v.wait = ActionPass, 0
	case StageDefer:
		v.action = ActionDefer
	}
	return v
}

func (o *oracle) rise(v verdict) {
	if v.level >= o.stage && v.level > StageObserve {
		o.stage, o.confirmed = v.level, o.now
	}
	if v.level >= StageWarn { // it was told to be at WarnAt or above, so this was no calm
		o.calmed = -1
	}
	if v.level == StageCut {
		o.until = o.now + int64(o.plan.Ladder.CutFor/time.Second)
		o.cause, o.causeOf = int(v.value), v.of
		for _, l := range o.budgets {
			l.press = 0
		}
	}
}

func (o *oracle) spend(of Kind, cost int64) (verdict, bool) {
	o.settle()
	var worst verdict
	found := false
	for i, l := range o.budgets {
		if l.Of != of {
			continue
		}
		full, debt := o.full(l), o.full(l)+int64(l.Burst)*l.tok
		wants := l.used + cost*l.tok
		l.used = min(wants, max(l.used, debt))
		v := o.gentle(i, l.used, of == Messages || of == Recipients || of == Rejected)
		v.value = (wants + l.tok - 1) / l.tok
		if wants > full {
			v.level = StageDefer
		}
		if !found || o.harder(v, worst) {
			worst = v
		}
		found = true
	}
	if found {
		worst = o.cap(worst)
		o.rise(worst)
	}
	return worst, found
}

func (o *oracle) release() {
	for _, l := range o.budgets {
		l.used, l.press = 0, 0
		clear(l.charged)
	}
	clear(o.tries)
	o.stage = StageObserve
	o.settle()
}

// accepted gives back one for nine.
func (o *oracle) accepted(recipients int64) {
	o.settle()
	for _, l := range o.budgets {
		if l.Of == Rejected {
			l.used = max(0, l.used-recipients*l.tok/9)
		}
	}
	o.settle()
}

// drawPolicy makes plans whose token times are whole seconds.
func drawPolicy(t *rapid.T, highest Stage) Policy {
	var b []Budget
	for range rapid.IntRange(1, 4).Draw(t, "budgets") {
		of := rapid.SampledFrom([]Kind{Sessions, Sessions, Sessions, TLSHandshakes, TLSFailures, Messages, Recipients, ConcurrentSessions, Destinations, Rejected}).Draw(t, "of")
		one := Budget{Of: of, Limit: rapid.IntRange(1, 8).Draw(t, "limit")}
		if of != ConcurrentSessions {
			one.Per = time.Duration(one.Limit*rapid.IntRange(1, 40).Draw(t, "token")) * time.Second
			one.Burst = rapid.IntRange(1, 8).Draw(t, "burst")
			if of == Destinations && highest < StageDefer {
				one.Burst = networks // so that no charge makes room for another: see TestTheOldestNetworkMakesRoom
			}
		}
		b = append(b, one)
	}
	at := func(low, high int, name string) int { return rapid.IntRange(low, high).Draw(t, name) }
	l := Ladder{WarnAt: at(1, 80, "warn")}
	l.PaceAt = at(l.WarnAt, 120, "pace")
	l.DeferAt = at(l.PaceAt, 150, "defer")
	l.CutAt = at(l.DeferAt, 400, "cut")
	l.PaceMax = time.Duration(at(0, 60, "pace_max")) * time.Second
	l.CutFor = time.Duration(at(1, 120, "cut_for")) * time.Second
	l.ReleaseAfter = time.Duration(at(0, 90, "release")) * time.Second
	return Policy{Mode: Mode(at(0, 1, "mode")), Plans: []Plan{{Name: "home", HighestStage: highest, Budgets: b, Ladder: l}}}
}

// TestGovernorAgreesWithTheOracle plays random lives of a subscriber. Ticks come at random, to show that they decide
// nothing; what is saved and restored in the middle goes on as if nothing had been.
func TestGovernorAgreesWithTheOracle(t *testing.T) {
	t.Parallel()
	counts, retries := map[Action]int{}, 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t, rapid.SampledFrom([]Stage{StageObserve, StageWarn, StagePace, StageDefer, StageCut, StageCut}).Draw(t, "highest"))
		g, o := New(p, t0), newOracle(p)
		start := t0
		now := func() time.Time { return start.Add(time.Duration(o.now) * time.Second) }
		ends := 0                        // exemptions that have ended or will
		told, caseNo := StageObserve, "" // what the changes so far said
		tell := func(c StageChange) {
			t.Helper()
			if c.From != told || c.From == c.To && c.To != StageCut {
				t.Fatalf("at %d s a change from %v to %v, last told was %v", o.now, c.From, c.To, told)
			}
			if (c.To >= StagePace || caseNo != "") && c.Case == "" || caseNo != "" && c.Case != caseNo || c.At.After(now()) {
				t.Fatalf("at %d s %+v belongs to case %q", o.now, c, caseNo)
			}
			if told, caseNo = c.To, c.Case; told == StageObserve {
				caseNo = ""
			}
		}
		check := func(what string, d Decision, v verdict) {
			t.Helper()
			if d.Before != told {
				t.Fatalf("%s at %d s: before %v, last told was %v", what, o.now, d.Before, told)
			}
			if d.Change != nil {
				tell(*d.Change)
			}
			if d.Stage != told || d.Case != caseNo {
				t.Fatalf("%s at %d s: stage %v case %q, told was %v %q", what, o.now, d.Stage, d.Case, told, caseNo)
			}
			counts[d.Action]++
			l := o.budgets[v.of]
			if d.Action != v.action || d.Wait != v.wait || int64(d.Value) != v.value || d.Stage != o.stage || d.Of != l.Of || d.Limit != l.Limit || d.Burst != l.Burst {
				t.Fatalf("%s at %d s: %v wait %v stage %v %q, oracle: %v wait %v stage %v %v %d of %+v", what, o.now,
					d.Action, d.Wait, d.Stage, d.Reason(), v.action, v.wait, o.stage, l.Of, v.value, l.Budget)
			}
			if d.Retry != v.retry || (d.Exemption != "") != (o.exempt > 0) {
				t.Fatalf("%s at %d s: retry %v exemption %q, oracle %v, exempt until %d s", what, o.now, d.Retry, d.Exemption, v.retry, o.exempt)
			}
			if v.retry {
				retries++
			}
			if mode := o.applies(); d.Mode != mode || d.Acted != (mode == ModeEnforce && d.Action >= ActionPace) || mode == ModeObserve && d.Effective() != ActionPass {
				t.Fatalf("%s at %d s: acted %v effective %v in mode %v", what, o.now, d.Acted, d.Effective(), p.Mode)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch what := rapid.SampledFrom([]string{"open", "open", "open", "open", "spend", "close", "sleep", "sleep", "tick", "release", "restart", "exempt", "unexempt", "accepted", "night"}).Draw(t, "what"); what {
			case "open":
				to := aNetwork(t)
				for range rapid.IntRange(1, rapid.SampledFrom([]int{6, 6, 6, 80}).Draw(t, "most")).Draw(t, "times") {
					check(what, g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: to}, now()), o.attempt(to))
				}
			case "spend":
				of := rapid.SampledFrom([]Kind{TLSHandshakes, TLSFailures, Messages, Recipients, Rejected}).Draw(t, "kind")
				cost := rapid.IntRange(1, 5).Draw(t, "cost")
				d := g.Spend("S", "home", of, cost, now())
				if v, ok := o.spend(of, int64(cost)); ok {
					check(fmt.Sprint(what, of), d, v)
				} else if d.Action != ActionPass || d.Change != nil {
					t.Fatalf("spend of %v, which no budget counts: %+v", of, d)
				}
			case "close":
				if o.open > 0 {
					o.open--
					o.settle()
					g.Close("S", now())
				}
			case "sleep":
				for range rapid.IntRange(1, 100).Draw(t, "seconds") {
					o.second()
				}
			case "tick":
				for _, c := range g.Tick(now()) {
					tell(c)
				}
				if told != o.stage {
					t.Fatalf("at %d s after a tick the stage told is %v, oracle %v", o.now, told, o.stage)
				}
			case "night": // retries are forgotten over it
				if rapid.IntRange(0, 9).Draw(t, "falls") == 0 {
					for range 24*60*60 - 50 {
						o.second()
					}
				}
			case "accepted":
				n := 9 * rapid.IntRange(1, 3).Draw(t, "recipients")
				g.Accepted("S", n, now())
				o.accepted(int64(n))
			case "exempt":
				lasts := rapid.IntRange(1, 200).Draw(t, "lasts")
				if err := g.Exempt("S", "home", Exemption{Until: now().Add(time.Duration(lasts) * time.Second), Reason: "known here"}, now()); err != nil {
					t.Fatal(err)
				}
				if o.settle(); o.exempt > 0 {
					ends--
				}
				o.exempt = o.now + int64(lasts)
				ends++
			case "unexempt":
				o.settle()
				if x, ok := g.Unexempt("S", now()); ok != (o.exempt > 0) || ok && !x.Until.Equal(start.Add(time.Duration(o.exempt)*time.Second)) {
					t.Fatalf("at %d s unexempted %v %+v, oracle %d", o.now, ok, x, o.exempt)
				} else if ok {
					o.unexempt()
					ends--
				}
			case "release":
				if c, ok := g.Release("S", now()); ok {
					if c.From != c.To {
						tell(c)
					}
					o.release()
				}
			case "restart": // in mode enforce only: see TestWhatObserveImaginedIsForgotten
				var saved []Saved
				for {
					s := g.Dirty(3, now())
					if saved = append(saved, s...); len(s) < 3 {
						break
					}
				}
				if len(saved) == 0 {
					break
				}
				for range o.open {
					g.Close("S", now())
				}
				o.open = 0
				o.settle()
				st := g.State(now(), now())
				for range rapid.IntRange(0, 50).Draw(t, "down") {
					o.second()
				}
				wall := now()
				ends -= len(g.Expired(now().Add(-time.Duration(o.now) * time.Second)))
				start = start.Add(12345 * time.Hour) // the monotonic clock of another life
				g = New(p, now())
				if v := bring(g, saved, st, wall, now()); v != ClockGood {
					t.Fatalf("clock %v", v)
				}
				// what the new life knows must be saved again when asked for, also if nothing changes until then
				g.Redo(saved)
			}
			o.settle()
			for _, x := range g.Expired(now()) {
				if ends--; x.Subscriber != "S" || x.Exemption.Reason != "known here" || x.Exemption.Until.After(now()) {
					t.Fatalf("at %d s ended: %+v", o.now, x)
				}
			}
			if (ends == 1) != (o.exempt > 0) || ends < 0 || ends > 1 {
				t.Fatalf("at %d s %d exemptions go on, oracle until %d", o.now, ends, o.exempt)
			}
			r, ok := g.Explain("S", now())
			if ok && (r.Exemption != nil) != (o.exempt > 0) {
				t.Fatalf("at %d s exempt %+v, oracle until %d s", o.now, r.Exemption, o.exempt)
			}
			if !ok {
				continue
			}
			if r.Stage != o.stage || r.Open != o.open || (r.Stage == StageObserve) != (r.Reason == "") {
				t.Fatalf("at %d s explained as %v open %d reason %q, oracle %v open %d", o.now, r.Stage, r.Open, r.Reason, o.stage, o.open)
			}
			for i, b := range r.Budgets {
				if l := o.budgets[i]; int64(b.Value) != o.value(l) || int64(b.Pressure) != (l.press+l.tok-1)/l.tok {
					t.Fatalf("at %d s budget %v is at %d pressed by %d, oracle %d and %d ns", o.now, l.Budget, b.Value, b.Pressure, o.value(l), l.press)
				}
			}
		}
	})
	t.Logf("decisions compared: %v, %d retries", counts, retries)
	if retries == 0 {
		t.Error("never saw a retry")
	}
	for a := ActionPass; a < actions; a++ {
		if counts[a] == 0 {
			t.Errorf("never saw %v", a)
		}
	}
}
