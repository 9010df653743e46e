package journal

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// A frame of inputs is complete in itself: rowInputs, the time of the oldest and of the newest in Unix milliseconds, a number, and then
// the inputs, each with its times as distances from those of the one before. Texts have their length before them; what is rare (a policy) is
// JSON. Where inputs are missing there is an OpLost in their place. The number is how many are missing where a frame was; with inputs behind it it was
// written by an earlier version, which counted there what is missing anywhere in the frame.

// Bits of an input's second byte.
const (
	hasSession = 1 << iota
	hasPlan
	hasDestination
	isUnlisted
	isRan
	hasMore // JSON
	hasReceipt
	hasState
)

// more is what only few inputs have.
type more struct {
	Lasts      time.Duration    `json:",omitempty"`
	Reason, By string           `json:",omitempty"`
	Cases      uint64           `json:",omitempty"`
	Policy     *governor.Policy `json:",omitempty"`
}

// encoder writes the inputs of a frame.
type encoder struct {
	b              []byte
	at, now        int64
	oldest, newest int64  // Unix milliseconds
	n              int    // inputs
	missed         int    // inputs that are missing among them
	begins         bool   // a tape can be played from an input in it
	forms          []form // that were written
}

func (e *encoder) reset() { *e = encoder{b: e.b[:0], forms: e.forms[:0]} }

// appendLost appends an input that says that n are missing, at the time of the one before.
func appendLost(b []byte, n uint64) []byte {
	b = append(b, byte(governor.OpLost), 0, 0, 0, 0, 0) // no flags, no distances, no name, of no kind
	return binary.AppendUvarint(b, n)
}

// miss says that n inputs are missing here.
func (e *encoder) miss(n uint64) {
	e.b = appendLost(e.b, n)
	e.missed += int(n)
}

func text(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }

func (e *encoder) add(in *governor.Input) {
	now := in.Now.UnixNano()
	if ms := now / 1e6; e.n == 0 {
		e.oldest, e.newest = ms, ms
	} else {
		e.oldest, e.newest = min(e.oldest, ms), max(e.newest, ms)
	}
	e.n++
	e.begins = e.begins || in.Op.Begins()
	at := len(e.b)
	b := append(e.b, byte(in.Op), 0)
	flags := byte(0)
	b = binary.AppendVarint(b, int64(in.At)-e.at)
	b = binary.AppendVarint(b, now-e.now-(int64(in.At)-e.at)) // 0 where both clocks went as far
	e.at, e.now = int64(in.At), now
	b = text(b, in.Subscriber)
	if in.Session > 0 {
		flags |= hasSession
		b = binary.AppendUvarint(b, in.Session)
	}
	if in.Plan != "" {
		flags |= hasPlan
		b = text(b, in.Plan)
	}
	if in.Destination.IsValid() {
		flags |= hasDestination
		a := in.Destination.Addr()
		b = append(b, byte(in.Destination.Bits()))
		if a.Is4() {
			v := a.As4()
			b = append(append(b, 4), v[:]...)
		} else {
			v := a.As16()
			b = append(append(b, 16), v[:]...)
		}
	}
	if in.Unlisted || in.Saved != nil && in.Saved.Unlisted {
		flags |= isUnlisted
	}
	if in.Ran {
		flags |= isRan
	}
	if spends(in.Op) {
		b = binary.AppendUvarint(append(b, byte(in.Of)), uint64(max(in.Cost, 0)))
	}
	if in.Lasts != 0 || in.Reason != "" || in.By != "" || in.Cases != 0 || in.Policy != nil {
		flags |= hasMore
		b = text(b, string(marshal(more{in.Lasts, in.Reason, in.By, in.Cases, in.Policy})))
	}
	if in.Receipt.OK {
		flags |= hasReceipt
		b = receipt(b, in)
	}
	if in.Saved != nil {
		flags |= hasState
		b = e.state(b, in)
	}
	b[at+1] = flags
	e.b = b
}

func spends(op governor.Op) bool {
	return op == governor.OpSpend || op == governor.OpEstimate || op == governor.OpAccepted || op == governor.OpLost
}

// frame is the payload of what was added, before which lost are missing.
func (e *encoder) frame(lost uint64) []byte {
	if e.n == 0 {
		e.oldest = time.Now().UnixMilli()
		e.newest = e.oldest
	}
	kind := byte(rowInputs)
	if e.begins {
		kind = rowBegin
	}
	b := append(make([]byte, 0, len(e.b)+32), kind)
	b = binary.AppendVarint(binary.AppendVarint(b, e.oldest), e.newest)
	b = append(b, 0)
	if lost > 0 {
		b = appendLost(b, lost)
	}
	return append(b, e.b...)
}

// names makes one string of the same bytes, again and again. The zero value has none.
type names struct {
	all  map[string]string
	last string // what comes once comes again: a session has several inputs
}

func (n *names) of(b []byte) string {
	if string(b) == n.last {
		return n.last
	}
	s, ok := n.all[string(b)]
	if !ok {
		if n.all == nil || len(n.all) > 1<<20 {
			n.all = map[string]string{}
		}
		s = string(b)
		n.all[s] = s
	}
	n.last = s
	return s
}

// known are the names that a decoder has met.
type known struct{ lines, plans names }

// decodeInputs gives the inputs of a payload; next is where each is put, and give is told that it is there.
func decodeInputs(p []byte, met *known, next func() *governor.Input, give func() error) error {
	r := cursor{b: p[1:]}
	oldest := time.UnixMilli(r.varint())
	r.varint()
	lacks := func(n uint64) error {
		*next() = governor.Input{Op: governor.OpLost, Cost: int(n), Now: oldest, Reason: unwritten}
		return give()
	}
	lost := r.uvarint()
	if r.bad {
		*next() = governor.Input{}
		return errRow
	}
	if lost > 0 {
		if err := lacks(lost); err != nil {
			return err
		}
	}
	var at, now int64
	var forms []form
	for len(r.b) > 0 {
		in := next()
		*in = governor.Input{Op: governor.Op(r.byte())}
		if !in.Op.Known() {
			return errRow
		}
		flags := r.byte()
		d := r.varint()
		at += d
		now += d + r.varint()
		in.At, in.Now = time.Duration(at), time.Unix(0, now)
		if in.Op == governor.OpLost {
			if in.Reason = unwritten; now == 0 { // it is the first
				in.Now = oldest
			}
		}
		in.Subscriber = met.lines.of(r.text())
		if flags&hasSession != 0 {
			in.Session = r.uvarint()
		}
		if flags&hasPlan != 0 {
			in.Plan = met.plans.of(r.text())
		}
		if flags&hasDestination != 0 {
			bits := int(r.byte())
			a, _ := netip.AddrFromSlice(r.take(int(r.byte())))
			in.Destination = netip.PrefixFrom(a, bits)
		}
		in.Unlisted, in.Ran = flags&isUnlisted != 0, flags&isRan != 0
		if spends(in.Op) {
			in.Of, in.Cost = governor.Kind(r.byte()), int(r.uvarint())
		}
		if flags&hasMore != 0 {
			var m more
			if err := r.json(&m); err != nil {
				return err
			}
			in.Lasts, in.Reason, in.By, in.Cases, in.Policy = m.Lasts, m.Reason, m.By, m.Cases, m.Policy
		}
		if flags&hasReceipt != 0 {
			r.receipt(in)
		}
		if flags&hasState != 0 {
			if err := r.state(in, &forms); err != nil {
				return err
			}
		}
		if r.bad {
			return errRow
		}
		op := in.Op
		if err := give(); err != nil {
			return err
		}
		if lost > 0 && (op.Begins() || op == governor.OpCheckpointed) { // some may be missing behind this one
			if err := lacks(0); err != nil {
				return err
			}
		}
	}
	return nil
}

// cursor takes bytes apart. Behind their end everything is zero, and bad is true.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.b, c.bad = nil, true
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		n = -1
	}
	if c.take(n); c.bad {
		return 0
	}
	return v
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		n = -1
	}
	if c.take(n); c.bad {
		return 0
	}
	return v
}

func (c *cursor) text() []byte { return c.take(int(min(c.uvarint(), 1<<30))) }
