package session

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/packet"
)

// certainOne is a captured session with messages of which all is known in the end, and the segments of its server.
func certainOne(t *testing.T) (r *Recording, stream []byte, cut []piece) {
	t.Helper()
	all := corpus(t)
	for i := range all {
		r := &all[i].Recording
		if all[i].holes || all[i].class != "brings" || all[i].truth < 5 || len(r.heard) > 100 {
			continue
		}
		if lo, hi := r.estimate(); lo == all[i].truth && hi == lo {
			stream, cut = r.segments(rand.New(rand.NewPCG(1, 2)), 1448)
			return r, stream, cut
		}
	}
	t.Fatal("the corpus has none")
	return nil, nil, nil
}

// hears is the tracker behind what the server said from offset from up to to, as its segments were or a byte each, with how many
// messages were told of.
func (t *Tracker) hears(stream []byte, cut []piece, from, to int64, size int64) (told int) {
	for _, s := range cut {
		for at := max(s.from, from); at < min(s.to, to); {
			end := min(at+size, s.to, to)
			for _, e := range t.Segment(Down, &packet.Segment{Seq: uint32(at), Ack: uint32(s.ack), Flags: packet.ACK | packet.PSH, Payload: stream[at:end]}, time.Unix(1_000_000, 0), nil) {
				if e.Kind == Message {
					told++
				}
			}
			at = end
		}
	}
	return told
}

const whole = 1 << 30 // a segment, not cut

// headsOf are the offsets of the records' heads, and the end.
func headsOf(stream []byte) (heads []int64) {
	for at := int64(0); at < int64(len(stream)); at += recordHeader + int64(stream[at+3])<<8 + int64(stream[at+4]) {
		heads = append(heads, at)
	}
	return append(heads, int64(len(stream)))
}

// TestWhatIsNoRecordBlinds: behind what cannot be records the most messages are not known, the fewest are, and the kernel may pass the rest.
func TestWhatIsNoRecordBlinds(t *testing.T) {
	t.Parallel()
	r, stream, cut := certainOne(t)
	heads := headsOf(stream)
	at := heads[len(heads)*3/4]
	var seen int64 // what the server had received there
	for _, s := range cut {
		if s.from < at {
			seen = s.ack
		}
	}
	for _, row := range []struct {
		why   string
		said  string
		blind bool
		clear bool
	}{
		{"another record", "\x17\x03\x03\x00\x20" + string(make([]byte, 32)), false, false},
		{"half a head", "\x17\x03\x03\x00", false, false},
		{"no type of a record", "\x7f\x03\x03\x00\x20", true, false},
		{"another version", "\x17\x09\x03\x00\x20", true, false},
		{"longer than a record may be", "\x17\x03\x03\xff\xff", true, false},
		{"a reply in clear that refuses", "421 4.4.2 closing\r\n", false, true},
		{"and another one", "554 5.7.0 no\r\n", false, true},
		{"one that does not refuse", "250 2.0.0 ok\r\n", true, false},
		{"digits that are no reply", "499 what\r\n", true, false},
	} {
		for _, size := range []int64{whole, 1} {
			tr := r.inside()
			told := tr.hears(stream, cut, 0, at, size)
			before := tr.Facts()
			if told == 0 || before.MessagesHi < before.MessagesLo || tr.Release() != ReleaseUp || !tr.Sealed() {
				t.Fatalf("%s: before it %d told, release %v, %+v", row.why, told, tr.Release(), before)
			}
			all := append(bytes.Clone(stream[:at]), row.said...)
			told += tr.hears(all, []piece{{at, int64(len(all)), seen}}, at, int64(len(all)), size)
			for _, when := range []string{"while it runs", "in the end"} {
				f := tr.Facts()
				if f.MessagesLo < told || (f.MessagesHi == -1) != row.blind || row.clear && (f.MessagesLo != before.MessagesLo || f.MessagesHi != before.MessagesHi) {
					t.Errorf("%s, %s: %d told, %d..%d; before it %d..%d", row.why, when, told, f.MessagesLo, f.MessagesHi, before.MessagesLo, before.MessagesHi)
				}
				if when == "in the end" {
					break
				}
				if (tr.Release() == ReleaseBoth) != row.blind || tr.Sealed() == row.blind {
					t.Errorf("%s: release %v, sealed %v", row.why, tr.Release(), tr.Sealed())
				}
				for _, e := range tr.End(EndTimeout, time.Unix(1_000_001, 0)) {
					if e.Kind == Message {
						told++
					}
				}
			}
		}
	}
}

// TestTheSearchForARecordEnds: where so much goes by behind a hole without a record that is found, nobody looks any more.
func TestTheSearchForARecordEnds(t *testing.T) {
	t.Parallel()
	r, stream, cut := certainOne(t)
	heads := headsOf(stream)
	at := heads[len(heads)/2]
	tr := r.inside()
	told := tr.hears(stream, cut, 0, at, whole)
	const lost, step = 1, 1000
	nothing := make([]byte, at+2*maxSought) // no record has a type of zero
	for from := at + lost; from+step < int64(len(nothing)); from += step {
		tr.Lossy() // so that the hole is not waited for
		told += tr.hears(nothing, []piece{{from, from + step, cut[len(cut)-1].ack}}, from, from+step, whole)
		past := from+step-at > maxSought
		if f := tr.Facts(); (f.MessagesHi == -1) != past || f.MessagesLo < told || tr.Sealed() == past {
			t.Fatalf("%d bytes behind the last record: %d..%d, %d told, sealed %v", from+step-at, f.MessagesLo, f.MessagesHi, told, tr.Sealed())
		}
	}
}

// TestAHoleInARecordsHead: a hole that begins behind some bytes of a record's head takes that record with it: it is as if the head had not been
// seen at all. One within a body does no harm, one that goes beyond takes what comes next.
func TestAHoleInARecordsHead(t *testing.T) {
	t.Parallel()
	r, stream, cut := certainOne(t)
	heads := headsOf(stream)
	n := len(heads) / 2
	lost := func(from, to int64) *Tracker {
		tr := r.inside()
		tr.hears(stream, cut, 0, from, whole)
		tr.Lossy()
		tr.hears(stream, cut, to, to+1, whole)
		return tr
	}
	in := func(tr *Tracker) Facts {
		tr.hears(stream, cut, tr.down.off, int64(len(stream)), whole)
		tr.End(EndTimeout, time.Unix(1_000_001, 0))
		return tr.Facts()
	}
	var want Facts
	for have := range int64(recordHeader) {
		tr := lost(heads[n]+have, heads[n+1]+2)
		if k := tr.sealed.seeking; k == nil || k.start != heads[n] {
			t.Fatalf("with %d bytes of a head: %+v, the last record that is known ends at %d", have, k, heads[n])
		}
		f := in(tr)
		if f.BytesDown != int64(len(stream)) || f.Gaps != 1 || f.MessagesHi < f.MessagesLo {
			t.Errorf("with %d bytes of a head: %+v", have, f)
		}
		if have == 0 {
			want = f
		}
		if f.MessagesLo != want.MessagesLo || f.MessagesHi != want.MessagesHi {
			t.Errorf("with %d bytes of a head %d..%d, with none %d..%d", have, f.MessagesLo, f.MessagesHi, want.MessagesLo, want.MessagesHi)
		}
	}
	whole := r.inside()
	all := in(whole)
	body := heads[n] + recordHeader
	tr := lost(body+1, body+3)
	if tr.sealed.seeking != nil {
		t.Error("a hole within a body is searched behind")
	}
	if f := in(tr); f.MessagesLo != all.MessagesLo || f.MessagesHi != all.MessagesHi {
		t.Errorf("a hole within a body: %d..%d, without it %d..%d", f.MessagesLo, f.MessagesHi, all.MessagesLo, all.MessagesHi)
	}
	if k := lost(body+1, heads[n+1]+1).sealed.seeking; k == nil || k.start != heads[n+1] {
		t.Errorf("a hole that takes the next head: %+v, the record before it ends at %d", k, heads[n+1])
	}
}

// TestWhatWasToldIsNotTakenBack: a message that was told of stays in lo, whatever the estimate comes to think of it.
func TestWhatWasToldIsNotTakenBack(t *testing.T) {
	t.Parallel()
	r, stream, cut := certainOne(t)
	tr := r.inside()
	told := tr.hears(stream, cut, 0, int64(len(stream)), whole)
	if told < 3 {
		t.Fatalf("%d told", told)
	}
	e := &tr.sealed.estimate
	for i := range e.guesses[:e.n] {
		e.guesses[i].messages -= 2
	}
	if lo, _ := e.bounds(); lo >= told {
		t.Fatalf("the estimate still has %d of %d", lo, told)
	}
	if f := tr.Facts(); f.MessagesLo != told {
		t.Errorf("%d told, lo is %d", told, f.MessagesLo)
	}
	told += len(tr.End(EndTimeout, time.Unix(1_000_001, 0))) - 1 // the last is Ended
	if f := tr.Facts(); f.MessagesLo != told {
		t.Errorf("%d told, in the end lo is %d", told, f.MessagesLo)
	}
}
