// Package nfq reads packets from the kernel's queues, follows the flows in
// them, asks a Policy, and answers every packet with exactly one verdict.
//
// # The life of a queue
//
// Open binds the queues; only after it should rules steer packets into them,
// since a queue without a reader drops or (with bypass) passes them. Binding
// while an earlier life's rules still steer is fine too: packets that come
// between the kernel's acknowledgements are judged like all others.
//
// Run starts one worker per queue. A worker owns its flow table: the kernel
// spreads packets over the queues by address pair, equal for both directions,
// so a flow never changes its worker. Beside each worker a keeper lets go of
// held packets when their time has come and expires flows; both take the
// worker's mutex, which is held for one batch at a time.
//
// When ctx ends, the kernel is told to take no more packets into the queue
// (they pass with Config.FailOpen, else they are dropped by the kernel), all
// that is held or still under way is accepted, and the queue is unbound.
//
// # Holding
//
// A held packet simply has no verdict yet. This works because no verdict here
// is a batch verdict, which would let go of everything before it too. The
// server's retransmissions of held bytes are dropped; a FIN or RST from either
// side, Unhold or the end of Run let a held packet go early.
//
// # Marks
//
// A verdict carries a packet mark only when the kernel's idea of the flow must
// change; a later rule copies it into the conntrack mark (package ruleset). A
// conntrack mark in the verdict itself is silently ignored by many kernels.
package nfq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailweir/mailweir/nfq/ruleset"
)

// Config says what to read and whom to ask. Only Policy and Ports must be set.
type Config struct {
	First, Count uint16 // queue numbers First..First+Count-1; Count 0: one
	Reader       string // "fast" (default) or "portable" (go-nfqueue)
	Length       uint32 // packets in each kernel queue; 0: 16384
	FailOpen     bool   // a full or closing queue passes packets instead of dropping them
	Marks        ruleset.Marks
	Ports        []uint16 // governed TCP ports of servers

	MaxHeld          int // packets held at once, all queues; 0: a quarter of Length; at most half of it
	MaxHeldPerClient int // of these by one client address (IPv6: one /64); 0: a quarter of MaxHeld
	MaxFlows         int // flows known at once, all queues; 0: 131072. One client has at most an eighth of them

	Lane      FastLane // nil: every session waits for a verdict. Policy is a Lessor then.
	MaxLeases int      // holders that have a lease at once; 0: 65536
	// LaneBroken is told why copies cannot be waited for. The lane is given up then, and tried again
	// later: nil says that it is in use again. nil: nobody is told.
	LaneBroken func(error)

	SocketBuffer int // bytes of packets on their way to us, in the kernel, each queue; 0: 32 MiB

	HungAfter time.Duration // a reader that has a batch in hand for so long is replaced; 0: 10 s

	WayBack WayBack // nil: routes lead to all clients

	// Copies: inside TLS copies of what servers say will do, if the kernel gives them (ruleset.CopyGroup). Whether it
	// does, Queues.Copies says; ruleset.Options.Copies is to be the same.
	Copies bool

	Policy Policy
	Log    *slog.Logger     // nil: none. Never used per packet.
	Now    func() time.Time // nil: time.Now
}

func (c Config) withDefaults() (Config, error) {
	if c.Count == 0 {
		c.Count = 1
	}
	if c.Reader == "" {
		c.Reader = "fast"
	}
	if c.Length == 0 {
		c.Length = 16384
	}
	if c.Marks.Mask == 0 {
		c.Marks.Mask = ruleset.DefaultMask
	}
	if c.MaxHeld == 0 {
		c.MaxHeld = int(c.Length / 4)
	}
	if c.MaxHeldPerClient == 0 {
		c.MaxHeldPerClient = max(c.MaxHeld/4, 1)
	}
	if c.MaxFlows == 0 {
		c.MaxFlows = 1 << 17
	}
	if c.SocketBuffer == 0 {
		c.SocketBuffer = 32 << 20
	}
	if c.HungAfter == 0 {
		c.HungAfter = 10 * time.Second
	}
	if c.MaxLeases == 0 {
		c.MaxLeases = 1 << 16
	}
	if c.LaneBroken == nil {
		c.LaneBroken = func(error) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case c.Policy == nil:
		return c, errors.New("nfq: no policy")
	case len(c.Ports) == 0:
		return c, errors.New("nfq: no governed port")
	case int(c.First)+int(c.Count) > 1<<16:
		return c, fmt.Errorf("nfq: queues %d..%d: numbers end at 65535", c.First, int(c.First)+int(c.Count)-1)
	case c.MaxHeld < 0 || uint64(c.MaxHeld) > uint64(c.Length/2):
		return c, fmt.Errorf("nfq: %d held packets: at most half of the queue's length %d, or holding would fill it", c.MaxHeld, c.Length)
	case c.MaxHeldPerClient < 0 || c.MaxFlows < 0 || c.MaxLeases < 0 || c.SocketBuffer < 0:
		return c, errors.New("nfq: negative bound")
	}
	if _, lets := c.Policy.(Lessor); c.Lane != nil && !lets {
		return c, errors.New("nfq: the fast lane needs a policy that lets leases")
	}
	return c, c.Marks.Validate()
}

// Queues are bound kernel queues and the flows seen in them.
type Queues struct {
	cfg      Config
	bind     func(uint16, readerOptions) (reader, error)
	follower *follower // nil: no fast lane
	copies   *copies   // nil: the server's packets inside TLS wait for their verdicts

	opened    time.Time
	netns     *os.File // in which the queues are, for those who replace a reader
	replacing sync.Mutex
	workers   []*worker // one a queue; guarded by replacing once Run was called
	replaced  atomic.Uint64

	kernel  *kernelTable
	holding *holding
	flows   atomic.Int64 // in all tables, against cfg.MaxFlows
	ran     atomic.Bool
}

// Open binds the queues in the network namespace of the calling thread. It
// needs CAP_NET_ADMIN there. EPERM in the error means that somebody else has
// bound one of them.
func Open(cfg Config) (*Queues, error) {
	var bind func(uint16, readerOptions) (reader, error)
	switch cfg.Reader {
	case "", "fast":
		bind = bindFast
	case "portable":
		bind = bindPortable
	default:
		return nil, fmt.Errorf("nfq: reader %q: allowed: fast, portable", cfg.Reader)
	}
	return open(cfg, bind)
}

func open(cfg Config, bind func(uint16, readerOptions) (reader, error)) (*Queues, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	q := &Queues{cfg: cfg, bind: bind, opened: cfg.Now(), kernel: openKernelTable(), holding: newHolding(cfg.MaxHeld, cfg.MaxHeldPerClient)}
	if q.netns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	for i := range cfg.Count {
		n := cfg.First + i
		r, err := bind(n, readerOptions{length: cfg.Length, buffer: cfg.SocketBuffer, failOpen: cfg.FailOpen, log: cfg.Log})
		if err != nil {
			q.Close()
			return nil, fmt.Errorf("bind queue %d: %w", n, err)
		}
		q.workers = append(q.workers, newWorker(q, n, r))
	}
	if cfg.Copies {
		if q.copies, err = openCopies(q, ruleset.CopyGroup); err != nil {
			cfg.Log.Warn("inside TLS what servers say waits for its verdict, which is slower", "err", err)
		}
	}
	if cfg.Lane != nil {
		q.follower = newFollower(q, cfg.Lane, cfg.Policy.(Lessor), cfg.MaxLeases)
	}
	cfg.Log.Info("queues bound", "first", cfg.First, "count", cfg.Count, "reader", cfg.Reader)
	return q, nil
}

// Run judges packets until ctx ends or a queue breaks; then it answers all
// packets that were taken, closes all flows, unbinds the queues and returns
// what broke, nil when it was only ctx. It can be called once.
func (q *Queues) Run(ctx context.Context) error {
	if q.ran.Swap(true) {
		return errors.New("nfq: Run was called before")
	}
	defer q.Close()
	group, ctx := errgroup.WithContext(ctx)
	start := func(w *worker) {
		group.Go(func() error {
			if err := w.tended(ctx); err != nil {
				return fmt.Errorf("queue %d: %w", w.number, err)
			}
			return nil
		})
	}
	for _, w := range q.queues() {
		start(w)
	}
	group.Go(func() error { return q.watch(ctx, start) })
	if c := q.copies; c != nil {
		group.Go(func() error {
			c.run(ctx)
			return nil
		})
	}
	if fl := q.follower; fl != nil {
		group.Go(func() error {
			fl.run(ctx)
			return nil
		})
	}
	return group.Wait()
}

// Copies reports whether inside TLS copies do. Where Config.Copies wants that and the kernel does not, the log says why.
func (q *Queues) Copies() bool { return q.copies != nil }

// queues are the workers of the queues, now.
func (q *Queues) queues() []*worker {
	q.replacing.Lock()
	defer q.replacing.Unlock()
	return slices.Clone(q.workers)
}

// all are these and the follower.
func (q *Queues) all() []*worker {
	all := q.queues()
	if q.follower != nil {
		all = append(all, q.follower.worker)
	}
	return all
}

// Unlease lets nobody begin a session unasked any more, until his next one waited
// for its verdict. It is to be called after everything that can make what Lessor
// allows smaller than it was, or give an address to somebody else. It may be called
// from a Policy.
func (q *Queues) Unlease() {
	if q.follower != nil {
		q.follower.leases.forget()
	}
}

// share is how many flows of one client (IPv6: one /64) a queue knows: who opens
// thousands of connections displaces his own.
func (q *Queues) share() int { return max(q.cfg.MaxFlows/8/int(q.cfg.Count), leastShare) }

// leastShare is for tables that are too small to be divided.
const leastShare = 16

// Close unbinds the queues. It is for those who do not come to call Run, which
// closes by itself. Calling it again does nothing.
func (q *Queues) Close() {
	for _, w := range q.queues() {
		w.reader.close()
	}
	if q.copies != nil {
		q.copies.close()
	}
	q.kernel.close()
	q.netns.Close() // was only read
}

// Reset ends the flows that match: the policy's Close is called with EndCut,
// and each further packet that reaches the queue, from whichever side, is
// answered with a reset. Packets that the kernel passes without us need
// ruleset.Cut. It returns before it is done and may be called from a Policy.
// match is called from the workers' goroutines.
func (q *Queues) Reset(match func(f Flow, handle any) bool) {
	for _, w := range q.all() {
		w.want(match)
	}
}

// Unhold lets go of the matching flows' held packets at once, also of replies
// that were to be held but did not come yet. It returns how many packets were
// let go. It must not be called from a Policy.
func (q *Queues) Unhold(match func(f Flow, handle any) bool) int {
	n := 0
	for _, w := range q.all() {
		n += w.unhold(match)
	}
	return n
}

// clientNet is the address by which what one client may take is bounded.
func clientNet(f Flow) netip.Addr {
	a := f.Client.Addr()
	if a.Is6() && !a.Is4In6() {
		p, _ := a.Prefix(64) // 64 is a valid length for IPv6
		return p.Addr()
	}
	return a
}
