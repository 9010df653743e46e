package governor

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func opens(g *Governor, n int, now time.Time) (d Decision) {
	for range n {
		d = g.Open(Attempt{Subscriber: "S", Plan: "home"}, now)
	}
	return d
}

func value(t *testing.T, g *Governor, now time.Time) int {
	t.Helper()
	r, ok := g.Explain("S", now)
	if !ok {
		return 0
	}
	return r.Budgets[0].Value
}

func TestClockSteps(t *testing.T) {
	t.Parallel()
	type read struct {
		why  string
		now  time.Time
		tick bool
		want int // of ten used at t0, one comes back each minute
	}
	for _, c := range []struct {
		why   string
		start time.Time
		reads []read
	}{
		{"time goes on", t0, []read{{"at once", t0, false, 10}, {"a minute", t0.Add(time.Minute), false, 9}}},
		{"a step back", t0, []read{
			{"an old time, as of a session that expired, is no step", t0.Add(-15 * time.Minute), false, 10},
			{"and gives nothing back when time goes on", t0.Add(time.Minute), false, 9},
			{"back by a day", t0.Add(-24 * time.Hour), false, 9},
			{"the next tick sees it", t0.Add(-24 * time.Hour), true, 9},
			{"and time goes on from there", t0.Add(-24*time.Hour + time.Minute), true, 8},
		}},
		{"a small step back stops it for as long", t0, []read{
			{"half a minute back", t0.Add(-30 * time.Second), true, 10}, {"caught up", t0, true, 10}, {"on", t0.Add(time.Minute), true, 9}}},
		{"a step forward is time that passed: only a caller without monotonic time can be fooled", t0, []read{
			{"a day", t0.Add(24 * time.Hour), false, 0}}},
		{"starting in 1970", time.Unix(0, 0), []read{
			{"at once", time.Unix(0, 0), false, 10}, {"a minute", time.Unix(60, 0), true, 9}}},
		{"starting at no time at all", time.Time{}, []read{{"a minute", time.Time{}.Add(time.Minute), true, 9}}},
	} {
		g := New(home(StageDefer, Budget{Of: Sessions, Limit: 60, Per: time.Hour, Burst: 10}), c.start)
		opens(g, 10, c.start)
		for _, r := range c.reads {
			if r.tick {
				g.Tick(r.now)
			}
			if got := value(t, g, r.now); got != r.want {
				t.Errorf("%s: %s: %d used, want %d", c.why, r.why, got, r.want)
			}
		}
	}
	// the monotonic reading decides, not what the wall clock says meanwhile
	now := time.Now()
	g := New(home(StageDefer, Budget{Of: Sessions, Limit: 60, Per: time.Hour, Burst: 10}), now)
	opens(g, 10, now)
	if got := value(t, g, now.Add(time.Minute)); got != 9 {
		t.Errorf("monotonic: %d", got)
	}
}

func TestStepsForwardNeverOverflow(t *testing.T) {
	t.Parallel()
	g := New(home(StageCut, Budget{Of: Sessions, Limit: 1, Per: MaxPer}), time.Unix(0, 0))
	now := time.Unix(0, 0)
	for i := range 50 {
		now = now.AddDate(250, 0, 0)
		if i%2 == 1 {
			now = time.Unix(0, 0)
		}
		g.Tick(now)
		g.Open(Attempt{Subscriber: "S", Plan: "home"}, now)
		if d := g.Open(Attempt{Subscriber: "S", Plan: "home"}, now); d.Wait < 0 || d.Value < 0 || d.Until.Before(now) && !d.Until.IsZero() {
			t.Fatalf("%d: %+v", i, d)
		}
	}
}

func saveAll(g *Governor, now time.Time) []Saved { return g.Dirty(1<<20, now) }

// bring restores what was saved with st, one by one as a store would.
func bring(g *Governor, saved []Saved, st SavedState, wall, now time.Time) ClockVerdict {
	v, err := g.Restore(st, func(each func(*Saved)) error {
		for i := range saved {
			each(&saved[i])
		}
		return nil
	}, wall, now)
	if err != nil {
		panic(err)
	}
	return v
}

func TestRestart(t *testing.T) {
	t.Parallel()
	p := home(StageCut, Budget{Of: Sessions, Limit: 60, Per: time.Hour, Burst: 10})
	for _, c := range []struct {
		why     string
		away    time.Duration
		verdict ClockVerdict
		used    int
	}{
		{"at once", 0, ClockGood, 10},
		{"five minutes", 5 * time.Minute, ClockGood, 5},
		{"a week", MaxAway, ClockGood, 0},
		{"more than a week is not believed", MaxAway + 1, ClockAhead, 10},
		{"a box without battery wakes up in 1970", -t0.Sub(time.Unix(0, 0)), ClockBack, 10},
		{"a nanosecond back", -1, ClockBack, 10},
	} {
		g := New(p, t0)
		opens(g, 10, t0)
		saved := saveAll(g, t0)
		wake := time.Unix(5, 0)
		h := New(p, wake)
		if v := bring(h, saved, g.State(t0, t0), t0.Add(c.away), wake); v != c.verdict {
			t.Errorf("%s: clock %v, want %v", c.why, v, c.verdict)
		}
		if got := value(t, h, wake); got != c.used {
			t.Errorf("%s: %d used, want %d", c.why, got, c.used)
		}
	}
	h := New(p, t0)
	if v := bring(h, nil, SavedState{}, t0, t0); v != ClockUnknown || v.String() != "unknown" || h.Count() != 0 {
		t.Errorf("nothing to restore: %v", v)
	}
	defer func() {
		if recover() == nil {
			t.Error("Restore after Open went through")
		}
	}()
	h.Open(Attempt{Subscriber: "S", Plan: "home"}, t0)
	bring(h, nil, h.State(t0, t0), t0, t0)
}

// An entry that was saved long before the last one is credited all the time since, though only one wall clock is kept.
func TestRestartCreditsEachFromItsOwnSave(t *testing.T) {
	t.Parallel()
	p := home(StageDefer, Budget{Of: Sessions, Limit: 60, Per: time.Hour, Burst: 10})
	g := New(p, t0)
	opens(g, 10, t0)
	saved := saveAll(g, t0)
	later := t0.Add(4 * time.Minute)
	g.Open(Attempt{Subscriber: "other", Plan: "home"}, later)
	saved = append(saved, saveAll(g, later)...)
	h := New(p, t0)
	// the wall clock was stepped by 30 years between the two saves; that touches nothing
	wall := later.AddDate(30, 0, 0)
	if v := bring(h, saved, g.State(later, wall), wall.Add(2*time.Minute), t0); v != ClockGood {
		t.Fatalf("clock %v", v)
	}
	if got := value(t, h, t0); got != 4 {
		t.Errorf("%d used, want 4", got)
	}
}

func TestCutSurvivesARestartAndIsListed(t *testing.T) {
	t.Parallel()
	p := home(StageCut)
	g := New(p, t0)
	d := opens(g, 15, t0)
	if d.Action != ActionCut || d.Change == nil || d.Change.To != StageCut || !d.Until.Equal(t0.Add(time.Hour)) {
		t.Fatalf("%+v", d)
	}
	h := New(p, t0)
	bring(h, saveAll(g, t0), g.State(t0, t0), t0.Add(20*time.Minute), t0)
	list := h.List(t0)
	if len(list) != 1 || list[0].Stage != StageCut || !list[0].Until.Equal(t0.Add(40*time.Minute)) || list[0].Case != d.Case ||
		list[0].Reason != "sessions 15/5 at once, 20 per 1h (300%)" || !list[0].Since.Equal(t0.Add(-20*time.Minute)) {
		t.Fatalf("%+v", list)
	}
	if d := h.Open(Attempt{Subscriber: "S", Plan: "home"}, t0); d.Action != ActionCut || d.Wait != 40*time.Minute || h.Stages()[StageCut] != 1 {
		t.Errorf("%v wait %v", d.Action, d.Wait)
	}
	if c := h.Tick(t0.Add(40 * time.Minute)); len(c) != 1 || c[0].From != StageCut {
		t.Errorf("%+v", c)
	}
}

func TestDamagedValuesAreKeptWithinBounds(t *testing.T) {
	t.Parallel()
	p := home(StageCut)
	const far = time.Duration(1<<63 - 1)
	bad := []Saved{
		{Subscriber: "stage", Plan: "home", Stage: 99},
		{Subscriber: "S", Plan: "home", Stage: StageCut, Mode: 99, Since: far, Until: far, Confirmed: far, Calm: far, Ended: far,
			Budgets: []SavedBudget{{Budget: Budget{Of: Sessions, Limit: 20, Per: time.Hour, Burst: 5}, WholeAt: far, CalmAt: far}}},
		{Subscriber: "T", Plan: "home", Budgets: []SavedBudget{{Budget: Budget{Of: 77, Limit: -1, Per: -1, Burst: 1 << 30}, WholeAt: -far, CalmAt: -far}}},
		{Subscriber: "T", Plan: "home"},
	}
	g := New(p, t0)
	if v := bring(g, bad, SavedState{Wall: t0, Clock: 1}, t0, t0); v != ClockGood || g.Count() != 2 {
		t.Fatalf("%v, %d subscribers", v, g.Count())
	}
	r, _ := g.Explain("S", t0)
	if r.Until.After(t0.Add(MaxRest)) || r.Budgets[0].Value > 10 || r.Budgets[0].Pressure > 500 {
		t.Errorf("%+v", r)
	}
	if d := g.Open(Attempt{Subscriber: "T", Plan: "home"}, t0); d.Action != ActionPass {
		t.Errorf("%+v", d)
	}
}

func TestReloadKeepsWhatWasUsed(t *testing.T) {
	t.Parallel()
	type budgets []Budget
	hour := func(limit, burst int) Budget { return Budget{Of: Sessions, Limit: limit, Per: time.Hour, Burst: burst} }
	day := Budget{Of: Sessions, Limit: 100, Per: 24 * time.Hour}
	for _, c := range []struct {
		why      string
		from, to budgets
		want     []int
	}{
		{"the same", budgets{hour(20, 5), day}, budgets{hour(20, 5), day}, []int{4, 4}},
		{"another order", budgets{hour(20, 5), day}, budgets{day, hour(20, 5)}, []int{4, 4}},
		{"twice as fast", budgets{hour(20, 5)}, budgets{hour(40, 5)}, []int{4}},
		{"a larger burst", budgets{hour(20, 5)}, budgets{hour(20, 50)}, []int{4}},
		{"a smaller burst holds no more than it can", budgets{hour(20, 5)}, budgets{hour(20, 2)}, []int{2}},
		{"another window is another budget", budgets{hour(20, 5)}, budgets{day}, []int{0}},
		{"one more", budgets{hour(20, 5)}, budgets{hour(20, 5), {Of: Messages, Limit: 5, Per: time.Hour}}, []int{4, 0}},
		{"two of a kind, first to first", budgets{hour(20, 5), hour(40, 10)}, budgets{hour(20, 6), hour(40, 11)}, []int{4, 4}},
		{"none left", budgets{hour(20, 5)}, budgets{}, []int{}},
	} {
		g := New(home(StageDefer, c.from...), t0)
		opens(g, 4, t0)
		p := home(StageDefer)
		p.Plans[0].Budgets = c.to
		g.SetPolicy(p, t0)
		r, ok := g.Explain("S", t0)
		got := []int{}
		for _, b := range r.Budgets {
			got = append(got, b.Value)
		}
		if !ok || fmt.Sprint(got) != fmt.Sprint(c.want) || r.Open != 4 {
			t.Errorf("%s: used %v, want %v; %d open", c.why, got, c.want, r.Open)
		}
	}
}

func TestReloadLowersTheHighestStage(t *testing.T) {
	t.Parallel()
	g := New(home(StageCut), t0)
	d := opens(g, 15, t0)
	p := home(StagePace)
	c := g.SetPolicy(p, t0)
	if len(c) != 1 || c[0].From != StageCut || c[0].To != StagePace || c[0].Why != "the plan's highest stage is pace now" || c[0].Case != d.Case {
		t.Fatalf("%+v", c)
	}
	if d := g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0); d.Action != ActionPace || d.Wait != time.Minute {
		t.Errorf("%v %v", d.Action, d.Wait)
	}
	p.Plans[0].HighestStage = StageObserve
	if c := g.SetPolicy(p, t0); len(c) != 1 || c[0].To != StageObserve || c[0].Case != d.Case {
		t.Fatalf("%+v", c)
	}
}

func TestSubscriberChangesPlan(t *testing.T) {
	t.Parallel()
	p := home(StageCut)
	p.Plans = append(p.Plans, Plan{Name: "office", HighestStage: StageDefer, Budgets: []Budget{{Of: Sessions, Limit: 100, Per: time.Hour, Burst: 25}}})
	g := New(p, t0)
	opens(g, 5, t0)
	if d := g.Open(Attempt{Subscriber: "S", Plan: "office"}, t0); d.Action != ActionPass || d.Value != 6 || d.Plan != "office" || d.Stage != StagePace {
		t.Errorf("%+v", d) // the stage holds for half a minute
	}
}

// twoPlans has home, which cuts, and office, which is five times as wide and defers at most.
func twoPlans() Policy {
	p := home(StageCut)
	p.Plans = append(p.Plans, Plan{Name: "office", HighestStage: StageDefer, Budgets: []Budget{
		{Of: Sessions, Limit: 100, Per: time.Hour, Burst: 25}, {Of: Messages, Limit: 100, Per: time.Hour}}})
	return p
}

// A session that began under the old plan goes on under it in the caller's eyes, but its subscriber does not go back.
func TestAnOldSessionDoesNotChangeThePlan(t *testing.T) {
	t.Parallel()
	g := New(twoPlans(), t0)
	g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0)
	for range 4 {
		g.Open(Attempt{Subscriber: "S", Plan: "office"}, t0)
	}
	g.Spend("S", "office", Messages, 10, t0)
	if d := g.Spend("S", "home", Messages, 2, t0); d.Plan != "office" || d.Value != 12 || d.Limit != 100 {
		t.Errorf("the old session's message: %+v", d)
	}
	if d := g.Spend("S", "gone in a reload", Messages, 1, t0); d.Plan != "office" || d.Value != 13 {
		t.Errorf("a session of a plan that is gone: %+v", d)
	}
	r, _ := g.Explain("S", t0)
	if r.Plan != "office" || r.Budgets[0].Value != 5 || r.Budgets[1].Value != 13 {
		t.Errorf("%+v", r)
	}
	if d := g.Spend("new", "office", Messages, 1, t0); d.Plan != "office" || d.Value != 1 {
		t.Errorf("who is not known comes under the plan named: %+v", d)
	}
	if s := g.Stats(); s.UnknownPlan != 0 || s.Untracked != 0 {
		t.Errorf("no session was under an unknown plan: %+v", s)
	}
}

func TestUnknownPlanPassesAndIsCounted(t *testing.T) {
	t.Parallel()
	g := New(home(StageCut), t0)
	for range 50 {
		if d := g.Open(Attempt{Subscriber: "S", Plan: "no such plan"}, t0); d.Action != ActionPass || d.Reason() != "" || d.Stage != StageObserve || !d.LetThrough() {
			t.Fatalf("%+v", d)
		}
		g.Close("S", t0)
	}
	if s := g.Stats(); s.UnknownPlan != 50 || s.StrayCloses != 0 {
		t.Errorf("%+v", s)
	}
	if d := g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0); d.Value != 1 {
		t.Errorf("%+v", d)
	}
	opens(g, 20, t0)
	if d := g.Open(Attempt{Subscriber: "S", Plan: "gone in a reload"}, t0); d.Action != ActionPass || d.Stage != StageCut {
		t.Errorf("%+v", d)
	}
	if r, _ := g.Explain("S", t0); r.Plan != "home" || r.Stage != StageCut || r.Budgets[0].Value != 5 {
		t.Errorf("what was known is lost: %+v", r)
	}
	if d := g.Spend("S", "gone in a reload", Sessions, 1, t0); d.Plan != "home" || d.Value != 6 {
		t.Errorf("what is known of it is charged: %+v", d)
	}
	g.SetPolicy(twoPlans(), t0)
	g.SetPolicy(Policy{Mode: ModeEnforce, Plans: twoPlans().Plans[1:]}, t0) // without home
	if d := g.Spend("S", "home", Sessions, 1, t0); d.Action != ActionPass || d.Value != 0 {
		t.Errorf("under a plan that is gone: %+v", d)
	}
	if s := g.Stats(); s.UnknownPlan != 51 {
		t.Errorf("sessions under unknown plans: %+v", s)
	}
}

func TestStateCarriesTheClockWithoutASubscriber(t *testing.T) {
	t.Parallel()
	p := home(StageDefer, Budget{Of: Sessions, Limit: 60, Per: time.Hour, Burst: 10})
	g := New(p, t0)
	opens(g, 10, t0)
	saved := saveAll(g, t0)
	later := t0.Add(3 * time.Minute)
	h := New(p, t0)
	bring(h, saved, g.State(later, later), later.Add(time.Minute), t0)
	if got := value(t, h, t0); got != 6 || h.Count() != 1 {
		t.Errorf("%d used, want 6; %d subscribers", got, h.Count())
	}
}

func TestWhatObserveImaginedIsForgotten(t *testing.T) {
	t.Parallel()
	watch := home(StageCut)
	watch.Mode = ModeObserve
	enforce := home(StageCut)
	for _, restart := range []bool{false, true} {
		g := New(watch, t0)
		d := opens(g, 40, t0)
		if d.Action != ActionCut || d.Acted || d.Effective() != ActionPass || !d.LetThrough() || !d.Notable() || d.Stage != StageCut {
			t.Fatalf("%+v", d)
		}
		if r, _ := g.Explain("S", t0); r.Open != 40 {
			t.Errorf("%d run, it should be all", r.Open)
		}
		if restart {
			saved, st := saveAll(g, t0), g.State(t0, t0)
			g = New(enforce, t0)
			bring(g, saved, st, t0, t0)
			if c := g.Tick(t0); len(c) != 1 || c[0].From != StageCut {
				t.Errorf("%+v", c)
			}
		} else if c := g.SetPolicy(enforce, t0); len(c) != 1 || c[0].From != StageCut || !strings.HasPrefix(c[0].Why, "mode enforce begins") {
			t.Errorf("%+v", c)
		}
		d = g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0)
		if d.Action != ActionDefer || d.Reason() != "sessions 6/5 at once, 20 per 1h (120%)" || !d.Acted {
			t.Errorf("restart %v: %v %q: what was used stays used, what was pressed does not", restart, d.Action, d.Reason())
		}
	}
}

func TestModeObserveDecidesTheSame(t *testing.T) {
	t.Parallel()
	watch, enforce := home(StagePace), home(StagePace)
	watch.Mode = ModeObserve
	a, b := New(watch, t0), New(enforce, t0)
	for i := range 30 {
		now := t0.Add(time.Duration(i) * 40 * time.Second)
		x, y := a.Open(Attempt{Subscriber: "S", Plan: "home"}, now), b.Open(Attempt{Subscriber: "S", Plan: "home"}, now)
		if x.Action != y.Action || x.Wait != y.Wait || x.Stage != y.Stage || x.Reason() != y.Reason() || x.Acted || x.Effective() != ActionPass {
			t.Fatalf("%d: observe %+v\nenforce %+v", i, x, y)
		}
	}
}

func TestCaseNumbersAreNeverGivenTwice(t *testing.T) {
	t.Parallel()
	p := home(StageDefer, Budget{Of: Sessions, Limit: 1, Per: time.Hour})
	seen := map[string]bool{}
	now, wall := t0, t0
	g := New(p, now)
	for life := range 5 {
		var saved []Saved
		var st SavedState
		for i := range 300 {
			d := g.Open(Attempt{Subscriber: fmt.Sprintf("S%d-%d", life, i), Plan: "home"}, now)
			if len(d.Case) != 5 || strings.Trim(d.Case, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") != "" || seen[d.Case] {
				t.Fatalf("case %q of life %d", d.Case, life)
			}
			seen[d.Case] = true
			if i == 100 { // the last save of this life; what comes after is lost with it
				saved, st = saveAll(g, now), g.State(now, wall)
			}
		}
		g = New(p, now)
		bring(g, saved, st, wall, now)
	}
}

func TestIdleSubscribersAreForgottenInMemoryAndInTheStore(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer), t0)
	for i := range 1000 {
		id := fmt.Sprint("S", i)
		g.Open(Attempt{Subscriber: id, Plan: "home"}, t0)
		g.Close(id, t0)
	}
	g.Open(Attempt{Subscriber: "running", Plan: "home"}, t0)
	if n := len(saveAll(g, t0)); n != 1001 {
		t.Fatalf("%d to save", n)
	}
	for i := range 40 {
		g.Tick(t0.Add(3*time.Minute - 1 + time.Duration(i)))
		if i == 0 && g.Count() != 1001 {
			t.Errorf("forgotten too soon: %d left", g.Count())
		}
	}
	if g.Count() != 1 || g.Stages()[StageObserve] != 1 {
		t.Fatalf("%d left, %v", g.Count(), g.Stages())
	}
	g.Open(Attempt{Subscriber: "S7", Plan: "home"}, t0.Add(time.Hour)) // here again before the store heard of its leaving
	gone, again := 0, 0
	for _, s := range saveAll(g, t0.Add(time.Hour)) {
		if s.Gone {
			gone++
		} else if again++; s.Subscriber != "S7" {
			t.Errorf("saved again: %+v", s)
		}
	}
	if gone != 999 || again != 1 {
		t.Errorf("%d gone, %d again", gone, again)
	}
}

func TestFullTablePassesUncounted(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer), t0)
	g.most = 10
	for i := range 15 {
		if d := g.Open(Attempt{Subscriber: fmt.Sprint("S", i), Plan: "home"}, t0); d.Action != ActionPass {
			t.Errorf("%+v", d)
		}
		g.Spend(fmt.Sprint("S", i), "home", Messages, 1, t0) // of a session that is counted already
		g.Close(fmt.Sprint("S", i), t0)
	}
	if s := g.Stats(); s.Subscribers != 10 || s.Untracked != 5 || s.StrayCloses != 5 {
		t.Errorf("%+v", s)
	}
	g.Tick(t0.Add(time.Hour))
	if d := g.Open(Attempt{Subscriber: "S14", Plan: "home"}, t0.Add(time.Hour)); d.Value != 1 {
		t.Errorf("no room was made: %+v", d)
	}
}

func TestRedoLosesNothing(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer), t0)
	for _, id := range []string{"a", "b", "c"} {
		g.Open(Attempt{Subscriber: id, Plan: "home"}, t0)
		g.Close(id, t0)
	}
	if got := g.Dirty(2, t0); len(got) != 2 || got[0].Subscriber != "a" {
		t.Fatalf("%+v", got)
	} else {
		g.Redo(got)
	}
	all := saveAll(g, t0)
	if len(all) != 3 || len(saveAll(g, t0)) != 0 {
		t.Fatalf("%d saved, and more", len(all))
	}
	for range 5 {
		g.Tick(t0.Add(time.Hour))
	}
	gone := saveAll(g, t0.Add(time.Hour))
	if len(gone) != 3 || !gone[0].Gone {
		t.Fatalf("%+v", gone)
	}
	g.Open(Attempt{Subscriber: "b", Plan: "home"}, t0.Add(time.Hour))
	g.Redo(gone)
	left := map[string]bool{}
	for _, s := range saveAll(g, t0.Add(time.Hour)) {
		left[s.Subscriber] = s.Gone
	}
	if len(left) != 3 || !left["a"] || left["b"] || !left["c"] {
		t.Errorf("%v", left)
	}
}

func TestNonsenseIsMovedToItsBounds(t *testing.T) {
	t.Parallel()
	const huge = 1 << 30
	for _, b := range []Budget{{}, {Of: 99, Limit: 1}, {Of: Sessions}, {Of: Sessions, Limit: -1, Per: -1, Burst: -1},
		{Of: Sessions, Limit: huge, Per: 1, Burst: huge}, {Of: Sessions, Limit: 1, Per: 1 << 62, Burst: huge}, {Of: ConcurrentSessions, Limit: huge, Per: 1, Burst: 7}} {
		for _, l := range []Ladder{{}, {WarnAt: -5, PaceAt: huge, DeferAt: -1, CutAt: huge, PaceMax: 1 << 62, CutFor: -1, ReleaseAfter: -1}, {WarnAt: 1}} {
			p := home(99, b)
			p.Mode, p.Plans[0].Ladder = 99, l
			g := New(p, t0)
			for i := range 200 {
				d := g.Open(Attempt{Subscriber: "S", Plan: "home"}, t0)
				if d.Wait < 0 || d.Value < 0 || i == 0 && d.Action > ActionPace {
					t.Fatalf("%+v %+v: %d: %+v", b, l, i, d)
				}
				g.Spend("S", "home", Sessions, huge, t0)
				g.Spend("S", "home", Messages, -huge, t0)
			}
			g.Tick(t0.Add(time.Hour))
		}
	}
}

func TestSumTellsPoliciesApart(t *testing.T) {
	t.Parallel()
	p := home(StageCut)
	p.Plans = append(p.Plans, Plan{Name: "office", Ladder: DefaultLadder()})
	same := home(StageCut)
	same.Plans[0].Budgets[0].Burst = 5
	same.Plans = append([]Plan{{Name: "office"}}, same.Plans...)
	same.Hash = "not part of it"
	if p.Sum() != same.Sum() || len(p.Sum()) != 64 {
		t.Errorf("order of plans, spelled-out defaults: %s %s", p.Sum(), same.Sum())
	}
	seen := map[string]bool{p.Sum(): true}
	for _, change := range []func(*Policy){
		func(p *Policy) { p.Mode = ModeObserve }, func(p *Policy) { p.Plans[0].Name = "x" }, func(p *Policy) { p.Plans[0].HighestStage = StageDefer },
		func(p *Policy) { p.Plans[0].Budgets[0].Limit++ }, func(p *Policy) { p.Plans[0].Budgets[0].Per++ }, func(p *Policy) { p.Plans[0].Budgets[0].Burst++ },
		func(p *Policy) { p.Plans[0].Budgets[0].Of = Messages }, func(p *Policy) { p.Plans[0].Ladder.CutFor++ }, func(p *Policy) { p.Plans = p.Plans[:1] },
	} {
		q := home(StageCut)
		q.Plans = append(q.Plans, Plan{Name: "office", Ladder: DefaultLadder()})
		change(&q)
		if seen[q.Sum()] {
			t.Errorf("the same sum for %+v", q)
		}
		seen[q.Sum()] = true
	}
}
