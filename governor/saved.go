package governor

import "time"

// Saved is a subscriber as it is kept on disk. All times are durations on the governor's own clock, which only goes
// forward and goes on where it stopped after a restart, so that a wall clock that steps changes no budget.
type Saved struct {
	Subscriber, Plan       string
	Gone                   bool // nothing is left to keep: delete it
	Unlisted               bool // as in its Attempt
	Estimated              bool // budgets of messages hold some that SpendEstimated charged: see SavedBudget.SureAt
	Mode                   Mode
	Stage                  Stage
	Since, Until           time.Duration // of the stage; Until only for a cut
	Confirmed, Calm, Ended time.Duration // the moments of these names of trouble
	Lifted                 string        // why a cut has ended before its time; only a tape keeps it
	Case                   string
	Cause                  Cause
	Budgets                []SavedBudget
	Destinations           []SavedDestination
	Retries                []SavedRetry
	Exemption              *SavedExemption // nil: none
}

// SavedState is what belongs to all subscribers. It goes with every save, also with one of nobody, which is to be made
// from time to time so that a quiet week does not look like a clock that jumped.
type SavedState struct {
	Wall  time.Time     // the wall clock
	Clock time.Duration // the governor's own
	Cases uint64        // case numbers given out so far
}

// Network is a destination network as it is kept: the 32 leading bits of an IPv4 prefix, a hash of an IPv6 one.
type Network struct {
	Bits uint32
	IPv6 bool
}

// SavedDestination is a network that was charged to a budget of destinations.
type SavedDestination struct {
	Budget  int // which of Saved.Budgets
	Network Network
	At      time.Duration
}

// SavedRetry is a network that the subscriber was denied to reach: what is left of the retries to it, and how long it is
// remembered. The zero Network stands for all of them together.
type SavedRetry struct {
	Network Network
	Every   time.Duration // the time one retry takes to come back
	WholeAt time.Duration // when all of them have
	UsedAt  time.Duration // the last attempt
}

// SavedExemption is an Exemption on the governor's clock.
type SavedExemption struct {
	Since, Until time.Duration
	Reason, By   string
}

// Cause is the budget that brought a subscriber to its stage, as it stood then.
type Cause struct {
	Of           Kind
	Value        int
	Limit, Burst int
	Window       time.Duration
}

// SavedBudget is one budget with its state: when it is whole again, and when its pressure is gone. SureAt is of a budget
// of messages when Saved.Estimated, and says when it would be whole again for what is certain; 0: nothing is.
type SavedBudget struct {
	Budget
	WholeAt, CalmAt, SureAt time.Duration
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
