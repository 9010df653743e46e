package nfq

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/packet"
)

// inbox has the copies of a worker's flows that it has not judged yet. Whoever reads copies puts
// them there, so that no worker waits for another.
type inbox struct {
	mu     sync.Mutex
	filled letters
	empty  letters // the worker's; the two change places
}

// letters are packets one behind the other.
type letters struct {
	bytes []byte
	list  []letter
}

type letter struct {
	length int    // 0: here some copies were lost, of whichever flows
	port   uint32 // of a bridge, by which it came
}

// inboxBytes bounds an inbox. Only a worker that hangs fills it.
const inboxBytes = 4 << 20

// lost notes that copies were lost.
func (b *inbox) lost() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noteLost()
}

func (b *inbox) noteLost() {
	if l := &b.filled; len(l.list) == 0 || l.list[len(l.list)-1].length > 0 {
		l.list = append(l.list, letter{})
	}
}

// put copies a packet; false: there is no room.
func (b *inbox) put(ip []byte, port uint32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &b.filled
	if len(l.bytes)+len(ip) > inboxBytes {
		b.noteLost()
		return false
	}
	l.bytes, l.list = append(l.bytes, ip...), append(l.list, letter{len(ip), port})
	return true
}

// take gives what is there; it is the caller's until the next call.
func (b *inbox) take() letters {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.filled, b.empty = letters{b.empty.bytes[:0], b.empty.list[:0]}, b.filled
	return b.empty
}

func (b *inbox) isEmpty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.filled.list) == 0
}

// decides reports whether the packet asks about a session or is of one that is copied: one with SYN, FIN or RST, but for the
// answer to a SYN. What such a session said before has to be known first. It may be true of others, too.
func decides(ip []byte) bool {
	const flags = 13 // where they stand in the TCP header
	at := 0
	switch {
	case len(ip) > 0 && ip[0]>>4 == 4:
		at = int(ip[0]&0x0f)*4 + flags
	case len(ip) > 6 && ip[0]>>4 == 6 && ip[6] == unix.IPPROTO_TCP:
		at = 40 + flags
	}
	if at == 0 || at >= len(ip) {
		return true
	}
	f := packet.Flags(ip[at])
	return f.Any(packet.FIN|packet.RST) || f&(packet.SYN|packet.ACK) == packet.SYN
}

// hear judges the copies in the inbox. w.mu is held.
func (w *worker) hear(now time.Time) {
	got := w.inbox.take()
	bytes := got.bytes
	for _, l := range got.list {
		if l.length == 0 {
			w.missed()
			continue
		}
		w.judgeSafely(&queued{ip: bytes[:l.length:l.length], length: l.length, port: l.port, copied: true}, now)
		bytes = bytes[l.length:]
	}
}

// missed tells the flows that are copied that some copies were lost, and nobody knows of which of them. w.mu is held.
func (w *worker) missed() {
	for f := range w.table.flows.all() {
		if f.tracker != nil && f.owned {
			f.tracker.Lossy()
		}
	}
}
