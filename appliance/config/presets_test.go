package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPresetsAreGoodPlans writes every preset out as a plan of a file and as a plan that only names it: both load, with equal
// values, without a warning.
func TestPresetsAreGoodPlans(t *testing.T) {
	t.Parallel()
	var names []string
	for _, p := range Presets() {
		names = append(names, p.Name)
		if p.For == "" || !strings.HasSuffix(p.For, ".") || strings.Count(p.For, ". ") > 0 {
			t.Errorf("%s: not one sentence: %q", p.Name, p.For)
		}
		c, err := Parse("f", []byte("identity: {unmapped_plan: x}\nplans: [{name: x, preset: "+p.Name+"}]"))
		if err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
		if len(c.Warnings()) > 0 {
			t.Errorf("%s: %v", p.Name, c.Warnings())
		}
		want := p.Plan
		want.Name, want.Preset = "x", p.Name
		if !reflect.DeepEqual(c.Plans[0], want) {
			t.Errorf("%s\ngot  %+v\nwant %+v", p.Name, c.Plans[0], want)
		}
	}
	if words := strings.Fields(tagOf[Plan](t, "preset")); !slices.Equal(words, names) {
		t.Errorf("the key allows %v, the presets are %v", words, names)
	}
	if a := Presets(); &a[0].Plan.Budgets[0] == &Presets()[0].Plan.Budgets[0] {
		t.Error("two calls share their budgets")
	}
}

func TestDefaultPlansAreTheirPresets(t *testing.T) {
	t.Parallel()
	for _, p := range Default().Plans {
		if want, ok := preset(p.Name); !ok || !reflect.DeepEqual(p, want) {
			t.Errorf("%s: %+v, the preset %+v", p.Name, p, want)
		}
	}
}

func TestPlanTakesFromThePresetWhatItDoesNotSay(t *testing.T) {
	t.Parallel()
	c, err := Parse("f", []byte(`
identity: {unmapped_plan: farm}
plans:
  - {name: farm, preset: hosting}
  - name: gentle
    preset: hosting
    highest_stage: defer
    ladder: {cut_at: 500, pace_max: 0s}
  - name: own
    preset: hosting
    budgets: [{of: sessions, limit: 7, per: 1h}]
  - {name: none, preset: hosting, budgets: []}
  - {name: without, preset: "", highest_stage: warn}
`))
	if err != nil {
		t.Fatal(err)
	}
	hosting, _ := preset("hosting")
	gentle := DefaultLadder()
	gentle.CutAt, gentle.PaceMax = 500, 0
	for i, want := range []Plan{
		{Name: "farm", Preset: "hosting", HighestStage: "cut", Budgets: hosting.Budgets, Ladder: DefaultLadder()},
		{Name: "gentle", Preset: "hosting", HighestStage: "defer", Budgets: hosting.Budgets, Ladder: gentle},
		{Name: "own", Preset: "hosting", HighestStage: "cut", Budgets: []Budget{window("sessions", 7, time.Hour)}, Ladder: DefaultLadder()},
		{Name: "none", Preset: "hosting", HighestStage: "cut", Budgets: []Budget{}, Ladder: DefaultLadder()},
		{Name: "without", HighestStage: "warn", Budgets: []Budget{}, Ladder: DefaultLadder()},
	} {
		if !reflect.DeepEqual(c.Plans[i], want) {
			t.Errorf("got  %+v\nwant %+v", c.Plans[i], want)
		}
	}
	text, err := c.Effective()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse("f", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	sameValues(t, back, c)
	if !strings.Contains(string(text), "preset: hosting\n") || strings.Contains(string(text), `preset: ""`) {
		t.Errorf("presets in\n%s", text)
	}
}

// TestPresetMakesNoOtherPolicy: the hash is that of the values, however they came about.
func TestPresetMakesNoOtherPolicy(t *testing.T) {
	t.Parallel()
	c, err := Parse("f", []byte("plans: [{name: unmapped, preset: unmapped}, {name: residential, preset: residential}, {name: office, preset: office}, {name: mailserver, preset: mailserver}]"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Policy().Hash, Default().Policy().Hash; got != want {
		t.Errorf("hash %s, the default's is %s", got, want)
	}
}
