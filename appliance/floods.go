package appliance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/nfq"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// floods tells who sends more SYNs than his meter lets through, and how many: of each
// source a HEALTH record at once, one a minute while it goes on, and one when it is over.
// The counts of all these records, those of "other sources" included, add up to all SYNs
// that the meter by source stopped: none is dropped silently.
type floods struct {
	flooding func(each func(addr netip.Addr, over uint64)) error // package lane
	bits     int                                                 // of the IPv6 address of a line
	closed   bool                                                // network.on_failure is
	of       func(netip.Addr) string                             // whose it is
	say      func(records.HealthFacts)
	now      func() time.Time

	sources map[netip.Addr]*flood
	dropped uint64 // of the counters, seen so far
	passed  uint64
	told    uint64 // of both, accounted for: in a record or in sources
	others  flood  // those of whom nobody knows whose they were, or for whom there was no room

	crowd   uint64    // SYNs beyond what can be judged in all, seen so far
	crowded time.Time // when there were some last
	current atomic.Pointer[webadmin.Problem]
}

// flood is one source, or more.
type flood struct {
	dropped, passed bool // since the last record
	untold          uint64
	last, toldAt    time.Time
}

const (
	floodsAtOnce  = 64               // sources that are told by name
	floodTellAll  = time.Minute      // a record of each while it goes on
	floodQuietFor = 10 * time.Second // after which it is over
)

// watch is to be called every second.
func (fs *floods) watch(s *nfq.LaneStats) {
	if s == nil {
		return
	}
	// The counters are read before: whoever is counted in them can be found in the kernel's table, unless it was full.
	allDropped := s.FloodDropped + s.CrowdDropped
	dropped, passed := grown(allDropped, fs.dropped), grown(s.FloodPassed, fs.passed)
	fs.dropped, fs.passed = allDropped, s.FloodPassed
	now := fs.now()
	if all := s.TotalPassed + s.TotalDropped; all != fs.crowd {
		fs.crowd, fs.crowded = all, now
	}
	defer func() { fs.current.Store(fs.problem(now)) }()
	err := fs.flooding(func(addr netip.Addr, over uint64) {
		fs.told += over
		f := fs.source(addr)
		f.note(over, dropped > 0, passed > 0, now)
	})
	if err == nil && fs.dropped+fs.passed > fs.told {
		fs.others.note(fs.dropped+fs.passed-fs.told, dropped > 0, passed > 0, now)
		fs.told = fs.dropped + fs.passed
	}
	for addr, f := range fs.sources {
		if over := now.Sub(f.last) >= floodQuietFor; over || f.due(now) {
			fs.tell(f, fs.net(addr), fs.of(addr), over, now)
			if over {
				delete(fs.sources, addr)
			}
		}
	}
	if fs.others.untold > 0 && fs.others.due(now) {
		fs.tell(&fs.others, "other sources", "", false, now)
	}
}

// tellRest tells, at the end, what was dropped and is in no record yet.
func (a *Appliance) tellRest() {
	a.health.flush()
	if a.floods == nil {
		return
	}
	if s, err := a.lane.lane.Stats(); err == nil {
		a.floods.watch(&nfq.LaneStats{Stats: s})
	}
	a.floods.end()
}

// end tells what is not told yet.
func (fs *floods) end() {
	now := fs.now()
	for addr, f := range fs.sources {
		if f.untold > 0 {
			fs.tell(f, fs.net(addr), fs.of(addr), false, now)
		}
	}
	if fs.others.untold > 0 {
		fs.tell(&fs.others, "other sources", "", false, now)
	}
}

func (fs *floods) source(addr netip.Addr) *flood {
	f := fs.sources[addr]
	switch {
	case f != nil:
		return f
	case len(fs.sources) >= floodsAtOnce:
		return &fs.others
	case fs.sources == nil:
		fs.sources = map[netip.Addr]*flood{}
	}
	f = &flood{}
	fs.sources[addr] = f
	return f
}

func (f *flood) note(over uint64, dropped, passed bool, now time.Time) {
	f.untold += over
	f.dropped, f.passed, f.last = f.dropped || dropped, f.passed || passed, now
}

// due: the first time, after a minute, and when the clock went back.
func (f *flood) due(now time.Time) bool {
	return f.untold > 0 && (f.toldAt.IsZero() || now.Sub(f.toldAt) >= floodTellAll || now.Before(f.toldAt))
}

func (fs *floods) tell(f *flood, who, subscriber string, over bool, now time.Time) {
	what := "dropped on arrival"
	switch {
	case f.passed && f.dropped:
		what = "dropped on arrival, or passed unjudged where the port is only counted"
	case f.passed:
		what = "passed unjudged"
	}
	detail := fmt.Sprintf("more new connections than any mail needs; these SYNs beyond %d a second, or beyond a few while too many waited, were %s", floodRate, what)
	if over {
		detail = "the flood is over"
		if f.untold > 0 {
			detail += "; these last SYNs were " + what
		}
	}
	fs.say(records.HealthFacts{What: "flood", Target: who, Subscriber: subscriber, Count: f.untold, Good: over, Detail: detail})
	*f = flood{last: f.last, toldAt: now}
}

// net is a source as it is metered.
func (fs *floods) net(addr netip.Addr) string {
	if addr.Is4() {
		return addr.String()
	}
	return netip.PrefixFrom(addr, fs.bits).String()
}

// problem is what status says while a flood goes on; nil: there is none.
func (fs *floods) problem(now time.Time) *webadmin.Problem {
	crowded := !fs.crowded.IsZero() && now.Sub(fs.crowded) < floodQuietFor
	if len(fs.sources) == 0 && !crowded {
		return nil
	}
	p := &webadmin.Problem{
		What:    "More new connections come than can be judged.",
		Meaning: "Who sends many of them has his dropped. What is still too much passes unjudged.",
		Do:      "The HEALTH records name who floods; end it at his port.",
	}
	if fs.closed {
		p.Meaning = "Who sends many of them has his dropped. What is still too much is dropped, too, since network.on_failure is closed; mail servers try again."
	}
	if crowded {
		return p
	}
	names := make([]string, 0, len(fs.sources))
	for addr := range fs.sources {
		name := fs.net(addr)
		if id := fs.of(addr); id != "" {
			name += " (" + id + ")"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	const most = 3
	if n := len(names) - most; n > 0 {
		names = append(names[:most], fmt.Sprintf("%d more", n))
	}
	p.What = "A flood of new connections by " + strings.Join(names, ", ") + "."
	p.Meaning = fmt.Sprintf("What is beyond %d a second of each is dropped on arrival; in mode observe, and to ports that are only counted, it passes unjudged. Nobody else is affected.", floodRate)
	return p
}
