package appliance

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/lane"
	"github.com/mailweir/mailweir/nfq/ruleset"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// fastLane is the lane in the kernel as the appliance keeps it: on which interfaces it
// is, whether its packets go untracked, and why it is not in use where it is not.
type fastLane struct {
	lane *lane.Lane // nil: not in use

	mu      sync.Mutex // guards all below
	why     string     // not in use, or not everywhere
	foreign string     // who else asks conntrack, so that packets are tracked
	uncut   string     // why there is no short cut; "": there is
}

// More new connections a second than this from one address, and so many at once, all of
// which have to be asked about, are no mail: also a list server that is exempt from every
// budget opens fewer.
const floodRate, floodBurst = 200, 1000

// openLane brings up the fast lane, where it is wanted and the kernel can. Without it
// everything waits for its verdict: slower, and otherwise the same.
func openLane(cfg *config.Config, log *slog.Logger) *fastLane {
	f := &fastLane{uncut: "not looked yet"}
	if cfg.Queue.FastLane == config.Off {
		f.why = "queue.fast_lane is off"
		return f
	}
	marks := ruleset.Marks{Mask: uint32(cfg.Network.MarkMask)}
	l, err := lane.Open(lane.Options{
		Ports: cfg.Network.Ports(), Limited: cfg.Network.LimitedPorts,
		Mask: marks.Mask, Fast: marks.Fast(), See: marks.Value(ruleset.See),
		Routed: cfg.Network.Topology == config.Routed, FailOpen: cfg.Network.FailOpen(),
		FloodRate: floodRate, FloodBurst: floodBurst, Log: log,
	})
	if err != nil {
		f.why = err.Error()
		return f
	}
	f.lane = l
	return f
}

// forQueues is what package nfq is given: a nil interface where there is no lane.
func (f *fastLane) forQueues() nfq.FastLane {
	if f.lane == nil {
		return nil
	}
	return f.lane
}

// attach puts the lane on the interfaces that are there. It is called again and again,
// since interfaces come and go.
func (f *fastLane) attach(cfg *config.Config) {
	if f.lane == nil {
		return
	}
	missing, err := f.lane.Attach(cfg.Network.SubscriberInterfaces, cfg.Network.UpstreamInterfaces)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.why = ""
	switch {
	case err != nil:
		f.why = err.Error()
	case len(missing) > 0:
		f.why = "not there: " + strings.Join(missing, ", ")
	}
}

// look finds out whether packets may go untracked.
func (f *fastLane) look() error {
	if f.lane == nil {
		return nil
	}
	foreign, err := ruleset.Foreign()
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.foreign = foreign
	return nil
}

// foreigners is who else asks conntrack; "" for nobody.
func (f *fastLane) foreigners() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.foreign
}

// status says whether the lane is in use and by what, and why not, or not everywhere.
func (f *fastLane) status() (how, why string) {
	f.mu.Lock()
	why = f.why
	f.mu.Unlock()
	if f.lane != nil {
		how = f.lane.How()
	}
	return how, why
}

// view is what status says of it.
func (f *fastLane) view(s *nfq.LaneStats) webadmin.FastLane {
	how, why := f.status()
	v := webadmin.FastLane{On: how != "", Why: why, How: how, Tracked: f.foreigners(), ShortCut: f.shortCutView(s)}
	if s == nil {
		return v
	}
	v.Subscribers, v.Addresses, v.Allowed = s.Holders, s.Addresses, s.Sessions
	v.Sessions, v.Handed = int64(s.SYNFast), int64(s.Moved)
	v.Packets, v.Copies, v.CopiesLost = int64(s.Fast), int64(s.Copies), int64(s.Lost)
	v.Waited, v.Dropped = map[string]int64{}, map[string]int64{}
	for why, n := range laneWaited(s) {
		v.Waited[why] = int64(n)
	}
	for why, n := range laneDropped(s) {
		v.Dropped[why] = int64(n)
	}
	return v
}

// laneWaited is why sessions took the way of the queue, in words fit for labels.
func laneWaited(s *nfq.LaneStats) map[string]uint64 {
	q := s.SYNQueue
	return map[string]uint64{"source_unknown": q.Unknown, "source_stale": q.Stale, "lease_used_up": q.Token, "not_alive": q.NotAlive, "copies_lost": q.Lost,
		"to_a_subscriber": q.Inside, "handed_over": q.Handed, "waited_before": q.Waited, "ring_full": q.Ring, "table_full": q.Table, "odd": q.Odd}
}

// laneDropped is why SYNs were dropped on arrival.
func laneDropped(s *nfq.LaneStats) map[string]uint64 {
	return map[string]uint64{"cut": s.CutDropped, "flood": s.FloodDropped, "total": s.TotalDropped}
}

// detach lets nothing new into the lane; copies that are there can still be read.
func (f *fastLane) detach() error {
	if f.lane == nil {
		return nil
	}
	return f.lane.Detach()
}

// cutting is the kernel's means to cut, the lane's included. A new ruleset cuts nobody,
// and neither does the lane then.
func (f *fastLane) cutting(rs kernelCutter) kernelCutter {
	if f.lane == nil {
		return rs
	}
	_ = f.lane.UnblockAll() // what stays ends by itself, and the first SYNs of each second pass
	return cutting{rs, f.lane}
}

// options are those of the ruleset that the lane asks for.
func (f *fastLane) options(o *ruleset.Options) {
	if f.lane == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	o.Lane, o.Untracked = true, f.foreign == ""
}

// act is told the mode: in observe nothing is dropped.
func (f *fastLane) act(m governor.Mode) {
	if f.lane != nil {
		f.lane.Act(m == governor.ModeEnforce)
	}
}

func (f *fastLane) close() error {
	if f.lane == nil {
		return nil
	}
	return f.lane.Close()
}

// cutting is the kernel's means to cut: the ruleset answers with resets, and the lane
// drops what is too much of it, before anything else has work with it.
type cutting struct {
	kernelCutter
	lane *lane.Lane
}

func (c cutting) Cut(a netip.Addr, d time.Duration) error {
	if err := c.kernelCutter.Cut(a, d); err != nil {
		return err
	}
	_ = c.lane.Block(a, d) // its table may be full; then every SYN is answered, and none dropped
	return nil
}

func (c cutting) Uncut(a netip.Addr) error {
	return errors.Join(c.lane.Unblock(a), c.kernelCutter.Uncut(a))
}

func (c cutting) UncutAll() error {
	return errors.Join(c.lane.UnblockAll(), c.kernelCutter.UncutAll())
}

// Holder is whose sessions those of client are.
func (j *judge) Holder(client netip.Addr) string { return j.who.of(client).id }

// Lease is how many sessions the holder of f may begin without being asked.
func (j *judge) Lease(f nfq.Flow, handle any, most int, now time.Time) int {
	v, ok := handle.(*visit)
	if !ok {
		return 0
	}
	return j.gov.Allowance(v.id, most, now)
}

var _ nfq.Lessor = (*judge)(nil)
