package nfq

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/ruleset"
)

// copies reads what the kernel copies of flows in state ruleset.Copied: the server's
// packets inside TLS, which have gone on already (package ruleset). Their flows stay with
// the workers that have them.
//
// The kernel queues a copy before the flow's next packet, so whoever reads all copies after he has taken a
// packet from a queue has those of before it. A worker does that before it judges what begins or ends a session; else a
// task of its own looks now and then, and while nothing comes that sleeps.
//
// The socket is not the runtime's poller's: that would be woken for each copy.
type copies struct {
	q      *Queues
	group  uint16
	wake   int // an eventfd: says that flows have come, or the end
	marker *marker

	waking sync.Mutex // guards wake

	reading sync.Mutex // what follows; who reads puts all into inboxes
	fd      int        // -1: closed
	headers []unix.Mmsghdr
	buffers [][]byte
	next    uint32 // number of the next copy, with begun
	begun   bool
	overrun bool   // some found no room since all were read
	owed    uint64 // lost ones that count has, and of which the next number will tell
	count   copyCounters

	owning sync.Mutex
	owners map[Flow]*worker // of flows in state ruleset.Copied
	flows  atomic.Int32     // how many these are
}

type copyCounters struct {
	packets, lost, stray, unparsed uint64
}

const (
	// lookForCopies is how long copies wait when no queue has packets.
	lookForCopies = 5 * time.Millisecond
	// copiedRange is how much of a packet is copied: what a server says to a client who sends mail is short, and
	// within a record what is missing does no harm.
	copiedRange = 16 << 10
	// copySize holds a message with that.
	copySize = copiedRange + 1<<10
	// copyBuffer is what copies may take of the kernel's memory at most.
	copyBuffer = 8 << 20
)

// openCopies binds the group in the network namespace of the calling thread.
func openCopies(q *Queues, group uint16) (_ *copies, err error) {
	c := &copies{q: q, group: group, fd: -1, wake: -1, owners: map[Flow]*worker{},
		headers: make([]unix.Mmsghdr, batchSize), buffers: make([][]byte, batchSize)}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	block, vectors := make([]byte, batchSize*copySize), make([]unix.Iovec, batchSize)
	for i := range c.headers {
		c.buffers[i] = block[i*copySize:][:copySize:copySize]
		vectors[i].Base = &c.buffers[i][0]
		vectors[i].SetLen(copySize)
		c.headers[i].Hdr.Iov = &vectors[i]
		c.headers[i].Hdr.SetIovlen(1)
	}
	if c.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	if c.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER); err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, min(copyBuffer, q.cfg.SocketBuffer)); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if c.marker, err = openMarker(q.cfg.Marks); err != nil {
		return nil, err
	}
	const sequence = 1
	if err := unix.Sendto(c.fd, bindCopies(group, sequence), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("send", err)
	}
	if err := c.acknowledged(sequence); err != nil {
		return nil, err
	}
	return c, nil
}

// acknowledged waits for the kernel's answer, which is there when the send returns. Nothing
// is copied before flows come into the state, so nothing else is there.
func (c *copies) acknowledged(sequence uint32) error {
	n, _, err := unix.Recvfrom(c.fd, c.buffers[0], 0)
	if err != nil {
		return os.NewSyscallError("receive", err)
	}
	kind, s, body, _, ok := nextMessage(c.buffers[0][:n])
	errno, parsed := parseError(body)
	switch {
	case !ok || kind != messageError || s != sequence || !parsed:
		return errors.New("the kernel's answer is not understood")
	case errno == int32(unix.EPERM):
		return fmt.Errorf("NFLOG group %d is somebody else's, or CAP_NET_ADMIN is missing: %w", c.group, unix.EPERM)
	case errno != 0:
		return fmt.Errorf("NFLOG group %d: %w", c.group, syscall.Errno(errno))
	}
	return nil
}

// close unbinds the group. The kernel copies nothing then.
func (c *copies) close() {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.waking.Lock()
	defer c.waking.Unlock()
	for _, fd := range []*int{&c.fd, &c.wake} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
		}
		*fd = -1
	}
	if c.marker != nil {
		c.marker.close()
	}
}

// run looks for copies until ctx ends.
func (c *copies) run(ctx context.Context) {
	defer context.AfterFunc(ctx, c.rouse)()
	for idle := 0; ctx.Err() == nil; {
		if c.flows.Load() == 0 || idle > restAfter {
			c.wait()
			idle = 0
		}
		time.Sleep(lookForCopies)
		if idle++; c.catchUp() > 0 {
			idle = 0
		}
		for _, w := range c.q.queues() {
			if !w.inbox.isEmpty() {
				w.overhear(c.q.cfg.Now())
			}
		}
	}
}

// overhear judges copies while the queue has no packets. A worker that hangs does not hear.
func (w *worker) overhear(now time.Time) {
	if w.take() {
		defer w.mu.Unlock()
		w.hear(now)
	}
}

// wait returns when there are copies, flows have come, or after lookEvery.
func (c *copies) wait() {
	watched := []unix.PollFd{{Fd: int32(c.wake), Events: unix.POLLIN}, {Fd: int32(c.fd), Events: unix.POLLIN}}
	_, _ = unix.Poll(watched, int(lookEvery/time.Millisecond)) // EINTR: looks once more than is needed
	var count [8]byte
	_, _ = unix.Read(c.wake, count[:]) // mostly not there
}

func (c *copies) rouse() {
	c.waking.Lock()
	defer c.waking.Unlock()
	if c.wake < 0 {
		return
	}
	_, _ = unix.Write(c.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // EAGAIN: roused very often already
}

// own notes that f of w is copied from the next verdict on.
func (c *copies) own(f Flow, w *worker) {
	c.owning.Lock()
	defer c.owning.Unlock()
	c.owners[f] = w
	if c.flows.Store(int32(len(c.owners))); len(c.owners) == 1 {
		c.rouse()
	}
}

func (c *copies) disown(f Flow, w *worker) {
	c.owning.Lock()
	defer c.owning.Unlock()
	if c.owners[f] == w {
		delete(c.owners, f)
		c.flows.Store(int32(len(c.owners)))
	}
}

// leave disowns all that w has.
func (c *copies) leave(w *worker) {
	c.owning.Lock()
	defer c.owning.Unlock()
	for f, of := range c.owners {
		if of == w {
			delete(c.owners, f)
		}
	}
	c.flows.Store(int32(len(c.owners)))
}

func (c *copies) owner(f Flow) *worker {
	c.owning.Lock()
	defer c.owning.Unlock()
	return c.owners[f]
}

// catchUp puts all copies that are there into the inboxes of their workers, and says how many they were. It takes no
// worker's mutex.
func (c *copies) catchUp() (n int) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for c.fd >= 0 {
		got, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&c.headers[0])), uintptr(len(c.headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
		case unix.EINTR:
			continue
		case unix.ENOBUFS: // some found no room, and none does before all are read; the number of the next one tells how many
			c.overrun = true
			continue
		default:
			if c.overrun {
				c.overrun = false
				c.count.lost += 1 - c.owed // one at least
				c.owed = 1
				c.tellLost()
			}
			return n
		}
		for i := range got {
			c.message(c.buffers[i][:min(int(c.headers[i].Len), copySize)])
		}
		if n += int(got); int(got) < len(c.headers) && !c.overrun {
			return n
		}
	}
	return n
}

// tellLost tells all workers that copies were lost before the next ones.
func (c *copies) tellLost() {
	for _, w := range c.q.queues() {
		w.inbox.lost()
	}
}

// message takes what one datagram has.
func (c *copies) message(b []byte) {
	for {
		kind, _, body, rest, ok := nextMessage(b)
		if !ok {
			return
		}
		b = rest
		if kind != messageCopy {
			continue
		}
		number, port, ip, ok := parseCopy(body)
		if !ok {
			c.count.unparsed++
			continue
		}
		c.count.packets++
		if c.begun && number != c.next {
			c.count.lost += uint64(number-c.next) - c.owed
			c.tellLost()
		}
		c.next, c.begun, c.owed = number+1, true, 0
		var s packet.Segment
		if packet.Decode(ip, &s) != packet.OK {
			c.count.unparsed++
		} else if w := c.owner(Flow{Client: s.Dst, Server: s.Src}); w == nil {
			c.count.stray++
		} else if !w.inbox.put(ip, port) {
			c.count.lost++
		}
	}
}

func (c *copies) stats() *CopyStats {
	c.reading.Lock()
	defer c.reading.Unlock()
	return &CopyStats{Flows: int(c.flows.Load()), Copies: c.count.packets, Lost: c.count.lost, Stray: c.count.stray, Unparsed: c.count.unparsed}
}

// remark puts f's state into its connection's mark where there is no verdict that could carry it. If that fails
// the flow goes on as it is, and its next SYN, FIN or RST tries again.
func (w *worker) remark(f *flow) {
	state := f.state()
	if err := w.q.copies.marker.set(f.Flow, w.q.cfg.Marks, state); err != nil {
		w.count.unmarked++
		return
	}
	w.note(f, state)
	w.returned = true // what was copied of it before comes before what is queued of it now
	w.count.remarked++
}

// note keeps in mind what the kernel has been told of f. Copies of f that are under way stay with w: see release.
func (w *worker) note(f *flow, state ruleset.State) {
	f.told, f.marked = state, true
	if state == ruleset.Copied && !f.owned {
		f.owned = true
		w.q.copies.own(f.Flow, w)
	}
}

// release disowns f, since a packet of it that comes from a queue tells that no more copies are made. The last of them are read first,
// unless they do not matter any more.
func (w *worker) release(f *flow) {
	if !f.owned {
		return
	}
	if f.tracker != nil {
		w.q.copies.catchUp()
	}
	f.owned = false
	w.q.copies.disown(f.Flow, w)
}
