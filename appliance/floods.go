package appliance

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/nfq"
)

// floods tells who sends more SYNs than his meter lets through, and how many: of each
// source a HEALTH record at once, one a minute while it goes on, and one when it is over.
// The counts of all these records, those of "other sources" included, add up to all SYNs
// that the meter by source stopped: none is dropped silently.
type floods struct {
	flooding func(each func(addr netip.Addr, over uint64)) error // package lane
	of       func(netip.Addr) string                             // whose it is
	say      func(records.HealthFacts)
	now      func() time.Time

	sources map[netip.Addr]*flood
	dropped uint64 // of the counters, seen so far
	passed  uint64
	told    uint64 // of both, accounted for: in a record or in sources
	others  flood  // those of whom nobody knows whose they were, or for whom there was no room
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
	dropped, passed := grown(s.FloodDropped, fs.dropped), grown(s.FloodPassed, fs.passed)
	fs.dropped, fs.passed = s.FloodDropped, s.FloodPassed
	now := fs.now()
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
			fs.tell(f, floodNet(addr), fs.of(addr), over, now)
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
			fs.tell(f, floodNet(addr), fs.of(addr), false, now)
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
	detail := fmt.Sprintf("more new connections than any mail needs; these SYNs beyond %d a second were %s", floodRate, what)
	if over {
		detail = "the flood is over"
		if f.untold > 0 {
			detail += "; these last SYNs were " + what
		}
	}
	fs.say(records.HealthFacts{What: "flood", Target: who, Subscriber: subscriber, Count: f.untold, Good: over, Detail: detail})
	*f = flood{last: f.last, toldAt: now}
}

// floodNet is a source as it is metered.
func floodNet(addr netip.Addr) string {
	if addr.Is4() {
		return addr.String()
	}
	return netip.PrefixFrom(addr, 64).String()
}
