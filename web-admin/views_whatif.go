package webadmin

// WhatIf is the answer to POST /api/v1/what-if: what a configuration would have made of the last days, beside the one in force. Package appliance makes it.
type WhatIf struct {
	From        Time            `json:"from"`
	To          Time            `json:"to"`
	Sessions    int64           `json:"sessions"`
	Inputs      int64           `json:"inputs"`
	Missing     int64           `json:"missing"` // inputs that the journal does not have, at least: what comes after is an estimate
	MissingWhy  []WhatIfLack    `json:"missing_why,omitempty"`
	Starts      int             `json:"starts"` // of the box
	Config      WhatIfRun       `json:"config"`
	Against     *WhatIfRun      `json:"against"`
	Subscribers []WhatIfOutcome `json:"subscribers"` // those of whom something else would have become
}

// WhatIfLack is a reason why inputs are missing.
type WhatIfLack struct {
	Why    string `json:"why"`
	Places int    `json:"places"`
	File   string `json:"file,omitempty"`
	Files  int    `json:"files,omitempty"`
}

// WhatIfRun is what becomes of the days under one configuration.
type WhatIfRun struct {
	File        string            `json:"file,omitempty"`
	InForce     bool              `json:"in_force,omitempty"`
	List        string            `json:"list,omitempty"` // where its list of subscribers is from, if not from the file: in_force, recorded
	Policy      string            `json:"policy,omitempty"`
	Mode        string            `json:"mode"`
	Decisions   WhatIfDecisions   `json:"decisions"`
	Acted       int64             `json:"acted"`
	Guessed     int64             `json:"guessed"` // sessions that were denied then and would not have been: what they would have done nobody knows
	Highest     map[string]int    `json:"highest"` // how many subscribers came how far, above observe
	MailServers WhatIfMailServers `json:"mail_servers"`
}

// WhatIfDecisions counts decisions about sessions.
type WhatIfDecisions struct {
	Passed   int64 `json:"passed"`
	Paced    int64 `json:"paced"`
	Deferred int64 `json:"deferred"`
	Cut      int64 `json:"cut"`
}

// WhatIfMailServers is what becomes of registered mail servers: lines under a plan that begins as the preset mailserver, in either of the configurations.
type WhatIfMailServers struct {
	Plans       []string        `json:"plans"`       // of this configuration; none: it has none for them
	Subscribers int64           `json:"subscribers"` // that sent something
	Touched     int64           `json:"touched"`     // of these, of whom a session was paced, deferred or cut
	Decisions   WhatIfDecisions `json:"decisions"`
	Messages    int64           `json:"messages_lo"` // in sessions that ran then and were paced, deferred or cut, at least
}

// WhatIfOutcome is a subscriber under the configuration that is tried, and under the one in force.
type WhatIfOutcome struct {
	Subscriber string `json:"subscriber"`
	Name       string `json:"name,omitempty"` // as the list has it
	WhatIfLife
	Against *WhatIfLife `json:"against"`
}

// WhatIfLife is what becomes of a subscriber.
type WhatIfLife struct {
	Plan      string             `json:"plan"`
	Highest   string             `json:"highest_stage"`
	Why       string             `json:"why,omitempty"`
	Stages    map[string]float64 `json:"stage_seconds"`
	Decisions WhatIfDecisions    `json:"decisions"`
}
