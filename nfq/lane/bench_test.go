package lane

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// again makes the reader read once more what it has read; nothing may come meanwhile.
func (l *Lane) again(from uint64) { l.ring.at, l.ring.told = from, from }

// filled is a lane whose ring holds n copies of each packet of a short session.
func filled(t *testing.T, n int) (h *hand, from uint64) {
	t.Helper()
	o := options()
	o.RingBytes = 4 << 20
	h = newHand(t, o)
	h.lease(sub4, 1, 1)
	c := connection(sub4, 1000, inter4, 25, 1)
	h.up(c.syn().Packet())
	for range n {
		h.down(c.down(packet.ACK, "250 2.1.0 Ok\r\n").Packet())
		h.up(c.up(packet.ACK, "RCPT TO:<somebody@example.org>\r\n").Packet())
		h.up(c.up(packet.ACK, strings.Repeat("m", 1400)).Packet())
	}
	return h, h.ring.at
}

func TestNothingOfASessionAllocates(t *testing.T) {
	h, from := filled(t, 20)
	c := connection(sub4, 1000, inter4, 25, 1)
	total := 0
	each := func(c *Copy) { total += len(c.IP) }
	edits := make([]Edit, 100)
	for i := range edits {
		edits[i] = Edit{Key: c.Key, ISN: 9}
	}
	for name, f := range map[string]func(){
		"Read":       func() { h.again(from); h.Read(each) },
		"SetState":   func() { _, _ = h.SetState(c.Key, 1, Up) },
		"DeleteFlow": func() { _, _ = h.DeleteFlow(c.Key, 2) },
		"Edit":       func() { _, _ = h.Edit(edits) },
		"SetSource":  func() { _ = h.SetSource(sub4, 1) },
		"DropSource": func() { _ = h.DropSource(sub4) },
		"Block":      func() { _ = h.Block(sub4, time.Hour) },
		"Grant":      func() { h.Grant(1, 1) },
		"Recall":     func() { h.Recall(1) },
		"Tokens":     func() { h.Tokens(1); h.Lost(1); h.LostTotal(); h.ClearLost(1) },
		"Alive":      func() { h.Alive(time.Second) },
		"Wait":       func() { h.again(from); _ = h.Wait(time.Time{}) },
		"LostEnds":   func() { _ = h.LostEnds(nil) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	if total == 0 {
		t.Error("nothing was read")
	}
}

// benchmarkHand is a lane in a namespace of two interfaces.
func benchmarkHand(b *testing.B, o Options) *hand {
	b.Helper()
	box := newSpace(b)
	h := &hand{rig: &rig{box: box}, index: map[string]int{"lan0": 1}}
	box.Must(func() error {
		if err := nfqtest.Veth("lan0", "wan0", box.Space); err != nil {
			return err
		}
		var err error
		if h.Lane, err = Open(o); err != nil {
			return err
		}
		ifs, _, err := devices([]string{"lan0"}, []string{"wan0"})
		if err != nil {
			return err
		}
		return tellSides(h.coll, nil, ifs)
	})
	b.Cleanup(func() { _ = h.Close() })
	return h
}

func BenchmarkRead(b *testing.B) {
	for _, length := range []int{64, 512, 1460} {
		b.Run(fmt.Sprintf("%dB", length), func(b *testing.B) {
			h := benchmarkHand(b, benchOptions())
			c := h.begin(b, sub4, inter4)
			const n = 1000
			from := h.ring.at
			h.repeat(b, programProgSubscriberEth, c.up(packet.ACK, strings.Repeat("m", length-40)).Packet(), n)
			sum := 0
			each := func(c *Copy) { sum += int(c.IP[40]) } // the packet's first byte of payload comes into the cache
			b.ReportAllocs()
			runs := 0
			for b.Loop() {
				h.again(from)
				runs += h.Read(each)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(runs), "ns/copy")
		})
	}
}

func BenchmarkSetState(b *testing.B) {
	h := benchmarkHand(b, benchOptions())
	c := h.begin(b, sub4, inter4)
	b.ReportAllocs()
	for b.Loop() {
		if found, err := h.SetState(c.Key, c.isn, Up); !found || err != nil {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkEdit64(b *testing.B) {
	h := benchmarkHand(b, benchOptions())
	c := h.begin(b, sub4, inter4)
	edits := make([]Edit, 64)
	for i := range edits {
		edits[i] = Edit{Key: c.Key, ISN: c.isn, State: Up}
	}
	b.ReportAllocs()
	for b.Loop() {
		if found, err := h.Edit(edits); found != 64 || err != nil {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkSetSource(b *testing.B) {
	h := benchmarkHand(b, benchOptions())
	b.ReportAllocs()
	for b.Loop() {
		if err := h.SetSource(sub4, 1); err != nil {
			b.Fatal(err)
		}
	}
}

func benchOptions() Options {
	o := options()
	o.RingBytes = 64 << 20
	o.Routed = false
	return o
}

// begin lets a flow of a lease begin, with plenty of tokens left.
func (h *hand) begin(b *testing.B, client, server netip.Addr) conn {
	b.Helper()
	if err := h.SetSource(client, 1); err != nil {
		b.Fatal(err)
	}
	h.Grant(1, 1_000_000)
	h.Alive(time.Hour)
	c := connection(client, 1000, server, 25, 1)
	h.repeat(b, programProgSubscriberEth, c.syn().Packet(), 1)
	h.Read(func(*Copy) {})
	return c
}

// repeat gives the same packet n times and returns how long each took.
func (h *hand) repeat(b *testing.B, program string, ip []byte, n int) (per time.Duration) {
	b.Helper()
	h.box.T = b
	h.box.Must(func() (err error) {
		_, per, err = h.coll.Programs[program].Benchmark(ethernet(ip), n, nil)
		return err
	})
	return per
}

// The kernel measures; the round between two measurements empties the ring.
func BenchmarkProgram(b *testing.B) {
	const rounds = 5000 // copies of 1536 bytes that fit into the ring
	for _, row := range []struct {
		name    string
		program string
		packet  func(*hand, conn) []byte
	}{
		{"not TCP", programProgSubscriberEth, func(_ *hand, c conn) []byte {
			return changed(c.syn().Packet(), func(b []byte) { b[9] = 17 })
		}},
		{"not a governed port", programProgSubscriberEth, func(*hand, conn) []byte {
			return connection(sub4, 1000, inter4, 443, 1).up(packet.ACK, "x").Packet()
		}},
		{"governed, no flow of ours", programProgSubscriberEth, func(*hand, conn) []byte {
			return connection(sub4, 1001, inter4, 25, 1).up(packet.ACK, "x").Packet()
		}},
		{"pure ACK", programProgSubscriberEth, func(_ *hand, c conn) []byte { return c.up(packet.ACK, "").Packet() }},
		{"reply of 60 bytes, copied", programProgUpstreamEth, func(_ *hand, c conn) []byte {
			return c.down(packet.ACK, "250 2.1.0 Ok, go on\r\n").Packet()
		}},
		{"data of 500 bytes, copied", programProgSubscriberEth, func(_ *hand, c conn) []byte {
			return c.up(packet.ACK, strings.Repeat("m", 460)).Packet()
		}},
		{"data of 1500 bytes, copied", programProgSubscriberEth, func(_ *hand, c conn) []byte {
			return c.up(packet.ACK, strings.Repeat("m", 1460)).Packet()
		}},
		{"data of 1500 bytes, bulk", programProgSubscriberEth, func(h *hand, c conn) []byte {
			_, _ = h.SetState(c.Key, c.isn, Up)
			return c.up(packet.ACK, strings.Repeat("m", 1460)).Packet()
		}},
		{"SYN again, copied", programProgSubscriberEth, func(_ *hand, c conn) []byte { return c.syn().Packet() }},
		{"SYN, no token left", programProgSubscriberEth, func(h *hand, _ conn) []byte {
			h.Recall(1)
			return connection(sub4, 1001, inter4, 25, 1).syn().Packet()
		}},
		{"SYN, source unknown, flooding", programProgSubscriberEth, func(*hand, conn) []byte {
			return connection(other4, 1001, inter4, 25, 1).syn().Packet()
		}},
		{"SYN, cut, dropped", programProgSubscriberEth, func(h *hand, c conn) []byte {
			_ = h.Block(sub4, time.Hour)
			return c.syn().Packet()
		}},
	} {
		for _, family := range []string{"IPv4", "IPv6"} {
			b.Run(row.name+"/"+family, func(b *testing.B) {
				h := benchmarkHand(b, benchOptions())
				client, server := sub4, inter4
				if family == "IPv6" {
					if row.name != "pure ACK" && row.name != "reply of 60 bytes, copied" && row.name != "SYN again, copied" {
						b.Skip("like IPv4")
					}
					client, server = sub6, inter6
				}
				ip := row.packet(h, h.begin(b, client, server))
				var took time.Duration
				n := 0
				for b.Loop() {
					took += h.repeat(b, row.program, ip, rounds) * rounds
					n += rounds
					h.Read(func(*Copy) {})
				}
				b.ReportMetric(float64(took.Nanoseconds())/float64(n), "ns/packet")
				b.ReportMetric(0, "ns/op")
				if lost := h.LostTotal(); lost > 0 {
					b.Fatalf("%d copies were lost", lost)
				}
			})
		}
	}
}
