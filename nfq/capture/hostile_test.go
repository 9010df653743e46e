package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/capture"
	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// endless gives the same bytes again and again, up to left of them, and looks now and then while its reader waits.
type endless struct {
	head, again []byte
	at          int
	left        int64
	look        func()
	given       int
	next        int // look once so many bytes were given
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.head) > 0 {
		n := copy(p, e.head)
		e.head = e.head[n:]
		return n, nil
	}
	if e.left <= 0 {
		return 0, io.EOF
	}
	if e.given >= e.next {
		e.look()
		e.next = e.given + e.given/4 + 4<<10
	}
	n := copy(p[:min(int64(len(p)), e.left)], e.again[e.at:])
	e.given += n
	e.at = (e.at + n) % len(e.again)
	e.left -= int64(n)
	return n, nil
}

// peak runs f and gives the largest heap that look found, above what there was: what is kept, not what is thrown away.
func peak(f func(look func())) uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, m.HeapAlloc
	f(func() {
		runtime.GC()
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
	})
	return max(most, before) - before
}

// TestMemoryIsBounded: neither the size of a file nor what it says of itself decides how much memory it takes.
func TestMemoryIsBounded(t *testing.T) {
	const size, bound = 256 << 20, 16 << 20
	ip := packet4().Packet()
	frag := bytes.Clone(ip)
	frag[6] = 0x20 // more fragments
	le := binary.LittleEndian
	pcap := func() *writer { return classic(le, time.Microsecond, 101) }
	ng := func() *writer { return (&writer{order: le}).section().link(101, 6, 0) }
	many := func(w *writer, skip int) []byte { return w.bytes[skip:] }
	ran := 0
	for _, row := range []struct {
		why    string
		head   []byte
		again  []byte
		size   int64
		damage string // "": none
	}{
		{"packets", pcap().bytes, many(pcap().record(noon, time.Microsecond, ip, len(ip)), 24), size, "-"},
		{"packets of pcapng", ng().bytes, many((&writer{order: le}).packet(0, uint64(noon.UnixMicro()), ip, len(ip)), 0), size, "-"},
		{"a packet of 4 GiB", pcap().words(0, 0, 0xffffffff, 0xffffffff).bytes, []byte("xxxxxxxx"), size, "4294967295"},
		{"a packet of 256 MiB", pcap().words(0, 0, 1<<28, 1<<28).bytes, []byte("xxxxxxxx"), size, "268435456"},
		{"a snap length of 4 GiB", (&writer{order: le}).words(0xa1b2c3d4).halves(2, 4).words(0, 0, 0xffffffff, 101, 0, 0, 1<<30, 1<<30).bytes, []byte("xxxxxxxx"), size, "1073741824"},
		{"a block of 4 GiB", ng().words(6, 0xfffffffc).bytes, []byte("xxxxxxxx"), size, "at most"},
		{"a block of 4 GiB that nobody needs", ng().words(0xbad, 0xfffffffc).bytes, []byte("xxxxxxxx"), size, "cut off"},
		{"a packet longer than its block", ng().block(6, uint32(0), uint32(0), uint32(0), uint32(0xfffffff0), uint32(0xfffffff0), ip).bytes, []byte("xxxx"), 0, "a packet of 4294967280 bytes"},
		{"blocks without a length", ng().words(6, 0, 6, 0).bytes, nil, 0, "0 bytes long"},
		{"lengths that differ", ng().words(6, 40, 0, 0, 0, 0, 0, 0, 0, 44).bytes, nil, 0, "at its end 44"},
		{"name records", ng().bytes, many((&writer{order: le}).block(4, uint16(1), uint16(9), []byte("\x7f\x00\x00\x01x.y.z"), uint32(0)), 0), size, "-"},
		{"secrets", ng().bytes, many((&writer{order: le}).block(10, uint32(0x544c534b), uint32(64), make([]byte, 64)), 0), size, "-"},
		{"interfaces", ng().bytes, many((&writer{order: le}).block(1, uint16(101), uint16(0), uint32(0)), 0), size, "more than 16384 interfaces"},
		{"interfaces with a long name", ng().bytes, many((&writer{order: le}).block(1, uint16(101), uint16(0), uint32(0), uint16(2), uint16(60_000), make([]byte, 60_000)), 0), size, "-"},
		{"sections", ng().bytes, many(ng(), 0), size, "-"},
		{"times in units of 10^-99 s", ng().link(101, 99, 0).bytes, nil, 0, "in units of"},
		{"an option beyond its block", ng().block(1, uint16(101), uint16(0), uint32(0), uint16(9), uint16(0xffff), uint32(0)).bytes, nil, 0, "an option of 65535 bytes"},
	} {
		ran++
		packets := 0
		used := peak(func(look func()) {
			c, err := capture.New("x", &endless{head: row.head, again: row.again, left: row.size, look: look})
			if err != nil {
				t.Fatalf("%s: %v", row.why, err)
			}
			var p capture.Packet
			for c.Next(&p) == nil {
				packets++
			}
			err = c.Damage()
			switch {
			case row.damage == "-" && err != nil && !strings.HasSuffix(err.Error(), "cut off"):
				t.Errorf("%s: %v", row.why, err)
			case row.damage != "-" && (err == nil || !strings.Contains(err.Error(), row.damage)):
				t.Errorf("%s: %v, want %q", row.why, err, row.damage)
			}
		})
		if used > bound {
			t.Errorf("%s: %d MB", row.why, used>>20)
		}
		t.Logf("%s: %d packets, %.1f MB", row.why, packets, float64(used)/1e6)
	}
	t.Logf("%d hostile or long files of up to %d MB", ran, size>>20)
}

// TestFragmentsAreBounded: first fragments without a second take no more than the bound, and the newest are kept.
func TestFragmentsAreBounded(t *testing.T) {
	w := classic(binary.LittleEndian, time.Microsecond, 101)
	body := make([]byte, 1400)
	for id := range 20_000 {
		ip := packet4().Packet()
		ip = append(ip[:20], body...)
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		binary.BigEndian.PutUint16(ip[4:], uint16(id))
		ip[6] = 0x20
		w.record(noon, time.Microsecond, ip, len(ip))
	}
	used := peak(func(look func()) {
		c, err := capture.New("x", bytes.NewReader(w.bytes))
		if err != nil {
			t.Fatal(err)
		}
		drain(t, c)
		look()
		s := c.Stats().Fragments
		if s.Seen != 20_000 || s.Missing != 20_000 || s.Joined != 0 {
			t.Errorf("%+v", s)
		}
	})
	if used > 16<<20 {
		t.Errorf("%d MB", used>>20)
	}
}

// TestEveryCapture reads every capture there is, packed seeds included: what comes out is what pcapgo alone reads, frame by frame.
func TestEveryCapture(t *testing.T) {
	t.Parallel()
	ran, packets, damaged := 0, 0, 0
	for _, folder := range []string{"smtp", "tls", "ja4", "subscriber"} {
		for _, path := range nfqtest.Captures(t, folder) {
			want := nfqtest.Read(t, path)
			c, err := capture.Open(path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			ran++
			got := drain(t, c)
			c.Close()
			if (c.Damage() != nil) != (want.Damage != nil) {
				t.Errorf("%s: damage %v, pcapgo: %v", path, c.Damage(), want.Damage)
			}
			if c.Damage() != nil {
				damaged++
			}
			s := c.Stats()
			if int(s.Frames) != want.Frames || len(got) != len(want.Packets)-int(s.Fragments.Seen)+int(s.Fragments.Joined) {
				t.Errorf("%s: %d frames and %d packets, want %d and %d: %+v", path, s.Frames, len(got), want.Frames, len(want.Packets), s)
				continue
			}
			packets += len(got)
			if s.Fragments.Seen > 0 {
				continue
			}
			for i, p := range got {
				if w := want.Packets[i]; !bytes.Equal(p.IP, w.IP) || !p.Time.Equal(w.Time) {
					t.Errorf("%s: packet %d is another", path, i)
					break
				}
			}
		}
	}
	t.Logf("%d captures read, %d packets, %d damaged files", ran, packets, damaged)
}

// FuzzCapture: no file makes the reader panic, hang or give a packet that is none.
func FuzzCapture(f *testing.F) {
	ip := packet4().Packet()
	f.Add(classic(binary.LittleEndian, time.Microsecond, 101).record(noon, time.Microsecond, ip, len(ip)).bytes)
	f.Add(classic(binary.BigEndian, time.Nanosecond, 1).record(noon, time.Nanosecond, join(make([]byte, 12), 0x8100, 1, 0x0800, ip), 100).bytes)
	f.Add((&writer{order: binary.LittleEndian}).section().link(1, 6, 0).link(113, 9, 3).packet(0, 1, join(make([]byte, 12), 0x0800, ip), 90).packet(1, 2, ip, 40).block(3, uint32(20), ip[:20]).bytes)
	f.Add((&writer{order: binary.BigEndian}).section().link(276, 0x8a, 0).packet(0, 1, join(0x0800, make([]byte, 18), ip), 90).section().link(0, 6, 0).bytes)
	for _, folder := range []string{"smtp", "subscriber", "tls"} {
		for _, path := range nfqtest.Captures(f, folder) {
			if info, err := os.Stat(path); err == nil && info.Size() < 4<<10 {
				if raw, err := os.ReadFile(path); err == nil {
					f.Add(raw)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		c, err := capture.New("x", bytes.NewReader(file))
		if err != nil {
			return
		}
		var p capture.Packet
		n := 0
		for {
			err := c.Next(&p)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if n++; n > 1<<20 {
				t.Fatal("more packets than bytes")
			}
			if len(p.IP) == 0 || p.IP[0]>>4 != 4 && p.IP[0]>>4 != 6 || p.Length < len(p.IP) || p.Time.Year() < 1970 || p.Time.Year() >= 2200 {
				t.Fatalf("%+v", p)
			}
			var s packet.Segment
			packet.Decode(p.IP, &s)
		}
	})
}

// TestDamageAnywhere: real captures with bytes changed at random neither panic nor hang.
func TestDamageAnywhere(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	ran := 0
	for _, folder := range []string{"smtp", "ja4", "subscriber"} {
		for _, path := range nfqtest.Captures(t, folder) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				file := bytes.Clone(raw[:min(len(raw), 64<<10)])
				for range 1 + rng.IntN(20) {
					file[rng.IntN(len(file))] = byte(rng.Uint32())
				}
				ran++
				c, err := capture.New(path, bytes.NewReader(file))
				if err != nil {
					continue
				}
				var p capture.Packet
				for c.Next(&p) == nil {
				}
			}
		}
	}
	t.Logf("%d damaged captures", ran)
}
