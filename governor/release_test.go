package governor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// everything is what is known of everybody, as a checkpoint tells it, but for counters that only receipts know.
func everything(g *Governor, now time.Time) map[string]Input {
	all := map[string]Input{}
	was := g.tape
	g.tape = tapeFunc(func(in *Input) {
		if in.Op == OpState {
			c := *in.Carried
			c.Charged, c.Trouble = 0, false
			all[in.Subscriber] = Input{Saved: in.Saved, Carried: &c}
		}
	})
	g.checkpoint(func() time.Time { return now }, func() {}, chunk)
	g.tape = was
	return all
}

type tapeFunc func(*Input)

func (f tapeFunc) Record(in *Input) { f(in) }

// TestAReleaseTakenBackAtOnceHasChangedNothing: two boxes live the same life of some thousand steps, and on one of them
// somebody releases a line now and then and takes it back. Everything is decided alike ever after, to the last figure.
func TestAReleaseTakenBackAtOnceHasChangedNothing(t *testing.T) {
	t.Parallel()
	back := 0
	for seed := range uint64(40) {
		var boxes [2]*life
		for i := range boxes {
			boxes[i] = &life{Rand: rand.New(rand.NewPCG(seed, 3)), now: time.Unix(1e9, 0), saved: map[string]Saved{}}
			boxes[i].policy = boxes[i].anyPolicy()
			boxes[i].start()
		}
		person := rand.New(rand.NewPCG(seed, 4))
		for n := range 2000 {
			for _, l := range boxes {
				l.step()
			}
			if person.IntN(10) > 0 {
				continue
			}
			for _, l := range boxes { // so that stages have come down as far as they do: a release tells that, too
				l.all(l.g.Tick(l.now))
			}
			l, sub := boxes[1], fmt.Sprintf("S-%d", person.IntN(12))
			before, known := l.g.Explain(sub, l.now)
			boxes[0].g.Explain(sub, l.now)
			boxes[0].g.Redo([]Saved{{Subscriber: sub}}) // a release is saved, and this is then, too
			if !known || !before.Released.IsZero() {    // that one would be taken back, too
				continue
			}
			if _, ok := l.g.Release(sub, l.now); !ok {
				t.Fatalf("seed %d, step %d: %s is not known", seed, n, sub)
			}
			after, _ := l.g.Explain(sub, l.now)
			changes, ok := l.g.Unrelease(sub, l.now)
			if ok != !after.Released.IsZero() || len(changes) > 1 {
				t.Fatalf("seed %d, step %d: taken back %v, %+v; released at %v", seed, n, ok, changes, after.Released)
			}
			if !ok {
				continue
			}
			back++
			again, _ := l.g.Explain(sub, l.now)
			if (again.Exemption == nil) != (before.Exemption == nil) || again.Exemption != nil && *again.Exemption != *before.Exemption {
				t.Fatalf("seed %d, step %d: exemption %+v, %+v", seed, n, before.Exemption, again.Exemption)
			}
			before.Exemption, again.Exemption = nil, nil
			if fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", before) {
				t.Fatalf("seed %d, step %d:\nbefore %+v\nafter  %+v", seed, n, before, again)
			}
			if before.Stage == StageObserve != (len(changes) == 0) {
				t.Fatalf("seed %d, step %d: from stage %v: %+v", seed, n, before.Stage, changes)
			}
		}
		if !slices.Equal(boxes[0].said, boxes[1].said) {
			for i := range boxes[0].said {
				if boxes[0].said[i] != boxes[1].said[i] {
					t.Fatalf("seed %d, %d:\nwithout %s\nwith    %s", seed, i, boxes[0].said[i], boxes[1].said[i])
				}
			}
			t.Fatalf("seed %d: %d and %d said", seed, len(boxes[0].said), len(boxes[1].said))
		}
		for i := range 12 {
			var r [2]Report
			for j, l := range boxes {
				r[j], _ = l.g.Explain(fmt.Sprint("S-", i), l.now)
				r[j].Exemption, r[j].Decisions = nil, nil // which were said, but for their receipts
			}
			if fmt.Sprintf("%+v", r[0]) != fmt.Sprintf("%+v", r[1]) {
				t.Fatalf("seed %d:\nwithout %+v\nwith    %+v", seed, r[0], r[1])
			}
		}
	}
	if back < 500 {
		t.Errorf("only %d releases were taken back", back)
	}
}

// TestAReleaseTakenBackLaterIsAsIfNeverMade: the same sessions on two boxes, on one of them behind a release. When it is
// taken back, every budget is as full as on the other one, to the nanosecond, as long as neither refused anything; where the
// other one refused what this one let run, it is at least as full, and never beyond what it holds for that.
func TestAReleaseTakenBackLaterIsAsIfNeverMade(t *testing.T) {
	t.Parallel()
	equal, fuller := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		policy := drawPolicy(t, StageCut)
		never, box := New(policy, t0), New(policy, t0)
		now := t0
		type session struct{ never, box Decision }
		var running []session
		refused, released := false, false
		step := func() {
			now = now.Add(time.Duration(rapid.IntRange(0, 8_000).Draw(t, "ms")) * time.Millisecond)
			switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
			case what < 6:
				a := Attempt{Subscriber: "S", Plan: "home", Destination: aNetwork(t)}
				s := session{never.Open(a, now), box.Open(a, now)}
				if s.never.LetThrough() != s.box.LetThrough() || !s.never.LetThrough() || s.never.Action >= ActionDefer || s.box.Action >= ActionDefer {
					refused = refused || released
				}
				running = append(running, s)
			case what < 8 && len(running) > 0:
				kind, cost := rapid.SampledFrom([]Kind{Messages, TLSHandshakes, Rejected, TLSFailures}).Draw(t, "kind"), rapid.IntRange(1, 3).Draw(t, "cost")
				never.Spend("S", "home", kind, cost, now)
				box.Spend("S", "home", kind, cost, now)
			case len(running) > 0:
				s := running[0]
				running = running[1:]
				withdraw := rapid.Bool().Draw(t, "withdraw")
				for _, of := range []struct {
					g *Governor
					d Decision
				}{{never, s.never}, {box, s.box}} {
					if of.d.LetThrough() && withdraw {
						of.g.Withdraw("S", of.d.Receipt, now)
					} else if of.d.LetThrough() {
						of.g.Close("S", now)
					}
				}
			}
		}
		for range rapid.IntRange(1, 25).Draw(t, "before") {
			step()
		}
		stood, known := box.Explain("S", now)
		if !known {
			t.Skip("nothing happened")
		}
		box.Release("S", now)
		if r, _ := box.Explain("S", now); r.Released.IsZero() {
			t.Skip("nothing to forgive")
		}
		released = true
		for range rapid.IntRange(0, 12).Draw(t, "since") {
			step()
		}
		if stood.Stage != StageCut { // who is cut at once is refused everything, and not charged
			if r, _ := box.Explain("S", now); r.Stage == StageCut {
				t.Skip("cut anew")
			}
		}
		if _, ok := box.Unrelease("S", now); !ok {
			t.Skip("it cannot be taken back") // TestWhenAReleaseCannotBeTakenBack
		}
		if _, again := box.Unrelease("S", now); again {
			t.Fatal("taken back twice")
		}
		a, b := everything(never, now)["S"].Saved, everything(box, now)["S"].Saved
		at := time.Duration(never.clock.t)
		for i := range a.Budgets {
			x, y := max(0, a.Budgets[i].WholeAt-at), max(0, b.Budgets[i].WholeAt-at)
			l := &box.plans["home"].limits[i]
			switch {
			case refused && y > max(x, time.Duration(l.debt)), refused && l.Of == Sessions && y > max(x, time.Duration(l.full)):
				t.Fatalf("budget %d is used for %v, %v without the release, and holds %v", i, y, x, time.Duration(l.full))
			case !refused && x != y:
				t.Fatalf("budget %d (%v) is used for %v, and without the release for %v", i, l.Of, y, x)
			case !refused && a.Budgets[i].CalmAt != b.Budgets[i].CalmAt && max(a.Budgets[i].CalmAt, b.Budgets[i].CalmAt) > at:
				t.Fatalf("budget %d presses until %v, and without the release until %v", i, b.Budgets[i].CalmAt, a.Budgets[i].CalmAt)
			}
		}
		if refused {
			fuller++
			return
		}
		equal++
		order := func(all []SavedDestination) []SavedDestination {
			slices.SortFunc(all, func(x, y SavedDestination) int {
				return slices.Compare([]int64{int64(x.Budget), int64(x.At), int64(x.Network.Bits)}, []int64{int64(y.Budget), int64(y.At), int64(y.Network.Bits)})
			})
			return all
		}
		if x, y := order(a.Destinations), order(b.Destinations); !slices.Equal(x, y) {
			t.Fatalf("knows %+v, and without the release %+v", y, x)
		}
		x, _ := never.Explain("S", now)
		y, _ := box.Explain("S", now)
		if y.Stage > x.Stage {
			t.Fatalf("stage %v, and without the release %v", y.Stage, x.Stage)
		}
	})
	t.Logf("%d as without, %d where something was refused without the release", equal, fuller)
	if equal == 0 || fuller == 0 {
		t.Error("one of both was never seen")
	}
}

// infected is a line that is cut: 20 sessions an hour, five at once, and 20 attempts.
func infected(t *testing.T) (g *Governor, now time.Time) {
	t.Helper()
	g = New(home(StageCut, Budget{Of: Sessions, Limit: 20, Per: time.Hour, Burst: 5}), t0)
	for i := range 20 {
		now = t0.Add(time.Duration(i) * time.Second)
		g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: host(i)}, now)
	}
	if r, _ := g.Explain("S", now); r.Stage != StageCut {
		t.Fatalf("not cut: %+v", r)
	}
	return g, now
}

func TestAStageComesBackAsItWouldBe(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		why   string
		after time.Duration
		since int // sessions since, evenly
		want  string
	}{
		{"at once", 0, 0, "observe>cut, cut since -5s until 1h0m0s, case 00001"},
		{"after a while", 10 * time.Minute, 0, "observe>cut, cut since -5s until 1h0m0s, case 00001"},
		{"it went on, but not so far as to be held: from stage warn", time.Minute, 3, "warn>cut, cut since -5s until 1h0m0s, case 00001"},
		{"it went on and was held, by a case of its own, which ends", time.Minute, 6, "defer>observe observe>cut, cut since -5s until 1h0m0s, case 00001"},
	} {
		g, now := infected(t)
		before, _ := g.Explain("S", now)
		g.Release("S", now)
		for i := range row.since {
			at := now.Add(row.after * time.Duration(i+1) / time.Duration(row.since+1))
			if d := g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: host(100 + i)}, at); d.LetThrough() {
				g.Close("S", at)
			}
		}
		then := now.Add(row.after)
		changes, ok := g.Unrelease("S", then)
		got := ""
		for _, c := range changes {
			got += fmt.Sprintf("%v>%v ", c.From, c.To)
			if !c.At.Equal(then) || c.Why == "" {
				t.Errorf("%s: %+v", row.why, c)
			}
		}
		r, _ := g.Explain("S", then)
		got = fmt.Sprintf("%s, %v since %v until %v, case %s", got[:max(0, len(got)-1)], r.Stage, r.Since.Sub(now), r.Until.Sub(now).Round(time.Minute), r.Case)
		if !ok || got != row.want || r.Reason != before.Reason {
			t.Errorf("%s: %v %s, %s (before: %s)", row.why, ok, got, r.Reason, before.Reason)
		}
	}
}

func TestACutWhoseTimeIsOverIsNotCutAgain(t *testing.T) {
	t.Parallel()
	p := home(StageCut, Budget{Of: Sessions, Limit: 20, Per: time.Hour, Burst: 5})
	p.Plans[0].Ladder.CutFor = 5 * time.Minute
	g := New(p, t0)
	now := t0
	for i := range 20 {
		now = t0.Add(time.Duration(i) * time.Second)
		g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: host(i)}, now)
	}
	cut, _ := g.Explain("S", now)
	g.Release("S", now)
	then := cut.Until.Add(time.Minute)
	changes, ok := g.Unrelease("S", then)
	if !ok || len(changes) != 1 || changes[0].To == StageCut || changes[0].To == StageObserve || changes[0].Case != cut.Case {
		t.Fatalf("%v %+v", ok, changes)
	}
	if d := g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: host(0)}, then); d.Action == ActionCut {
		t.Errorf("%+v", d)
	}
	again, _ := infected(t)
	if r, _ := again.Explain("S", cut.Until.Add(time.Minute)); cut.Stage != StageCut || r.Stage != StageCut {
		t.Errorf("nothing is shown: %v, %v", cut.Stage, r.Stage)
	}
}

// TestReceiptsOutliveARelease: sessions that never come about are given back, whether they began before the release or
// since, and whether that is found out before it is taken back or afterwards.
func TestReceiptsOutliveARelease(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		why  string
		do   func(open func() Receipt, withdraw func(Receipt), release, undo func())
		used int
	}{
		{"before, found out afterwards", func(open func() Receipt, withdraw func(Receipt), release, undo func()) {
			r := open()
			release()
			undo()
			withdraw(r)
		}, 2},
		{"before, found out in between", func(open func() Receipt, withdraw func(Receipt), release, undo func()) {
			r := open()
			release()
			withdraw(r)
			undo()
		}, 2},
		{"since, found out in between", func(open func() Receipt, withdraw func(Receipt), release, undo func()) {
			release()
			r := open()
			withdraw(r)
			undo()
		}, 2},
		{"since, found out afterwards", func(open func() Receipt, withdraw func(Receipt), release, undo func()) {
			release()
			r := open()
			undo()
			withdraw(r)
		}, 2},
		{"both, and one of between two releases", func(open func() Receipt, withdraw func(Receipt), release, undo func()) {
			a := open()
			release()
			open()
			release()
			b := open()
			withdraw(a)
			withdraw(b)
			undo()
		}, 3},
	} {
		g := New(home(StageCut, Budget{Of: Sessions, Limit: 10, Per: time.Hour}), t0)
		open := func() Receipt { return g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0).Receipt }
		open()
		open()
		row.do(open, func(r Receipt) { g.Withdraw("S", r, t0) }, func() { g.Release("S", t0) }, func() {
			if _, ok := g.Unrelease("S", t0); !ok {
				t.Errorf("%s: not taken back", row.why)
			}
		})
		if got := value(t, g, t0); got != row.used {
			t.Errorf("%s: %d used", row.why, got)
		}
	}
}

func TestWhenAReleaseCannotBeTakenBack(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		why  string
		do   func(g *Governor, now time.Time) (*Governor, time.Time)
		want bool
	}{
		{"nothing happened", func(g *Governor, now time.Time) (*Governor, time.Time) { return g, now }, true},
		{"just in time", func(g *Governor, now time.Time) (*Governor, time.Time) { return g, now.Add(UndoFor - 1) }, true},
		{"too late", func(g *Governor, now time.Time) (*Governor, time.Time) { return g, now.Add(UndoFor) }, false},
		{"released twice, as by two clicks", func(g *Governor, now time.Time) (*Governor, time.Time) {
			g.Release("S", now.Add(time.Second))
			return g, now.Add(UndoFor)
		}, true},
		{"taken back already", func(g *Governor, now time.Time) (*Governor, time.Time) { g.Unrelease("S", now); return g, now }, false},
		{"cut anew", func(g *Governor, now time.Time) (*Governor, time.Time) {
			for i := range 20 {
				g.Open(Attempt{Subscriber: "S", Plan: "home", Destination: host(50 + i)}, now)
			}
			return g, now
		}, false},
		{"another plan", func(g *Governor, now time.Time) (*Governor, time.Time) {
			p := g.Policy()
			p.Plans = append(p.Plans, Plan{Name: "office", HighestStage: StageDefer, Budgets: p.Plans[0].Budgets})
			g.SetPolicy(p, now)
			g.SetPlan("S", "office", now)
			return g, now
		}, false},
		{"the plan has another form", func(g *Governor, now time.Time) (*Governor, time.Time) {
			g.SetPolicy(home(StageCut, Budget{Of: Sessions, Limit: 30, Per: time.Hour, Burst: 5}), now)
			return g, now
		}, false},
		{"the policy was read again, with nothing new in it", func(g *Governor, now time.Time) (*Governor, time.Time) {
			g.SetPolicy(g.Policy(), now)
			return g, now
		}, true},
		{"an exemption has come and gone", func(g *Governor, now time.Time) (*Governor, time.Time) {
			if err := g.Exempt("S", "home", Exemption{Until: now.Add(time.Hour), Reason: "r"}, now); err != nil {
				t.Error(err)
			}
			g.Unexempt("S", now)
			return g, now
		}, false},
		{"a restart", func(g *Governor, now time.Time) (*Governor, time.Time) {
			next := New(g.Policy(), now)
			saved := g.Dirty(10, now)
			if _, err := next.Restore(g.State(now, now), func(each func(*Saved)) error {
				for i := range saved {
					each(&saved[i])
				}
				return nil
			}, now, now); err != nil {
				t.Error(err)
			}
			return next, now
		}, false},
	} {
		g, now := infected(t)
		g.Release("S", now)
		g, now = row.do(g, now)
		r, _ := g.Explain("S", now)
		if _, ok := g.Unrelease("S", now); ok != row.want || r.Released.IsZero() == row.want {
			t.Errorf("%s: %v, Released %v", row.why, ok, r.Released)
		}
	}
	if _, ok := New(twoPlans(), t0).Unrelease("nobody", t0); ok {
		t.Error("of nobody")
	}
}

// TestOnlySoManyReleasesAreRemembered: the oldest gives way, and nobody who has nothing to take back is kept for it.
func TestOnlySoManyReleasesAreRemembered(t *testing.T) {
	t.Parallel()
	g := New(home(StageCut, Budget{Of: Sessions, Limit: 20, Per: time.Hour}), t0)
	for i := range maxForgiven + 1 {
		sub := fmt.Sprint("S", i)
		g.Open(Attempt{Subscriber: sub, Plan: "home"}, t0)
		g.Close(sub, t0)
		g.Release(sub, t0.Add(time.Duration(i)*time.Second))
	}
	now := t0.Add(maxForgiven * time.Second)
	if _, ok := g.Unrelease("S0", now); ok {
		t.Error("the first one of too many")
	}
	if _, ok := g.Unrelease("S1", now); !ok {
		t.Error("the second one")
	}
	if n := len(g.forgiven); n != maxForgiven-1 {
		t.Errorf("%d are remembered", n)
	}
	for at := now; at.Before(now.Add(2 * time.Hour)); at = at.Add(time.Second) {
		g.Tick(at)
	}
	if n := g.Count(); n > 0 || len(g.forgiven) > 0 {
		t.Errorf("%d are known, %d are remembered", n, len(g.forgiven))
	}
}
