package capture_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/ip4defrag"
	"github.com/gopacket/gopacket/layers"

	"github.com/mailweir/mailweir/nfq/capture"
	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// torn4 cuts an IPv4 packet into fragments of size bytes of payload.
func torn4(ip []byte, id uint16, size int) (all [][]byte) {
	header, body := ip[:20], ip[20:]
	for at := 0; at < len(body); at += size {
		end := min(at+size, len(body))
		f := append(bytes.Clone(header), body[at:end]...)
		binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		binary.BigEndian.PutUint16(f[4:], id)
		field := uint16(at / 8)
		if end < len(body) {
			field |= 0x2000
		}
		binary.BigEndian.PutUint16(f[6:], field)
		all = append(all, f)
	}
	return all
}

// torn6 cuts an IPv6 packet into fragments behind its first skip bytes of extension headers; next is where their kind stands.
func torn6(ip []byte, id uint32, size, skip, next int) (all [][]byte) {
	head, body := bytes.Clone(ip[:40+skip]), ip[40+skip:]
	kind := head[next]
	head[next] = 44
	for at := 0; at < len(body); at += size {
		end := min(at+size, len(body))
		field := uint16(at)
		if end < len(body) {
			field |= 1
		}
		f := append(bytes.Clone(head), kind, 0, byte(field>>8), byte(field))
		f = binary.BigEndian.AppendUint32(f, id)
		f = append(f, body[at:end]...)
		binary.BigEndian.PutUint16(f[4:], uint16(len(f)-40))
		all = append(all, f)
	}
	return all
}

func captured(packets ...[]byte) []byte {
	w := classic(binary.LittleEndian, time.Microsecond, 101)
	for _, ip := range packets {
		w.record(noon, time.Microsecond, ip, len(ip))
	}
	return w.bytes
}

func longPacket(p nfqtest.TCP, n int) nfqtest.TCP {
	p.Payload = make([]byte, n)
	for i := range p.Payload {
		p.Payload[i] = byte(i * 7)
	}
	return p
}

// TestFragmentsAreJoined: in any order, doubled, mixed with those of others, over both families and behind extension headers.
func TestFragmentsAreJoined(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	options := longPacket(packet6(), 3000)
	options.Extensions = []nfqtest.Extension{{Kind: 0, Body: []byte{1, 4, 0, 0, 0, 0}}, {Kind: 60, Body: make([]byte, 14)}}
	ran := 0
	for round := range 200 {
		size := 8 * (1 + rng.IntN(200))
		wants := map[string]bool{}
		var all [][]byte
		for i, p := range []nfqtest.TCP{longPacket(packet4(), 3000), longPacket(packet4(), 1700), longPacket(packet6(), 2000), options} {
			p.Seq = uint32(i)
			ip := p.Packet()
			var parts [][]byte
			switch {
			case p.Src.Addr().Is4():
				parts = torn4(ip, uint16(round*10+i), size)
				ip[4], ip[5], ip[6], ip[7] = parts[0][4], parts[0][5], 0, 0
			case p.Extensions != nil:
				parts = torn6(ip, uint32(i), size, 24, 48) // behind both headers: the second says what follows
			default:
				parts = torn6(ip, uint32(i), size, 0, 6)
			}
			wants[string(segment(t, ip))] = true
			all = append(all, parts...)
		}
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for range 5 { // some come twice, while their packet is open
			i := rng.IntN(len(all))
			all = append(all[:i+1], append([][]byte{all[i]}, all[i+1:]...)...)
		}
		got, c := read(t, captured(all...))
		s := c.Stats().Fragments
		for _, p := range got {
			if !wants[string(segment(t, p.IP))] {
				t.Errorf("round %d: a packet that nobody sent: %x", round, p.IP[:60])
			}
		}
		if len(got) != 4 || s.Joined != 4 || s.Refused != 0 {
			t.Fatalf("round %d, pieces of %d: %d packets, %+v", round, size, len(got), s)
		}
		ran += len(all)
	}
	t.Logf("%d fragments joined", ran)
}

// segment is the TCP segment of a packet, in bytes.
func segment(t testing.TB, ip []byte) []byte {
	t.Helper()
	var s packet.Segment
	if why := packet.Decode(ip, &s); why != packet.OK || s.Missing != 0 {
		t.Fatalf("%v, %d bytes missing: %x", why, s.Missing, ip[:min(len(ip), 60)])
	}
	return append(binary.BigEndian.AppendUint32(nil, s.Seq), s.Payload...)
}

// TestFragmentsThatAreNoPacket: what no host takes, and what is not there, makes no packet.
func TestFragmentsThatAreNoPacket(t *testing.T) {
	t.Parallel()
	ip := longPacket(packet4(), 1000).Packet()
	ip6 := longPacket(packet6(), 1000).Packet()
	parts, parts6 := torn4(ip, 7, 400), torn6(ip6, 7, 400, 0, 6)
	edited := func(p []byte, edit func(p []byte)) []byte {
		p = bytes.Clone(p)
		edit(p)
		return p
	}
	other := torn4(longPacket(packet4(), 996).Packet(), 7, 392) // the same packet, cut elsewhere
	for _, row := range []struct {
		why     string
		packets [][]byte
		want    capture.FragmentStats
	}{
		{"one never came", parts[:2], capture.FragmentStats{Seen: 2, Missing: 1}},
		{"one of another packet", [][]byte{parts[0], parts[1], edited(parts[2], func(p []byte) { p[4] = 9 })}, capture.FragmentStats{Seen: 3, Missing: 2}},
		{"one that overlaps", [][]byte{parts[0], other[1]}, capture.FragmentStats{Seen: 2, Refused: 1}},
		{"one that overlaps, IPv6", [][]byte{parts6[0], torn6(ip6, 7, 392, 0, 6)[1]}, capture.FragmentStats{Seen: 2, Refused: 1}},
		{"two ends", [][]byte{parts[2], edited(parts[1], func(p []byte) { p[6] &^= 0x20 })}, capture.FragmentStats{Seen: 2, Refused: 1}},
		{"beyond the end", [][]byte{edited(parts[1], func(p []byte) { p[6] &^= 0x20 }), parts[2]}, capture.FragmentStats{Seen: 2, Refused: 1}},
		{"not in units of eight bytes, IPv6", [][]byte{edited(parts6[0][:445], func(p []byte) { binary.BigEndian.PutUint16(p[4:], 405) })}, capture.FragmentStats{Seen: 1, Refused: 1}},
		{"longer than a packet can be", [][]byte{edited(parts[2], func(p []byte) { p[6], p[7] = 0x1f, 0xff })}, capture.FragmentStats{Seen: 1, Refused: 1}},
	} {
		got, c := read(t, captured(row.packets...))
		if s := c.Stats().Fragments; len(got) != 0 || s != row.want {
			t.Errorf("%s: %d packets, %+v", row.why, len(got), s)
		}
	}

	late := classic(binary.LittleEndian, time.Microsecond, 101)
	for i, p := range parts {
		late.record(noon.Add(time.Duration(i)*16*time.Second), time.Microsecond, p, len(p))
	}
	if got, c := read(t, late.bytes); len(got) != 0 || c.Stats().Fragments.Missing != 2 {
		t.Errorf("too late: %d packets, %+v", len(got), c.Stats().Fragments)
	}
	short := classic(binary.LittleEndian, time.Microsecond, 101)
	for _, p := range parts {
		short.record(noon, time.Microsecond, p[:min(len(p), 96)], len(p))
	}
	if got, c := read(t, short.bytes); len(got) != 0 || c.Stats().Fragments.Cut != 3 {
		t.Errorf("cut short: %d packets, %+v", len(got), c.Stats().Fragments)
	}
}

// TestFragmentsAgainstGopacket: random fragments, right and wrong ones, are joined as gopacket's ip4defrag joins them.
func TestFragmentsAgainstGopacket(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(8, 9))
	joined, rounds := 0, 4000
	for round := range rounds {
		ip := longPacket(packet4(), 8*rng.IntN(12)).Packet()
		var all [][]byte
		for range 1 + rng.IntN(2) {
			all = append(all, torn4(ip, 7, 8*(1+rng.IntN(5)))...)
		}
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:1+rng.IntN(len(all))]
		var want [][]byte
		oracle := ip4defrag.NewIPv4Defragmenter()
		for _, f := range all {
			layer := &layers.IPv4{}
			if err := layer.DecodeFromBytes(f, gopacket.NilDecodeFeedback); err != nil {
				t.Fatal(err)
			}
			if out, err := oracle.DefragIPv4WithTimestamp(layer, noon); err == nil && out != nil {
				want = append(want, out.Payload)
			}
		}
		got, _ := read(t, captured(all...))
		if len(got) != len(want) {
			t.Fatalf("round %d: %d packets, gopacket has %d", round, len(got), len(want))
		}
		for i := range got {
			joined++
			if !bytes.Equal(got[i].IP[20:], want[i]) {
				t.Fatalf("round %d: packet %d is another", round, i)
			}
		}
	}
	t.Logf("%d rounds, %d packets joined", rounds, joined)
}
