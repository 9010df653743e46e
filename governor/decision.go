package governor

import (
	"net/netip"
	"time"
)

// Attempt is a session that somebody wants to begin.
type Attempt struct {
	Subscriber, Plan string
	Destination      netip.Prefix // the server's network; zero: not known, and then no budget of destinations is asked
	Unlisted         bool         // a stranger, whom no list has; see MaxUnlisted
}

// Decision is what the governor says to one attempt, and why. It explains itself: Reason, Stage, Before and Until.
type Decision struct {
	Subscriber, Plan string
	At               time.Time
	Mode             Mode   // the one that holds for this subscriber: observe while it is exempt
	Action           Action // what the policy asks for, also in mode observe
	Acted            bool   // whether it is carried out: never in mode observe, and never for pass and warn
	// Wait is how long to hold the server's reply (pace), or when a session fits again if nothing else is tried
	// meanwhile (defer), or how long the cut still lasts (cut). Zero otherwise.
	Wait          time.Duration
	Stage, Before Stage // the subscriber's stage after and before this attempt

	// The budget that decided: of several, the strictest; for a plain pass, the fullest.
	Of     Kind
	Limit  int
	Burst  int
	Window time.Duration
	Value  int     // how much is used, this attempt included; what did not fit is counted too
	Ratio  float64 // Value / Burst

	Until  time.Time    // when this ends if nothing more is tried; zero for pass, or where it depends on sessions ending
	Case   string       // the open case's number, or ""
	Change *StageChange // set when this attempt changed the stage

	Session   uint64  // which it is, for Governor.In; 0 where it is not about the begin of one
	Retry     bool    // denied, and a retry: no pressure was added
	Exemption string  // the reason of the exemption that lets everything pass, or ""
	Receipt   Receipt // what was charged, for Governor.Withdraw
}

// Effective is the action to carry out: Action in mode enforce, always pass in mode observe.
func (d Decision) Effective() Action {
	if d.Mode != ModeEnforce {
		return ActionPass
	}
	return d.Action
}

// LetThrough tells whether the session runs, be it after a wait. Only such a session is closed with Governor.Close.
func (d Decision) LetThrough() bool { return d.Effective() <= ActionPace }

// Notable tells whether the decision is worth a record: it is other than a plain pass, or would be in mode enforce.
func (d Decision) Notable() bool { return d.Action != ActionPass }

// Reason is the budget in one line: `sessions 21/20 per 1h (105%)`, or where the burst differs from the limit
// `sessions 6/5 at once, 20 per 1h (120%)`. It is empty when the plan has no budget.
func (d Decision) Reason() string { return reason(d.Of, d.Value, d.Limit, d.Burst, d.Window) }

// StageChange is one step of a subscriber up or down the ladder, or from cut to cut where a cut is renewed as it ends. Value, Limit, Burst, Window and Ratio are those of the
// budget Of; on the way down, of the fullest one.
type StageChange struct {
	Subscriber, Plan string
	Mode             Mode
	From, To         Stage
	Of               Kind
	Value            int
	Limit, Burst     int
	Window           time.Duration
	Ratio            float64
	At, Until        time.Time // since when; and when the new stage ends if nothing more is tried (zero: not known)
	Case             string    // the case this belongs to, also when this change closes it
	Why              string    // one line for people
}

// Report is everything the governor knows about a subscriber.
type Report struct {
	Subscriber, Plan string
	Mode             Mode // the one that holds for this subscriber: observe while it is exempt
	Stage            Stage
	Since, Until     time.Time // zero when in observe, Until also where it depends on sessions ending
	Reason           string    // why the stage is what it is: the budget as it stood when the stage was entered
	Case             string
	Open             int            // sessions running now
	Exemption        *Exemption     // nil: none
	Released         time.Time      // by hand, which can be taken back until UndoFor after; zero: there is nothing to take back
	Retries          uint64         // denied attempts that were retries, since the governor was made
	Budgets          []BudgetReport // in the order of the plan
	Decisions        []Decision     // the last notable ones, oldest first; Explain only
}

// BudgetReport is one budget as it stands.
type BudgetReport struct {
	Of           Kind
	Window       time.Duration
	Limit, Burst int
	Value        int // used, rounded up
	Ratio        float64
	Pressure     int       // attempts that did not fit, drained like the budget itself
	RefillsAt    time.Time // when it is whole again if nothing more is used; zero when it is, and for concurrent sessions
}

// Stats counts what no subscriber's report shows.
type Stats struct {
	Subscribers  int    // in memory
	Unlisted     int    // of these, strangers
	Exempt       int    // of these, those with an exemption
	Retries      uint64 // denied attempts that were retries and pressed nobody
	Untracked    uint64 // sessions passed uncounted because the table was full
	Strangers    uint64 // of these, sessions of strangers when as many as may were known
	UnknownPlan  uint64 // sessions passed unjudged because the policy does not have their plan
	StrayCloses  uint64 // Close without a running session
	ClockBack    uint64 // ticks whose time was more than a minute before the last one
	Cases        uint64 // case numbers given out since the box was new
	DecisionsCut uint64 // decisions not kept for Explain because the store of them was full
}
