package appliance

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeKernel is the kernel's set, without timeouts.
type fakeKernel struct {
	mu   sync.Mutex
	set  map[netip.Addr]time.Duration
	fail error
}

func (k *fakeKernel) Cut(a netip.Addr, d time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	k.set[a] = d
	return nil
}

func (k *fakeKernel) Uncut(a netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.set, a)
	return nil
}

func (k *fakeKernel) UncutAll() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.set)
	return nil
}

func (k *fakeKernel) has(a netip.Addr) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.set[a]
	return ok
}

func TestCutter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := netip.MustParseAddr("2001:db8::1")
		moved := netip.Addr{}
		stillCut := map[string]bool{"bot": true, "other": true}
		k := &fakeKernel{set: map[netip.Addr]time.Duration{}}
		c := newCutter(func(_ string, a netip.Addr) bool { return a != shared && a != moved }, func(id string) bool { return stillCut[id] }, slog.New(slog.DiscardHandler))
		c.use(k)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()

		a, b, o := netip.MustParseAddr("100.64.0.1"), netip.MustParseAddr("100.64.0.2"), netip.MustParseAddr("100.64.9.9")
		c.cut("bot", a, time.Minute)
		c.cut("bot", b, time.Minute)
		c.cut("other", o, time.Minute)
		c.cut("bot", shared, time.Minute)
		c.cut("bot", netip.MustParseAddr("100.64.0.3"), 0)
		synctest.Wait()
		if !k.has(a) || !k.has(b) || !k.has(o) || len(k.set) != 3 {
			t.Errorf("the kernel cuts %v", k.set)
		}
		if c.shared.Load() != 1 {
			t.Errorf("a /64 that others live in: counted %d times", c.shared.Load())
		}

		moved = b
		c.review()
		if !k.has(a) || k.has(b) || !k.has(o) {
			t.Errorf("after %v became somebody else's: %v", b, k.set)
		}
		c.cut("bot", b, time.Minute)
		synctest.Wait()
		if k.has(b) {
			t.Error("an address of somebody else was cut")
		}
		stillCut["bot"] = false
		c.release("bot")
		if k.has(a) || k.has(b) || !k.has(o) {
			t.Errorf("after release of bot: %v", k.set)
		}
		c.cut("bot", a, time.Minute) // decided before the release, done after it
		synctest.Wait()
		if k.has(a) {
			t.Error("a released subscriber was cut by a job that waited")
		}

		k.mu.Lock()
		k.fail = errors.New("no room")
		k.mu.Unlock()
		c.cut("other", o, time.Minute)
		synctest.Wait()
		if c.failed.Load() != 1 {
			t.Errorf("a failed cut is counted %d times", c.failed.Load())
		}
		c.releaseAll()
		if len(k.set) != 0 {
			t.Errorf("after releaseAll: %v", k.set)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestCutNeverBlocks(t *testing.T) {
	c := newCutter(func(string, netip.Addr) bool { return true }, func(string) bool { return true }, slog.New(slog.DiscardHandler))
	for range maxCutQueue + 5 { // nobody runs it
		c.cut("bot", netip.MustParseAddr("100.64.0.1"), time.Minute)
	}
	if got := c.skipped.Load(); got != 5 {
		t.Errorf("%d cuts were skipped, want 5", got)
	}
}
