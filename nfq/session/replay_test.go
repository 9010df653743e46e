package session

import (
	"net/netip"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// step is one segment of a TCP session.
type step struct {
	dir  Direction
	seg  packet.Segment
	time time.Time
}

// flow is one TCP session of a capture, seen from the side that opened it.
type flow struct {
	client, server netip.AddrPort
	steps          []step
	ports          bool // client and server are told by port only: the SYN is not there
}

// flows splits a capture into its TCP sessions. Who sent the first SYN is the client; without a SYN it is the one
// with the higher port. A second SYN with another number on the same ports begins another session.
func flows(c *nfqtest.Capture) []*flow {
	type pair struct{ a, b netip.AddrPort }
	open := map[pair]*flow{}
	var all []*flow
	for _, p := range c.Packets {
		var s packet.Segment
		if packet.Decode(p.IP, &s) != packet.OK {
			continue
		}
		key, back := pair{s.Src, s.Dst}, pair{s.Dst, s.Src}
		f := open[key]
		fresh := s.Flags.Has(packet.SYN) && !s.Flags.Has(packet.ACK)
		if f != nil && fresh && f.client == s.Src && f.steps[0].seg.Flags.Has(packet.SYN) && f.steps[0].seg.Seq != s.Seq {
			f = nil
		}
		if f == nil {
			f = &flow{client: s.Src, server: s.Dst}
			f.ports = !s.Flags.Has(packet.SYN)
			if s.Flags.Has(packet.SYN|packet.ACK) || f.ports && s.Src.Port() < s.Dst.Port() {
				f.client, f.server = s.Dst, s.Src
			}
			open[key], open[back] = f, f
			all = append(all, f)
		}
		dir := Up
		if s.Src != f.client {
			dir = Down
		}
		f.steps = append(f.steps, step{dir, s, p.Time})
	}
	return all
}

// outcome is what a tracker told about a session.
type outcome struct {
	facts  Facts
	events []Event
	seen   int  // segments that reached the tracker
	passed bool // a hole was taken for a stretch that the kernel passed
}

func (o outcome) count(k Kind) (n int) {
	for _, e := range o.events {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// kernel decides what reaches the tracker, as the ruleset does with the released connection's packets: nil passes everything to it.
type kernel func(rel Release, st *step) bool

// steered keeps what ReleaseUp and ReleaseBoth let pass from the tracker.
func steered(rel Release, st *step) bool {
	switch {
	case st.seg.Flags.Any(packet.SYN | packet.FIN | packet.RST):
		return true
	case rel == ReleaseBoth, rel == ReleaseUp && st.dir == Up:
		return false
	}
	return len(st.seg.Payload) > 0 || st.seg.Missing > 0 // exact pure ACKs never come
}

// replay gives the steps to a new tracker and ends it if they do not.
func replay(opt Options, steps []step, k kernel) outcome {
	t := New(opt)
	var o outcome
	for i := range steps {
		st := &steps[i]
		if k != nil && !k(t.Release(), st) {
			continue
		}
		o.seen++
		o.events = t.Segment(st.dir, &st.seg, st.time, o.events)
		o.passed = o.passed || t.client.unseen == released
	}
	if !t.Ended() {
		o.events = append(o.events, t.End(EndTimeout, steps[len(steps)-1].time)...)
	}
	o.facts = t.Facts()
	return o
}

func smtpCaptures(t *testing.T) map[string]*nfqtest.Capture {
	all := map[string]*nfqtest.Capture{}
	for _, path := range nfqtest.Captures(t, "smtp") {
		c := nfqtest.Read(t, path)
		all[c.Name] = c
	}
	return all
}
