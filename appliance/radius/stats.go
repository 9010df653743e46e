package radius

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Stats counts what a Listener did since it was made.
type Stats struct {
	Received  uint64 // datagrams read
	Lost      uint64 // datagrams that the kernel dropped, because they came faster than they were read
	Handled   uint64 // events that Handle took
	NotForUs  uint64 // events that Handle did not want
	Failed    uint64 // events that Handle could not take; not answered
	Repeated  uint64 // exact copies of what was taken; answered, not handled
	Answered  uint64
	Unsent    uint64          // answers that could not be sent
	BadValues uint64          // values of attributes that were passed over, in genuine requests
	Ignored   [reasons]uint64 // requests that were not taken, by Reason
	Last      time.Time       // when Handle last took or declined an event; zero: never
}

type counters struct {
	received, lost, handled, notForUs, failed, repeated, answered, unsent, badValues atomic.Uint64

	ignored [reasons]atomic.Uint64
	last    atomic.Int64 // UnixNano
	dropped uint32       // the kernel's count, which wraps; the reading goroutine's
}

// Stats returns the counts so far.
func (c *counters) Stats() Stats {
	s := Stats{
		Received: c.received.Load(), Lost: c.lost.Load(), Handled: c.handled.Load(), NotForUs: c.notForUs.Load(),
		Failed: c.failed.Load(), Repeated: c.repeated.Load(), Answered: c.answered.Load(), Unsent: c.unsent.Load(),
		BadValues: c.badValues.Load(),
	}
	for i := range c.ignored {
		s.Ignored[i] = c.ignored[i].Load()
	}
	if at := c.last.Load(); at != 0 {
		s.Last = time.Unix(0, at)
	}
	return s
}

// lose takes the kernel's count of dropped datagrams.
func (c *counters) lose(count uint32) {
	if count != 0 {
		c.lost.Add(uint64(count - c.dropped))
		c.dropped = count
	}
}

// ignore counts a request that is not taken, and tells the log.
func (l *Listener) ignore(why Reason, peer netip.AddrPort, now time.Time, o opened) {
	l.ignored[why].Add(1)
	args := []any{"reason", why.String(), "client", peer}
	if why == Ahead || why == Old {
		args = append(args, "nas", o.nas, "says", o.says.UTC(), "here", now.UTC())
	}
	l.complaints.say(now, "RADIUS accounting is ignored", why, args...)
}

// quiet is how long the log hears of the same trouble once.
const quiet = time.Minute

// complaints tells the log what is wrong, and of the same thing not more than once in quiet: a flood of wrong packets is
// not to become a flood of lines.
type complaints struct {
	log *slog.Logger

	mu   sync.Mutex
	said map[complaint]*saying // bounded by the messages and reasons that there are in this package
}

type complaint struct {
	message string
	why     Reason
}

type saying struct {
	at     time.Time
	silent uint64 // times that were not told since
}

func (c *complaints) say(now time.Time, message string, why Reason, args ...any) {
	silent, tell := c.due(complaint{message, why}, now)
	if !tell {
		return
	}
	if silent > 0 {
		args = append(args, "more_since_last_told", silent)
	}
	c.log.Warn(message, args...)
}

// due tells whether it is time to tell the log of what, and how often it was not told since.
func (c *complaints) due(what complaint, now time.Time) (silent uint64, tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.said[what]
	if s == nil {
		if c.said == nil {
			c.said = make(map[complaint]*saying)
		}
		s = &saying{}
		c.said[what] = s
	} else if age := now.Sub(s.at); age >= 0 && age < quiet {
		s.silent++
		return 0, false
	}
	silent = s.silent
	s.at, s.silent = now, 0
	return silent, true
}
