package webadmin

import (
	"fmt"
	"slices"
)

// presetsForm asks which of the ready-made plans the list may name.
type presetsForm struct {
	Presets  []presetView
	Own      []string // plans that are none of them
	Unmapped string
	Choices  []string // plans that there would be
}

type presetView struct {
	Name, For, Highest string
	Budgets            []string
	In                 bool
}

var presetLabels = keyLabels{{"plans", "presets", "Plans"}, {"identity.unmapped_plan", "unmapped", "Who is in no list"}}

// planWithPreset is the place of the plan of a preset: one that names it, or has its name.
func (v values) planWithPreset(preset string) int {
	return slices.IndexFunc(v.Plans, func(p planValues) bool { return p.Name == preset })
}

func (s *Server) showPresets(v *wizardView, _ Configuration, now values) {
	if v.Presets == nil {
		v.Presets = &presetsForm{Unmapped: now.Identity.Unmapped}
		for _, p := range s.opt.Source.Presets() {
			v.Presets.Presets = append(v.Presets.Presets, presetView{Name: p.Name, In: now.planWithPreset(p.Name) >= 0})
		}
	}
	f := v.Presets
	presets := s.opt.Source.Presets()
	for i := range f.Presets {
		one := &f.Presets[i]
		at := slices.IndexFunc(presets, func(p Plan) bool { return p.Name == one.Name })
		one.For, one.Highest = presets[at].For, presets[at].HighestStage
		for _, b := range presets[at].Budgets {
			one.Budgets = append(one.Budgets, kindText(b.Of)+" "+planBudgetText(b))
		}
		if one.In {
			f.Choices = append(f.Choices, one.Name)
		}
	}
	for _, p := range now.Plans {
		if !slices.ContainsFunc(presets, func(q Plan) bool { return q.Name == p.Name }) {
			f.Own = append(f.Own, inert(p.Name))
			f.Choices = append(f.Choices, inert(p.Name))
		}
	}
	if !slices.Contains(f.Choices, f.Unmapped) {
		f.Choices = append(f.Choices, f.Unmapped)
	}
}

// planBudgetText writes a budget as the reasons do: 5 at once, 20 per 1h.
func planBudgetText(b PlanBudget) string {
	switch {
	case b.Window == 0:
		return fmt.Sprintf("%s at once", number(b.Limit))
	case b.Burst != b.Limit:
		return fmt.Sprintf("%s at once, %s per %s", number(b.Burst), number(b.Limit), window(durationOf(b.Window)))
	}
	return fmt.Sprintf("%s per %s", number(b.Limit), window(durationOf(b.Window)))
}

func (s *Server) takePresets(t *wizardTry) {
	f := &presetsForm{Unmapped: t.r.PostFormValue("unmapped")}
	t.view.Presets, t.of = f, presetLabels
	n := len(t.now.Plans)
	var gone []ConfigKey
	for _, p := range s.opt.Source.Presets() {
		in := slices.Contains(t.r.PostForm["preset"], p.Name)
		f.Presets = append(f.Presets, presetView{Name: p.Name, In: in})
		at := t.now.planWithPreset(p.Name)
		switch {
		case in && at < 0:
			t.keys = append(t.keys, set(fmt.Sprintf("plans[%d]", n), map[string]string{"name": p.Name, "preset": p.Name}))
			n++
		case !in && at >= 0:
			gone = append(gone, takeOut(fmt.Sprintf("plans[%d]", at)))
		}
	}
	slices.SortFunc(gone, func(a, b ConfigKey) int { return placeOf(b.Key) - placeOf(a.Key) }) // from the end, so that places hold
	t.keys = append(t.keys, gone...)
	if f.Unmapped != t.now.Identity.Unmapped {
		t.keys = append(t.keys, set("identity.unmapped_plan", f.Unmapped))
	}
}

// placeOf is n of plans[n].
func placeOf(key string) (n int) {
	fmt.Sscanf(key, "plans[%d]", &n)
	return n
}
