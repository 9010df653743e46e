package subscriber

import "time"

const (
	// jump is how far the wall clock may go ahead between two looks, or while the box was off, and be believed at once.
	jump = 7 * 24 * time.Hour
	// trial is how long a clock that went further ahead is on trial: what it makes old is kept so long.
	trial = 24 * time.Hour
	// forgetAtOnce is how many ended bindings one Expire forgets at most, so that nobody waits for it.
	forgetAtOnce = 10_000

	// yieldAfter is how long RADIUS may be silent about a binding before a lease that is newer is believed instead: its Stop
	// was lost.
	yieldAfter = 48 * time.Hour
	// silentFor is how long RADIUS may be silent about a binding when there is hardly room for others, which is when
	// three quarters of MaxBindings are held.
	silentFor = 30 * 24 * time.Hour
	// silentAtOnce is how many bindings one EndSilent looks at, at most.
	silentAtOnce = 20_000
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

// Retain says how long an ended binding is kept from now on, instead of for Retention. It takes effect with the next Expire.
func (d *Directory) Retain(ended time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retention = ended
}

// Expire forgets what ended longer ago than it is to be kept; call it each minute or so. A wall clock that jumped ahead by more
// than a week is given a day to be set right before anything is forgotten because of it; sound tells that it is not on
// such a trial.
func (d *Directory) Expire(now time.Time) (sound bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.read(now)
	d.dirty[stateKey()] = struct{}{} // until when words of RADIUS were heard, see heardUntil
	if !d.clock.sound(n) {
		return false
	}
	for range forgetAtOnce {
		if d.history.len() == 0 || d.history.at(d.history.oldest).until >= n-int64(d.retention) {
			break
		}
		d.forget()
	}
	for range forgetAtOnce {
		if g := &d.history.gone; len(g.list) == 0 || g.list[0].until >= n-int64(repeatFor) {
			break
		}
		d.forgetBygone()
	}
	return true
}

// EndSilent ends, when three quarters of MaxBindings are held, bindings of which RADIUS has said nothing for 30 days, and
// gives what changed by it; call it after Expire. It looks at some of all bindings, others each time, and at none as
// long as the clock is on trial.
func (d *Directory) EndSilent(now time.Time) []Change {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.read(now)
	if d.bindings <= MaxBindings/4*3 || d.clock.until != 0 || d.readings.doubt != 0 {
		return nil
	}
	w := d.watch(now)
	var silent []*claim
	looked := 0
	for _, c := range d.claims { // begins anywhere
		for ; c != nil; c = c.next {
			if looked++; c.source == RADIUS && c.seen < n-int64(silentFor) {
				silent = append(silent, c)
			}
		}
		if looked >= silentAtOnce {
			break
		}
	}
	for _, c := range silent {
		w.before(c.prefix)
		d.end(c, n, n, false)
		d.stats.Silent++
	}
	d.publish()
	return w.changes(RADIUS)
}

// yield ends the binding by RADIUS on the prefix of a lease that is newer, when RADIUS has not confirmed it for long.
func (d *Directory) yield(lease *claim, now int64) {
	if lease.source != Lease || lease.id == "" || d.clock.until != 0 || d.readings.doubt != 0 {
		return
	}
	if c := d.claimOf(RADIUS, lease.prefix, ""); c != nil && c.seen < now-int64(yieldAfter) && c.seen < lease.bound {
		d.end(c, now, now, false)
		d.stats.Silent++
	}
}

// heardUntil takes everything that RADIUS may have said until the box last looked at its clock for said: which words came
// after a binding was saved is not known any more, and none of them may be said again.
func (d *Directory) heardUntil(last int64) {
	for _, c := range d.claims {
		for ; c != nil; c = c.next {
			if c.source == RADIUS {
				c.told = max(c.told, last)
			}
		}
	}
}
