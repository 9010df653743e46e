package appliance

import (
	"cmp"
	"runtime"
	"sync"

	"github.com/mailweir/mailweir/governor"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// source answers the web admin and the command line from what is in memory.
type source struct {
	a         *Appliance
	packing   sync.Mutex // one pack of evidence at a time
	trying    turns      // one what-if at a time
	tried     answers
	searching sync.Mutex // one page of subscribers at a time: however many ask, the packet path has room
	untold    untold     // searching guards it
	histories histories
	reading   slot // one reads the journal at a time, for the same reason
}

var _ webadmin.Source = (*source)(nil)

func (s *source) Status() webadmin.Status {
	a, now := s.a, s.a.now()
	cfg := a.cfg.Load()
	q := a.queues.Stats()
	stages, ready := a.gov.Stages(), a.ready.Load()
	st := webadmin.Status{
		Version: a.opt.Version, Box: a.box, Mode: cfg.Mode, Since: webadmin.At(*a.since.Load()),
		Ready: ready, Image: a.opt.Image != nil, FailClosed: !cfg.Network.FailOpen(), Steered: ready || a.steered(), Uptime: webadmin.Seconds(now.Sub(a.start)),
		Lanes: webadmin.Lanes{
			Fast: a.lane.view(q.Lane),
			Queue: webadmin.QueueLane{
				Held: int64(q.Held), Form: string(a.kernel.QueueForm), Reader: cfg.Queue.Reader,
			},
		},
		Sessions:       webadmin.Sessions{Open: a.judge.open.Load(), Total: a.judge.total.Load()},
		Acted:          a.judge.acted.Load(),
		WouldHaveActed: a.judge.wouldHave.Load(),
		Actions: webadmin.Actions{
			Passed: a.judge.passed.Load(), Paced: a.judge.paced.Load(), Deferred: a.judge.deferred.Load(), Cut: a.judge.cut.Load(),
		},
		Stages: webadmin.Stages{
			Observe: stages[governor.StageObserve], Warn: stages[governor.StageWarn], Pace: stages[governor.StagePace],
			Defer: stages[governor.StageDefer], Cut: stages[governor.StageCut],
		},
		Exempt:   a.gov.Exemptions(),
		Clusters: a.observer.view(),
		Bridge:   a.bridgeView(q),
		Router:   a.routerView(cfg),
		Clock:    a.clockHere(),
		Problems: a.problems(),
	}
	met := a.census.take(a.censusMaker())
	st.Lanes.Fast.Next, st.Lanes.Fast.Waiting = met.next, met.waiting
	for _, p := range cfg.Network.LimitedPorts {
		st.Ports = append(st.Ports, int(p))
	}
	if q.Lane != nil {
		st.Actions.FailedOpen += int64(q.Lane.FloodPassed + q.Lane.TotalPassed)
	}
	for _, one := range q.Queues {
		st.Lanes.Queue.Depth += int64(max(one.Kernel.Depth-one.HeldNow, 0))
		st.Lanes.Queue.Dropped += int64(one.Kernel.QueueDropped)
		st.Lanes.Queue.UserDropped += int64(one.Kernel.UserDropped)
		st.Lanes.Queue.Packets += int64(one.Packets)
		st.Actions.FailedOpen += int64(failedOpen(one.Passed))
	}
	for _, t := range a.syslog.Status() {
		st.Syslog = append(st.Syslog, webadmin.Syslog{
			URL: t.URL, Up: t.Up, Since: webadmin.At(a.syslog.since(t.URL)), Behind: int64(t.Behind), Dropped: int64(t.Dropped), Oldest: webadmin.At(t.Oldest), LastError: t.LastError,
		})
	}
	st.Notices = a.noticeTargets()
	st.Spool = a.spoolView()
	st.Journal = a.journalView()
	st.Head.Seq, st.Head.Hash = a.chain.Head()
	ok, why := a.saved()
	wrote := a.saver.writing()
	st.Store = webadmin.Store{OK: ok, Why: why, WrittenToday: wrote.today, WrittenSince: webadmin.At(wrote.since), WrittenYesterday: wrote.yesterday}
	return st
}

// failedOpen counts packets that passed although they should have been judged.
func failedOpen(passed map[string]uint64) uint64 {
	return passed["flow_table_full"] + passed["hold_bound"] + passed["panic"] + passed["stopping"]
}

func (s *source) Traffic() webadmin.Traffic { return s.a.traffic.view(s.a.now()) }

// Subscribers lists everybody who is configured or did something.
func (s *source) Subscribers(q webadmin.Query) ([]webadmin.Subscriber, string) {
	limit := cmp.Or(q.Limit, 100)
	s.searching.Lock()
	defer s.searching.Unlock()
	var items []webadmin.Subscriber
	var last place
	var from *place
	if p, ok := placeOf(q.Cursor); ok {
		from = &p
	}
	for l := s.listing(q); ; {
		some := l.after(from, limit+1)
		for _, p := range some {
			v, ok := s.Subscriber(p.id)
			runtime.Gosched() // it is as much work as some hundred of those that were looked at
			if !ok || !matches(v, q) {
				continue // forgotten, or elsewhere since the roll was made
			}
			if len(items) == limit {
				return items, last.cursor()
			}
			items, last = append(items, v), p
		}
		if len(some) <= limit {
			return items, ""
		}
		from = &some[limit]
	}
}

// letOthers lets others run once in a few hundred steps of something long: on a small machine they would wait for the end
// of a time slice, 10 ms.
func letOthers(step int) {
	if step&255 == 0 {
		runtime.Gosched()
	}
}
