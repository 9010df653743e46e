package session

import (
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"github.com/mailweir/mailweir/nfq/packet"
)

// TestInsideCostsNothing: following the records of a session allocates nothing, and what is kept of it is bounded.
func TestInsideCostsNothing(t *testing.T) {
	story := insideStories()[0]
	tr := New(Options{})
	events := make([]Event, 0, 16)
	last := 0
	for i := range story.talk.steps {
		st := &story.talk.steps[i]
		if st.seg.Flags.Any(packet.FIN | packet.RST) {
			break
		}
		tr.Segment(st.dir, &st.seg, st.time, events[:0])
		last = i
	}
	if tr.sealed == nil {
		t.Fatal("the session is not inside TLS")
	}
	var next packet.Segment
	for _, st := range story.talk.steps[:last+1] {
		if st.dir == Down && len(st.seg.Payload) > 0 {
			next = st.seg
			next.Seq += uint32(len(st.seg.Payload))
		}
	}
	reply := []byte("\x17\x03\x03\x00\x1f" + string(make([]byte, 31)))
	s := packet.Segment{Seq: next.Seq, Ack: next.Ack, Flags: packet.ACK, Payload: reply}
	if n := testing.AllocsPerRun(1000, func() {
		s.Ack += 60
		events = tr.Segment(Down, &s, time.Time{}, events[:0])
		s.Seq += uint32(len(reply))
	}); n != 0 {
		t.Errorf("a reply costs %v allocations", n)
	}
	if tr.sealed == nil || tr.sealed.blind {
		t.Error("the records were not followed")
	}
	if size := unsafe.Sizeof(sealed{}); size > 2048 {
		t.Errorf("a session inside TLS takes %d bytes more", size)
	}
}

// BenchmarkInside is what a packet of the server costs inside TLS, one answer in it: five messages a session.
func BenchmarkInside(b *testing.B) {
	story := insideStories()[0]
	var steps []step
	for _, st := range story.talk.steps {
		if steered(ReleaseUp, &st) || len(steps) < 20 {
			steps = append(steps, st)
		}
	}
	tr := New(Options{})
	var events []Event
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n%len(steps) == 0 {
			tr.End(EndTimeout, time.Time{})
			tr.Reset(Options{})
		}
		st := &steps[n%len(steps)]
		events = tr.Segment(st.dir, &st.seg, st.time, events[:0])
		n++
	}
}

// BenchmarkInsideHostile is what a reply costs whose lengths, and those of the client's talk, keep as many guesses alive as
// possible.
func BenchmarkInsideHostile(b *testing.B) {
	for name, next := range map[string]func(r *rand.Rand) (up, records, length int){
		"any length":       func(r *rand.Rand) (int, int, int) { return 30 + r.IntN(120), 1, 8 + r.IntN(60) },
		"long groups":      func(r *rand.Rand) (int, int, int) { return 300 + r.IntN(3000), 1 + r.IntN(3), 30 + r.IntN(600) },
		"messages at once": func(r *rand.Rand) (int, int, int) { return 14000, 20, 14 + 23*r.IntN(4) },
		"one byte each":    func(r *rand.Rand) (int, int, int) { return 23, 1, 14 },
	} {
		b.Run(name, func(b *testing.B) {
			const add = 17
			r := rand.New(rand.NewPCG(1, 2))
			var e estimate
			e.begin(framing{add: add}, 0, false)
			ack := int64(0)
			replies := 0
			b.ReportAllocs()
			for b.Loop() {
				up, records, length := next(r)
				ack += int64(up)
				for range records {
					e.record(length+add, ack)
				}
				replies += records
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(replies), "ns/reply")
		})
	}
}
