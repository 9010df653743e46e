package radius

import "time"

// What is remembered of requests that were taken.
const (
	copyTime   = 30 * time.Second // a NAS that has no answer repeats within seconds
	maxCopies  = 8192             // in each of two generations; when the younger is full, the older is forgotten
	maxUndated = 32768            // of requests without Event-Timestamp, for MaxAge: nothing else tells that one is played back
)

// copyKey tells a repeated packet from every other. The authenticator of a request is the sum of all the rest and the
// secret, so wherever it comes from it is the same packet; who does not name itself in it is told by its address.
type copyKey struct {
	nas           uint64 // a hash of Event.NAS
	authenticator [16]byte
}

// copies remembers requests in two generations; one goroutine uses it.
type copies struct {
	keep time.Duration
	most int

	young, old map[copyKey]time.Time
}

// has tells whether the request was taken within keep before now. A clock that went back makes it forget.
func (c *copies) has(k copyKey, now time.Time) bool {
	at, ok := c.young[k]
	if !ok {
		at, ok = c.old[k]
	}
	age := now.Sub(at)
	return ok && age >= 0 && age < c.keep
}

func (c *copies) add(k copyKey, now time.Time) {
	if c.young == nil || len(c.young) == c.most {
		c.old, c.young = c.young, make(map[copyKey]time.Time)
	}
	c.young[k] = now
}
