package governor

import (
	"fmt"
	"testing"
	"time"
)

// Each says of everybody what List says.
func TestEachIsListInBrief(t *testing.T) {
	g := New(Policy{Mode: ModeEnforce, Plans: []Plan{{Name: "home", HighestStage: StageCut,
		Budgets: []Budget{{Of: Sessions, Limit: 4, Per: time.Hour}, {Of: ConcurrentSessions, Limit: 3}}}}}, t0)
	const many = 5 * chunk
	for i := range many {
		id := fmt.Sprint("S-", i)
		for range i % 7 {
			g.Open(Attempt{Subscriber: id, Plan: "home"}, t0)
		}
	}
	if err := g.Exempt("S-3", "home", Exemption{Until: t0.Add(time.Hour), Reason: "a test"}, t0); err != nil {
		t.Fatal(err)
	}
	want := map[string]Brief{}
	for _, r := range g.List(t0) {
		b := Brief{Subscriber: r.Subscriber, Stage: r.Stage, Case: r.Case, Exempt: r.Exemption != nil}
		for _, one := range r.Budgets {
			b.Fullest = max(b.Fullest, one.Ratio)
		}
		want[b.Subscriber] = b
	}
	g.Each(t0, func(b Brief) bool {
		if want[b.Subscriber] != b {
			t.Errorf("%+v, List says %+v", b, want[b.Subscriber])
		}
		delete(want, b.Subscriber)
		return true
	})
	if len(want) != 0 || g.Exemptions() != 1 {
		t.Errorf("%d are missing, %d exempt", len(want), g.Exemptions())
	}
	n := 0
	g.Each(t0, func(Brief) bool { n++; return n < 2*chunk+10 })
	if n != 2*chunk+10 {
		t.Errorf("went on to %d", n)
	}
}

func TestCaseNumbersAreReadBack(t *testing.T) {
	for _, n := range []uint64{0, 1, 31, 32, 4097, 1<<25 - 1} {
		if got, ok := ParseCase(caseNumber(n)); !ok || got != n {
			t.Errorf("%d is %s, read back as %d, %v", n, caseNumber(n), got, ok)
		}
	}
	for _, id := range []string{"", "0000", "000001", "0000I", "0000u", "abcde"} {
		if _, ok := ParseCase(id); ok {
			t.Errorf("%q is a case", id)
		}
	}
}
