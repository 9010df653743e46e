package nfq

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// queued is a packet that waits in the kernel for its verdict. ip is borrowed
// until the next read.
type queued struct {
	id      uint32
	mark    uint32  // the packet's mark, 0 when it has none
	inDev   uint32  // interface index it came in by
	port    uint32  // index of the bridge's port that it came in by, 0 when there is none
	mac     [6]byte // its source at the link, zero when it is not known
	skbInfo uint32  // NFQA_SKB_INFO: bit 0 checksum not filled in, bit 1 GSO
	length  int     // bytes that the packet has; more than ip when the copy was cut
	ip      []byte
	copied  bool // it has gone on: a copy, which waits for nothing
}

// verdict is the answer to one packet.
type verdict struct {
	id     uint32
	mark   uint32 // the packet's new mark
	marked bool   // mark is to be set
	drop   bool
}

// reader takes packets out of one bound kernel queue and gives verdicts.
// Implementations: fast and portable; both must pass the conformance suite.
type reader interface {
	// read blocks until a packet is there and returns all at hand, at most
	// batchSize. After interrupt it waits at most drainWait, and answers
	// errInterrupted when nothing came. Any other error is for good. One
	// goroutine reads.
	read() ([]queued, error)
	// send gives verdicts; it may be called from several goroutines. An error
	// is for good: the verdicts may not have reached the kernel.
	send([]verdict) error
	// interrupt frees a blocked read, now and from now on.
	interrupt()
	// shut lets the kernel take no more packets into the queue: it passes them
	// when the queue is fail-open, else drops them.
	shut() error
	// close unbinds; the kernel drops what has no verdict yet.
	close()
	errors() *readerErrors
}

// readerOptions are what both readers are told.
type readerOptions struct {
	netns    int // file descriptor of the network namespace; 0: the calling thread's
	length   uint32
	buffer   int // of the socket: the kernel's default of 208 KiB overflows long before any queue is full
	failOpen bool
	log      *slog.Logger
}

// readerErrors count what the kernel told us beside packets.
type readerErrors struct {
	overruns, stale, refused, unparsed atomic.Uint64
}

// refusal counts an error with which the kernel answered a verdict. It returns
// an error when no further verdict can succeed: the queue is gone (ENODEV) or
// belongs to another socket (EPERM).
func (c *readerErrors) refusal(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		c.stale.Add(1)
		return nil
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EPERM):
		return fmt.Errorf("queue lost: %w", err)
	}
	c.refused.Add(1)
	return nil
}

var errInterrupted = errors.New("read interrupted")

const (
	// batchSize bounds a batch. Under load they average 3 to 5 packets, so a
	// larger one only costs memory.
	batchSize = 64
	// drainWait is how long a read after interrupt waits for a packet.
	drainWait = 10 * time.Millisecond
	// bindTimeout bounds the wait for the kernel's answer, which comes at once.
	bindTimeout = 5 * time.Second
)
