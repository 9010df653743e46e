package lane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var errClosed = os.ErrClosed

// Copy is a packet that has gone on, as far as it was copied.
type Copy struct {
	IP     []byte // from the IP header on; gone when Read's function returns
	Length int    // of the IP packet on the wire; IP is shorter only beyond 64 KiB
	Lease  uint32 // of its flow
	Down   bool   // the server's packet
	Token  bool   // a SYN that took a token
}

// The head of a copy in the ring (struct head of the program), and the kernel's own
// head before it: length with two flags, and a page number.
const (
	headLength   = 0
	headCaptured = 4
	headLease    = 8
	headDown     = 12
	headFlags    = 13
	headSize     = 16

	flagToken = 1

	recordHead    = 8
	recordBusy    = 1 << 31
	recordDiscard = 1 << 30
)

// ring reads the kernel's ring buffer where it is, without a system call. The library's
// reader would copy every packet and ask the kernel whenever it finds nothing.
//
// Positions are unsigned long in the kernel and grow for ever. Of the producer's the low
// 32 bits are read: the ring is smaller than that. Ours is written with 64: to a 32-bit
// kernel the upper half is padding, and a 32-bit process on a 64-bit kernel writes what
// that kernel expects.
type ring struct {
	mu       sync.Mutex // what follows, but for epoll and events
	consumer *uint64
	producer *uint32
	data     []byte // the ring, twice in a row, so that no record is cut in two
	size     uint64
	at       uint64 // read up to here
	told     uint64 // the kernel knows that we have
	copy     Copy
	control  *programControls
	closed   bool

	waiting sync.Mutex // held by who waits, so that others can read meanwhile
	epoll   int        // -1: to be made
	copies  int        // the ring's number
	events  [2]unix.EpollEvent

	wake struct {
		sync.Mutex
		fd int // an eventfd; -1 when closed
	}
}

func (r *ring) open(l *Lane) error {
	r.control = l.control
	r.size = uint64(l.o.RingBytes)
	fd, page := l.coll.Maps[programMapCopies].FD(), unix.Getpagesize()
	consumer, err := l.mapping(fd, 0, page, true)
	if err != nil {
		return fmt.Errorf("map the ring's reading end: %w", err)
	}
	rest, err := l.mapping(fd, int64(page), page+2*l.o.RingBytes, false)
	if err != nil {
		return fmt.Errorf("map the ring: %w", err)
	}
	r.consumer = (*uint64)(unsafe.Pointer(&consumer[0]))
	r.producer = (*uint32)(unsafe.Pointer(&rest[0]))
	r.data = rest[page:]
	r.copies = fd

	if r.wake.fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("make an eventfd: %w", err)
	}
	if err := r.watch(); err != nil {
		_ = unix.Close(r.wake.fd)
		return err
	}
	return nil
}

// watch makes what Wait waits with.
func (r *ring) watch() (err error) {
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		r.epoll = -1
		return fmt.Errorf("make an epoll: %w", err)
	}
	for _, fd := range []int{r.copies, r.wake.fd} {
		if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			r.unwatch()
			return fmt.Errorf("watch the ring: %w", err)
		}
	}
	return nil
}

func (r *ring) unwatch() {
	if r.epoll >= 0 {
		_ = unix.Close(r.epoll)
	}
	r.epoll = -1
}

func (r *ring) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.interrupt()
	r.waiting.Lock()
	r.unwatch()
	r.waiting.Unlock()
	r.wake.Lock()
	_ = unix.Close(r.wake.fd)
	r.wake.fd = -1
	r.wake.Unlock()
}

// Read gives the copies that are there to each, in the order in which the packets came,
// and returns how many there were. It makes no system call and allocates nothing. What
// comes while it runs is left to the next call. c is the reader's until each returns.
func (l *Lane) Read(each func(c *Copy)) int {
	r := &l.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.tell()
	n := 0
	for end := atomic.LoadUint32(r.producer); uint32(r.at) != end && !r.closed; {
		from := r.at & (r.size - 1)
		head := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[from])))
		if head&recordBusy != 0 {
			break // another processor is just writing it
		}
		length := uint64(head &^ recordDiscard)
		body := r.data[from+recordHead : from+recordHead+length]
		r.at += (recordHead + length + 7) &^ 7
		if head&recordDiscard == 0 {
			captured := binary.LittleEndian.Uint32(body[headCaptured:])
			r.copy = Copy{
				IP:     body[headSize : headSize+captured : headSize+captured],
				Length: int(binary.LittleEndian.Uint32(body[headLength:])),
				Lease:  binary.LittleEndian.Uint32(body[headLease:]),
				Down:   body[headDown] != 0,
				Token:  body[headFlags]&flagToken != 0,
			}
			each(&r.copy)
			n++
		}
		if r.at-r.told >= r.size/16 {
			r.tell()
		}
	}
	return n
}

// tell gives the kernel back what has been read: now and then, since both write to the
// memory that this touches.
func (r *ring) tell() {
	if r.at != r.told {
		atomic.StoreUint64(r.consumer, r.at)
		r.told = r.at
	}
}

// Wait returns when there may be something to read, after Interrupt, at until, or with
// os.ErrClosed. The zero time is never. While nobody waits the program wakes nobody.
// Others may read while somebody waits. After an error another Wait begins anew.
func (l *Lane) Wait(until time.Time) error {
	r := &l.ring
	r.waiting.Lock()
	defer r.waiting.Unlock()
	// The program looks at Sleeping after each record. We say it first and look then,
	// so one of both sees the other.
	atomic.StoreUint32(&r.control.Sleeping, 1)
	defer atomic.StoreUint32(&r.control.Sleeping, 0)
	for {
		empty, err := r.empty()
		if err != nil {
			return err
		}
		if !empty {
			break
		}
		timeout := -1
		if !until.IsZero() {
			left := max(time.Until(until), 0)
			timeout = int(min((left+time.Millisecond-1)/time.Millisecond, 1<<30))
		}
		if r.epoll < 0 {
			if err := r.watch(); err != nil {
				return fmt.Errorf("fast lane: %w", err)
			}
		}
		n, err := unix.EpollWait(r.epoll, r.events[:], timeout)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			if errors.Is(err, unix.EBADF) {
				r.epoll = -1 // whoever closed it: the number may be somebody else's by now
			}
			r.unwatch()
			return fmt.Errorf("fast lane: wait for copies: %w", err)
		}
		if n > 0 || timeout == 0 {
			break
		}
	}
	r.wake.Lock()
	defer r.wake.Unlock()
	var count [8]byte
	_, _ = unix.Read(r.wake.fd, count[:]) // takes an Interrupt back; there is mostly none
	return nil
}

func (r *ring) empty() (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false, errClosed
	}
	return uint32(r.at) == atomic.LoadUint32(r.producer), nil
}

// Interrupt ends the Wait under way, or the next one.
func (l *Lane) Interrupt() { l.ring.interrupt() }

func (r *ring) interrupt() {
	r.wake.Lock()
	defer r.wake.Unlock()
	if r.wake.fd < 0 {
		return
	}
	_, _ = unix.Write(r.wake.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // EAGAIN: interrupted very often already
}
