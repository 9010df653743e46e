package webadmin

// Plan is what a kind of subscriber may do: GET /api/v1/plans, and GET /api/v1/presets for the ready-made ones.
type Plan struct {
	Name         string       `json:"name"`
	Preset       string       `json:"preset"` // the preset it builds on; empty: none
	For          string       `json:"for"`    // whom it is meant for, one sentence; presets have one
	HighestStage string       `json:"highest_stage"`
	Budgets      []PlanBudget `json:"budgets"`
	Ladder       Ladder       `json:"ladder"`
}

// PlanBudget is one budget of a plan.
type PlanBudget struct {
	Of     string  `json:"of"`
	Limit  int     `json:"limit"`
	Window Seconds `json:"window_s"` // 0: none (concurrent_sessions)
	Burst  int     `json:"burst"`
}

// Ladder says at which per cent of a budget which stage begins.
type Ladder struct {
	WarnAt       int     `json:"warn_at"`
	PaceAt       int     `json:"pace_at"`
	PaceMax      Seconds `json:"pace_max_s"` // the longest a reply is held
	DeferAt      int     `json:"defer_at"`
	CutAt        int     `json:"cut_at"` // attempts counted
	CutFor       Seconds `json:"cut_for_s"`
	ReleaseAfter Seconds `json:"release_after_s"`
}
