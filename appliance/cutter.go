package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailweir/mailweir/nfq/ruleset"
)

// kernelCutter is what the cutter needs of the ruleset.
type kernelCutter interface {
	Cut(netip.Addr, time.Duration) error
	Uncut(netip.Addr) error
	UncutAll() error
}

// maxCutQueue bounds the cuts that wait for the kernel. When it is full the cut
// is not lost: user space goes on answering each attempt with a reset, and each
// of them asks again.
const maxCutQueue = 1024

// cutter puts the addresses of cut subscribers into the kernel's set, beside the
// packet path: a netlink round trip is too long to make a packet wait for.
type cutter struct {
	kernel atomic.Pointer[kernelCutter]                  // nil until the ruleset is there
	mine   func(subscriber string, addr netip.Addr) bool // addr is its, and nobody else lives where the kernel would cut
	still  func(subscriber string) bool                  // it is cut, and in mode enforce, right now
	log    *slog.Logger
	jobs   chan cutJob
	shifts chan struct{} // a review is asked for

	mu   sync.Mutex
	held map[string]map[netip.Addr]struct{} // addresses in the kernel's set by subscriber

	failed, skipped, shared atomic.Uint64
}

type cutJob struct {
	subscriber string
	addr       netip.Addr
	lasts      time.Duration
}

func newCutter(mine func(string, netip.Addr) bool, still func(string) bool, log *slog.Logger) *cutter {
	return &cutter{mine: mine, still: still, log: log, jobs: make(chan cutJob, maxCutQueue), shifts: make(chan struct{}, 1), held: map[string]map[netip.Addr]struct{}{}}
}

// use tells which ruleset to cut in; a new one begins with empty sets.
func (c *cutter) use(k kernelCutter) {
	c.mu.Lock()
	clear(c.held)
	c.mu.Unlock()
	c.kernel.Store(&k)
}

// cut asks for addr to be reset in the kernel. It never blocks.
func (c *cutter) cut(subscriber string, addr netip.Addr, lasts time.Duration) {
	if lasts <= 0 {
		return
	}
	if !c.mine(subscriber, addr) {
		c.shared.Add(1)
		return
	}
	select {
	case c.jobs <- cutJob{subscriber, addr, lasts}:
	default:
		c.skipped.Add(1)
	}
}

// release lets go of everything of a subscriber, at once. A cut of it that still
// waits finds that it is not cut any more.
func (c *cutter) release(subscriber string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kernel.Load()
	if k == nil {
		return
	}
	for addr := range c.held[subscriber] {
		c.uncut(*k, subscriber, addr)
	}
	delete(c.held, subscriber)
}

// reviewSoon asks for a review: an address has another holder, or somebody is not cut
// any more. It never blocks.
func (c *cutter) reviewSoon() {
	select {
	case c.shifts <- struct{}{}:
	default:
	}
}

// reviewPause keeps many changes from making many reviews.
const reviewPause = 100 * time.Millisecond

// review lets go of whoever is not cut any more, and of every address that is not its
// subscriber's any more: a cut follows the line, not the address.
func (c *cutter) review() {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kernel.Load()
	if k == nil {
		return
	}
	for id, addrs := range c.held {
		still := c.still(id)
		for addr := range addrs {
			if !still || !c.mine(id, addr) {
				c.uncut(*k, id, addr)
				delete(addrs, addr)
			}
		}
		if len(addrs) == 0 {
			delete(c.held, id)
		}
	}
}

func (c *cutter) uncut(k kernelCutter, subscriber string, addr netip.Addr) {
	if err := k.Uncut(addr); err != nil {
		c.failed.Add(1)
		c.log.Error("let go of a cut address; its timeout will", "subscriber", subscriber, "addr", addr, "err", err)
	}
}

// releaseAll lets go of everybody.
func (c *cutter) releaseAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.held)
	if k := c.kernel.Load(); k != nil {
		if err := (*k).UncutAll(); err != nil {
			c.failed.Add(1)
			c.log.Error("let go of all cut addresses; their timeouts will", "err", err)
		}
	}
}

func (c *cutter) Run(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	shifts := c.shifts
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-shifts:
			c.review()
			shifts = nil
			pause.Reset(reviewPause)
		case <-pause.C:
			shifts = c.shifts
		case j := <-c.jobs:
			if err := c.do(j); err != nil {
				c.failed.Add(1)
				c.log.Error("kernel cut set", "subscriber", j.subscriber, "err", err)
			}
		}
	}
}

func (c *cutter) do(j cutJob) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kernel.Load()
	if k == nil || !c.still(j.subscriber) || !c.mine(j.subscriber, j.addr) {
		return nil
	}
	if err := (*k).Cut(j.addr, j.lasts); err != nil {
		return fmt.Errorf("cut %s: %w", j.addr, err)
	}
	if c.held[j.subscriber] == nil {
		c.held[j.subscriber] = map[netip.Addr]struct{}{}
	}
	c.held[j.subscriber][j.addr] = struct{}{}
	return nil
}

var _ kernelCutter = (*ruleset.Ruleset)(nil)
