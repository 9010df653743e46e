package governor

import "time"

// clock is the governor's own time. It only goes forward, whatever the caller's does: times with a monotonic reading
// (time.Now) never step, and for times without one (a capture, a test) a step back stops it for a minute at most.
type clock struct {
	t    int64 // nanoseconds since the box was new
	last time.Time
	back uint64
}

const (
	jitter  = time.Minute // workers take their time before they take the lock: so far back is no step
	maxStep = MaxPer      // a longer step forward than any budget needs to refill changes nothing
)

func (c *clock) at(now time.Time) int64 {
	d := now.Sub(c.last)
	switch {
	case d >= 0:
		c.t += int64(min(d, maxStep))
		c.last = now
	case d < -jitter:
		c.last = now
		c.back++
	}
	return c.t
}

// time is the caller's time for a moment of the clock, given that it is now.
func (c *clock) time(at int64, now time.Time) time.Time {
	if at == forever || at == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(at - c.t))
}
