package lane

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/packet"
)

func TestAFullRingLosesNoSession(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	h.lease(sub4, 1, 10)
	h.lease(other4, 2, 10)
	c := connection(sub4, 8000, inter4, 25, 1)
	port := uint16(8000)
	late := func() conn { // who has waited waits again, so each is another one
		port++
		return connection(sub4, port, inter4, 25, 2)
	}
	h.up(c.syn().Packet())
	long := c.up(packet.ACK, strings.Repeat("m", 3000)).Packet()
	for range minRing {
		if h.up(long); h.LostTotal() > 0 {
			break
		}
	}
	if h.Lost(1) != 1 || h.LostTotal() != 1 || h.Lost(2) != 0 {
		t.Fatalf("lost %d of the lease, %d in all, %d of another lease", h.Lost(1), h.LostTotal(), h.Lost(2))
	}
	// Only the smallest pieces may still fit.
	for before := h.LostTotal(); h.LostTotal() < before+2; {
		if _, mark := h.up(c.up(packet.ACK, "x").Packet()); mark != 0x0b000000 {
			t.Fatalf("a packet whose copy was lost bears mark %#x", mark)
		}
	}

	if _, mark := h.up(late().syn().Packet()); mark != 0 || h.Tokens(1) != 9 {
		t.Errorf("a SYN of a lease with losses: mark %#x, %d tokens", mark, h.Tokens(1))
	}
	if n := h.ClearLost(1); n != 3 || h.Lost(1) != 0 {
		t.Errorf("cleared %d, left %d", n, h.Lost(1))
	}
	unheard := late()
	if _, mark := h.up(unheard.syn().Packet()); mark != 0 || h.Tokens(1) != 9 {
		t.Errorf("a SYN without room for its copy: mark %#x, %d tokens", mark, h.Tokens(1))
	}
	if found, _ := h.DeleteFlow(unheard.Key, unheard.isn); found {
		t.Error("it has left a flow")
	}
	if s := h.stats(); s.SYNQueue.Ring != 1 || s.SYNQueue.Lost != 1 || s.Lost != 3 {
		t.Errorf("stats %+v", s)
	}
	if _, mark := h.up(c.syn().Packet()); mark != 0x0b000000 || h.Lost(1) != 1 {
		t.Errorf("a SYN once more without room: mark %#x, lost %d", mark, h.Lost(1))
	}

	h.up(c.up(packet.ACK|packet.FIN, "").Packet())
	h.down(c.down(packet.ACK|packet.FIN, "").Packet())
	h.down(c.down(packet.RST, "").Packet())
	ends := make(map[Key]End)
	note := func(k Key, e End) { ends[k] |= e }
	if err := h.LostEnds(note); err != nil || len(ends) != 1 || ends[c.Key] != FINUp|FINDown|RST|SYN {
		t.Errorf("lost ends %v, %v", ends, err)
	}
	clear(ends)
	if err := h.LostEnds(note); err != nil || len(ends) != 0 {
		t.Errorf("lost ends a second time: %v, %v", ends, err)
	}

	n := len(h.copied())
	if s := h.stats(); uint64(n) != s.Copies {
		t.Errorf("%d copies were in the ring, %d counted", n, s.Copies)
	}
	if _, mark := h.up(late().syn().Packet()); mark != 0 {
		t.Errorf("there is room again, but losses are not cleared: mark %#x", mark)
	}
	h.ClearLost(1)
	if _, mark := h.up(late().syn().Packet()); mark != 0x0b000000 || len(h.copied()) != 1 || h.Tokens(1) != 8 {
		t.Errorf("everything is right again: mark %#x, %d tokens", mark, h.Tokens(1))
	}
}

func TestANewSessionIsNotEndedByANoteOfTheOld(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	h.lease(sub4, 1, 10)
	c := connection(sub4, 8000, inter4, 25, 1)
	h.up(c.syn().Packet())
	long := c.up(packet.ACK, strings.Repeat("m", 3000)).Packet()
	for h.LostTotal() < 40 { // the last gap is smaller than any copy
		h.up(long)
		h.up(c.up(packet.ACK, "x").Packet())
	}
	h.up(c.up(packet.ACK|packet.FIN, "").Packet())
	h.copied()
	h.ClearLost(1)
	c.isn = 2
	if _, mark := h.up(c.syn().Packet()); mark != 0x0b000000 {
		t.Fatalf("the new session bears mark %#x", mark)
	}
	if err := h.LostEnds(func(k Key, e End) { t.Errorf("end %d of %v", e, k) }); err != nil {
		t.Error(err)
	}
}

func TestAFullTableOfFlowsTakesNoToken(t *testing.T) {
	t.Parallel()
	o := options()
	o.Flows = 16
	h := newHand(t, o)
	h.lease(sub4, 1, 100)
	if got := h.give(20, sub4, inter4, 25); got != (ways{fast: 16, alone: 4}) || h.Tokens(1) != 84 {
		t.Fatalf("%+v, %d tokens left", got, h.Tokens(1))
	}
	if s := h.stats(); s.SYNQueue.Table != 4 {
		t.Errorf("stats %+v", s)
	}
	if n := len(h.copied()); n != 16 {
		t.Errorf("%d copies", n)
	}
	if found, err := h.DeleteFlow(connection(sub4, 20003, inter4, 25, 3).Key, 3); !found || err != nil {
		t.Fatalf("delete one: %v, %v", found, err)
	}
	if got := h.give(20, sub4, inter4, 25); got.fast != 16 || h.Tokens(1) != 83 {
		t.Errorf("with room for one more, and 15 retransmissions: %+v, %d tokens left", got, h.Tokens(1))
	}
}

func TestSourcesOfEarlierGenerationsMakeRoom(t *testing.T) {
	t.Parallel()
	o := options()
	o.Sources, o.Blocked = 8, 8
	h := newHand(t, o)
	addr := sub4
	for range 8 {
		if err := h.SetSource(addr, 1); err != nil {
			t.Fatal(err)
		}
		addr = addr.Next()
	}
	if err := h.SetSource(addr, 1); !errors.Is(err, unix.E2BIG) {
		t.Fatalf("a ninth of eight: %v", err)
	}
	if g := h.Forget(); g != h.Generation() || g != 2 {
		t.Errorf("generation %d, %d", g, h.Generation())
	}
	if err := h.SetSource(addr, 1); err != nil {
		t.Fatalf("after Forget: %v", err)
	}
	h.Grant(1, 10)
	h.Alive(time.Hour)
	if got := h.give(1, addr, inter4, 25); got.fast != 1 {
		t.Errorf("the new one: %+v", got)
	}

	for range 8 {
		if err := h.Block(addr, time.Millisecond); err != nil {
			t.Fatal(err)
		}
		addr = addr.Next()
	}
	time.Sleep(2 * time.Millisecond)
	if err := h.Block(sub4, time.Hour); err != nil {
		t.Errorf("block a ninth of eight whose time is over: %v", err)
	}
}

// However many processors begin sessions, and user space grants and takes back: each token
// is one copy, or is still there.
func TestTokensAreNeverSpentTwice(t *testing.T) {
	t.Parallel()
	const workers, each = 4, 1500
	o := options()
	o.Flows, o.RingBytes = 8192, 4<<20
	h := newHand(t, o)
	h.lease(sub4, 1, 1000)
	var granted, recalled, ready atomic.Int64
	granted.Store(1000)
	var wg sync.WaitGroup
	for w := range uint16(workers) {
		wg.Go(func() {
			runtime.LockOSThread() // never unlocked
			if err := netns.Set(h.box.Handle); err != nil {
				t.Error(err)
				return
			}
			ready.Add(1)
			for ready.Load() < workers {
				runtime.Gosched()
			}
			for i := range uint16(each) {
				syn := ethernet(connection(sub4, 1024+w*each+i, inter4, 25, 5).syn().Packet())
				if _, _, err := h.runHere(programProgSubscriberEth, "lan0", syn, 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var copies int64
	count := func(c *Copy) {
		if c.Token {
			copies++
		}
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		h.Grant(1, 3)
		granted.Add(3)
		left := h.Recall(1)
		if left < 0 {
			t.Errorf("%d tokens", left)
		}
		recalled.Add(int64(left))
		h.Grant(1, left)
		granted.Add(int64(left))
		h.Read(count)
	}
	h.Read(count)
	if spent := granted.Load() - recalled.Load() - int64(h.Tokens(1)); spent != copies || copies == 0 {
		t.Errorf("%d tokens are gone, %d copies have one", spent, copies)
	}
	if s := h.stats(); s.SYNFast != uint64(copies) || s.Lost != 0 {
		t.Errorf("%d copies, stats %+v", copies, s)
	}
}

// The kernel counts bytes with as many bits as it has, and the reader compares 32 of them.
func TestTheRingGoesOnBeyondFourGiB(t *testing.T) {
	t.Parallel()
	o := options()
	o.RingBytes = 64 << 20
	h := newHand(t, o)
	h.lease(sub4, 1, 1)
	c := connection(sub4, 8000, inter4, 25, 1)
	h.up(c.syn().Packet())
	h.copied()
	frame := ethernet(c.up(packet.ACK, strings.Repeat("m", 3000)).Packet())
	const each = 14000 // records of 4632 bytes
	for h.ring.at < 1<<32+1<<26 {
		if _, _, err := h.coll.Programs[programProgSubscriberEth].Benchmark(frame, each, nil); err != nil {
			t.Fatal(err)
		}
		if n := h.Read(func(*Copy) {}); n != each || h.LostTotal() != 0 {
			t.Fatalf("at byte %d: %d of %d copies, %d lost", h.ring.at, n, each, h.LostTotal())
		}
	}
}
