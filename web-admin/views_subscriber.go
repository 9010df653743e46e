package webadmin

// Subscriber is one customer line: GET /api/v1/subscribers and /api/v1/subscribers/{id}.
type Subscriber struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Plan string `json:"plan"` // the one in force
	// PlanSource says who chose the plan: list, operator, or unmapped (identity.unmapped_plan).
	PlanSource string `json:"plan_source"`
	ListPlan   string `json:"list_plan"` // what the plan is without the operator; empty when the list does not have this line
	// Prefixes are those it holds now; Bindings says of each who told so, and since when.
	Prefixes  []string   `json:"prefixes"`
	Bindings  []Binding  `json:"bindings"`
	Unmapped  bool       `json:"unmapped"` // nobody's line has this source
	Stage     string     `json:"stage"`    // observe | warn | pace | defer | cut
	Since     Time       `json:"since"`    // when the stage was entered
	Until     Time       `json:"until"`    // when it ends if it stops now; null when not known
	Reason    string     `json:"reason"`   // "sessions 21/20 per 1h (105%)"
	Case      string     `json:"case"`
	Open      int        `json:"open"`    // sessions that run now
	Budgets   []Budget   `json:"budgets"` // in the plan's order
	Exemption *Exemption `json:"exemption"`
	Released  *Released  `json:"released"` // by hand, which can still be taken back; null: there is nothing to take back
	Lane      Lane       `json:"lane"`
	// Sentence is what to tell the customer; the web admin fills it.
	Sentence  string     `json:"sentence"`
	Language  string     `json:"sentence_language"` // as BCP 47 has it: en
	Decisions []Decision `json:"decisions"`
}

// Budget is one budget of a subscriber, now.
type Budget struct {
	Of        string  `json:"of"`       // sessions, tls_handshakes, …
	Window    Seconds `json:"window_s"` // 0: none (concurrent_sessions)
	Limit     int     `json:"limit"`    // per window
	Burst     int     `json:"burst"`    // at once; equal to Limit unless the plan says otherwise
	Value     int     `json:"value"`    // used, attempts included; compare with Burst
	Ratio     float64 `json:"ratio"`    // 1 is full
	Pressure  int     `json:"pressure"` // attempts that did not fit and were no retries, drained as the budget refills
	RefillsAt Time    `json:"refills_at"`
}

// Lane says whether a subscriber's next session waits for a verdict, and why.
type Lane struct {
	Waits  bool   `json:"waits"`
	Reason string `json:"reason"` // lease | off | not_attached | not_alive | copies_lost | stage | budget | no_plan | used_up | asks_first
	Why    string `json:"why"`    // the same for people: "37 sessions may begin so"
	// Sessions may begin without waiting, from these addresses. The first session from any other address waits, and one to
	// another subscriber always does.
	Sessions  int      `json:"sessions_left"`
	Addresses []string `json:"addresses"`
}

// Exemption lets a subscriber pass for a while.
type Exemption struct {
	Since  Time   `json:"since"`
	Until  Time   `json:"until"`
	Reason string `json:"reason"`
	By     string `json:"by"` // who granted it
}

// Released is a release by hand that can be taken back until a time, unless the line is cut anew or comes under another plan before.
type Released struct {
	Since Time `json:"since"`
	Until Time `json:"until"`
}

// Decision is one decision about one subscriber.
type Decision struct {
	At        Time    `json:"at"`
	Action    string  `json:"action"` // pass | warn | pace | defer | cut
	Acted     bool    `json:"acted"`  // carried out
	Stage     string  `json:"stage"`  // after it
	Before    string  `json:"before"` // the stage before it
	Of        string  `json:"of"`
	Window    Seconds `json:"window_s"`
	Limit     int     `json:"limit"`
	Burst     int     `json:"burst"`
	Value     int     `json:"value"`
	Ratio     float64 `json:"ratio"`
	Reason    string  `json:"reason"`
	Wait      Seconds `json:"wait_s"` // paced: how long the reply was held
	Until     Time    `json:"until"`
	Case      string  `json:"case"`
	Retry     bool    `json:"retry"`     // the same sender again to a destination it was refused: no pressure
	Exemption string  `json:"exemption"` // the reason of the exemption by which it passed; empty: none
}

// Case is everything under one case number: GET /api/v1/cases/{id}.
type Case struct {
	ID         string     `json:"id"`
	Subscriber string     `json:"subscriber"`
	Name       string     `json:"name"`
	Plan       string     `json:"plan"`
	Opened     Time       `json:"opened"`
	Closed     Time       `json:"closed"`  // null: it goes on
	Stage      string     `json:"stage"`   // now; the last one when it is closed
	Highest    string     `json:"highest"` // the strictest stage of this case
	Reason     string     `json:"reason"`  // why the strictest stage was entered
	Until      Time       `json:"until"`   // when it ends if it stops now; null when closed or not known
	Changes    []Change   `json:"changes"` // of stage, oldest first
	Decisions  []Decision `json:"decisions"`
}

// Change is one change of stage.
type Change struct {
	At     Time   `json:"at"`
	From   string `json:"from"`
	To     string `json:"to"`
	Reason string `json:"reason"` // what called for it: a budget, "calm", "released", …
}
