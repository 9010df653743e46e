package config

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxPlans   = 1000
	maxBudgets = 32 // of one plan; every one is decided for every session

	// maxDestinations bounds the limit and the burst of a destinations budget: each network that a subscriber sent to is
	// remembered, up to their sum.
	maxDestinations = 1000
)

func (r *rules) plans() {
	plans := r.c.Plans
	if len(plans) == 0 || len(plans) > maxPlans {
		r.bad("plans", "has %d plans; allowed: 1 to %d", len(plans), maxPlans)
		return
	}
	names := make(map[string]int)
	for i, p := range plans {
		at := fmt.Sprintf("plans[%d]", i)
		r.planName(at+".name", p.Name)
		if j, twice := names[p.Name]; twice {
			r.bad(at+".name", "%q is the name of plans[%d] already; every plan has its own", p.Name, j)
		}
		names[p.Name] = i
		if p.HighestStage == "" {
			r.bad(at+".highest_stage", "is missing; allowed: observe, warn, pace, defer, cut (or name a preset)")
		}
		r.budgets(at, p)
		r.ladder(at+".ladder", p.Ladder)
	}
}

func (r *rules) planName(key, name string) {
	switch {
	case name == "":
		r.bad(key, "is missing; subscribers name their plan by it")
	case utf8.RuneCountInString(name) > 64:
		r.bad(key, "is longer than 64 characters")
	case name != strings.TrimSpace(name), strings.ContainsFunc(name, func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune(" _-.+", c)
	}):
		r.bad(key, "%q is not a plan name; letters, digits, space within, and _ - . +", name)
	}
}

func (r *rules) budgets(plan string, p Plan) {
	if len(p.Budgets) > maxBudgets {
		r.bad(plan+".budgets", "has %d budgets; at most %d", len(p.Budgets), maxBudgets)
	}
	if len(p.Budgets) == 0 {
		r.warn(plan+".budgets", "plan %s has no budgets: its subscribers are never slowed", p.Name)
	}
	type window struct {
		of  string
		per time.Duration
	}
	seen := make(map[window]int)
	for i, b := range p.Budgets {
		at := fmt.Sprintf("%s.budgets[%d]", plan, i)
		if b.Of == "" {
			r.bad(at+".of", "is missing; say what is counted, for example of: sessions")
			continue
		}
		if b.Limit == 0 {
			r.bad(at+".limit", "is missing; allowed: 1 to 1000000")
			continue
		}
		if j, twice := seen[window{b.Of, b.Per}]; twice {
			r.bad(at, "%s per %s is budgets[%d] of this plan already; keep one", b.Of, FormatDuration(b.Per), j)
		}
		seen[window{b.Of, b.Per}] = i
		if b.Of == "destinations" && b.Limit > maxDestinations {
			r.bad(at+".limit", "%d is out of range for destinations, which are remembered one by one; allowed: 1 to %d", b.Limit, maxDestinations)
			continue // its burst is the limit, or must be looked at anew with another one
		}
		if b.Of == "destinations" && b.Burst > maxDestinations {
			r.bad(at+".burst", "%d is out of range for destinations, which are remembered one by one; allowed: 1 to %d", b.Burst, maxDestinations)
			continue
		}
		if b.Of == "concurrent_sessions" {
			if b.Per != 0 {
				r.bad(at+".per", "concurrent_sessions counts what runs at once and has no window; remove per")
			}
			if r.has(at + ".burst") {
				r.bad(at+".burst", "concurrent_sessions has no burst; remove it, limit alone counts")
			}
			continue
		}
		if b.Per == 0 {
			r.bad(at+".per", "is missing; a limit needs a window: per: 1h")
		}
		if b.Burst > 10*b.Limit {
			r.bad(at+".burst", "%d is more than ten times the limit of %d; allowed: 1 to %d", b.Burst, b.Limit, min(10*b.Limit, 1_000_000))
		}
		if b.Burst*p.Ladder.DeferAt < 100 {
			r.bad(at+".burst", "%d at a defer_at of %d per cent is less than one, so nothing would ever fit; raise one of the two", b.Burst, p.Ladder.DeferAt)
		}
	}
}

func (r *rules) ladder(key string, l Ladder) {
	steps := []struct {
		name string
		at   int
	}{{"warn_at", l.WarnAt}, {"pace_at", l.PaceAt}, {"defer_at", l.DeferAt}, {"cut_at", l.CutAt}}
	for i, s := range steps[1:] {
		if before := steps[i]; s.at < before.at {
			at := s.name
			if !r.has(key+"."+at) && r.has(key+"."+before.name) {
				at = before.name // the file wrote only this one
			}
			r.bad(key+"."+at, "%s %d is below %s %d; the order is warn_at <= pace_at <= defer_at <= cut_at", s.name, s.at, before.name, before.at)
		}
	}
}
