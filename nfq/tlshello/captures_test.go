package tlshello_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/tlshello"
)

// flow is one direction of a TCP connection.
type flow struct{ src, dst netip.AddrPort }

func (f flow) String() string { return f.src.String() + " -> " + f.dst.String() }

// found is one ClientHello of a capture, or what began like one.
type found struct {
	flow
	status tlshello.Status
	hello  *tlshello.Hello // nil unless status is Done
}

// hellos finds every ClientHello in c, wherever in a stream a segment begins with one: in captures there are proxies and
// STARTTLS before it, and a second one after a HelloRetryRequest.
func hellos(c *nfqtest.Capture) []found {
	var all []found
	streams := map[flow]*stream{}
	for _, p := range c.Packets {
		var s packet.Segment
		if packet.Decode(p.IP, &s) != packet.OK {
			continue
		}
		f := flow{s.Src, s.Dst}
		st := streams[f]
		if st == nil || s.Flags.Has(packet.SYN) {
			st = newStream(&s)
			streams[f] = st
		}
		for _, data := range st.take(&s) {
			if st.open == nil && beginsHello(data, st.fresh) {
				st.open = new(tlshello.Assembler)
				data = bytes.TrimPrefix(data, changeCipherSpec)
			}
			st.fresh = false
			if st.open == nil {
				continue
			}
			if status := st.open.Write(data); status != tlshello.NeedMore {
				all = append(all, found{f, status, st.open.Hello()})
				st.open = nil
			}
		}
	}
	for f, st := range streams {
		if st.open != nil {
			all = append(all, found{flow: f, status: tlshello.NeedMore})
		}
	}
	return all
}

// changeCipherSpec is the record that clients of TLS 1.3 send before a second hello, for the sake of old middleboxes.
var changeCipherSpec = []byte{20, 3, 3, 0, 1, 1}

func beginsHello(data []byte, first bool) bool {
	if first && len(data) > 4 && data[0]&0x80 != 0 && data[2] == 1 && (data[3] == 3 || data[4] == 2) {
		return true // SSL 2.0 framing
	}
	data = bytes.TrimPrefix(data, changeCipherSpec)
	return len(data) > 5 && data[0] == 22 && data[1] == 3 && data[5] == 1
}

// stream puts one direction in order, as simply as will do for captures.
type stream struct {
	next    uint32
	pending []packet.Segment
	open    *tlshello.Assembler
	fresh   bool // no byte yet
}

func newStream(s *packet.Segment) *stream {
	st := &stream{next: s.Seq, fresh: true}
	if s.Flags.Has(packet.SYN) {
		st.next++
	}
	return st
}

// take returns the pieces that s brings into order.
func (st *stream) take(s *packet.Segment) [][]byte {
	if len(s.Payload) == 0 {
		return nil
	}
	c := *s
	if c.Flags.Has(packet.SYN) { // fast open
		c.Seq++
	}
	st.pending = append(st.pending, c)
	slices.SortStableFunc(st.pending, func(a, b packet.Segment) int { return int(int32(a.Seq - b.Seq)) })
	var pieces [][]byte
	for len(st.pending) > 0 && int32(st.pending[0].Seq-st.next) <= 0 {
		first := st.pending[0]
		st.pending = st.pending[1:]
		if known := int(st.next - first.Seq); known < len(first.Payload) {
			pieces = append(pieces, first.Payload[known:])
			st.next += uint32(len(first.Payload) - known)
		}
	}
	return pieces
}

// everyCapture calls do with each capture of the folder that has a hello, whole or not.
func everyCapture(t *testing.T, folder string, do func(path string, c *nfqtest.Capture, all []found)) {
	t.Helper()
	for _, path := range nfqtest.Captures(t, folder) {
		c := nfqtest.Read(t, path)
		if all := hellos(c); len(all) > 0 {
			do(path, c, all)
		}
	}
}
