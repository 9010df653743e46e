package subscriber

import "time"

const (
	// jump is how far the wall clock may go ahead between two looks, or while the box was off, and be believed at once.
	jump = 7 * 24 * time.Hour
	// trial is how long a clock that went further ahead is on trial: what it makes old is kept so long.
	trial = 24 * time.Hour
	// forgetAtOnce is how many ended bindings one Expire forgets at most, so that nobody waits for it.
	forgetAtOnce = 10_000
)

// wallClock knows when the wall clock cannot be believed. Times in it are Unix nanoseconds.
type wallClock struct {
	last  int64 // what it showed when somebody last looked
	until int64 // on trial until then; 0: not
}

// sound tells whether now is to be believed. A clock that went back is; it makes nothing old.
func (c *wallClock) sound(now int64) bool {
	switch {
	case c.last != 0 && now > c.last+int64(jump):
		c.until = now + int64(trial)
	case now < c.last, now >= c.until:
		c.until = 0
	}
	c.last = now
	return c.until == 0
}

// Expire forgets what ended longer ago than Retention; call it each minute or so. A wall clock that jumped ahead by more
// than a week is given a day to be set right before anything is forgotten because of it; sound tells that it is not on
// such a trial.
func (d *Directory) Expire(now time.Time) (sound bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.read(now)
	if !d.clock.sound(n) {
		return false
	}
	for range forgetAtOnce {
		if d.history.len() == 0 || d.history.at(d.history.oldest).until >= n-int64(Retention) {
			break
		}
		d.forget()
	}
	return true
}
