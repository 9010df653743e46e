package syslog

import "time"

const (
	// minQuiet is the least time after which an end of a connection may be for its being quiet.
	minQuiet = time.Second
	// alike is how many ends in a row after the same time show a habit: by chance it takes some thousand restarts of a collector until four are within 3 %.
	alike = 4
	// habitLasts is for how long it is believed: then it is tried whether it is still so.
	habitLasts = 24 * time.Hour
)

// restless is what is known of a collector, or of what stands before it, that ends connections over which nothing comes for a while. Such an end proves nothing (see stream), and all that went
// over the connection would be sent again each time; so it is ended here before that, which does prove it, and made anew when there is something to send.
type restless struct {
	last   time.Duration // how long nothing had been sent when it ended one
	ends   int           // so many in a row were alike
	most   time.Duration // how long nothing may be sent before one is ended here, while it is believed
	learnt time.Time     // when it was seen last
}

// idle is how long nothing may be sent over a connection before it is ended here; 0: it is not known to end any.
func (r *restless) idle(now time.Time) time.Duration {
	if now.Sub(r.learnt) >= habitLasts {
		return 0
	}
	return r.most
}

// ended notes that it ended a connection in order when nothing had been sent for so long, and tells whether that is its habit.
func (r *restless) ended(quiet time.Duration, now time.Time) bool {
	if (quiet - r.last).Abs() > max(quiet/32, 50*time.Millisecond) {
		r.ends = 0
	}
	r.ends++
	r.last = quiet
	if quiet >= minQuiet && r.ends >= alike {
		r.most, r.learnt = quiet*3/4, now
	}
	idle := r.idle(now)
	return idle > 0 && quiet >= idle
}
