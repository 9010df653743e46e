// Package lane is the fast lane: an eBPF program that lets a subscriber's mail
// sessions begin without asking while there is a lease, and copies what is needed
// for the books.
//
// # The way of a packet
//
// The program sits at tc ingress of the subscriber and the upstream interfaces.
// There it looks at TCP with a governed port on the server's side, in IPv4 and IPv6,
// with up to two VLAN tags, but on a bridge with none. Fragments, IPv6 extension headers and what is about to
// end its life (TTL 1) are left alone.
//
// A SYN from a subscriber goes on at once when its address is known (SetSource), its
// lease has a token (Grant), user space is alive (Alive), no copy of this lease was
// lost, and it is not for another subscriber. It bears Options.Fast in its mark from
// then on, like all packets of its flow. Every other SYN takes the way of the queue:
// it is left alone, and package ruleset steers it. So with nothing said to it the
// program changes nothing.
//
// What is copied of a flow is a matter of its State. Pure ACKs never are.
//
// # Why a session cannot be missed
//
// A SYN needs room for its copy, then room for its flow, then a token, and goes on
// only with all three. Its copy has Token set, and the number of such copies is the
// number of tokens taken. A copy that is lost later is counted and stops its lease
// (Lost) until ClearLost.
//
// # The short cut
//
// While ShortCut allows it, packets of sessions in the lane are forwarded by the program
// itself: not the SYN and its answer, nothing that is handed over, and only plain packets
// from one Ethernet device to another. Route and neighbour are looked up for each. What
// the program does not know (a longer packet than what leaves may be, no route, a route by
// another interface than the session's) is left to the kernel, whole. What it forwards
// meets neither netfilter nor programs that come after this one, so ShortCut is
// for a box on which nobody else asks for that (Others, and Onlooker in package ruleset).
//
// # Floods
//
// Who is cut (Block) is answered now and then, by the rules that answer SYNs with a
// reset, and dropped otherwise. What takes the way of the queue passes two meters: one
// by line (an IPv4 address, or LineBits of an IPv6 one) and one for all. When half of the latter is used up, who
// sends more than a little is dropped first. They protect user space; budgets are kept
// elsewhere.
//
// # When user space goes
//
// A TCX link goes with the process. A clsact filter stays after a crash; it is harmless,
// since leases end with Alive and short cuts with ShortCut, and copies that nobody reads are counted and nothing
// more. The next Attach finds and replaces it.
//
// # Kernels
//
// Linux 5.12 is needed, 6.6 for TCX. The processor must be little-endian. 32-bit ARM has no
// compiler for these programs' atomics in its kernel and interprets them, which a kernel
// with BPF_JIT_ALWAYS_ON refuses. Packets joined beyond 64 KiB (BIG TCP, off unless somebody
// turns it on) may bear an extension header in IPv6 and are then left alone.
package lane

//go:generate sh ../../.ci/generate .

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Lane is the program in the kernel and the memory shared with it. All methods are
// safe for concurrent use; Read and Wait are for one reader. After Close they do
// nothing or return os.ErrClosed.
type Lane struct {
	o    Options
	coll *ebpf.Collection
	ifs  []device

	uncut error // why the program cannot cut short

	control *programControls
	leases  []programLease

	calls calls
	ring  ring

	mu     sync.Mutex // what follows
	how    string
	holds  []hold
	closed bool
	noted  uint64 // copies lost when LostEnds was last asked
	thrown uint32 // generation in which old sources were thrown out
}

// Open loads the program and attaches it nowhere: Attach does.
func Open(o Options) (*Lane, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("fast lane: %w", err)
	}
	l := &Lane{o: o}
	if l.coll, l.uncut, err = load(o, prepared); err != nil {
		return nil, fmt.Errorf("fast lane: %w", err)
	}
	if err := l.share(); err != nil {
		l.coll.Close()
		return nil, fmt.Errorf("fast lane: %w", err)
	}
	return l, nil
}

// share maps what the program and we both write.
func (l *Lane) share() error {
	control, err := l.mapping(l.coll.Maps[".data.control"].FD(), 0, int(unsafe.Sizeof(programControls{})), true)
	if err != nil {
		return fmt.Errorf("map the program's variables: %w", err)
	}
	leases, err := l.mapping(l.coll.Maps[programMapLeases].FD(), 0, l.o.Leases*int(unsafe.Sizeof(programLease{})), true)
	if err != nil {
		return fmt.Errorf("map the leases: %w", err)
	}
	l.control = (*programControls)(unsafe.Pointer(&control[0]))
	l.leases = unsafe.Slice((*programLease)(unsafe.Pointer(&leases[0])), l.o.Leases)
	atomic.StoreUint32(&l.control.Generation, 1)
	l.calls.init(l.coll)
	return l.ring.open(l)
}

// mapping maps a part of a map. It is unmapped when nobody has l any more, not by
// Close: a late Grant then writes into memory that nobody reads, instead of crashing.
func (l *Lane) mapping(fd int, offset int64, length int, write bool) ([]byte, error) {
	page := unix.Getpagesize()
	length = (length + page - 1) / page * page
	prot := unix.PROT_READ
	if write {
		prot |= unix.PROT_WRITE
	}
	m, err := unix.Mmap(fd, offset, length, prot, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	runtime.AddCleanup(l, func(m []byte) { _ = unix.Munmap(m) }, m)
	return m, nil
}

// Attach puts the program to all interfaces that are there now, in the calling thread's
// network namespace, or to none; there must be one of each side. missing names those that
// are not there. It may be called again when interfaces have come or gone: where nothing
// has changed it does nothing, otherwise everything is attached anew, and in the moment
// between packets take the way of the queue.
func (l *Lane) Attach(subscribers, upstream []string) (missing []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("fast lane: attach: %w", errClosed)
	}
	ifs, missing, err := devices(subscribers, upstream)
	if errors.Is(err, errOneSided) {
		err = errors.Join(err, l.detached())
	}
	if err != nil {
		return missing, fmt.Errorf("fast lane: %w", err)
	}
	if !l.o.Routed {
		cross(ifs)
	}
	if l.how != "" && slices.Equal(ifs, l.ifs) {
		return missing, nil
	}
	if err := l.detached(); err != nil {
		l.o.Log.Warn("fast lane: detach", "err", err) // an interface that is gone took its program along
	}
	if err := tellSides(l.coll, l.ifs, ifs); err != nil {
		return missing, fmt.Errorf("fast lane: %w", err)
	}
	l.ifs = ifs
	atomic.AddUint32(&l.control.Epoch, 1) // sessions under way cut short no more: their interfaces may be gone
	how, holds, err := attach(l.o.Attach, l.ifs, l.coll)
	if err != nil {
		return missing, fmt.Errorf("fast lane: %w", err)
	}
	l.how, l.holds = how, holds
	l.o.Log.Info("fast lane attached", "how", how, "subscribers", subscribers, "upstream", upstream, "missing", missing)
	return missing, nil
}

// Detach takes the program from all interfaces. What has been copied can still be read;
// all tokens are where they were.
func (l *Lane) Detach() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.detached()
}

func (l *Lane) detached() error {
	err := undo(l.holds)
	l.how, l.holds = "", nil
	return err
}

// Close detaches, ends a Wait under way, and gives the kernel's memory back. Not to be
// called from within Read.
func (l *Lane) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	err := l.detached()
	l.ring.close()
	l.calls.close()
	l.coll.Close()
	return err
}

// How is "tcx" or "clsact", and empty while not attached.
func (l *Lane) How() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.how
}

// Alive makes leases good for so long from now; not positive: they end now. Who hangs does
// not call it, and then new sessions ask. On 32-bit kernels the two halves may be seen one
// without the other, for a moment every four seconds and by four seconds.
func (l *Lane) Alive(for_ time.Duration) {
	atomic.StoreUint64(&l.control.AliveUntil, uint64(max(monotonic()+int64(for_), 0)))
}

// Judging says that the queues are read for so long from now; not positive: nobody reads them,
// and nobody ever will. While it has run out, what would wait for a verdict passes unjudged, if
// FailOpen: the kernel lets pass only what comes for a queue that nobody has bound, not what a
// process that stands still has.
func (l *Lane) Judging(for_ time.Duration) {
	until := uint64(0)
	if for_ > 0 {
		until = uint64(monotonic() + int64(for_))
	}
	atomic.StoreUint64(&l.control.JudgedUntil, until)
}

// IsAlive reports whether leases are good now.
func (l *Lane) IsAlive() bool {
	return uint64(monotonic()) < atomic.LoadUint64(&l.control.AliveUntil)
}

// Generation is that of the sources that are known. It is never zero.
func (l *Lane) Generation() uint32 { return atomic.LoadUint32(&l.control.Generation) }

// Forget makes every source unknown from now on and returns the new generation. Flows
// that are under way stay.
func (l *Lane) Forget() uint32 {
	for {
		g := l.Generation()
		next := max(g+1, 1) // zero is nobody's
		if atomic.CompareAndSwapUint32(&l.control.Generation, g, next) {
			return next
		}
	}
}

// Act says whether SYNs to limited ports beyond a source's flood meter are dropped
// (enforce) or let through uncounted (observe, as after Open).
func (l *Lane) Act(enforce bool) {
	var v uint32
	if enforce {
		v = 1
	}
	atomic.StoreUint32(&l.control.Act, v)
}

// monotonic is the program's clock, bpf_ktime_get_ns.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("lane: the kernel has no monotonic clock: " + err.Error())
	}
	return ts.Nano()
}

func discard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
