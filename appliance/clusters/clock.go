package clusters

import "time"

// The horizons over which subscribers that come to a print are added up.
const (
	hour = iota
	day
	horizons
)

// spans are half a horizon: this one and the one before are added up.
var spans = [horizons]time.Duration{hour: 30 * time.Minute, day: 12 * time.Hour}

// memory is half of how long it is known who used a print and who sent where: what is used once a month, or pauses while
// offices are closed, is not new when it comes back.
const memory = 6 * 7 * 24 * time.Hour

// maxRestart is how long a restart may take and be counted as time that the box ran: spans then begin where they would have
// begun without it.
const maxRestart = 5 * time.Minute

// clock adds up the time that passes while the box runs.
type clock struct {
	age       time.Duration
	last      time.Time
	restarted bool // last is of the former life
}

// turns says how many spans came to an end; two of each are all there are.
type turns struct {
	spans    [horizons]int
	memories int
}

// advance lets time pass until now. A clock that goes back adds nothing, and one that leaps ahead a day.
func (c *clock) advance(now time.Time) (t turns) {
	passed := min(max(now.Sub(c.last), 0), maxGap)
	if c.last.IsZero() || c.restarted && passed > maxRestart {
		passed = 0
	}
	c.last, c.restarted = now, false
	before := c.age
	c.age += passed
	for h, span := range spans {
		t.spans[h] = int(min(c.age/span-before/span, 2))
	}
	t.memories = int(c.age/memory - before/memory)
	return t
}
