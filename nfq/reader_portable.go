package nfq

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	nfqueue "github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// portable reads through go-nfqueue: about 60 allocations and one system call
// for each packet and for each verdict, but none of the unsafe code of fast.
type portable struct {
	queue uint16
	nf    *nfqueue.Nfqueue
	count readerErrors

	// packets is where go-nfqueue's goroutine puts them. When it is full that
	// goroutine blocks, and packets wait in the kernel's queue.
	packets chan queued
	broken  chan error // the error that ended that goroutine
	stop    chan struct{}
	stopped sync.Once
	closing atomic.Bool
	closed  chan struct{}
	done    sync.Once
	batch   []queued
}

// bindTries is how often binding is tried again: under traffic a packet is
// sometimes read in place of the answer to a configuration command, see
// "mismatched sequence" in go-nfqueue's Register.
const bindTries = 10

func bindPortable(queue uint16, o readerOptions) (reader, error) {
	var err error
	for i := range bindTries {
		if i > 0 {
			time.Sleep(time.Duration(i) * 5 * time.Millisecond)
		}
		var r *portable
		if r, err = bindPortableOnce(queue, o); err == nil {
			return r, nil
		}
		if errors.Is(err, unix.EPERM) {
			break
		}
	}
	return nil, err
}

func bindPortableOnce(queue uint16, o readerOptions) (*portable, error) {
	r := &portable{queue: queue,
		packets: make(chan queued, batchSize), broken: make(chan error, 1),
		stop: make(chan struct{}), closed: make(chan struct{}),
	}
	flags := uint32(nfqueue.NfQaCfgFlagGSO)
	if o.failOpen {
		flags |= nfqueue.NfQaCfgFlagFailOpen
	}
	nf, err := nfqueue.Open(&nfqueue.Config{
		NetNS: o.netns, NfQueue: queue, MaxPacketLen: copyRange, MaxQueueLen: o.length, Copymode: nfqueue.NfQnlCopyPacket,
		Flags: flags, AfFamily: unix.AF_INET, Logger: unparsed{&r.count},
	})
	if err != nil {
		return nil, err
	}
	r.nf = nf
	for _, option := range []netlink.ConnOption{netlink.NoENOBUFS, netlink.CapAcknowledge} {
		if err := nf.SetOption(option, true); err != nil {
			nf.Close()
			return nil, err
		}
	}
	if err := nf.Con.SetReadBuffer(o.buffer); err != nil {
		nf.Close()
		return nil, err
	}
	if err := nf.RegisterWithErrorFunc(context.Background(), r.packet, r.failed); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// packet is called by go-nfqueue's goroutine. It never returns anything but 0:
// that would end the goroutine for good, and nobody would hear of it.
func (r *portable) packet(a nfqueue.Attribute) int {
	if a.PacketID == nil {
		r.count.unparsed.Add(1)
		return 0
	}
	p := queued{id: *a.PacketID}
	if a.Mark != nil {
		p.mark = *a.Mark
	}
	if a.InDev != nil {
		p.inDev = *a.InDev
	}
	if a.PhysInDev != nil {
		p.port = *a.PhysInDev
	}
	if a.HwAddr != nil && len(*a.HwAddr) == len(p.mac) {
		p.mac = [6]byte(*a.HwAddr)
	}
	if a.SkbInfo != nil && len(*a.SkbInfo) >= 4 {
		p.skbInfo = binary.BigEndian.Uint32(*a.SkbInfo)
	}
	if a.Payload != nil {
		p.ip = *a.Payload
	}
	if a.CapLen != nil {
		p.length = int(min(*a.CapLen, 1<<30))
	}
	p.length = max(p.length, len(p.ip))
	select {
	case r.packets <- p:
	case <-r.closed: // the queue is being unbound, and the packet with it
	}
	return 0
}

// failed is called for every error of a receive; what it does not answer with 0
// ends go-nfqueue's goroutine.
func (r *portable) failed(err error) int {
	var errno syscall.Errno
	switch {
	case r.closing.Load():
		return 1
	case errors.Is(err, unix.ENOBUFS):
		r.count.overruns.Add(1)
		return 0
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0
	case errors.As(err, &errno) && errno != unix.EBADF && errno != unix.ENOTSOCK:
		if err = r.count.refusal(errno); err == nil {
			return 0
		}
	}
	r.broken <- err
	return 1
}

func (r *portable) read() ([]queued, error) {
	r.batch = r.batch[:0]
	select {
	case p := <-r.packets:
		r.batch = append(r.batch, p)
	default:
		select {
		case p := <-r.packets:
			r.batch = append(r.batch, p)
		case err := <-r.broken:
			return nil, err
		case <-r.closed:
			return nil, os.ErrClosed
		case <-r.stop:
			wait := time.NewTimer(drainWait)
			defer wait.Stop()
			select {
			case p := <-r.packets:
				r.batch = append(r.batch, p)
			case <-wait.C:
				return nil, errInterrupted
			}
		}
	}
	for len(r.batch) < batchSize {
		select {
		case p := <-r.packets:
			r.batch = append(r.batch, p)
		default:
			return r.batch, nil
		}
	}
	return r.batch, nil
}

func (r *portable) send(vs []verdict) error {
	for _, v := range vs {
		var err error
		switch {
		case v.drop:
			err = r.nf.SetVerdict(v.id, nfqueue.NfDrop)
		case v.marked:
			err = r.nf.SetVerdictWithOption(v.id, nfqueue.NfAccept, nfqueue.WithMark(v.mark))
		default:
			err = r.nf.SetVerdict(v.id, nfqueue.NfAccept)
		}
		if err != nil {
			return fmt.Errorf("verdict: %w", err)
		}
	}
	return nil
}

func (r *portable) interrupt() { r.stopped.Do(func() { close(r.stop) }) }

func (r *portable) shut() error {
	_, err := r.nf.Con.Send(netlink.Message{
		Header: netlink.Header{Type: messageConfig, Flags: netlink.Request},
		Data:   shutMessage(r.queue)[netlinkHeader:],
	})
	return err
}

func (r *portable) close() {
	r.done.Do(func() {
		r.closing.Store(true)
		close(r.closed)
		r.nf.Close() // the socket's end unbinds, so an error leaves nothing behind
	})
}

func (r *portable) errors() *readerErrors { return &r.count }

// unparsed counts what go-nfqueue logs and forgets: a message that it cannot
// parse, whose packet then never gets a verdict.
type unparsed struct{ count *readerErrors }

func (unparsed) Debugf(string, ...any) {}

func (u unparsed) Errorf(format string, _ ...any) {
	if strings.HasPrefix(format, "Could not parse") {
		u.count.unparsed.Add(1)
	}
}
