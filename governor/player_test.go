package governor

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// kept is a tape that keeps everything.
type kept struct{ all []Input }

func (k *kept) Record(in *Input) { k.all = append(k.all, *in) }

// life is a box that does this and that at random, on a tape, and what it decided.
type life struct {
	*rand.Rand
	g       *Governor
	tape    kept
	now     time.Time
	policy  Policy
	running []Decision
	saved   map[string]Saved
	state   SavedState
	said    []string
	marks   []mark
	walking bool   // a checkpoint is under way
	let     string // who was released last
	undone  int    // releases
}

// mark is a checkpoint: where it begins on the tape, and what had been said when it ended.
type mark struct{ at, said int }

// checkpoint makes one, while other things go on.
func (l *life) checkpoint() {
	if l.walking {
		return
	}
	l.walking = true
	m := mark{at: len(l.tape.all)}
	l.g.checkpoint(func() time.Time { return l.now }, func() {
		for range l.IntN(4) {
			l.step()
		}
	}, 1)
	m.said = len(l.said)
	l.marks = append(l.marks, m)
	l.walking = false
}

func (l *life) decided(d Decision) {
	d.Receipt, d.Session, d.Change, d.At = Receipt{}, 0, nil, d.At.Round(0)
	l.said = append(l.said, fmt.Sprintf("%+v", d))
}

func (l *life) changed(c StageChange) {
	c.At, c.Until = c.At.Round(0), c.Until.Round(0)
	l.said = append(l.said, fmt.Sprintf("%+v", c))
}

func (l *life) all(changes []StageChange) {
	for _, c := range changes {
		l.changed(c)
	}
}

func (l *life) told(d Decision) {
	l.decided(d)
	if d.Change != nil {
		l.changed(*d.Change)
	}
}

// policies differ in what they allow, in their plans and in their mode.
func (l *life) anyPolicy() Policy {
	p := Policy{Mode: Mode(l.IntN(2)), Hash: fmt.Sprint(l.Uint32())}
	for _, name := range []string{"home", "office", "server"}[:2+l.IntN(2)] {
		ladder := DefaultLadder()
		ladder.CutFor, ladder.ReleaseAfter = time.Duration(1+l.IntN(20))*time.Minute, time.Duration(1+l.IntN(20))*time.Minute
		p.Plans = append(p.Plans, Plan{Name: name, HighestStage: StagePace + Stage(l.IntN(3)), Ladder: ladder, Budgets: []Budget{
			{Of: Sessions, Limit: 5 + l.IntN(20), Per: time.Hour, Burst: 3 + l.IntN(4)},
			{Of: TLSHandshakes, Limit: 10 + l.IntN(20), Per: time.Hour},
			{Of: Destinations, Limit: 3 + l.IntN(5), Per: 30 * time.Minute},
			{Of: ConcurrentSessions, Limit: 3 + l.IntN(5)},
			{Of: Messages, Limit: 8 + l.IntN(20), Per: time.Hour},
			{Of: Rejected, Limit: 5, Per: time.Hour},
		}[:2+l.IntN(5)]})
	}
	return p
}

func (l *life) sub() string  { return fmt.Sprintf("S-%d", l.IntN(12)) }
func (l *life) plan() string { return []string{"home", "office", "server"}[l.IntN(3)] }

// start begins a life with what the last one saved.
func (l *life) start() {
	l.g = New(l.policy, l.now)
	l.running = nil
	if l.state.Clock > 0 {
		if _, err := l.g.Restore(l.state, func(each func(*Saved)) error {
			for _, sub := range slices.Sorted(maps.Keys(l.saved)) {
				v := l.saved[sub]
				each(&v)
			}
			return nil
		}, l.now, l.now); err != nil {
			panic(err)
		}
	}
	l.g.Record(&l.tape, l.now)
}

func (l *life) save() {
	for _, v := range l.g.Dirty(1000, l.now) {
		if l.saved[v.Subscriber] = v; v.Gone {
			delete(l.saved, v.Subscriber)
		}
	}
	l.state = l.g.State(l.now, l.now)
}

// step is one thing that happens.
func (l *life) step() {
	if l.IntN(3) > 0 {
		l.now = l.now.Add(time.Duration(l.ExpFloat64() * float64(8*time.Second)))
	}
	now := l.now.Add(-time.Duration(l.IntN(3)) * time.Millisecond) // some worker's, who took its time before the mutex
	switch n := l.IntN(100); {
	case n < 45:
		to := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(l.IntN(8)), 0}), 24)
		if l.IntN(5) == 0 {
			to = netip.MustParsePrefix("2001:db8:7::/48")
		}
		sub := l.sub()
		d := l.g.Open(Attempt{Subscriber: sub, Plan: l.plan(), Destination: to, Unlisted: sub > "S-5"}, now)
		l.told(d)
		if d.LetThrough() {
			l.running = append(l.running, d)
		}
	case n < 70 && len(l.running) > 0:
		d := l.running[l.IntN(len(l.running))]
		s := l.g.In(d.Session)
		switch l.IntN(4) {
		case 0:
			l.told(s.Spend(d.Subscriber, d.Plan, TLSHandshakes, 1, now))
		case 1:
			l.told(s.Spend(d.Subscriber, d.Plan, Messages, 1+l.IntN(3), now))
		case 2:
			l.told(s.SpendEstimated(d.Subscriber, d.Plan, 1, now))
		case 3:
			s.Accepted(d.Subscriber, 3, now)
			l.told(s.Spend(d.Subscriber, d.Plan, Rejected, 1, now))
		}
	case n < 88 && len(l.running) > 0:
		i := l.IntN(len(l.running))
		d := l.running[i]
		l.running = slices.Delete(l.running, i, i+1)
		if l.IntN(4) == 0 {
			l.g.In(d.Session).Withdraw(d.Subscriber, d.Receipt, now)
		} else {
			l.g.In(d.Session).Close(d.Subscriber, now)
		}
	case n < 91:
		l.all(l.g.Tick(l.now))
	case n == 92:
		l.g.Explain(l.sub(), l.now)
		l.g.Each(l.now, func(Brief) bool { return true })
	case n == 93 && l.IntN(4) == 0:
		l.policy = l.anyPolicy()
		l.all(l.g.SetPolicy(l.policy, l.now))
	case n == 94:
		n := l.IntN(3) // in whatever order they are asked for
		l.all(l.g.SetPlans(func(sub string) string { return []string{"", "home", "office"}[(n+int(sub[len(sub)-1]))%3] }, l.now))
	case n == 95:
		if c, ok := l.g.SetPlan(l.sub(), l.plan(), l.now); ok {
			l.changed(c)
		}
	case n == 96:
		sub := l.sub()
		if l.g.Exempt(sub, l.plan(), Exemption{Until: l.now.Add(time.Duration(1+l.IntN(1000)) * time.Second), Reason: "test", By: "x"}, l.now) == nil && l.IntN(2) == 0 {
			l.g.Unexempt(sub, l.now.Add(time.Second))
		}
		l.g.Expired(l.now)
	case n == 97:
		sub := l.sub()
		if l.IntN(2) == 0 {
			l.let = sub
			if c, ok := l.g.Release(sub, l.now); ok && c.From != StageObserve {
				l.changed(c)
			}
		} else if changes, ok := l.g.Unrelease(l.let, l.now); ok {
			l.undone++
			l.all(changes)
		}
	case n == 98:
		l.now = l.now.Add(time.Duration(l.IntN(3)) * time.Hour)
		l.all(l.g.Tick(l.now))
	case n == 91:
		l.checkpoint()
	case n == 99 && l.IntN(3) == 0 && !l.walking: // a crash: what was not saved is lost
		l.now = l.now.Add(time.Duration(l.IntN(600)) * time.Second)
		l.start()
	default:
		l.save()
	}
}

// timeOf is the At of what was said.
func timeOf(said string) string {
	_, rest, _ := strings.Cut(said, " At:")
	return rest[:min(len(rest), 40)]
}

// Whatever happened to a governor, with changes of policy, crashes, exemptions and people who look: its tape makes the same
// decisions and the same changes of stage again, in the same order, to the last figure.
func TestATapeDecidesAsItWasDecided(t *testing.T) {
	t.Parallel()
	undone := 0
	for seed := range uint64(60) {
		l := &life{Rand: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1e9, 0), saved: map[string]Saved{}}
		l.policy = l.anyPolicy()
		l.start()
		for range 3000 {
			l.step()
		}
		var again life
		p := NewPlayer(PlayerOptions{Decision: again.decided, Change: again.changed})
		for i := range l.tape.all {
			p.Play(&l.tape.all[i])
		}
		order := func(all []string) { // a walk over many tells its changes at its end
			slices.SortFunc(all, func(a, b string) int { return cmp.Compare(timeOf(a)+a, timeOf(b)+b) })
		}
		asSaid := slices.Clone(l.said)
		order(l.said)
		order(again.said)
		for i := range min(len(l.said), len(again.said)) {
			if l.said[i] != again.said[i] {
				t.Fatalf("seed %d, %d:\nthen  %s\nagain %s", seed, i, l.said[i], again.said[i])
			}
		}
		if len(l.said) != len(again.said) {
			t.Fatalf("seed %d: %d decisions and changes, again %d", seed, len(l.said), len(again.said))
		}
		if !p.Exact || p.Diverged > 0 {
			t.Fatalf("seed %d: exact %v, %d sessions diverged", seed, p.Exact, p.Diverged)
		}
		l.said = asSaid
		l.fromMarks(t, seed)
		undone += l.undone
	}
	if undone < 60 {
		t.Errorf("only %d releases were taken back", undone)
	}
}

// fromMarks plays the tape from each of its checkpoints on.
func (l *life) fromMarks(t *testing.T, seed uint64) {
	t.Helper()
	if len(l.marks) < 10 {
		t.Fatalf("seed %d: %d checkpoints", seed, len(l.marks))
	}
	order := func(all []string) []string { // a walk over many tells its changes at its end
		all = slices.Clone(all)
		slices.SortFunc(all, func(a, b string) int { return cmp.Compare(timeOf(a)+a, timeOf(b)+b) })
		return all
	}
	for nth, m := range l.marks[:1+seed%2] {
		var again life
		p := NewPlayer(PlayerOptions{Decision: again.decided, Change: again.changed})
		begun := false
		for i := range l.tape.all[m.at:] {
			if in := &l.tape.all[m.at+i]; in.Op == OpCheckpointed && !begun {
				p.Play(in)
				again.said, begun = nil, true
			} else {
				p.Play(in)
			}
		}
		want, got := order(l.said[m.said:]), order(again.said)
		for i := range min(len(want), len(got)) {
			if want[i] != got[i] {
				t.Fatalf("seed %d, checkpoint %d, %d:\nthen  %s\nagain %s", seed, nth, i, want[i], got[i])
			}
		}
		if len(want) != len(got) || !p.Exact || p.Diverged > 0 {
			t.Fatalf("seed %d, checkpoint %d: %d decisions and changes, again %d; exact %v, %d sessions diverged", seed, nth, len(want), len(got), p.Exact, p.Diverged)
		}
	}
}

// With another policy each session is decided anew; what a denied one did is not charged, and what nobody knows is counted.
func TestATapeUnderAnotherPolicy(t *testing.T) {
	t.Parallel()
	plan := func(limit int) Policy {
		return Policy{Mode: ModeEnforce, Plans: []Plan{{Name: "home", HighestStage: StageDefer, Ladder: DefaultLadder(),
			Budgets: []Budget{{Of: Sessions, Limit: limit, Per: time.Hour}, {Of: Messages, Limit: 100, Per: time.Hour}}}}}
	}
	g, now := New(plan(10), t0), t0
	var tape kept
	g.Record(&tape, now)
	for range 15 { // ten run
		now = now.Add(time.Second)
		if d := g.Open(Attempt{Subscriber: "a", Plan: "home"}, now); d.LetThrough() {
			g.In(d.Session).Spend("a", "home", Messages, 2, now)
			g.In(d.Session).Close("a", now)
		}
		g.Tick(now)
	}
	for _, row := range []struct {
		why                      string
		limit, passed, deferred  int
		messages, guessed, lives int
	}{
		{"the same", 10, 10, 5, 20, 0, 1},
		{"half of it: five run, and only their messages count", 5, 5, 10, 10, 0, 1},
		{"more of it: five run of whom nobody knows what they would have sent", 20, 15, 0, 20, 5, 1},
	} {
		policy := plan(row.limit)
		passed, deferred := 0, 0
		p := NewPlayer(PlayerOptions{Policy: &policy, Decision: func(d Decision) {
			switch {
			case d.Of == Messages || d.Session == 0:
			case d.LetThrough():
				passed++
			case d.Action == ActionDefer:
				deferred++
			}
		}})
		for i := range tape.all {
			p.Play(&tape.all[i])
		}
		r, _ := p.Governor().Explain("a", now)
		if passed != row.passed || deferred != row.deferred || r.Budgets[1].Value != row.messages || int(p.Guessed) != row.guessed || r.Open != 0 {
			t.Errorf("%s: %d passed, %d deferred, %d messages, %d guessed, %d open", row.why, passed, deferred, r.Budgets[1].Value, p.Guessed, r.Open)
		}
	}
}

// Recording must not cost the packet path an allocation.
func TestATapeAllocatesNothing(t *testing.T) {
	g := New(twoPlans(), t0)
	var n counting
	g.Record(&n, t0)
	now := t0
	a := Attempt{Subscriber: "a", Plan: "home", Destination: netip.MustParsePrefix("192.0.2.0/24")}
	got := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Hour)
		d := g.Open(a, now)
		g.In(d.Session).Close("a", now)
	})
	if got > 0 || n == 0 {
		t.Errorf("%v allocations, %d inputs", got, n)
	}
}

type counting int

func (c *counting) Record(*Input) { *c++ }
