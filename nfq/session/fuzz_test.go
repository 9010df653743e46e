package session

import (
	"crypto/tls"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/packet"
)

// pack writes the payloads of a session as FuzzDialogue reads them: direction and length in two bytes, then the bytes.
func pack(steps []step) (out []byte) {
	for _, st := range steps {
		for p := st.seg.Payload; len(p) > 0; {
			n := min(len(p), 0x7fff)
			out = binary.BigEndian.AppendUint16(out, uint16(st.dir)<<15|uint16(n))
			out = append(out, p[:n]...)
			p = p[n:]
		}
	}
	return out
}

func unpack(in []byte) *dialogue {
	d := newDialogue()
	for len(in) >= 2 && len(d.steps) < 500 {
		head := binary.BigEndian.Uint16(in)
		n := min(int(head&0x7fff), len(in)-2)
		if n > 0 {
			d.raw(Direction(head>>15), in[2:2+n])
		}
		in = in[2+n:]
	}
	return d.close()
}

// FuzzDialogue has two ends say anything to each other. However it is cut, the same is told; whatever the kernel lets
// pass or the network loses, the facts stay possible.
func FuzzDialogue(f *testing.F) {
	for _, s := range stories {
		f.Add(pack(s.talk.steps))
	}
	for _, s := range releaseStories() {
		if packed := pack(s.talk.steps); len(packed) < 20_000 {
			f.Add(packed)
		}
	}
	f.Add(pack(hello().c("STARTTLS\n").s("220 go\n").handshake(trusting(), &tls.Config{}).steps))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 30_000 {
			return
		}
		d := unpack(in)
		whole := replay(Options{}, d.steps, nil)
		lawful(t, "whole", whole)
		for how, steps := range map[string][]step{"in pieces": cut(d.steps, 7), "doubled": doubled(d.steps), "overlapping": overlapping(d.steps)} {
			o := replay(Options{}, steps, nil)
			lawful(t, how, o)
			// What stands behind the answer to STARTTLS in its segment is dropped, so there the segments do matter.
			if whole.facts.TLS == TLSNone && o.facts.TLS == TLSNone && (told(o.events) != told(whole.events) || timeless(o.facts) != timeless(whole.facts)) {
				t.Errorf("%s:\n got %s\nwant %s\n got %+v\nwant %+v", how, told(o.events), told(whole.events), o.facts, whole.facts)
			}
		}
		for _, lag := range []int{0, 3} {
			lawful(t, "released", replay(Options{}, d.steps, lagging(lag)))
		}
		lawful(t, "mid-air", replay(Options{MidAir: true}, d.steps[3:], nil))
		lawful(t, "implicit", replay(Options{ImplicitTLS: true}, d.steps, nil))
		without := slices.Clone(d.steps)
		without = slices.Delete(without, len(without)/2, len(without)/2+1)
		lawful(t, "hole", replay(Options{}, without, nil))
	})
}

// said is what the segments of FuzzTracker carry.
var said = []string{"", "220 mx\r\n", "250 ok\r\n", "250-mx\r\n250 STARTTLS\r\n", "354 go\r\n", "550 no\r\n", "334 x\r\n", "421 bye\r\n",
	"EHLO x\r\n", "MAIL FROM:<a@x>\r\n", "RCPT TO:<b@y>\r\n", "DATA\r\n", "x\r\n.\r\n", "BDAT 5 LAST\r\nabcde", "BDAT 1000000 LAST\r\n", "STARTTLS\r\n", "AUTH x\r\n",
	"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "\x15\x03\x03\x00\x02\x02\x28", "\x14\x03\x03\x00\x01\x01", "\x17\x03\x03\x00\x20", "XEXCH50 3 2\r\n", "\r\n", "."}

// FuzzTracker sends segments with any numbers and flags, six bytes of input each: flags and direction, what is said, and
// how far its sequence and acknowledgement numbers lie beside what fits.
func FuzzTracker(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0x92, 0, 0, 0, 0, 0, 0x90, 1, 0, 0, 0, 0, 0x10, 8, 0, 0, 0, 0, 0x90, 3, 0, 0, 0, 0, 0x10, 15, 0, 0, 0, 0, 0x90, 1, 0, 0, 0, 0, 0x10, 17, 0, 0, 0, 0})
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0x92, 0, 0, 0, 0, 0, 0x90, 1, 0, 0, 0, 0, 0x10, 11, 0, 0, 0, 0, 0x90, 4, 0, 0, 0, 0, 0x11, 12, 0x10, 0, 0, 0, 0x91, 2, 0, 0, 9, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		tr := New(Options{ImplicitTLS: len(in)%7 == 6, MidAir: len(in)%11 == 10})
		next := [2]uint32{upISN, downISN}
		var o outcome
		now := time.Unix(0, 0)
		for ; len(in) >= 6; in = in[6:] {
			dir := Direction(in[0] >> 7)
			text := said[int(in[1])%len(said)]
			s := packet.Segment{Flags: packet.Flags(in[0] & 0x7f), Payload: []byte(text)}
			s.Seq = next[dir] + uint32(int32(int16(binary.BigEndian.Uint16(in[2:])))<<(in[1]>>6*4))
			s.Ack = next[1-dir] + uint32(int32(int16(binary.BigEndian.Uint16(in[4:])))<<(in[1]>>5&1*12))
			if in[1] == 0xff {
				s.Missing = int(in[5]) << 8
			}
			if s.Seq == next[dir] {
				next[dir] += uint32(len(text) + s.Missing)
				if s.Flags.Has(packet.SYN) {
					next[dir]++
				}
			}
			now = now.Add(time.Second)
			before := tr.Facts()
			o.events = tr.Segment(dir, &s, now, o.events)
			after := tr.Facts()
			if after.BytesUp < before.BytesUp || after.BytesDown < before.BytesDown || after.Messages < before.Messages {
				if !s.Flags.Has(packet.SYN) && before.BytesUp+before.BytesDown > 0 {
					t.Fatalf("totals fell: %+v, then %+v", before, after)
				}
			}
			sound(t, &tr.up)
			sound(t, &tr.down)
		}
		o.events = append(o.events, tr.End(EndTimeout, now)...)
		o.facts = tr.Facts()
		lawful(t, "any", o)
		if tr.up.ring != nil || tr.down.ring != nil || tr.client.hold != nil || tr.tls != nil || tr.server.waiting.large != nil {
			t.Error("memory was not given back at the end")
		}
		if !tr.Ended() || tr.Release() != ReleaseBoth || o.events[len(o.events)-1].Kind != Ended {
			t.Error("the session did not end")
		}
	})
}

// sound checks a reorder window: islands in order, apart, ahead of what was delivered and within the window.
func sound(t *testing.T, s *stream) {
	t.Helper()
	last := s.off
	for i, is := range s.island[:s.n] {
		if is.start >= is.end || is.start <= last && !(i == 0 && is.start > last) || is.end > s.off+ringSize {
			t.Fatalf("islands %v at %d", s.island[:s.n], s.off)
		}
		last = is.end
	}
	if s.n > 0 && s.ring == nil || s.n == 0 && s.ring != nil {
		t.Fatalf("%d islands, window %v", s.n, s.ring != nil)
	}
}
