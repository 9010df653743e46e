package governor

import "time"

// Saved is a subscriber as it is kept on disk. All times are durations on the governor's own clock, which only goes
// forward and goes on where it stopped after a restart, so that a wall clock that steps changes no budget.
type Saved struct {
	Subscriber, Plan       string
	Gone                   bool          // nothing is left to keep: delete it. Clock and Cases count all the same
	Clock                  time.Duration // when this was taken
	Cases                  uint64        // case numbers given out so far, by all subscribers
	Mode                   Mode
	Stage                  Stage
	Since, Until           time.Duration // of the stage; Until only for a cut
	Confirmed, Calm, Ended time.Duration // the moments of these names of trouble
	Case                   string
	Cause                  Cause
	Budgets                []SavedBudget
}

// Cause is the budget that brought a subscriber to its stage, as it stood then.
type Cause struct {
	Of           Kind
	Value        int
	Limit, Burst int
	Window       time.Duration
}

// SavedBudget is one budget with its state: when it is whole again, and when its pressure is gone.
type SavedBudget struct {
	Budget
	WholeAt, CalmAt time.Duration
}

// ClockVerdict says what Restore made of the wall clock.
type ClockVerdict uint8

// The clock's verdicts. Unless it is good, budgets go on as they were saved, and a HEALTH record should say so.
const (
	ClockUnknown ClockVerdict = iota // nothing was saved: no time to compare with
	ClockGood                        // the time between was credited
	ClockBack                        // the wall clock is before the last save
	ClockAhead                       // the wall clock is more than MaxAway after it
)

// MaxAway is the longest time between two lives of a box that Restore believes.
const MaxAway = 7 * 24 * time.Hour

func (v ClockVerdict) String() string {
	return word([]string{"unknown", "good", "back", "ahead"}, v)
}
