package appliance

import (
	"github.com/mailweir/mailweir/appliance/config"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// planView is a plan as pages, API and command line show it.
func planView(p config.Plan) webadmin.Plan {
	l := p.Ladder
	v := webadmin.Plan{Name: p.Name, Preset: p.Preset, HighestStage: p.HighestStage, Budgets: []webadmin.PlanBudget{}, Ladder: webadmin.Ladder{
		WarnAt: l.WarnAt, PaceAt: l.PaceAt, PaceMax: webadmin.Seconds(l.PaceMax), DeferAt: l.DeferAt, CutAt: l.CutAt,
		CutFor: webadmin.Seconds(l.CutFor), ReleaseAfter: webadmin.Seconds(l.ReleaseAfter),
	}}
	for _, b := range p.Budgets {
		v.Budgets = append(v.Budgets, webadmin.PlanBudget{Of: b.Of, Limit: b.Limit, Window: webadmin.Seconds(b.Per), Burst: b.Burst})
	}
	return v
}

// Presets are the ready-made plans that a configuration can name.
func Presets() []webadmin.Plan {
	var all []webadmin.Plan
	for _, p := range config.Presets() {
		v := planView(p.Plan)
		v.For = p.For
		all = append(all, v)
	}
	return all
}
