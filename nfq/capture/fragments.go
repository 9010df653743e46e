package capture

import (
	"container/list"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// Bounds of what waits for the rest of its packet, as in Linux (net.ipv4.ipfrag_high_thresh and ipfrag_time,
// net.ipv6.ip6frag_time), plus one on the pieces of a packet.
const (
	maxWaiting = 4 << 20 // bytes, pieceCost of each piece included
	maxPieces  = 1 << 10 // of one packet; it takes 48 of an Ethernet's size
	pieceCost  = 128
	wait4      = 30 * time.Second
	wait6      = 60 * time.Second
)

// FragmentStats counts fragments.
type FragmentStats struct {
	Seen    uint64 // fragments
	Joined  uint64 // packets made of them
	Missing uint64 // packets of which a part never came, in time or within the bounds
	Cut     uint64 // packets of which the capture has a part cut short
	Refused uint64 // packets whose fragments contradict each other, or no packet's: no host takes them
}

// joiner puts fragments together. The rules are those of hosts: what overlaps is dropped as a whole (RFC 5722, and Linux
// does so with IPv4 too), a fragment that comes twice is no overlap.
type joiner struct {
	open  map[whose]*list.Element // of *torn
	age   list.List               // the oldest first
	held  int                     // bytes
	stats FragmentStats
}

// whose says which packet a fragment is of.
type whose struct {
	src, dst netip.Addr
	id       uint32
	proto    byte // zero for IPv6
}

// torn is a packet of which some fragments are there.
type torn struct {
	whose
	since  time.Time
	pieces []piece // in order, never overlapping
	head   []byte  // of the first fragment: all headers before its payload
	total  int     // bytes of payload, -1: the last fragment is not there
	have   int
	held   int
}

type piece struct {
	start int
	data  []byte
}

func (q *piece) end() int { return q.start + len(q.data) }

// part is a fragment.
type part struct {
	whose
	head    []byte // the headers of the packet that it is of, as this fragment has them
	start   int
	payload []byte
	more    bool
	cut     bool // the capture lacks bytes of it
	bad     bool // no host takes it
}

// isFragment tells whether ip is a fragment and not a whole packet.
func isFragment(ip []byte) bool {
	switch ip[0] >> 4 {
	case 4:
		return len(ip) >= 20 && binary.BigEndian.Uint16(ip[6:])&0x3fff != 0
	case 6:
		at := fragmentHeader(ip)
		return at > 0 && binary.BigEndian.Uint16(ip[at+2:])&0xfff9 != 0
	}
	return false
}

// fragmentHeader is where the fragment header of an IPv6 packet is, 0 if it has none.
func fragmentHeader(ip []byte) int {
	if len(ip) < 40 {
		return 0
	}
	const hopByHop, routing, fragment, options = 0, 43, 44, 60
	for next, at := ip[6], 40; len(ip) >= at+8; {
		switch next {
		case fragment:
			return at
		case hopByHop, routing, options: // what may stand before it (RFC 8200, section 4.5)
			next, at = ip[at], at+8+8*int(ip[at+1])
		default:
			return 0
		}
	}
	return 0
}

// take takes a fragment, and gives the packet that it made whole, or nil.
func (j *joiner) take(ip []byte, now time.Time) []byte {
	j.stats.Seen++
	j.expire(now)
	var p part
	if ip[0]>>4 == 4 {
		p = part4(ip)
	} else {
		p = part6(ip)
	}
	e := j.open[p.whose]
	switch {
	case p.cut || p.bad:
		if e != nil {
			j.drop(e)
		}
		if p.cut {
			j.stats.Cut++
		} else {
			j.stats.Refused++
		}
		return nil
	case e == nil:
		if j.open == nil {
			j.open = map[whose]*list.Element{}
		}
		e = j.age.PushBack(&torn{whose: p.whose, since: now, total: -1})
		j.open[p.whose] = e
	}
	t := e.Value.(*torn)
	before := t.held
	ok := t.add(&p)
	j.held += t.held - before
	if !ok {
		j.drop(e)
		j.stats.Refused++
		return nil
	}
	if t.total >= 0 && t.have == t.total {
		j.drop(e)
		whole := t.join()
		if whole == nil {
			j.stats.Refused++
			return nil
		}
		j.stats.Joined++
		return whole
	}
	for j.held > maxWaiting {
		j.drop(j.age.Front())
		j.stats.Missing++
	}
	return nil
}

func part4(ip []byte) part {
	header, total := int(ip[0]&0xf)*4, int(binary.BigEndian.Uint16(ip[2:]))
	field := binary.BigEndian.Uint16(ip[6:])
	p := part{whose: whose{netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20])), uint32(binary.BigEndian.Uint16(ip[4:])), ip[9]},
		start: int(field&0x1fff) * 8, more: field&0x2000 != 0}
	if p.bad = header < 20 || total < header; p.bad {
		return p
	}
	if p.cut = total > len(ip); p.cut {
		return p
	}
	p.head, p.payload = ip[:header], ip[header:total]
	if p.more {
		p.payload = p.payload[:len(p.payload)&^7] // Linux takes what is whole (ip_frag_queue)
	}
	return p.checked(header)
}

func part6(ip []byte) part {
	at, total := fragmentHeader(ip), 40+int(binary.BigEndian.Uint16(ip[4:]))
	field := binary.BigEndian.Uint16(ip[at+2:])
	p := part{whose: whose{src: netip.AddrFrom16([16]byte(ip[8:24])), dst: netip.AddrFrom16([16]byte(ip[24:40])), id: binary.BigEndian.Uint32(ip[at+4:])},
		start: int(field &^ 7), more: field&1 != 0}
	if p.bad = total < at+8; p.bad {
		return p
	}
	if p.cut = total > len(ip); p.cut {
		return p
	}
	p.head, p.payload = ip[:at+8], ip[at+8:total]
	return p.checked(at - 40)
}

// checked holds a fragment against what every packet of fragments must keep to; header is what counts into a length of 16 bits
// beside the payload.
func (p part) checked(header int) part {
	n := len(p.payload)
	p.bad = n == 0 || p.more && n%8 != 0 || header+p.start+n > 0xffff
	return p
}

// add puts p where it belongs; false: it contradicts what is there.
func (t *torn) add(p *part) bool {
	end := p.start + len(p.payload)
	i, _ := slices.BinarySearchFunc(t.pieces, p.start, func(q piece, start int) int { return q.end() - start - 1 })
	if i < len(t.pieces) && t.pieces[i].start < end {
		return t.has(i, p.start, end)
	}
	switch {
	case t.total >= 0 && (end > t.total || !p.more), len(t.pieces) == maxPieces:
		return false
	case !p.more && i < len(t.pieces):
		return false // something lies behind the end
	case !p.more:
		t.total = end
	}
	if p.start == 0 {
		t.head = slices.Clone(p.head)
	}
	t.pieces = slices.Insert(t.pieces, i, piece{p.start, slices.Clone(p.payload)})
	t.have += len(p.payload)
	t.held += len(p.payload) + pieceCost
	return true
}

// has tells whether the pieces from i on hold all of start to end: what comes twice, perhaps cut in another way, is no
// overlap.
func (t *torn) has(i, start, end int) bool {
	for ; i < len(t.pieces) && t.pieces[i].start <= start; i++ {
		if start = t.pieces[i].end(); start >= end {
			return true
		}
	}
	return false
}

// join makes the packet: the headers are those of its first fragment. nil: with those it is longer than a packet can be.
func (t *torn) join() []byte {
	head, counted := t.head, len(t.head)
	if !t.src.Is4() {
		head = unfragmented6(head)
		counted = len(head) - 40
	}
	if counted+t.total > 0xffff {
		return nil
	}
	ip := append(make([]byte, 0, len(head)+t.total), head...)
	for _, q := range t.pieces {
		ip = append(ip, q.data...)
	}
	if t.src.Is4() {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		ip[6], ip[7] = 0, 0
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
	}
	return ip
}

// unfragmented6 takes the fragment header, which is the last one, off the headers of an IPv6 packet.
func unfragmented6(head []byte) []byte {
	end := len(head) - 8
	next := 6
	for at := 40; at < end; at += 8 + 8*int(head[at+1]) {
		next = at
	}
	head[next] = head[end]
	return head[:end]
}

// expire drops what waited too long.
func (j *joiner) expire(now time.Time) {
	for e := j.age.Front(); e != nil; e = j.age.Front() {
		t := e.Value.(*torn)
		wait := wait4
		if !t.src.Is4() {
			wait = wait6
		}
		if now.Sub(t.since) < wait {
			return
		}
		j.drop(e)
		j.stats.Missing++
	}
}

func (j *joiner) drop(e *list.Element) {
	t := j.age.Remove(e).(*torn)
	j.held -= t.held
	delete(j.open, t.whose)
}
