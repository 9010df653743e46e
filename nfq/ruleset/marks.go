package ruleset

import (
	"fmt"
	"math/bits"
)

// State is what the kernel does with a flow's packets without asking us. It
// travels in the packet mark of a verdict and stays in the conntrack mark.
// The zero value looks at everything.
type State uint8

// The states of a governed flow.
const (
	See      State = iota // every packet but pure ACKs is queued
	Up                    // the client's packets pass, the server's are queued
	Both                  // all packets pass but those with SYN, FIN or RST
	Deferred              // the session goes to the local responder
	Cut                   // every packet is answered with a reset
	Copied                // as Up, but of the server's packets with payload copies are queued (Options.Copies)
	states                // how many there are
)

var stateNames = [states]string{"see", "up", "both", "deferred", "cut", "copied"}

func (s State) String() string {
	if s < states {
		return stateNames[s]
	}
	return fmt.Sprintf("state%d", uint8(s))
}

// DefaultMask is the part of the packet and the conntrack mark that is ours
// when nobody says otherwise.
const DefaultMask = 0x0f000000

// Marks says which bits of the packet mark and of the conntrack mark are ours.
// Bits outside Mask belong to others and keep their value. A mark whose bits
// under Mask are all zero is that of a flow that we have never seen.
type Marks struct {
	Mask uint32 // at least four contiguous bits
}

// Validate says why Mask cannot be used.
func (m Marks) Validate() error {
	low := m.Mask >> m.shift()
	if m.Mask == 0 || low&(low+1) != 0 {
		return fmt.Errorf("mark mask %#x: the bits must be contiguous", m.Mask)
	}
	if bits.OnesCount32(m.Mask) < 4 {
		return fmt.Errorf("mark mask %#x: at least four bits are needed", m.Mask)
	}
	return nil
}

// Value is s in place: the state shifted up by one, with the lowest bit set so
// that no state is zero. Copied came when the odd numbers were used up.
func (m Marks) Value(s State) uint32 {
	if s == Copied {
		return copied << m.shift()
	}
	return odd(uint32(s)) << m.shift()
}

// What the four bits hold: an odd number, or copied.
const copied = 2

func odd(n uint32) uint32 { return n<<1 | 1 }

// Fast is the mark of a packet that goes on without us: of the fast lane (package
// lane). It is no state, and stays on the packet only as long as our chains last.
func (m Marks) Fast() uint32 { return odd(uint32(Cut)+1) << m.shift() }

// Up is the mark of a packet that came from a subscriber over a bridge, and UpSee of such
// a one that the lane has marked See. They are no states either, and go as far as our chains.
func (m Marks) Up() uint32 { return odd(uint32(Cut)+2) << m.shift() }

// UpSee: see Up.
func (m Marks) UpSee() uint32 { return odd(uint32(Cut)+3) << m.shift() }

// FromLane reports whether the lane has marked a packet.
func (m Marks) FromLane(mark uint32) bool { return mark&m.Mask != 0 && mark&m.Mask != m.Up() }

// upBits are those that both of these have set, and no other mark of ours.
func (m Marks) upBits() uint32 { return m.Up() & m.UpSee() }

// Apply puts s into old and leaves the bits of others alone.
func (m Marks) Apply(old uint32, s State) uint32 { return old&^m.Mask | m.Value(s) }

// State reads a mark back; governed is false when our bits hold no state.
func (m Marks) State(mark uint32) (s State, governed bool) {
	v := (mark & m.Mask) >> m.shift()
	switch {
	case v == copied:
		return Copied, true
	case v&1 == 0 || v>>1 > uint32(Cut):
		return See, false
	}
	return State(v >> 1), true
}

func (m Marks) shift() int { return bits.TrailingZeros32(m.Mask) }
