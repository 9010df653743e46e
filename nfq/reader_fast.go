package nfq

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// fast reads with recvmmsg into buffers that it reuses, parses by hand, and
// packs verdicts, each its own, into one send: no allocation per packet. The
// socket is mdlayher/netlink's, so that its options, its namespace rules and
// the runtime's poller come with it.
type fast struct {
	queue   uint16
	conn    *netlink.Conn
	raw     syscall.RawConn
	count   readerErrors
	stopped atomic.Bool

	// Only the goroutine that reads.
	headers  []unix.Mmsghdr
	buffers  [][]byte
	receive  func(fd uintptr) bool // made once: a method value per call would allocate
	takeFunc func(kind uint16, sequence uint32, body []byte)
	got      int
	errno    syscall.Errno
	batch    []queued
	lost     error    // the queue is no longer ours
	early    []queued // came while we bound, with bytes of their own

	sending sync.Mutex
	out     []byte
	write   func(fd uintptr) bool
	sent    error
}

func bindFast(queue uint16, o readerOptions) (reader, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: o.netns})
	if err != nil {
		return nil, err
	}
	r, err := newFast(conn, queue, o)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return r, nil
}

func newFast(conn *netlink.Conn, queue uint16, o readerOptions) (*fast, error) {
	// Without NoENOBUFS an overrun would be an error of some later read. The
	// kernel counts it as user_dropped either way, and Stats shows that.
	// CapAcknowledge keeps refused verdicts from echoing themselves.
	for _, option := range []netlink.ConnOption{netlink.NoENOBUFS, netlink.CapAcknowledge} {
		if err := conn.SetOption(option, true); err != nil {
			return nil, err
		}
	}
	if err := conn.SetReadBuffer(o.buffer); err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := newBuffers(queue)
	r.conn, r.raw = conn, raw
	return r, r.bind(o)
}

// newBuffers is a reader without a socket.
func newBuffers(queue uint16) *fast {
	r := &fast{queue: queue,
		headers: make([]unix.Mmsghdr, batchSize),
		buffers: make([][]byte, batchSize),
		batch:   make([]queued, 0, batchSize),
		out:     make([]byte, 0, batchSize*verdictSize),
	}
	// One block: pages that no message reaches are never touched.
	block, vectors := make([]byte, batchSize*messageSize), make([]unix.Iovec, batchSize)
	for i := range r.headers {
		r.buffers[i] = block[i*messageSize:][:messageSize:messageSize]
		vectors[i].Base = &r.buffers[i][0]
		vectors[i].SetLen(messageSize)
		r.headers[i].Hdr.Iov = &vectors[i]
		r.headers[i].Hdr.SetIovlen(1)
	}
	r.receive, r.write, r.takeFunc = r.receiveFrom, r.writeTo, r.take
	return r
}

// yields is how often the reader lets others have the processor before it waits: who
// waits is woken for the first packet that comes, and gets no other with it.
const yields = 1

// receiveFrom is called by the poller with the descriptor; false means that it
// should wait until there is something to read.
func (r *fast) receiveFrom(fd uintptr) bool {
	tries := 0
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])), uintptr(len(r.headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			if tries++; tries <= yields {
				_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // cannot fail
				continue
			}
			return false
		case 0:
			r.got, r.errno = int(n), 0
		default:
			r.got, r.errno = 0, errno
		}
		runtime.KeepAlive(r)
		return true
	}
}

// writeTo sends r.out. The socket is not connected, so its messages go to the
// kernel.
func (r *fast) writeTo(fd uintptr) bool {
	for {
		n, err := unix.Write(int(fd), r.out)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return false
		case err == nil && n != len(r.out):
			err = fmt.Errorf("%d of %d bytes", n, len(r.out)) // cannot be, netlink sends are whole
		}
		r.sent = err
		return true
	}
}

// messages receives once and hands all messages to the caller.
func (r *fast) messages(each func(kind uint16, sequence uint32, body []byte)) error {
	if err := r.raw.Read(r.receive); err != nil {
		return err
	}
	if r.errno == unix.ENOBUFS {
		r.count.overruns.Add(1)
		return nil
	}
	if r.errno != 0 {
		return os.NewSyscallError("recvmmsg", r.errno)
	}
	for i := range r.got {
		b := r.buffers[i][:min(int(r.headers[i].Len), messageSize)]
		for {
			kind, sequence, body, rest, ok := nextMessage(b)
			if !ok {
				break
			}
			each(kind, sequence, body)
			b = rest
		}
	}
	return nil
}

// bind waits for the kernel's answer. Packets may come before it when rules
// steer already; they are kept for the first read.
func (r *fast) bind(o readerOptions) error {
	const sequence = 1
	if err := r.conn.SetReadDeadline(time.Now().Add(bindTimeout)); err != nil {
		return err
	}
	if err := r.sendRaw(bindMessage(r.queue, sequence, o)); err != nil {
		return err
	}
	answered, answer := false, error(nil)
	for !answered {
		err := r.messages(func(kind uint16, s uint32, body []byte) {
			var p queued
			switch {
			case kind == messagePacket && parsePacket(body, &p):
				p.ip = slices.Clone(p.ip)
				r.early = append(r.early, p)
			case kind == messageError && s == sequence:
				answered = true
				if errno, ok := parseError(body); !ok || errno != 0 {
					answer = syscall.Errno(errno)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	if answer != nil {
		return answer
	}
	return r.conn.SetReadDeadline(time.Time{})
}

func (r *fast) read() ([]queued, error) {
	if early := r.early; len(early) > 0 {
		n := min(len(early), batchSize)
		r.early = early[n:]
		return early[:n], nil
	}
	r.batch = r.batch[:0]
	for {
		if r.stopped.Load() {
			if err := r.conn.SetReadDeadline(time.Now().Add(drainWait)); err != nil {
				return nil, err
			}
		}
		if err := r.readBatch(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, errInterrupted
			}
			return nil, err
		}
		if len(r.batch) > 0 {
			return r.batch, nil
		}
	}
}

func (r *fast) readBatch() error {
	if err := r.messages(r.takeFunc); err != nil {
		return err
	}
	return r.lost
}

func (r *fast) take(kind uint16, _ uint32, body []byte) {
	switch kind {
	case messagePacket:
		r.batch = append(r.batch, queued{})
		if !parsePacket(body, &r.batch[len(r.batch)-1]) {
			r.batch = r.batch[:len(r.batch)-1]
			r.count.unparsed.Add(1)
		}
	case messageError:
		errno, ok := parseError(body)
		switch {
		case !ok:
			r.count.unparsed.Add(1)
		case errno != 0:
			if err := r.count.refusal(syscall.Errno(errno)); err != nil {
				r.lost = err
			}
		}
	}
}

func (r *fast) send(vs []verdict) error {
	r.sending.Lock()
	defer r.sending.Unlock()
	for len(vs) > 0 {
		n := min(len(vs), batchSize)
		r.out = r.out[:0]
		for _, v := range vs[:n] {
			r.out = appendVerdict(r.out, r.queue, v)
		}
		if err := r.flush(); err != nil {
			return err
		}
		vs = vs[n:]
	}
	return nil
}

func (r *fast) sendRaw(message []byte) error {
	r.sending.Lock()
	defer r.sending.Unlock()
	r.out = append(r.out[:0], message...)
	return r.flush()
}

// flush sends r.out under r.sending. Memory may be short for a moment; then the
// message never got to the kernel's end and may be sent again.
func (r *fast) flush() error {
	const tries = 5
	for i := 1; ; i++ {
		if err := r.raw.Write(r.write); err != nil {
			return err
		}
		if r.sent == nil {
			return nil
		}
		short := r.sent == unix.ENOBUFS || r.sent == unix.ENOMEM
		if !short || i == tries {
			return os.NewSyscallError("send", r.sent)
		}
		time.Sleep(time.Millisecond << i)
	}
}

func (r *fast) interrupt() {
	r.stopped.Store(true)
	r.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed socket, whose reads fail too
}

func (r *fast) shut() error           { return r.sendRaw(shutMessage(r.queue)) }
func (r *fast) close()                { r.conn.Close() } // unbinds; there is nobody to tell
func (r *fast) errors() *readerErrors { return &r.count }
