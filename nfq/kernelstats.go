package nfq

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strconv"
	"sync"
)

// KernelQueue is a line of /proc/net/netfilter/nfnetlink_queue
// (net/netfilter/nfnetlink_queue.c, seq_show).
type KernelQueue struct {
	Bound        bool   // there is such a queue
	PortID       uint32 // netlink port of the socket that bound it
	Depth        int    // packets without a verdict, the held ones included
	QueueDropped uint64 // dropped because the queue was full, since it was bound
	UserDropped  uint64 // dropped because our socket's buffer was full
	Sequence     uint64 // packets that entered the queue
}

// kernelTable reads that file of the network namespace in which it was opened.
// Without the file (no procfs) all queues read as not bound. The kernel counts
// in 32 bits; here the counts go on, as long as somebody looks in time.
type kernelTable struct {
	mu   sync.Mutex
	f    *os.File
	buf  []byte
	seen map[uint16]KernelQueue
}

// openKernelTable opens the calling thread's table. /proc/net would be that of
// the process's first thread, which may live in another namespace.
func openKernelTable() *kernelTable {
	f, err := os.Open("/proc/thread-self/net/netfilter/nfnetlink_queue")
	if err != nil {
		f = nil
	}
	return &kernelTable{f: f, buf: make([]byte, 64<<10), seen: map[uint16]KernelQueue{}}
}

func (k *kernelTable) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.f != nil {
		k.f.Close() // read only, nothing to lose
		k.f = nil
	}
}

func (k *kernelTable) read() map[uint16]KernelQueue {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.f == nil {
		return nil
	}
	n := 0
	for n < len(k.buf) { // the file gives one page at a time
		m, err := k.f.ReadAt(k.buf[n:], int64(n))
		n += m
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil
		}
	}
	table := parseKernelTable(k.buf[:n])
	for number, q := range table {
		table[number] = q.after(k.seen[number])
	}
	k.seen = table
	return table
}

// after carries on the counts of the same queue, seen earlier.
func (q KernelQueue) after(before KernelQueue) KernelQueue {
	if before.PortID != q.PortID {
		return q
	}
	q.QueueDropped = widen(before.QueueDropped, uint32(q.QueueDropped))
	q.UserDropped = widen(before.UserDropped, uint32(q.UserDropped))
	q.Sequence = widen(before.Sequence, uint32(q.Sequence))
	return q
}

func widen(before uint64, now uint32) uint64 { return before + uint64(now-uint32(before)) }

// parseKernelTable skips lines that it does not understand: newer kernels may
// add columns, never take any away.
func parseKernelTable(b []byte) map[uint16]KernelQueue {
	table := map[uint16]KernelQueue{}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		fields := bytes.Fields(lines.Bytes())
		if len(fields) < 8 {
			continue
		}
		var v [8]uint64
		ok := true
		for i := range v {
			n, err := strconv.ParseUint(string(fields[i]), 10, 32)
			v[i], ok = n, ok && err == nil
		}
		if !ok || v[0] > 0xffff {
			continue
		}
		table[uint16(v[0])] = KernelQueue{
			Bound: true, PortID: uint32(v[1]), Depth: int(v[2]),
			QueueDropped: v[5], UserDropped: v[6], Sequence: v[7],
		}
	}
	return table
}
