package appliance

import (
	"cmp"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/nfq"
	"github.com/mailweir/mailweir/nfq/lane"
	"github.com/mailweir/mailweir/nfq/ruleset"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// fastLane is the lane in the kernel as the appliance keeps it: on which interfaces it
// is, whether its packets go untracked, and why it is not in use where it is not.
type fastLane struct {
	lane    *lane.Lane // nil: not in use
	bridged bool       // who else asks conntrack matters also without the lane

	taken string // from where it was taken last; guarded by Appliance.steering

	mu      sync.Mutex // guards all below
	why     string     // not in use, or not everywhere
	foreign string     // who else asks conntrack, so that packets are tracked
	broken  string     // why its copies cannot be read; it is on no interface then
	uncut   string     // why there is no short cut; "": there is
}

// More new connections a second than this from one address, and so many at once, all of
// which have to be asked about, are no mail: also a list server that is exempt from every
// budget opens fewer.
const floodRate, floodBurst = 200, 1000

// lineBits is how much of an IPv6 address tells one line from another, for meters.
func lineBits(cfg *config.Config) int { return min(cfg.Identity.IPv6Prefix, 64) }

// openLane brings up the fast lane, where it is wanted and the kernel can. Without it
// everything waits for its verdict: slower, and otherwise the same.
func openLane(cfg *config.Config, size sizes, log *slog.Logger) *fastLane {
	f := &fastLane{bridged: cfg.Network.Topology == config.Bridge, uncut: "not looked yet"}
	if cfg.Queue.FastLane == config.Off {
		f.why = "queue.fast_lane is off"
		return f
	}
	marks := ruleset.Marks{Mask: uint32(cfg.Network.MarkMask)}
	l, err := lane.Open(lane.Options{
		Ports: cfg.Network.Ports(), Limited: cfg.Network.LimitedPorts,
		Mask: marks.Mask, Fast: marks.Fast(), See: marks.Value(ruleset.See),
		Routed: cfg.Network.Topology == config.Routed, FailOpen: cfg.Network.FailOpen(),
		FloodRate: floodRate, FloodBurst: floodBurst, LineBits: lineBits(cfg), Log: log,
		Flows: size.flows, Sources: size.sources, Leases: size.leases, Blocked: size.blocked, Metered: size.metered, RingBytes: size.ring,
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
// since interfaces come and go. taken are those from which somebody took it away.
func (f *fastLane) attach(cfg *config.Config) (taken []string) {
	if f.lane == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != "" {
		f.why = f.broken
		return nil
	}
	if taken = f.lane.Taken(); len(taken) > 0 {
		_ = f.lane.Detach() // what is there is in use again a moment later
	}
	missing, err := f.lane.Attach(cfg.Network.SubscriberInterfaces, cfg.Network.UpstreamInterfaces)
	f.why = ""
	switch {
	case err != nil:
		f.why = err.Error()
	case len(missing) > 0:
		f.why = "not there: " + strings.Join(missing, ", ")
	}
	return taken
}

// brokeDown is told why the copies cannot be read, and nil when they can be again. It
// reports what went wrong besides.
func (f *fastLane) brokeDown(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = ""
	if err == nil {
		return nil
	}
	f.broken = err.Error()
	f.why = f.broken
	return f.lane.Detach()
}

func (f *fastLane) isBroken() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken != ""
}

// look finds out whether packets may go untracked.
func (f *fastLane) look() error {
	if f.lane == nil && !f.bridged {
		return nil
	}
	foreign, err := ruleset.Foreign()
	if err != nil {
		return err
	}
	if foreign == "" && strict() {
		foreign = "net.netfilter.nf_conntrack_tcp_loose is 0"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.foreign = foreign
	return nil
}

// strict tells whether conntrack takes no connection of which it has not seen the beginning:
// those that are handed over to the queue would never get there.
func strict() bool {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_tcp_loose")
	return err == nil && strings.TrimSpace(string(text)) == "0"
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

// unusable is why nobody can begin a session unasked, and the same for people; "" when
// that is not so.
func (f *fastLane) unusable() (reason, why string) {
	how, why := f.status()
	switch {
	case f.lane == nil:
		return laneOff, "the fast lane is off: " + why
	case how == "":
		return laneNotAttached, "the fast lane is on no interface: " + cmp.Or(why, "not yet")
	case !f.lane.IsAlive():
		return laneNotAlive, "nobody reads the copies of the fast lane at the moment"
	}
	return "", ""
}

// view is what status says of it.
func (f *fastLane) view(s *nfq.LaneStats) webadmin.FastLane {
	how, why := f.status()
	v := webadmin.FastLane{On: how != "", Why: why, How: how, ShortCut: f.shortCutView(s)}
	if s == nil {
		return v
	}
	v.Tracked = f.foreigners()
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
	return map[string]uint64{"cut": s.CutDropped, "flood": s.FloodDropped, "crowd": s.CrowdDropped, "total": s.TotalDropped}
}

// detach lets nothing new into the lane; copies that are there can still be read.
func (f *fastLane) detach() error {
	if f.lane == nil {
		return nil
	}
	return f.lane.Detach()
}

// lookAtLane puts the fast lane on interfaces that came, and writes the ruleset again
// when somebody has begun to ask conntrack, or nobody does any more.
func (a *Appliance) lookAtLane() {
	before := a.lane.foreigners()
	if err := a.lane.look(); err != nil {
		return // not to be asked now: the next look tells
	}
	a.lookAtBridge(a.cfg.Load())
	now := a.lane.foreigners()
	if (before == "") != (now == "") {
		a.log.Info("packets of the fast lane are tracked only where somebody else asks conntrack", "now", cmp.Or(now, "nobody"))
		if err := a.steer(a.cfg.Load()); err != nil {
			a.log.Error("write the ruleset again", "err", err)
		}
		return
	}
	a.relane()
}

// laneBroken is told why the fast lane cannot be read, and nil when it is to be used
// again. Meanwhile everything waits for its verdict: slower, and otherwise the same.
func (a *Appliance) laneBroken(err error) {
	if failed := a.lane.brokeDown(err); failed != nil {
		a.log.Error("take the fast lane off the interfaces", "err", failed)
	}
	if err == nil {
		a.log.Info("the fast lane is in use again")
		a.health.end("fast_lane")
		a.relane()
		return
	}
	a.log.Error("the fast lane cannot be read; every session waits for its verdict until it can", "err", err)
	a.health.begin(records.HealthFacts{What: "fast_lane", Detail: "copies cannot be read: " + err.Error() + "; every session waits for its verdict, and it is tried again"})
}

// relane puts the lane on the interfaces.
func (a *Appliance) relane() {
	a.steering.Lock()
	defer a.steering.Unlock()
	if !a.stopping {
		a.attachLane(a.cfg.Load())
	}
}

// attachLane puts the lane on the interfaces, and says when it was taken away from some or
// cannot be put everywhere. The caller holds a.steering.
func (a *Appliance) attachLane(cfg *config.Config) {
	taken := a.lane.attach(cfg)
	if a.lane.lane == nil {
		return
	}
	if len(taken) > 0 {
		a.lane.taken = strings.Join(taken, ", ")
		a.queues.Gap()
		a.log.Error("the program of the fast lane was taken away; attaching it again", "interfaces", a.lane.taken)
	}
	if a.lane.taken != "" {
		a.health.often(records.HealthFacts{What: "fast_lane_taken", Target: a.lane.taken, Count: uint64(min(len(taken), 1)),
			Detail: "somebody removed the program from the interface, or the interface was made anew; it is put back, and meanwhile every session waited for its verdict"})
	}
	switch how, why := a.lane.status(); {
	case a.lane.isBroken(): // which is told already
	case why != "":
		where := "it is on no interface"
		if how != "" {
			where = "it is not on every interface"
		}
		a.health.begin(records.HealthFacts{What: "fast_lane", Target: "interfaces", Detail: where + ": " + why})
	default:
		a.health.endOf("fast_lane", "interfaces")
	}
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
