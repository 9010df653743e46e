package governor

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Each says of everybody what List says.
func TestEachIsListInBrief(t *testing.T) {
	g := New(Policy{Mode: ModeEnforce, Plans: []Plan{{Name: "home", HighestStage: StageCut,
		Budgets: []Budget{{Of: Sessions, Limit: 4, Per: time.Hour}, {Of: ConcurrentSessions, Limit: 3}, {Of: Destinations, Limit: 5, Per: time.Hour}}}}}, t0)
	const many = 5 * chunk
	for i := range many {
		id := fmt.Sprint("S-", i)
		for j := range i % 7 {
			g.Open(Attempt{Subscriber: id, Plan: "home", Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(j % 3), 0}), 24)}, t0)
		}
	}
	if err := g.Exempt("S-3", "home", Exemption{Until: t0.Add(time.Hour), Reason: "a test"}, t0); err != nil {
		t.Fatal(err)
	}
	want := map[string]Brief{}
	var above []Brief
	for _, r := range g.List(t0) {
		b := Brief{Subscriber: r.Subscriber, Stage: r.Stage, Case: r.Case, Exempt: r.Exemption != nil, Since: r.Since}
		for _, one := range r.Budgets {
			b.Fullest = max(b.Fullest, one.Ratio)
			if one.Of == Destinations {
				b.Networks = max(b.Networks, one.Value)
			}
		}
		if want[b.Subscriber] = b; b.Stage != StageObserve {
			above = append(above, b)
		}
	}
	slices.SortFunc(above, func(a, b Brief) int { return cmp.Compare(a.Subscriber, b.Subscriber) })
	if got := g.Above(t0); len(got) == 0 || got[0].Networks != 3 && got[len(got)-1].Networks != 3 || !slices.Equal(got, above) {
		t.Errorf("above observe are %d, List says %d", len(got), len(above))
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
	t.Parallel()
	for n, want := range map[uint64]string{0: "00000", 1: "00001", 31: "0000Z", 32: "00010", 4097: "00401", 1<<25 - 1: "ZZZZZ", 1 << 25: "100000", 1<<60 - 1: "ZZZZZZZZZZZZ"} {
		got, ok := ParseCase(CaseNumber(n))
		if !ok || got != n || CaseNumber(n) != want {
			t.Errorf("%d is %s, want %s, read back as %d, %v", n, CaseNumber(n), want, got, ok)
		}
	}
	for id, want := range map[string]uint64{"0000o": 0, "OOOO1": 1, "0000i": 1, "0000l": 1, "0001q": 32 + 23, "000001": 1, "abcde": 10<<20 | 11<<15 | 12<<10 | 13<<5 | 14} {
		if got, ok := ParseCase(id); !ok || got != want {
			t.Errorf("%q is %d, %v, want %d", id, got, ok, want)
		}
	}
	for _, id := range []string{"", "0000", "0000U", "0000u", "0000-", "0000\u0131", "1000000000000"} {
		if _, ok := ParseCase(id); ok {
			t.Errorf("%q is a case", id)
		}
	}
}
