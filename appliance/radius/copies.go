package radius

import (
	"net/netip"
	"time"
)

// What is remembered of requests that were taken.
const (
	copyTime  = 30 * time.Second // a NAS that has no answer repeats within seconds
	maxCopies = 8192             // in each of two generations; when the younger is full, the older is forgotten
)

// copyKey tells a repeated packet from every other (RFC 2866 section 3).
type copyKey struct {
	peer          netip.AddrPort
	id            byte
	authenticator [16]byte
}

// copies remembers requests in two generations. The zero value is ready; one goroutine uses it.
type copies struct {
	young, old map[copyKey]time.Time
}

// has tells whether the request was taken within copyTime before now. A clock that went back makes it forget.
func (c *copies) has(k copyKey, now time.Time) bool {
	at, ok := c.young[k]
	if !ok {
		at, ok = c.old[k]
	}
	age := now.Sub(at)
	return ok && age >= 0 && age < copyTime
}

func (c *copies) add(k copyKey, now time.Time) {
	if c.young == nil || len(c.young) == maxCopies {
		c.old, c.young = c.young, make(map[copyKey]time.Time)
	}
	c.young[k] = now
}
