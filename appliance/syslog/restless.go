package syslog

import "time"

// minQuiet is the least time after which an end of a connection may be for its being quiet.
const minQuiet = time.Second

// restless is what is known of a collector, or of what stands before it, that ends connections over which nothing comes for a while. Such an end proves nothing (see stream), and all that went
// over the connection would be sent again each time; so it is ended here before that, which does prove it, and made anew when there is something to send.
type restless struct {
	last time.Duration // how long nothing had been sent when it ended one
	idle time.Duration // how long nothing may be sent before one is ended here; 0: it is not known to end any
}

// ended notes that it ended a connection in order when nothing had been sent for so long, and tells whether that is its habit. Two alike in a row show that it is: a collector that is restarted
// ends connections at any time.
func (r *restless) ended(quiet time.Duration) bool {
	if quiet >= minQuiet && (quiet-r.last).Abs() <= quiet/8 {
		r.idle = min(quiet, r.last) * 3 / 4
	}
	r.last = quiet
	return r.idle > 0 && quiet >= r.idle
}
