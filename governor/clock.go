package governor

import "time"

// clock is the governor's own time. It only goes forward, whatever the caller's does. Times with a monotonic reading
// (time's Now) never step; for times without one (a capture, a test) a step back stops it until the next Tick.
type clock struct {
	t    int64 // nanoseconds since the box was new
	last time.Time
	back uint64
}

const (
	jitter  = time.Minute // workers take their time before they take the lock: so far back is no step
	maxStep = MaxPer      // a longer step forward than any budget needs to refill changes nothing
)

// at is the clock at the caller's now. An older now than the last one, as of a session that ended some time ago, is
// the last one.
func (c *clock) at(now time.Time) int64 {
	if d := now.Sub(c.last); d > 0 {
		c.t += int64(min(d, maxStep))
		c.last = now
	}
	return c.t
}

// step notices that the caller's time has been set back, and goes on from there.
func (c *clock) step(now time.Time) {
	if now.Sub(c.last) < -jitter {
		c.last = now
		c.back++
	}
}

// time is the caller's time for a moment of the clock, given that it is now.
func (c *clock) time(at int64, now time.Time) time.Time {
	if at == forever || at == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(at - c.t))
}
