package nfq

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/nfq/lane"
	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/ruleset"
	"github.com/mailweir/mailweir/nfq/session"
)

// recording is a session that somebody recorded: segments of both sides as they came by.
type recording []segment

type segment struct {
	up  bool
	tcp nfqtest.TCP
}

// whole tells whether nothing of r was missed by who recorded it. What is said without an answer to the SYN, or far
// beyond what was acknowledged, is invalid to conntrack: it passes, the queue does not see it and the lane does. Content
// that the server never acknowledged counts where it is seen, and only the lane sees the first of it.
func (r recording) whole() bool {
	var next [2]uint32
	var acknowledged uint32
	var begun [2]bool
	for _, s := range r {
		side := 0
		if s.up {
			side = 1
		}
		n := uint32(len(s.tcp.Payload))
		if s.tcp.Flags.Any(packet.SYN | packet.FIN) {
			n++
		}
		switch {
		case s.tcp.Flags.Has(packet.SYN):
			next[side], begun[side] = s.tcp.Seq, true
		case !begun[side] || int32(s.tcp.Seq-next[side]) > 0 && !s.tcp.Flags.Has(packet.RST), begun[1-side] && s.tcp.Flags.Has(packet.ACK) && int32(s.tcp.Ack-next[1-side]) > 0:
			return false
		}
		if !s.up && s.tcp.Flags.Has(packet.ACK) {
			acknowledged = s.tcp.Ack
		}
		if end := s.tcp.Seq + n; int32(end-next[side]) > 0 {
			next[side] = end
		}
	}
	return begun[0] && int32(next[1]-acknowledged) <= 1 // a FIN may be left
}

// recordedSessions are the whole ones of the captures, in pieces that a cable takes.
func recordedSessions(t *testing.T) (all []recording) {
	t.Helper()
	const most = 1400
	for _, path := range nfqtest.Captures(t, "smtp") {
		type ends struct{ client, server netip.AddrPort }
		open := map[ends]*recording{}
		var order []ends
		for _, p := range nfqtest.Read(t, path).Packets {
			var s packet.Segment
			if packet.Decode(p.IP, &s) != packet.OK || s.Missing > 0 {
				continue
			}
			key, up := ends{s.Src, s.Dst}, true
			if open[key] == nil {
				if open[ends{s.Dst, s.Src}] != nil {
					key, up = ends{s.Dst, s.Src}, false
				} else if s.Flags&(packet.SYN|packet.ACK) == packet.SYN {
					open[key] = &recording{}
					order = append(order, key)
				} else {
					continue
				}
			}
			for rest := s.Payload; ; rest = rest[most:] {
				piece := nfqtest.TCP{Seq: s.Seq + uint32(len(s.Payload)-len(rest)), Ack: s.Ack, Flags: s.Flags, Payload: slices.Clone(rest[:min(most, len(rest))])}
				last := len(rest) <= most
				if !last {
					piece.Flags &^= packet.FIN | packet.PSH
				}
				*open[key] = append(*open[key], segment{up, piece})
				if last {
					break
				}
			}
		}
		for _, key := range order {
			if r := *open[key]; r.whole() {
				all = append(all, r)
			}
		}
	}
	return all
}

// script is r between other ends.
func (r recording) script(client, server netip.AddrPort) (s []func() []byte) {
	for _, step := range r {
		s = append(s, func() []byte {
			step.tcp.Src, step.tcp.Dst = server, client
			if step.up {
				step.tcp.Src, step.tcp.Dst = client, server
			}
			return step.tcp.Packet()
		})
	}
	return s
}

// hourClients is how many clients of mixedHour make a hundred thousand packets.
const hourClients = 25

// recordedHour is mixedHour of fewer clients, with every third session a recorded one.
func recordedHour(t *testing.T, seed uint64, flights [][2]string) []*script {
	all, from := mixedHour(seed, flights), recordedSessions(t)
	all = slices.DeleteFunc(all, func(s *script) bool { return s.talk.client.Addr().As4()[3] >= 2+hourClients })
	rnd := rand.New(rand.NewPCG(seed, 11))
	used, n := map[int]bool{}, 0
	for i, s := range all {
		if i%3 == 0 {
			k := rnd.IntN(len(from))
			used[k] = true
			n++
			s.next = from[k].script(s.talk.client, s.talk.server)
		}
	}
	t.Logf("%d sessions, %d of them recorded: %d of the %d in the captures", len(all), n, len(used), len(from))
	return all
}

// shared is governed for several goroutines.
type shared struct {
	mu sync.Mutex
	governed
}

func (p *shared) Open(f Flow, now time.Time) Opening {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.governed.Open(f, now)
}

func (p *shared) Event(f Flow, h any, e session.Event, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.governed.Event(f, h, e, now)
}

func (p *shared) Close(f Flow, h any, s Summary) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.governed.Close(f, h, s)
}

func (p *shared) Lease(f Flow, h any, most int, now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.governed.Lease(f, h, most, now)
}

// bare leaves nobody in the network of r who speaks by himself, and tells the box where clients and servers are. Cables
// take what a handshake says at once.
func (r *rig) bare(clients int) {
	r.t.Helper()
	long := func(name string) (netlink.Link, error) {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return nil, err
		}
		return l, netlink.LinkSetMTU(l, 9000)
	}
	r.inter.Must(func() error { _, err := long("int0"); return err })
	var mac net.HardwareAddr
	r.sub.Must(func() error {
		l, err := long("sub0")
		if err != nil {
			return err
		}
		mac = l.Attrs().HardwareAddr
		own, err := netlink.ParseAddr("10.0.1.2/24")
		if err != nil {
			return err
		}
		return netlink.AddrDel(l, own)
	})
	r.box.Must(func() error {
		if _, err := long("wan0"); err != nil {
			return err
		}
		l, err := long("lan0")
		if err != nil {
			return err
		}
		for i := range clients {
			n := &netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.IP{10, 0, 1, byte(2 + i)}, HardwareAddr: mac}
			if err := netlink.NeighSet(n); err != nil {
				return err
			}
		}
		return nfqtest.Route("198.18.0.0/15", "10.0.2.2")
	})
}

// openLane loads the real program and attaches it, with room for an hour within seconds.
func (r *rig) openLane() *lane.Lane {
	r.t.Helper()
	m := ruleset.Marks{Mask: ruleset.DefaultMask}
	var l *lane.Lane
	r.box.Must(func() (err error) {
		l, err = lane.Open(lane.Options{Ports: []uint16{25}, Mask: m.Mask, Fast: m.Fast(), See: m.Value(ruleset.See), Routed: true, FailOpen: true,
			FloodRate: 1e6, FloodBurst: 1e6, CalmRate: 1e6, CalmBurst: 1e6, TotalRate: 1e6, TotalBurst: 1e6})
		if err != nil {
			return err
		}
		_, err = l.Attach([]string{"lan0"}, []string{"wan0"})
		return err
	})
	r.t.Cleanup(func() { _ = l.Close() })
	l.ShortCut(time.Hour)
	return l
}

// anHour plays an hour through a real box within seconds, and returns what was decided. The clock of the box stands
// while a packet is on its way: what takes time in it can make no difference.
func anHour(t *testing.T, all []*script, reader string, fast bool) *shared {
	start := time.Unix(1_000_000, 0)
	p := &shared{governed: governed{gov: governor.New(mixedPolicy(governor.ModeEnforce), start), by: map[string][]string{}}}
	was := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(was + 2) // see worker.run
	defer runtime.GOMAXPROCS(was)
	r := newRig(t, 2)
	r.bare(hourClients)
	var clock atomic.Int64 // since start
	cfg := Config{Reader: reader, Count: 2, Policy: p, Now: func() time.Time { return start.Add(time.Duration(clock.Load())) }}
	if fast {
		r.steer(2, func(o *ruleset.Options) { o.Lane, o.Untracked = true, true })
		cfg.Lane = r.openLane()
	}
	q := r.open(cfg)
	run := r.start(q)
	w := &play{t: t, q: q, sub: r.wire(r.sub, "sub0", "lan0"), inter: r.wire(r.inter, "int0", "wan0"), came: map[string]int{}}

	var out []verdict
	later := func(d time.Duration) {
		if q.follower != nil {
			q.follower.catchUp()
		}
		clock.Add(int64(d))
		for _, one := range q.all() {
			for next := time.Duration(0); next <= 0; {
				out, next = one.tend(cfg.Now(), out)
				one.send(out)
			}
		}
	}
	count := map[string]int{}
	var running []*script
	for len(all) > 0 || len(running) > 0 {
		for len(all) > 0 && all[0].at <= time.Duration(clock.Load()) {
			running, all = append(running, all[0]), all[1:]
		}
		for range 4 {
			running = slices.DeleteFunc(running, func(s *script) bool {
				if s.held != nil {
					if !w.released(s.held) {
						return false
					}
					s.held = nil
				}
				ip := s.next[0]()
				s.next = s.next[1:]
				how := w.send(ip)
				count[how]++
				switch how {
				case "refused":
					return true
				case "held":
					s.held = ip
				}
				return len(s.next) == 0
			})
			later(250 * time.Millisecond)
		}
	}
	for range 80 { // until everything has timed out
		later(time.Minute)
	}
	s := q.Stats()
	if err := run.stop(); err != nil {
		t.Error(err)
	}
	balanced(t, q.Stats())
	if s.Flows != 0 {
		t.Errorf("%d flows never ended", s.Flows)
	}
	t.Logf("reader %s, fast lane %v: %d let through; packets %v", reader, fast, p.passed, count)
	if l := s.Lane; l != nil {
		t.Logf("%d sessions began unasked, %d packets did not wait, %d of them by the short cut; %d flows were handed over", l.Opened, l.Fast, l.ShortCut, l.Moved)
		if l.Late != 0 || l.Losses != 0 || l.FloodDropped+l.TotalDropped != 0 {
			t.Errorf("%d sessions too late, copies lost %d times, %d SYNs dropped", l.Late, l.Losses, l.FloodDropped+l.TotalDropped)
		}
		if l.Opened < uint64(p.passed)/10 || l.ShortCut == 0 {
			t.Error("hardly anybody used the fast lane")
		}
	}
	return p
}

// The same hour, a third of it recorded from others' software, through the kernel's real queues with both readers, with
// and without the program of the fast lane: the same decisions for everybody at the same times by the same figures, and
// the same sessions with the same facts.
func TestARecordedHourThroughBothLanesAndReaders(t *testing.T) {
	flights := recordHandshake(t)
	var want *shared
	var of string
	for _, fast := range []bool{false, true} {
		for _, reader := range []string{"fast", "portable"} {
			name := fmt.Sprintf("reader %s, fast lane %v", reader, fast)
			t.Run(name, func(t *testing.T) {
				got := anHour(t, recordedHour(t, 1, flights), reader, fast)
				if want == nil {
					want, of = got, name
					return
				}
				alike(t, of, want.by, name, got.by)
			})
		}
	}
}

// alike holds two accounts against each other, word by word. What running sessions of one subscriber do in the same
// instant may be noticed in another order.
func alike(t *testing.T, nameA string, a map[string][]string, nameB string, b map[string][]string) {
	t.Helper()
	if len(a) != len(b) {
		t.Errorf("%d subscribers by %s, %d by %s", len(a), nameA, len(b), nameB)
	}
	for _, id := range slices.Sorted(maps.Keys(a)) {
		slices.Sort(a[id])
		slices.Sort(b[id])
		for i := range min(len(a[id]), len(b[id])) {
			if a[id][i] != b[id][i] {
				t.Fatalf("%s, word %d:\n%s: %s\n%s: %s", id, i, nameA, a[id][i], nameB, b[id][i])
			}
		}
		if len(a[id]) != len(b[id]) {
			t.Fatalf("%s: %d words by %s, %d by %s", id, len(a[id]), nameA, len(b[id]), nameB)
		}
	}
}
