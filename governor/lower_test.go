package governor

import (
	"strings"
	"testing"
	"time"
)

// After a cut the lower stage is explained by what holds now, not by what led to the cut.
func TestLowerStageIsExplainedByWhatHoldsNow(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	g := New(Policy{Mode: ModeEnforce, Plans: []Plan{{Name: "home", HighestStage: StageCut,
		Budgets: []Budget{{Of: Sessions, Limit: 10, Per: time.Hour}},
		Ladder:  Ladder{WarnAt: 50, PaceAt: 80, DeferAt: 100, CutAt: 300, CutFor: time.Minute, ReleaseAfter: time.Hour}}}}, now)
	for range 40 {
		g.Open(Attempt{Subscriber: "a", Plan: "home"}, now)
	}
	r, _ := g.Explain("a", now)
	if r.Stage != StageCut || !strings.Contains(r.Reason, "(300%)") {
		t.Fatalf("stage %v, %s", r.Stage, r.Reason)
	}
	now = now.Add(2 * time.Minute)
	changes := g.Tick(now)
	r, _ = g.Explain("a", now)
	if len(changes) != 1 || r.Stage == StageCut || r.Stage == StageObserve {
		t.Fatalf("after the cut: stage %v, changes %+v", r.Stage, changes)
	}
	if want := "sessions 10/10 per 1h (100%)"; r.Reason != want {
		t.Errorf("stage %v because of %q, want %q", r.Stage, r.Reason, want)
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		time.Hour: "1h", 24 * time.Hour: "24h", 7 * 24 * time.Hour: "7d", 90 * time.Second: "1m30s", 30 * time.Minute: "30m", 12 * time.Second: "12s",
		25 * time.Hour: "25h",
	} {
		if got := short(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// A way down that an attempt notices before Tick does says why, like one that Tick notices.
func TestTheWayDownSaysWhyToAnAttemptToo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why, plan string
		after     time.Duration
		want      string
	}{
		{"another plan", "office", 0, "the plan's highest stage is defer now"},
		{"time", "home", 3 * time.Hour, "the cut of 1h is over"},
	} {
		g := New(twoPlans(), t0)
		opens(g, 15, t0)
		d := g.Open(Attempt{Subscriber: "S", Plan: c.plan}, t0.Add(c.after))
		if d.Change == nil || d.Change.From != StageCut || d.Change.To == StageCut || d.Change.Why != c.want {
			t.Errorf("%s: %+v", c.why, d.Change)
		}
	}
}
