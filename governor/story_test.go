package governor

import (
	"testing"
	"time"
)

var t0 = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// home is the residential plan of the contract without its day budget.
func home(highest Stage, b ...Budget) Policy {
	if b == nil {
		b = []Budget{{Of: Sessions, Limit: 20, Per: time.Hour, Burst: 5}}
	}
	return Policy{Mode: ModeEnforce, Plans: []Plan{{Name: "home", HighestStage: highest, Ladder: DefaultLadder(), Budgets: b}}}
}

type step struct {
	why    string
	at     time.Duration
	do     string // open (default), close, tick, release, or the kind to spend
	cost   int
	action Action
	wait   time.Duration
	stage  Stage
	reason string // of a decision; of a tick: From>To
}

func play(t *testing.T, p Policy, steps []step) {
	t.Helper()
	g := New(p, t0)
	for i, s := range steps {
		now := t0.Add(s.at)
		var d Decision
		switch s.do {
		case "close":
			g.Close("S", now)
			continue
		case "release":
			c, ok := g.Release("S", now)
			if !ok || c.To != StageObserve {
				t.Errorf("%d %s: released %v %+v", i, s.why, ok, c)
			}
			continue
		case "tick":
			got := ""
			for _, c := range g.Tick(now) {
				got += c.From.String() + ">" + c.To.String() + " " + c.Why
			}
			if got != s.reason {
				t.Errorf("%d %s: tick at %v: %q, want %q", i, s.why, s.at, got, s.reason)
			}
			continue
		case "", "open":
			d = g.Open(Attempt{Subscriber: "S", Plan: "home"}, now)
		default:
			k, ok := ParseKind(s.do)
			if !ok {
				t.Fatalf("%d %s: no kind %q", i, s.why, s.do)
			}
			d = g.Spend("S", "home", k, s.cost, now)
		}
		if d.Action != s.action || d.Wait != s.wait || d.Stage != s.stage || d.Reason() != s.reason {
			t.Errorf("%d %s: at %v got %v wait %v stage %v %q, want %v wait %v stage %v %q", i, s.why, s.at,
				d.Action, d.Wait, d.Stage, d.Reason(), s.action, s.wait, s.stage, s.reason)
		}
	}
}

func TestHomeGoesUpTheLadderAndComesDownAlone(t *testing.T) {
	t.Parallel()
	const tok = 3 * time.Minute
	play(t, home(StageCut), []step{
		{why: "first mail of the day", action: ActionPass, stage: StageObserve, reason: "sessions 1/5 at once, 20 per 1h (20%)"},
		{why: "second", action: ActionPass, stage: StageObserve, reason: "sessions 2/5 at once, 20 per 1h (40%)"},
		{why: "third is past half", action: ActionWarn, stage: StageWarn, reason: "sessions 3/5 at once, 20 per 1h (60%)"},
		{why: "fourth is at 80% and need not wait yet", action: ActionWarn, stage: StagePace, reason: "sessions 4/5 at once, 20 per 1h (80%)"},
		{why: "fifth waits, as long as pace_max", action: ActionPace, wait: time.Minute, stage: StagePace, reason: "sessions 5/5 at once, 20 per 1h (100%)"},
		{why: "sixth does not fit", at: time.Minute, action: ActionDefer, wait: tok - time.Minute, stage: StageDefer, reason: "sessions 6/5 at once, 20 per 1h (120%)"},
		{why: "trying again costs nothing but counts", at: time.Minute, action: ActionDefer, wait: tok - time.Minute, stage: StageDefer, reason: "sessions 7/5 at once, 20 per 1h (140%)"},
		{why: "a nanosecond too early", at: tok - 1, action: ActionDefer, wait: 1, stage: StageDefer, reason: "sessions 8/5 at once, 20 per 1h (160%)"},
		{why: "at the time told it fits, though the stage is still defer", at: tok, action: ActionPace, wait: time.Minute, stage: StageDefer, reason: "sessions 5/5 at once, 20 per 1h (100%)"},
		{why: "not below 80% yet", at: 3*tok - 1, do: "tick"},
		{why: "below 80%", at: 3 * tok, do: "tick", reason: "defer>pace below 80%"},
		{why: "below 50%", at: 4 * tok, do: "tick", reason: "pace>warn below 50%"},
		{why: "below 50% for almost 15m", at: 4*tok + 15*time.Minute - 1, do: "tick"},
		{why: "released", at: 4*tok + 15*time.Minute, do: "tick", reason: "warn>observe below 50% for 15m"},
		{why: "as if nothing had been", at: 2 * time.Hour, action: ActionPass, stage: StageObserve, reason: "sessions 1/5 at once, 20 per 1h (20%)"},
	})
}

func TestPressureCutsAndTheCutEnds(t *testing.T) {
	t.Parallel()
	var steps []step
	for i := range 5 {
		steps = append(steps, step{why: "within", action: []Action{0, 0, ActionWarn, ActionWarn, ActionPace}[i],
			wait: []time.Duration{0, 0, 0, 0, time.Minute}[i], stage: []Stage{0, 0, StageWarn, StagePace, StagePace}[i],
			reason: reason(Sessions, i+1, 20, 5, time.Hour)})
	}
	for i := range 9 {
		steps = append(steps, step{why: "pressing", action: ActionDefer, wait: 3 * time.Minute, stage: StageDefer,
			reason: reason(Sessions, 6+i, 20, 5, time.Hour)})
	}
	steps = append(steps,
		step{why: "300%", action: ActionCut, wait: time.Hour, stage: StageCut, reason: "sessions 15/5 at once, 20 per 1h (300%)"},
		step{why: "cut", at: time.Hour - 1, action: ActionCut, wait: 1, stage: StageCut, reason: "sessions 15/5 at once, 20 per 1h (300%)"},
		step{why: "still cut", at: time.Hour - 1, do: "tick"},
		step{why: "the cut ends, and calm is counted from here", at: time.Hour, do: "tick", reason: "cut>warn the cut of 1h is over"},
		step{why: "pressure is forgotten", at: time.Hour, action: ActionPass, stage: StageWarn, reason: "sessions 1/5 at once, 20 per 1h (20%)"},
		step{why: "calm", at: time.Hour + 15*time.Minute, do: "tick", reason: "warn>observe below 50% for 15m"},
	)
	play(t, home(StageCut), steps)
}

func TestSecondBudgetRefusesAndNoneIsCharged(t *testing.T) {
	t.Parallel()
	p := home(StageDefer, Budget{Of: Sessions, Limit: 4, Per: time.Minute}, Budget{Of: Sessions, Limit: 5, Per: time.Hour})
	day := func(n int) string { return reason(Sessions, n, 5, 5, time.Hour) }
	play(t, p, []step{
		{why: "the minute is fuller", action: ActionPass, reason: reason(Sessions, 1, 4, 4, time.Minute)},
		{why: "half the minute", action: ActionWarn, stage: StageWarn, reason: reason(Sessions, 2, 4, 4, time.Minute)},
		{why: "75 % of the minute, 60 % of the hour", action: ActionWarn, stage: StageWarn, reason: reason(Sessions, 3, 4, 4, time.Minute)},
		{why: "wait for the minute", action: ActionPace, wait: 12 * time.Second, stage: StagePace, reason: reason(Sessions, 4, 4, 4, time.Minute)},
		{why: "a minute later the hour waits longest", at: time.Minute, action: ActionPace, wait: time.Minute, stage: StagePace, reason: day(5)},
		{why: "the hour is full: retry in its time", at: time.Minute, action: ActionDefer, wait: 11 * time.Minute, stage: StageDefer, reason: day(6)},
		{why: "again", at: time.Minute, action: ActionDefer, wait: 11 * time.Minute, stage: StageDefer, reason: day(7)},
		{why: "it fits when told; the minute was not charged for what was refused", at: 12 * time.Minute, action: ActionPace,
			wait: time.Minute, stage: StageDefer, reason: day(5)},
	})
}

func TestConcurrentSessionsWarnAndDeferAndNeverCut(t *testing.T) {
	t.Parallel()
	p := home(StageCut, Budget{Of: ConcurrentSessions, Limit: 3})
	steps := []step{
		{why: "one", action: ActionPass, reason: "concurrent_sessions 1/3 (33%)"},
		{why: "two", action: ActionWarn, stage: StageWarn, reason: "concurrent_sessions 2/3 (66%)"},
		{why: "three fit, and nobody waits", action: ActionWarn, stage: StageWarn, reason: "concurrent_sessions 3/3 (100%)"},
	}
	for range 20 {
		steps = append(steps, step{why: "one too many, however often", action: ActionDefer, wait: 30 * time.Second,
			stage: StageDefer, reason: "concurrent_sessions 4/3 (133%)"})
	}
	steps = append(steps,
		step{why: "one ends", at: time.Second, do: "close"},
		step{why: "there is room", at: time.Second, action: ActionWarn, stage: StageDefer, reason: "concurrent_sessions 3/3 (100%)"},
		step{why: "two end", at: 2 * time.Second, do: "close"},
		step{why: "two end", at: 2 * time.Second, do: "close"},
		step{why: "the stage does not follow every session", at: 29 * time.Second, do: "tick"},
		step{why: "30 s after the last refusal", at: 30 * time.Second, do: "tick", reason: "defer>warn below 50%"},
		step{why: "15m after the second of three ended", at: 15*time.Minute + 2*time.Second, do: "tick", reason: "warn>observe below 50% for 15m"},
	)
	play(t, p, steps)
}

func TestRunningSessionPaysForItsMessages(t *testing.T) {
	t.Parallel()
	p := home(StageDefer, Budget{Of: Messages, Limit: 60, Per: time.Hour, Burst: 10})
	m := func(n int) string { return reason(Messages, n, 60, 10, time.Hour) }
	play(t, p, []step{
		{why: "room for one is asked, none is charged", action: ActionPass, reason: m(0)},
		{why: "four messages", do: "messages", cost: 4, action: ActionPass, reason: m(4)},
		{why: "the fifth", do: "messages", cost: 1, action: ActionWarn, stage: StageWarn, reason: m(5)},
		{why: "four more wait", do: "messages", cost: 4, action: ActionPace, wait: time.Minute, stage: StagePace, reason: m(9)},
		{why: "two are beyond: the next session will feel it", do: "messages", cost: 2, action: ActionPace, wait: time.Minute, stage: StageDefer, reason: m(11)},
		{why: "a new session must wait for room for one", action: ActionDefer, wait: 2 * time.Minute, stage: StageDefer, reason: m(12)},
		{why: "a hundred more: said, but not owed", do: "messages", cost: 100, action: ActionPace, wait: time.Minute, stage: StageDefer, reason: m(111)},
		{why: "owed is one burst more than full", action: ActionDefer, wait: 11 * time.Minute, stage: StageDefer, reason: m(22)},
		{why: "and then it fits", at: 11 * time.Minute, action: ActionPace, wait: time.Minute, stage: StageDefer, reason: m(9)},
	})
}

func TestPlanThatOnlyPacesLetsEverythingThroughInTheEnd(t *testing.T) {
	t.Parallel()
	p := home(StagePace, Budget{Of: Sessions, Limit: 60, Per: time.Hour, Burst: 2})
	s := func(n int) string { return reason(Sessions, n, 60, 2, time.Hour) }
	play(t, p, []step{
		{why: "one", action: ActionWarn, stage: StageWarn, reason: s(1)},
		{why: "two: pace begins at 1.6", action: ActionPace, wait: 24 * time.Second, stage: StagePace, reason: s(2)},
		{why: "three would not fit: it waits", action: ActionPace, wait: time.Minute, stage: StagePace, reason: s(3)},
		{why: "four: what did not fit is still counted", action: ActionPace, wait: time.Minute, stage: StagePace, reason: s(4)},
		{why: "but not owed", at: time.Minute, action: ActionPace, wait: 24 * time.Second, stage: StagePace, reason: s(2)},
	})
}

func TestPlanThatOnlyWarnsOrObserves(t *testing.T) {
	t.Parallel()
	b := Budget{Of: Sessions, Limit: 2, Per: time.Hour}
	for _, h := range []Stage{StageObserve, StageWarn} {
		a := Action(h)
		play(t, home(h, b), []step{
			{why: "one", action: a, stage: h, reason: reason(Sessions, 1, 2, 2, time.Hour)},
			{why: "two", action: a, stage: h, reason: reason(Sessions, 2, 2, 2, time.Hour)},
			{why: "three", action: a, stage: h, reason: reason(Sessions, 3, 2, 2, time.Hour)},
			{why: "four: honest about how many there were", action: a, stage: h, reason: reason(Sessions, 4, 2, 2, time.Hour)},
		})
	}
}

func TestHandshakesNeedRoomAndAreChargedWhenTheyHappen(t *testing.T) {
	t.Parallel()
	p := home(StageCut, Budget{Of: TLSHandshakes, Limit: 2, Per: time.Hour})
	h := func(n int) string { return reason(TLSHandshakes, n, 2, 2, time.Hour) }
	play(t, p, []step{
		{why: "room", action: ActionPass, reason: h(0)},
		{why: "one", do: "tls_handshakes", cost: 1, action: ActionWarn, stage: StageWarn, reason: h(1)},
		{why: "room for one more", action: ActionWarn, stage: StageWarn, reason: h(1)},
		{why: "two: there is no reply to hold in a handshake, the stage is pace all the same", do: "tls_handshakes", cost: 1, action: ActionWarn, stage: StagePace, reason: h(2)},
		{why: "no room", action: ActionDefer, wait: 30 * time.Minute, stage: StageDefer, reason: h(3)},
		{why: "by hand", do: "release"},
		{why: "room again", action: ActionPass, reason: h(0)},
	})
}

func TestReasonsReadAsTheSpecificationSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		got, want string
	}{
		{reason(Sessions, 21, 20, 20, time.Hour), "sessions 21/20 per 1h (105%)"},
		{reason(Sessions, 6, 20, 5, time.Hour), "sessions 6/5 at once, 20 per 1h (120%)"},
		{reason(ConcurrentSessions, 4, 3, 3, 0), "concurrent_sessions 4/3 (133%)"},
		{reason(Messages, 1, 3, 3, 90*time.Second), "messages 1/3 per 1m30s (33%)"},
		{reason(Messages, 1, 3, 3, 24*time.Hour), "messages 1/3 per 24h (33%)"},
		{reason(Messages, 1, 3, 3, 10*time.Second), "messages 1/3 per 10s (33%)"},
		{reason(Messages, 1, 3, 3, 20*time.Minute), "messages 1/3 per 20m (33%)"},
		{reason(Unknown, 0, 0, 0, 0), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
