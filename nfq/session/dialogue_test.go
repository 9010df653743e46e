package session

import (
	"fmt"
	"strings"
	"time"

	"github.com/mailweir/mailweir/nfq/packet"
)

// dialogue writes the segments of a TCP session as its two ends would send them.
type dialogue struct {
	steps []step
	seq   [2]uint32 // next number of each side
	now   time.Time
}

// Initial sequence numbers near the wrap-around, so that every story crosses it.
const (
	upISN   = 0xffff_fff0
	downISN = 0xffff_ff00
)

func newDialogue() *dialogue {
	d := &dialogue{seq: [2]uint32{upISN, downISN}, now: time.Unix(1_700_000_000, 0).UTC()}
	d.send(Up, packet.SYN, nil)
	d.seq[Up]++
	d.send(Down, packet.SYN|packet.ACK, nil)
	d.seq[Down]++
	d.send(Up, packet.ACK, nil)
	return d
}

func (d *dialogue) send(dir Direction, flags packet.Flags, payload []byte) {
	s := packet.Segment{Seq: d.seq[dir], Flags: flags, Payload: payload, Window: 65535}
	if flags.Has(packet.ACK) {
		s.Ack = d.seq[1-dir]
	}
	d.now = d.now.Add(time.Millisecond)
	d.steps = append(d.steps, step{dir, s, d.now})
	d.seq[dir] += uint32(len(payload))
}

// say sends text in one segment; "\n" stands for CRLF.
func (d *dialogue) say(dir Direction, text string) {
	d.raw(dir, []byte(strings.ReplaceAll(text, "\n", "\r\n")))
}

func (d *dialogue) raw(dir Direction, p []byte) { d.send(dir, packet.PSH|packet.ACK, p) }

func (d *dialogue) c(text string) *dialogue { d.say(Up, text); return d }
func (d *dialogue) s(text string) *dialogue { d.say(Down, text); return d }

// bulk sends n bytes of content in segments of 1400, ends of lines included.
func (d *dialogue) bulk(n int) *dialogue {
	text := []byte(strings.Repeat(strings.Repeat("x", 70)+"\r\n", n/72+1))[:n]
	for len(text) > 0 {
		k := min(1400, len(text))
		d.raw(Up, text[:k])
		text = text[k:]
	}
	return d
}

// close ends the session from the client's side.
func (d *dialogue) close() *dialogue {
	d.send(Up, packet.FIN|packet.ACK, nil)
	d.seq[Up]++
	d.send(Down, packet.FIN|packet.ACK, nil)
	d.seq[Down]++
	d.send(Up, packet.ACK, nil)
	return d
}

// told lists events in short: "greeting 220, message 250 2".
func told(events []Event) string {
	var list []string
	for _, e := range events {
		text := e.Kind.String()
		if e.Code != 0 {
			text += fmt.Sprint(" ", e.Code)
		}
		if e.Kind == Message {
			text += fmt.Sprint(" ", e.Recipients)
		}
		if e.Text != "" {
			text += " " + e.Text
		}
		if e.Kind == ClientHello && e.Hello == nil {
			text += " unread"
		}
		if e.Hello != nil && e.Hello.SNI != "" {
			text += " " + e.Hello.SNI
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// cut cuts every segment with more than n bytes of payload into pieces of n.
func cut(steps []step, n int) (out []step) {
	for _, st := range steps {
		for len(st.seg.Payload) > n {
			first := st
			first.seg.Payload = st.seg.Payload[:n]
			first.seg.Flags &^= packet.FIN
			out = append(out, first)
			st.seg.Payload = st.seg.Payload[n:]
			st.seg.Seq += uint32(n)
			if st.seg.Flags.Has(packet.SYN) {
				st.seg.Flags &^= packet.SYN
				st.seg.Seq++
			}
		}
		out = append(out, st)
	}
	return out
}

// doubled sends every segment twice, the second time also after the one that follows.
func doubled(steps []step) (out []step) {
	for i, st := range steps {
		out = append(out, st, st)
		if i > 0 && !steps[i-1].seg.Flags.Any(packet.SYN|packet.RST) {
			out = append(out, steps[i-1])
		}
	}
	return out
}

// swapped exchanges neighbours of one direction that carry payload: disorder as a network makes it.
func swapped(steps []step) []step {
	out := append([]step(nil), steps...)
	for i := 0; i+1 < len(out); i++ {
		a, b := &out[i], &out[i+1]
		if a.dir == b.dir && len(a.seg.Payload) > 0 && len(b.seg.Payload) > 0 && a.seg.Ack == b.seg.Ack {
			*a, *b = *b, *a
			i++
		}
	}
	return out
}
