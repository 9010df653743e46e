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

// week is half of how long it is known who used a print.
const week = 7 * 24 * time.Hour

// clock adds up the time that passes while the box runs.
type clock struct {
	age  time.Duration
	last time.Time
}

// turns says how many spans came to an end; two of each are all there are.
type turns struct {
	spans [horizons]int
	weeks int
}

// advance lets time pass until now. A clock that goes back adds nothing, and one that leaps ahead a day.
func (c *clock) advance(now time.Time) (t turns) {
	passed := min(max(now.Sub(c.last), 0), maxGap)
	if c.last.IsZero() {
		passed = 0
	}
	c.last = now
	before := c.age
	c.age += passed
	for h, span := range spans {
		t.spans[h] = int(min(c.age/span-before/span, 2))
	}
	t.weeks = int(c.age/week - before/week)
	return t
}
