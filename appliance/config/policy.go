package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/mailweir/mailweir/governor"
)

// Policy is what the governor goes by. Its Hash names the plans in every record: equal for equal plans, whatever their
// order in the file, how their windows are written and in which mode they are; the mode is a parameter of its own.
func (c *Config) Policy() governor.Policy {
	mode, _ := governor.ParseMode(c.Mode) // the schema has let only known words pass, here and below
	p := governor.Policy{Mode: mode, Hash: c.policyHash()}
	for _, plan := range c.Plans {
		stage, _ := governor.ParseStage(plan.HighestStage)
		g := governor.Plan{Name: plan.Name, HighestStage: stage, Ladder: plan.Ladder.governors()}
		for _, b := range plan.Budgets {
			of, _ := governor.ParseKind(b.Of)
			g.Budgets = append(g.Budgets, governor.Budget{Of: of, Limit: b.Limit, Per: b.Per, Burst: b.Burst})
		}
		p.Plans = append(p.Plans, g)
	}
	return p
}

// MailServerPlans are the names of the plans for registered mail servers: those that begin as the preset, or have its name.
func (c *Config) MailServerPlans() []string {
	const preset = "mailserver"
	names := []string{}
	for _, p := range c.Plans {
		if p.Preset == preset || p.Name == preset {
			names = append(names, p.Name)
		}
	}
	return names
}

func (l Ladder) governors() governor.Ladder {
	return governor.Ladder{
		WarnAt: l.WarnAt, PaceAt: l.PaceAt, DeferAt: l.DeferAt, CutAt: l.CutAt,
		PaceMax: l.PaceMax, CutFor: l.CutFor, ReleaseAfter: l.ReleaseAfter,
	}
}

// policyHash is the first 16 hexadecimal digits of the SHA-256 over one line per ladder and budget, plans sorted by name.
func (c *Config) policyHash() string {
	plans := slices.Clone(c.Plans)
	slices.SortFunc(plans, func(a, b Plan) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	fmt.Fprintf(h, "unmapped %q\n", c.Identity.UnmappedPlan)
	for _, p := range plans {
		l := p.Ladder
		fmt.Fprintf(h, "plan %q %s %d %d %d %d %d %d %d\n", p.Name, p.HighestStage,
			l.WarnAt, l.PaceAt, l.DeferAt, l.CutAt, l.PaceMax, l.CutFor, l.ReleaseAfter)
		for _, b := range p.Budgets {
			fmt.Fprintf(h, "budget %s %d %d %d\n", b.Of, b.Limit, b.Per, b.Burst)
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
