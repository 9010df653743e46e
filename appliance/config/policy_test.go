package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
)

func TestPolicyIsTheGovernors(t *testing.T) {
	t.Parallel()
	p := Default().Policy()
	if p.Mode != governor.ModeObserve || len(p.Plans) != 4 || len(p.Hash) != 16 {
		t.Fatalf("%+v", p)
	}
	home := p.Plans[0]
	if home.Name != "residential" || home.HighestStage != governor.StageCut || home.Ladder != governor.DefaultLadder() {
		t.Errorf("%+v", home)
	}
	if b := home.Budgets[0]; b != (governor.Budget{Of: governor.Sessions, Limit: 20, Per: time.Hour, Burst: 5}) {
		t.Errorf("%+v", b)
	}
	if b := home.Budgets[4]; b != (governor.Budget{Of: governor.ConcurrentSessions, Limit: 3, Burst: 3}) {
		t.Errorf("%+v", b)
	}
}

// TestWordsAreTheGovernors keeps the two packages' words the same: a word that only one of them knows would be lost in Policy.
func TestWordsAreTheGovernors(t *testing.T) {
	t.Parallel()
	var kinds []string
	for _, k := range governor.Kinds() {
		kinds = append(kinds, k.String())
	}
	ours := strings.Fields(tagOf[Budget](t, "of"))
	slices.Sort(kinds)
	slices.Sort(ours)
	if !slices.Equal(kinds, ours) {
		t.Errorf("kinds: governor %v, config %v", kinds, ours)
	}
	for _, w := range strings.Fields(tagOf[Plan](t, "highest_stage")) {
		if _, ok := governor.ParseStage(w); !ok {
			t.Errorf("the governor has no stage %q", w)
		}
	}
	for _, w := range strings.Fields(tagOf[Config](t, "mode")) {
		if _, ok := governor.ParseMode(w); !ok {
			t.Errorf("the governor has no mode %q", w)
		}
	}
}

func TestPolicyHashNamesThePlansOnly(t *testing.T) {
	t.Parallel()
	base := Default()
	same := []func(*Config){
		func(c *Config) { c.Mode = Enforce },
		func(c *Config) { slices.Reverse(c.Plans) },
		func(c *Config) { c.Admin.Listen = ":9999" },
	}
	for i, change := range same {
		c := Default()
		change(c)
		if c.Policy().Hash != base.Policy().Hash {
			t.Errorf("change %d gave another hash", i)
		}
	}
	differs := []func(*Config){
		func(c *Config) { c.Plans[0].Budgets[0].Limit++ },
		func(c *Config) { c.Plans[3].Ladder.CutFor++ },
		func(c *Config) { c.Plans[1].HighestStage = "warn" },
		func(c *Config) { c.Identity.UnmappedPlan = "office" },
	}
	for i, change := range differs {
		c := Default()
		change(c)
		if c.Policy().Hash == base.Policy().Hash {
			t.Errorf("change %d gave the same hash", i)
		}
	}
}
