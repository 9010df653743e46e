package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance"
	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// written writes a capture into a file of its own.
func written(t testing.TB, c *nfqtest.Capture) string {
	t.Helper()
	var b bytes.Buffer
	if err := nfqtest.WritePcap(&b, c.Packets); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bent.pcap")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// to465 makes 465 of every server's port.
func to465(c *nfqtest.Capture) {
	of := servers(c)
	for i := range c.Packets {
		p := &c.Packets[i]
		var s packet.Segment
		if packet.Decode(p.IP, &s) != packet.OK {
			continue
		}
		at := bytes.Index(p.IP, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, s.Src.Port()), s.Dst.Port()), s.Seq))
		if _, up := of[ends{s.Src, s.Dst}]; up {
			at += 2
		}
		p.IP = bytes.Clone(p.IP)
		binary.BigEndian.PutUint16(p.IP[at:], 465)
	}
}

// bent is a packet and the segment in it.
type bent struct {
	nfqtest.Packet
	seg packet.Segment
	tcp bool // seg is meaningful, and the packet can be made of it
}

func decoded(c *nfqtest.Capture) []bent {
	all := make([]bent, len(c.Packets))
	for i, p := range c.Packets {
		all[i].Packet = p
		all[i].tcp = packet.Decode(p.IP, &all[i].seg) == packet.OK && all[i].seg.Missing == 0
	}
	return all
}

// rebuilt is a packet with a part of its payload.
func (b bent) rebuilt(from, to int) bent {
	s := &b.seg
	last := to == len(s.Payload)
	s.Payload = s.Payload[from:to]
	s.Seq += uint32(from)
	if !last {
		s.Flags &^= packet.FIN
	}
	b.IP = nfqtest.TCP{Src: s.Src, Dst: s.Dst, Seq: s.Seq, Ack: s.Ack, Flags: s.Flags, Window: s.Window, Payload: s.Payload}.Packet()
	return b
}

// inPieces sends n bytes in a packet, of the first most bytes of either direction.
func inPieces(n, most int) func([]bent) []bent {
	return func(in []bent) (out []bent) {
		sent := map[ends]int{}
		for _, b := range in {
			key := ends{b.seg.Src, b.seg.Dst}
			sent[key] += len(b.seg.Payload)
			if !b.tcp || sent[key]-len(b.seg.Payload) > most || len(b.seg.Payload) <= n || b.seg.Flags.Any(packet.SYN|packet.RST) {
				out = append(out, b)
				continue
			}
			for at := 0; at < len(b.seg.Payload); at += n {
				out = append(out, b.rebuilt(at, min(at+n, len(b.seg.Payload))))
			}
		}
		return out
	}
}

// twice sends every packet twice, the second time also after the one that follows.
func twice(in []bent) (out []bent) {
	for i, b := range in {
		out = append(out, b, b)
		if i > 0 && b.tcp && !b.seg.Flags.Has(packet.RST) && in[i-1].tcp && !in[i-1].seg.Flags.Any(packet.SYN|packet.RST) && b.seg.Src == in[i-1].seg.Dst && b.seg.Dst == in[i-1].seg.Src {
			again := in[i-1]
			again.Time = b.Time
			out = append(out, again)
		}
	}
	return out
}

// disorder exchanges neighbours of one direction that carry payload.
func disorder(in []bent) []bent {
	out := append([]bent(nil), in...)
	for i := 0; i+1 < len(out); i++ {
		a, b := &out[i], &out[i+1]
		if a.tcp && b.tcp && a.seg.Src == b.seg.Src && a.seg.Dst == b.seg.Dst && len(a.seg.Payload) > 0 && len(b.seg.Payload) > 0 && a.seg.Ack == b.seg.Ack {
			a.Packet.IP, b.Packet.IP = b.Packet.IP, a.Packet.IP // the times stay
			a.seg, b.seg = b.seg, a.seg
			i++
		}
	}
	return out
}

// timeless is a row without what times make of it. Where a capture lacks packets, their order says only that there are
// holes: what comes late behind two of them makes them one.
func timeless(r appliance.ReplayedSession) string {
	r.Start, r.End = time.Time{}, time.Time{}
	r.Gaps = min(r.Gaps, 1)
	return fmt.Sprintf("%+v", r)
}

// TestSegmentsDoNotMatterToReplay: captures whole, with each byte in a packet of its own, with packets doubled and out of
// order give the same rows.
func TestSegmentsDoNotMatterToReplay(t *testing.T) {
	t.Parallel()
	captures, sessions, files, long := 0, 0, 0, 0
	for _, folder := range []string{"smtp", "ja4", "tls"} {
		for _, path := range nfqtest.Captures(t, folder) {
			c := nfqtest.Read(t, path)
			all := ports(c, nil)
			if folder != "smtp" {
				to465(c)
				all = []uint16{465}
			}
			payload := 0
			whole := decoded(c)
			for _, b := range whole {
				payload += len(b.seg.Payload)
			}
			want := replayRows(t, written(t, c), all)
			if len(want) == 0 {
				continue
			}
			captures++
			sessions += len(want)
			most := payload
			if payload > 100_000 { // what comes later is told in records and lines that came before, too; some seconds are enough
				most = 4 << 10
				long++
			}
			for how, bend := range map[string]func([]bent) []bent{
				"in bytes": inPieces(1, most), "in pieces of 3": inPieces(3, most), "in pieces of 1000": inPieces(1000, payload), "doubled": twice, "in disorder": disorder,
				"in pieces of 2, doubled": func(in []bent) []bent { return twice(inPieces(2, most)(in)) }, "in pieces of 2, in disorder": func(in []bent) []bent { return disorder(inPieces(2, most)(in)) },
			} {
				bentCapture := &nfqtest.Capture{}
				for _, b := range bend(whole) {
					bentCapture.Packets = append(bentCapture.Packets, b.Packet)
				}
				files++
				got := replayRows(t, written(t, bentCapture), all)
				compareRows(t, c.Name+", "+how, got, want, how)
			}
		}
	}
	t.Logf("%d captures with %d sessions bent into %d files; of %d long ones the first 4 KiB of either direction came in bytes", captures, sessions, files, long)
}

// withoutStragglers leaves out what is no session: what one end sends again, seconds after both had closed. The flow table
// has forgotten the session by then, as in the box, and takes data for one found in mid-air; a packet with a FIN, as
// those of these captures are while they are whole, it takes for none.
func withoutStragglers(rows []appliance.ReplayedSession) []appliance.ReplayedSession {
	return slices.DeleteFunc(slices.Clone(rows), func(r appliance.ReplayedSession) bool {
		return r.Unknown && slices.ContainsFunc(rows, func(o appliance.ReplayedSession) bool {
			return o.Src == r.Src && o.SPort == r.SPort && o.Dst == r.Dst && o.EndReason == "fin" && o.End.Before(r.Start)
		})
	})
}

func compareRows(t *testing.T, name string, got, want []appliance.ReplayedSession, how string) {
	t.Helper()
	got, want = withoutStragglers(got), withoutStragglers(want)
	if len(got) != len(want) {
		t.Errorf("%s: %d sessions, want %d", name, len(got), len(want))
		return
	}
	for _, rows := range [][]appliance.ReplayedSession{got, want} { // those that end with the capture do so in the order of their last packets
		slices.SortFunc(rows, func(a, b appliance.ReplayedSession) int {
			return cmp.Or(cmp.Compare(a.Src, b.Src), cmp.Compare(a.SPort, b.SPort), cmp.Compare(a.Dst, b.Dst), a.Start.Compare(b.Start))
		})
	}
	for i := range want {
		if want[i].Unknown && how != "doubled" {
			continue // where a session without a SYN begins is what comes first
		}
		if timeless(got[i]) != timeless(want[i]) {
			t.Errorf("%s:\n got %s\nwant %s", name, timeless(got[i]), timeless(want[i]))
		}
	}
}
