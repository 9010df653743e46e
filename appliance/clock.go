package appliance

import "time"

const (
	// clockJump is how far the wall clock may go ahead between two looks, or while the box was off, and be believed at once.
	clockJump = 7 * 24 * time.Hour

	// clockTrial is how long a clock that went further ahead is on trial.
	clockTrial = 24 * time.Hour
)

// wallClock knows when the wall clock is not to be believed where something would be
// forgotten because of it: a box whose clock says 2036 for an hour after a start
// keeps what it has.
type wallClock struct {
	last  time.Time // what it showed when somebody last looked, or when the last life saved last; zero: not known
	until time.Time // on trial until then; zero: not
}

// sound tells whether now is to be believed. A clock that went back is; it makes nothing old.
func (c *wallClock) sound(now time.Time) bool {
	now = now.Round(0) // what it shows, not how much time has passed
	switch {
	case !c.last.IsZero() && now.Sub(c.last) > clockJump:
		c.until = now.Add(clockTrial)
	case now.Before(c.last), !now.Before(c.until):
		c.until = time.Time{}
	}
	c.last = now
	return c.until.IsZero()
}
