package lane

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Grant adds n tokens to a lease: so many more sessions may begin. It panics if there is no
// such lease, like all that follow.
func (l *Lane) Grant(lease uint32, n int32) { atomic.AddInt32(&l.leases[lease].Tokens, n) }

// Recall takes back what is left of a lease, in one step, and returns it. Sessions that
// have begun stay.
func (l *Lane) Recall(lease uint32) int32 { return atomic.SwapInt32(&l.leases[lease].Tokens, 0) }

// Tokens is what is left of a lease.
func (l *Lane) Tokens(lease uint32) int32 { return atomic.LoadInt32(&l.leases[lease].Tokens) }

// Lost is how many copies of a lease's flows were lost since ClearLost. While it is not
// zero every SYN of the lease asks.
func (l *Lane) Lost(lease uint32) uint32 { return atomic.LoadUint32(&l.leases[lease].Lost) }

// ClearLost makes a lease good again. It returns what Lost was, since more may have been
// lost after the caller asked.
func (l *Lane) ClearLost(lease uint32) uint32 { return atomic.SwapUint32(&l.leases[lease].Lost, 0) }

// LostTotal is how many copies were lost since Open, of all leases. It costs nothing to ask.
func (l *Lane) LostTotal() uint64 { return atomic.LoadUint64(&l.control.Lost) }

// SetSource says to which lease the sessions of an address belong, in this generation. When
// there is no room for another address, those of earlier generations are thrown out first.
func (l *Lane) SetSource(addr netip.Addr, lease uint32) error {
	if lease >= uint32(len(l.leases)) {
		panic(fmt.Sprintf("lane: lease %d of %d", lease, len(l.leases)))
	}
	err := l.setSource(addr, lease)
	if errors.Is(err, unix.E2BIG) {
		if err := l.throwOut(); err != nil {
			return err
		}
		err = l.setSource(addr, lease)
	}
	if err != nil {
		return fmt.Errorf("fast lane: source %v: %w", addr, err)
	}
	return nil
}

func (l *Lane) setSource(addr netip.Addr, lease uint32) error {
	c := &l.calls
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key = addr.As16()
	c.source = programSource{Lease: lease, Generation: l.Generation()}
	return c.update(c.sources, unsafe.Pointer(&c.source))
}

// DropSource makes an address unknown.
func (l *Lane) DropSource(addr netip.Addr) error {
	c := &l.calls
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key = addr.As16()
	if err := c.remove(c.sources); err != nil && err != unix.ENOENT {
		return fmt.Errorf("fast lane: source %v: %w", addr, err)
	}
	return nil
}

// throwOut deletes the sources of earlier generations, if there are any.
func (l *Lane) throwOut() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	now := l.Generation()
	if l.thrown == now {
		return nil
	}
	l.thrown = now
	var old [][16]byte
	keys, values := make([][16]byte, batchSize), make([]programSource, batchSize)
	var at ebpf.MapBatchCursor
	for {
		n, err := l.coll.Maps[programMapSources].BatchLookup(&at, keys, values, nil)
		for i := range n {
			if values[i].Generation != now {
				old = append(old, keys[i])
			}
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			break
		}
		if err != nil {
			return fmt.Errorf("fast lane: look for old sources: %w", err)
		}
	}
	for _, key := range old {
		// One that was set again in between is unknown then, and asks.
		if err := l.coll.Maps[programMapSources].Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("fast lane: delete old sources: %w", err)
		}
	}
	return nil
}

// Block cuts an address (IPv6: its /64) off from the limited ports for so long from now.
// Sessions that have begun stay. Blocking again sets another end.
func (l *Lane) Block(addr netip.Addr, for_ time.Duration) error {
	err := l.block(addr, for_)
	if errors.Is(err, unix.E2BIG) {
		if err := l.letGo(); err != nil {
			return err
		}
		err = l.block(addr, for_)
	}
	if err != nil {
		return fmt.Errorf("fast lane: block %v: %w", addr, err)
	}
	return nil
}

func (l *Lane) block(addr netip.Addr, for_ time.Duration) error {
	c := &l.calls
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key = prefix(addr)
	c.cut = programCutSource{Until: uint64(max(monotonic()+int64(for_), 0))}
	return c.update(c.blocked, unsafe.Pointer(&c.cut))
}

// Unblock ends a Block.
func (l *Lane) Unblock(addr netip.Addr) error {
	c := &l.calls
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key = prefix(addr)
	if err := c.remove(c.blocked); err != nil && err != unix.ENOENT {
		return fmt.Errorf("fast lane: unblock %v: %w", addr, err)
	}
	return nil
}

// UnblockAll ends every Block.
func (l *Lane) UnblockAll() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return drain(l, programMapBlocked, func([16]byte, programCutSource) {})
}

// letGo makes room: it deletes those whose time is over.
func (l *Lane) letGo() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	now := uint64(monotonic())
	var key [16]byte
	var cut programCutSource
	var over [][16]byte
	for it := l.coll.Maps[programMapBlocked].Iterate(); it.Next(&key, &cut); {
		if cut.Until <= now {
			over = append(over, key)
		}
	}
	for _, key := range over {
		if err := l.coll.Maps[programMapBlocked].Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("fast lane: delete what is blocked no longer: %w", err)
		}
	}
	return nil
}

// Flooding reports the lines (an IPv4 address; of IPv6 the first address of Options.LineBits)
// whose SYNs were beyond their meter, or gave way to others' in a crowd, since the last call,
// and how many did. Among very many the oldest are forgotten.
func (l *Lane) Flooding(each func(addr netip.Addr, over uint64)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return drain(l, programMapFloods, func(key [16]byte, over uint64) {
		each(netip.AddrFrom16(key).Unmap(), over)
	})
}

// prefix is what cuts are about: the IPv4 address or the IPv6 /64.
func prefix(addr netip.Addr) [16]byte {
	key := addr.As16()
	if !addr.Unmap().Is4() {
		clear(key[8:])
	}
	return key
}
