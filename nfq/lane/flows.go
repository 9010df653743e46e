package lane

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// Key is a flow. Both addresses are of one family.
type Key struct {
	Client, Server netip.AddrPort
}

// Ports are in network order on both sides.
func (k Key) wire() programFlowKey {
	return programFlowKey{
		Client:     k.Client.Addr().As16(),
		Server:     k.Server.Addr().As16(),
		ClientPort: swap(k.Client.Port()),
		ServerPort: swap(k.Server.Port()),
	}
}

func keyOf(w programFlowKey) Key {
	return Key{
		Client: netip.AddrPortFrom(netip.AddrFrom16(w.Client).Unmap(), swap(w.ClientPort)),
		Server: netip.AddrPortFrom(netip.AddrFrom16(w.Server).Unmap(), swap(w.ServerPort)),
	}
}

// swap goes between network order and that of the processor, which is little-endian.
func swap(port uint16) uint16 { return port<<8 | port>>8 }

// State is what of a flow is copied. The zero value copies all that says something.
type State uint32

// The states of a flow in the lane; the program has the same numbers.
const (
	See    State = iota // every packet but pure ACKs is copied
	Up                  // of the client's packets only those with SYN, FIN or RST are
	Both                // of all packets only those
	Handed              // it is the queue's: nothing is copied, and both directions bear Options.See
	deleted
)

// Edit changes one flow.
type Edit struct {
	Key    Key
	ISN    uint32 // the client's initial sequence number: that of its SYN
	State  State
	Delete bool // instead of setting State
}

// SetState sets the state of the flow that began with isn, and reports whether there is
// such a flow. A flow with the same addresses that has begun since then is left alone.
func (l *Lane) SetState(k Key, isn uint32, s State) (found bool, err error) {
	c := &l.calls
	c.mu.Lock()
	defer c.mu.Unlock()
	c.desk.edits[0] = edit{key: k.wire(), isn: isn, state: min(uint32(s), uint32(Handed))}
	n, err := c.edit(1)
	return n == 1, err
}

// DeleteFlow makes the lane forget the flow that began with isn; its packets are left
// alone from then on. It reports whether there was such a flow.
func (l *Lane) DeleteFlow(k Key, isn uint32) (found bool, err error) {
	c := &l.calls
	c.mu.Lock()
	defer c.mu.Unlock()
	c.desk.edits[0] = edit{key: k.wire(), isn: isn, state: uint32(deleted)}
	n, err := c.edit(1)
	return n == 1, err
}

// Edit makes many changes, 64 with one system call, and returns how many of the flows
// were found.
func (l *Lane) Edit(edits []Edit) (found int, err error) {
	c := &l.calls
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(edits) > 0 {
		n := min(len(edits), deskEdits)
		for i, e := range edits[:n] {
			state := min(uint32(e.State), uint32(Handed))
			if e.Delete {
				state = uint32(deleted)
			}
			c.desk.edits[i] = edit{key: e.Key.wire(), isn: e.ISN, state: state}
		}
		some, err := c.edit(n)
		found += some
		if err != nil {
			return found, err
		}
		edits = edits[n:]
	}
	return found, nil
}

// End says which signs of a flow's end were lost as copies.
type End uint8

// What was lost; the program has the same bits.
const (
	FINUp   End = 1 << iota // the client's FIN
	FINDown                 // the server's FIN
	RST                     // a reset by either
	SYN                     // a SYN with ACK
)

// LostEnds takes out and reports the flows of which a copy with SYN, FIN or RST was lost.
// Nobody else would tell that they have ended. While nothing is lost it costs nothing.
func (l *Lane) LostEnds(each func(Key, End)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.LostTotal() // which grows after the note is made
	if lost == l.noted {
		return nil
	}
	if err := drain(l, programMapLostEnds, func(w programFlowKey, bits uint32) { each(keyOf(w), End(bits)) }); err != nil {
		return err
	}
	l.noted = lost
	return nil
}

// A bucket of the kernel's table must fit; they hold one entry each on average.
const batchSize = 512

// drain takes all entries out of a map. l.mu is held.
func drain[K, V any](l *Lane, name string, each func(K, V)) error {
	if l.closed {
		return errClosed
	}
	keys, values := make([]K, batchSize), make([]V, batchSize)
	var at ebpf.MapBatchCursor
	for {
		n, err := l.coll.Maps[name].BatchLookupAndDelete(&at, keys, values, nil)
		for i := range n {
			each(keys[i], values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("fast lane: empty %s: %w", name, err)
		}
	}
}
