package governor

import (
	"strings"
	"testing"
	"time"
)

func exempt(t *testing.T, g *Governor, lasts time.Duration, now time.Time) {
	t.Helper()
	if err := g.Exempt("S", "home", Exemption{Until: now.Add(lasts), Reason: "moving house", By: "anna"}, now); err != nil {
		t.Fatal(err)
	}
}

func TestExemptionIsModeObserveForOne(t *testing.T) {
	t.Parallel()
	g := New(home(StageCut), t0)
	opens(g, 15, t0)
	exempt(t, g, time.Hour, t0)
	if r, _ := g.Explain("S", t0); r.Stage != StageCut || r.Mode != ModeObserve || r.Exemption == nil || r.Exemption.By != "anna" ||
		!r.Exemption.Since.Equal(t0) || !r.Exemption.Until.Equal(t0.Add(time.Hour)) {
		t.Fatalf("%+v", r)
	}
	d := opens(g, 1, t0)
	if d.Action != ActionCut || d.Acted || d.Effective() != ActionPass || !d.LetThrough() || d.Exemption != "moving house" || d.Stage != StageCut {
		t.Errorf("%+v", d)
	}
	if d := g.Spend("S", "home", Messages, 1, t0); d.Exemption != "" && d.Acted {
		t.Errorf("%+v", d)
	}
	if d := g.Open(Attempt{Subscriber: "other", Plan: "home"}, t0); d.Exemption != "" || d.Mode != ModeEnforce {
		t.Errorf("the neighbour: %+v", d)
	}
	if s := g.Stats(); s.Exempt != 1 {
		t.Errorf("%+v", s)
	}
	x, ok := g.Unexempt("S", t0)
	if !ok || x.Reason != "moving house" {
		t.Fatalf("%v %+v", ok, x)
	}
	c := g.Tick(t0)
	if len(c) != 1 || c[0].From != StageCut || c[0].Mode != ModeEnforce || c[0].Why != "the exemption is over: a cut that it let pass ends" {
		t.Errorf("%+v", c)
	}
	if d := opens(g, 1, t0); d.Action != ActionDefer || d.Reason() != "sessions 6/5 at once, 20 per 1h (120%)" || !d.Acted {
		t.Errorf("what was used stays used, what was pressed does not: %+v", d)
	}
	if _, ok := g.Unexempt("S", t0); ok {
		t.Error("ended twice")
	}
	if _, ok := g.Unexempt("nobody", t0); ok {
		t.Error("nobody's ended")
	}
	if ended := g.Expired(t0); len(ended) != 0 {
		t.Errorf("ended by hand, and told as expired: %+v", ended)
	}
}

func TestExemptionsEndByTimeAndAreTold(t *testing.T) {
	t.Parallel()
	g := New(home(StageCut), t0)
	exempt(t, g, time.Hour, t0)
	exempt(t, g, 20*time.Minute, t0) // in place of the first
	d := opens(g, 20, t0)
	if d.Stage != StageCut || !d.LetThrough() {
		t.Fatalf("%+v", d)
	}
	end := t0.Add(20 * time.Minute)
	if r, _ := g.Explain("S", end.Add(-1)); r.Exemption == nil || r.Stage != StageCut {
		t.Errorf("%+v", r)
	}
	late := end.Add(5 * time.Minute)
	c := g.Tick(late) // nobody came meanwhile: it was due when the exemption ended
	if len(c) != 1 || !c[0].At.Equal(end) || c[0].From != StageCut {
		t.Errorf("%+v", c)
	}
	ended := g.Expired(late)
	if len(ended) != 1 || ended[0].Subscriber != "S" || !ended[0].Exemption.Until.Equal(end) || ended[0].Exemption.Reason != "moving house" {
		t.Errorf("%+v", ended)
	}
	if len(g.Expired(late)) != 0 || g.Stats().Exempt != 0 {
		t.Error("told twice")
	}
	// of several, in the order in which they end
	for i, id := range []string{"c", "a", "b"} {
		if err := g.Exempt(id, "home", Exemption{Until: late.Add(time.Duration(3-i) * time.Second), Reason: "r"}, late); err != nil {
			t.Fatal(err)
		}
	}
	for i, id := range []string{"b", "a", "c"} {
		if got := g.Expired(late.Add(time.Duration(i+1) * time.Second)); len(got) != 1 || got[0].Subscriber != id {
			t.Errorf("%s: %+v", id, got)
		}
	}
	late = late.Add(3 * time.Second)
	// of somebody whom nothing but Expired looks at
	exempt(t, g, time.Minute, late)
	if len(g.Expired(late)) != 0 || len(g.Expired(late.Add(time.Minute))) != 1 {
		t.Error("not told once")
	}
}

func TestAnExemptionNeedsAReasonAndAnEnd(t *testing.T) {
	t.Parallel()
	g := New(home(StageCut), t0)
	for why, x := range map[string]Exemption{
		"needs a reason":           {Until: t0.Add(time.Hour)},
		"has ended already":        {Until: t0, Reason: "r"},
		"until 0001-01-01":         {Reason: "r"},
		"is longer than 366d":      {Until: t0.Add(MaxExemption + 1), Reason: "r"},
		"3000-01-01T00:00:00Z is ": {Until: time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC), Reason: "r"},
	} {
		if err := g.Exempt("S", "home", x, t0); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
	if g.Count() != 0 {
		t.Error("somebody was made")
	}
	g.most = 1
	exempt(t, g, MaxExemption, t0)
	if err := g.Exempt("one more", "home", Exemption{Until: t0.Add(1), Reason: "r"}, t0); err == nil {
		t.Error("no room, and yet")
	}
}

// The wall clock moves no exemption; a subscriber with one is never forgotten, and it outlives restarts.
func TestExemptionOutlivesEverythingButItsTime(t *testing.T) {
	t.Parallel()
	p := home(StageCut)
	g := New(p, t0)
	exempt(t, g, 10*time.Hour, t0)
	now := t0
	for range 500 {
		now = now.Add(time.Minute)
		g.Tick(now)
	}
	if g.Count() != 1 {
		t.Fatal("forgotten")
	}
	saved, st := saveAll(g, now), g.State(now, now)
	if len(saved) != 1 {
		t.Fatalf("%+v", saved)
	}
	for _, c := range []struct {
		why  string
		wall time.Duration
		left time.Duration
	}{
		{"an hour away", time.Hour, 40 * time.Minute},
		{"1970", -time.Since(time.Unix(0, 0)), 100 * time.Minute},
		{"ten years ahead", 10 * 366 * 24 * time.Hour, 100 * time.Minute},
		{"longer away than it lasts", 2 * time.Hour, 0},
	} {
		h := New(p, t0)
		bring(h, saved, st, now.Add(c.wall), t0)
		r, _ := h.Explain("S", t0)
		if (r.Exemption != nil) != (c.left > 0) || c.left > 0 && (!r.Exemption.Until.Equal(t0.Add(c.left)) || r.Exemption.Reason != "moving house" || r.Exemption.By != "anna") {
			t.Errorf("%s: %+v", c.why, r.Exemption)
		}
		if ended := h.Expired(t0); (len(ended) == 1) != (c.left == 0) {
			t.Errorf("%s: ended %+v", c.why, ended)
		}
	}
	// without a plan that the policy knows, too
	if err := g.Exempt("T", "no such plan", Exemption{Until: now.Add(time.Hour), Reason: "r"}, now); err != nil {
		t.Fatal(err)
	}
	if d := g.Open(Attempt{Subscriber: "T", Plan: "no such plan"}, now); d.Exemption != "r" || d.Action != ActionPass {
		t.Errorf("%+v", d)
	}
}

func TestStrangersFillAQuarter(t *testing.T) {
	t.Parallel()
	g := New(home(StageDefer), t0)
	g.most = 40
	for _, id := range names(30) {
		g.Open(Attempt{Subscriber: id, Plan: "home", Unlisted: true}, t0)
	}
	if s := g.Stats(); s.Subscribers != 10 || s.Unlisted != 10 || s.Untracked != 20 || s.Strangers != 20 {
		t.Errorf("%+v", s)
	}
	g.Spend("one more", "home", Messages, 1, t0) // of a session that was not counted
	for _, id := range names(60)[30:] {
		g.Open(Attempt{Subscriber: id, Plan: "home"}, t0)
	}
	if s := g.Stats(); s.Subscribers != 40 || s.Strangers != 20 || s.Untracked != 20 {
		t.Errorf("the listed: %+v", s)
	}
	if d := g.Open(Attempt{Subscriber: names(1)[0], Plan: "home", Unlisted: true}, t0); d.Value != 2 {
		t.Errorf("who is known is known: %+v", d)
	}
	g.Open(Attempt{Subscriber: names(1)[0], Plan: "home"}, t0) // now the list has it
	h := New(home(StageDefer), t0)
	bring(h, saveAll(g, t0), g.State(t0, t0), t0, t0)
	if a, b := g.Stats(), h.Stats(); a.Unlisted != 9 || b.Unlisted != 9 {
		t.Errorf("%+v %+v", a, b)
	}
}
