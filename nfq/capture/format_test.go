package capture_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/capture"
)

// writer makes capture files by hand: pcapgo writes in one byte order only.
type writer struct {
	order binary.AppendByteOrder
	bytes []byte
}

func (w *writer) words(v ...uint32) *writer {
	for _, x := range v {
		w.bytes = w.order.AppendUint32(w.bytes, x)
	}
	return w
}

func (w *writer) halves(v ...uint16) *writer {
	for _, x := range v {
		w.bytes = w.order.AppendUint16(w.bytes, x)
	}
	return w
}

// classic begins a pcap file; unit is that of its times.
func classic(order binary.AppendByteOrder, unit time.Duration, link uint32) *writer {
	w := &writer{order: order}
	magic := uint32(0xa1b2c3d4)
	if unit == time.Nanosecond {
		magic = 0xa1b23c4d
	}
	return w.words(magic).halves(2, 4).words(0, 0, 65535, link)
}

func (w *writer) record(at time.Time, unit time.Duration, data []byte, length int) *writer {
	w.words(uint32(at.Unix()), uint32(at.Nanosecond()/int(unit)), uint32(len(data)), uint32(length))
	w.bytes = append(w.bytes, data...)
	return w
}

// block is one of pcapng; parts are []byte, padded, or numbers.
func (w *writer) block(kind uint32, parts ...any) *writer {
	body := &writer{order: w.order}
	for _, p := range parts {
		switch p := p.(type) {
		case uint16:
			body.halves(p)
		case uint32:
			body.words(p)
		case []byte:
			body.bytes = append(body.bytes, p...)
			for len(body.bytes)%4 != 0 {
				body.bytes = append(body.bytes, 0)
			}
		}
	}
	n := uint32(len(body.bytes) + 12)
	w.words(kind, n)
	w.bytes = append(w.bytes, body.bytes...)
	return w.words(n)
}

func (w *writer) section() *writer {
	return w.block(0x0a0d0d0a, uint32(0x1a2b3c4d), uint16(1), uint16(0), uint32(0xffffffff), uint32(0xffffffff), uint16(4), uint16(3), []byte("me!"), uint32(0))
}

// link describes an interface whose times are 10^-digits seconds, offset seconds late.
func (w *writer) link(link uint16, digits byte, offset uint32) *writer {
	return w.block(1, link, uint16(0), uint32(0), uint16(2), uint16(4), []byte("eth0"), uint16(9), uint16(1), []byte{digits},
		uint16(14), uint16(8), w.eight(uint64(offset)), uint32(0))
}

func (w *writer) eight(v uint64) []byte { return w.order.AppendUint64(nil, v) }

func (w *writer) packet(link uint32, units uint64, data []byte, length int) *writer {
	return w.block(6, link, uint32(units>>32), uint32(units), uint32(len(data)), uint32(length), data, uint16(1), uint16(5), []byte("note!"), uint32(0))
}

// read reads all of a file.
func read(t testing.TB, file []byte) (all []capture.Packet, c *capture.Capture) {
	t.Helper()
	c, err := capture.New("x.pcap", bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return drain(t, c), c
}

func drain(t testing.TB, c *capture.Capture) (all []capture.Packet) {
	t.Helper()
	var p capture.Packet
	for {
		err := c.Next(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		p.IP = bytes.Clone(p.IP)
		all = append(all, p)
	}
}

var noon = time.Date(2026, 11, 28, 12, 0, 0, 123_456_000, time.UTC)

func join(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			b = append(b, p...)
		case int:
			b = append(b, byte(p>>8), byte(p))
		}
	}
	return b
}

// TestFormats: byte orders, units of time, link types and packing, alone and together.
func TestFormats(t *testing.T) {
	t.Parallel()
	v4, v6 := packet4().Packet(), packet6().Packet()
	mac := make([]byte, 12)
	micro, nano := noon, noon.Add(789)
	ran := 0
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, row := range []struct {
			why  string
			file *writer
			want []capture.Packet
		}{
			{"pcap, microseconds", classic(order, time.Microsecond, 101).record(micro, time.Microsecond, v4, len(v4)).record(micro, time.Microsecond, v6, len(v6)),
				[]capture.Packet{{Time: micro, IP: v4, Length: len(v4)}, {Time: micro, IP: v6, Length: len(v6)}}},
			{"pcap, nanoseconds, with a length of the checksum in the link type", classic(order, time.Nanosecond, 0x24000001).record(nano, time.Nanosecond, join(mac, 0x0800, v4, 0, 0), len(v4)+18),
				[]capture.Packet{{Time: nano, IP: join(v4, 0, 0), Length: len(v4) + 4}}},
			{"pcapng, one interface of each kind", (&writer{order: order}).section().link(1, 6, 0).link(101, 9, 0).link(113, 3, 0).link(276, 0x80|20, 0).link(0, 6, 100).
				packet(0, uint64(micro.UnixMicro()), join(mac, 0x8100, 5, 0x0800, v4), 0).
				packet(1, uint64(nano.UnixNano()), v6, len(v6)).
				packet(2, uint64(micro.UnixMilli()), join(make([]byte, 14), 0x0800, v4), len(v4)+16).
				packet(3, uint64(micro.Unix())<<20, join(0x86dd, make([]byte, 18), v6), len(v6)+20).
				packet(4, uint64(micro.UnixMicro()), join(2, 0, v4), len(v4)+4),
				[]capture.Packet{{Time: micro, IP: v4, Length: len(v4)}, {Time: nano, IP: v6, Length: len(v6)}, {Time: micro.Truncate(time.Millisecond), IP: v4, Length: len(v4)},
					{Time: micro.Truncate(time.Second), IP: v6, Length: len(v6)}, {Time: micro.Add(100 * time.Second), IP: v4, Length: len(v4)}}},
			{"pcapng, two sections, blocks of other kinds between", (&writer{order: order}).section().link(101, 6, 0).packet(0, uint64(micro.UnixMicro()), v4, len(v4)).
				block(4, uint16(1), uint16(9), []byte("\x7f\x00\x00\x01x.y.z"), uint32(0)).block(0xbad, []byte("whatever")).
				section().link(229, 9, 0).packet(0, uint64(nano.UnixNano()), v6, len(v6)).block(5, uint32(0), uint32(0), uint32(0)),
				[]capture.Packet{{Time: micro, IP: v4, Length: len(v4)}, {Time: nano, IP: v6, Length: len(v6)}}},
			{"pcapng, simple and old packets", (&writer{order: order}).section().link(101, 6, 0).packet(0, uint64(micro.UnixMicro()), v4, len(v4)).
				block(3, uint32(len(v6)), v6).block(2, uint16(0), uint16(0), uint32(uint64(micro.UnixMicro())>>32), uint32(uint64(micro.UnixMicro())), uint32(len(v4)), uint32(len(v4)), v4),
				[]capture.Packet{{Time: micro, IP: v4, Length: len(v4)}, {Time: micro, IP: v6, Length: len(v6)}, {Time: micro, IP: v4, Length: len(v4)}}},
		} {
			for _, packed := range []bool{false, true} {
				ran++
				file := row.file.bytes
				if packed {
					var z bytes.Buffer
					w := gzip.NewWriter(&z)
					w.Write(file)
					w.Close()
					file = z.Bytes()
				}
				got, c := read(t, file)
				if err := c.Damage(); err != nil {
					t.Errorf("%s, %v, packed %v: %v", row.why, order, packed, err)
				}
				if len(got) != len(row.want) {
					t.Errorf("%s, %v, packed %v: %d packets, want %d", row.why, order, packed, len(got), len(row.want))
					continue
				}
				for i, want := range row.want {
					if !got[i].Time.Equal(want.Time) || !bytes.Equal(got[i].IP, want.IP) || got[i].Length != want.Length {
						t.Errorf("%s, %v, packed %v, packet %d:\n got %v %d %x\nwant %v %d %x", row.why, order, packed, i, got[i].Time, got[i].Length, got[i].IP, want.Time, want.Length, want.IP)
					}
				}
			}
		}
	}
	t.Logf("%d files", ran)
}

// TestWhatTheCaptureCutIsTold: bytes that are not there are counted, and nothing stands in their place.
func TestWhatTheCaptureCutIsTold(t *testing.T) {
	t.Parallel()
	long := packet4()
	long.Payload = bytes.Repeat([]byte("x"), 1000)
	ip := long.Packet()
	large := bytes.Clone(ip)
	large[2], large[3] = 0, 0 // as offloads make them above 64 KiB
	file := classic(binary.LittleEndian, time.Microsecond, 101).record(noon, time.Microsecond, ip[:96], len(ip)).record(noon, time.Microsecond, large[:96], 70_000)
	got, c := read(t, file.bytes)
	s := c.Stats()
	if len(got) != 2 || len(got[0].IP) != 96 || got[0].Length != 96 || got[1].Length != 70_000 || s.Cut != 2 || s.CutBytes != uint64(len(ip)-96+70_000-96) {
		t.Errorf("%+v %+v", got, s)
	}
}

// TestCutAndDamagedFiles: a file cut at any byte gives the packets before it and says where it ends.
func TestCutAndDamagedFiles(t *testing.T) {
	t.Parallel()
	v4 := packet4().Packet()
	pcap := classic(binary.LittleEndian, time.Microsecond, 101)
	ng := (&writer{order: binary.BigEndian}).section().link(101, 6, 0)
	ends := map[string][]int{"pcap": {len(pcap.bytes)}, "pcapng": {len(ng.bytes)}}
	header := map[string]int{"pcap": len(pcap.bytes), "pcapng": 40}
	for range 3 {
		pcap.record(noon, time.Microsecond, v4, len(v4))
		ends["pcap"] = append(ends["pcap"], len(pcap.bytes))
		ng.packet(0, uint64(noon.UnixMicro()), v4, len(v4))
		ends["pcapng"] = append(ends["pcapng"], len(ng.bytes))
	}
	ran := 0
	for name, file := range map[string][]byte{"pcap": pcap.bytes, "pcapng": ng.bytes} {
		for n := range len(file) {
			ran++
			c, err := capture.New(name, bytes.NewReader(file[:n]))
			if (err != nil) != (n < header[name]) {
				t.Fatalf("%s of %d bytes: %v", name, n, err)
			}
			if err != nil {
				continue
			}
			got := drain(t, c)
			whole, edge := 0, n == header[name]
			for i, end := range ends[name] {
				if n >= end {
					whole = i
				}
				edge = edge || n == end
			}
			err = c.Damage()
			if len(got) != whole || (err == nil) != edge {
				t.Fatalf("%s of %d bytes: %d packets, want %d; %v", name, n, len(got), whole, err)
			}
			if err != nil && (!strings.HasPrefix(err.Error(), name+": damaged behind packet ") || !strings.HasSuffix(err.Error(), "cut off")) {
				t.Fatalf("%s of %d bytes: %v", name, n, err)
			}
		}
	}
	t.Logf("%d files", ran)

	for _, row := range []struct {
		why  string
		file []byte
		want string
	}{
		{"nothing", nil, "x: 0 bytes are no capture"},
		{"text", []byte("hello, world"), "x: begins with 68656c6c: neither a pcap nor a pcapng file"},
		{"gzip of nothing", []byte{0x1f, 0x8b, 8, 0}, "x: packed with gzip, and damaged"},
		{"another version", classicVersion(3), "x: header of a pcap file: "},
		{"a section in another version", (&writer{order: binary.LittleEndian}).block(0x0a0d0d0a, uint32(0x1a2b3c4d), uint16(2), uint16(0), uint32(0), uint32(0)).bytes, "x: header of a pcapng file: a section in version 2.0"},
	} {
		if _, err := capture.New("x", bytes.NewReader(row.file)); err == nil || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.why, err, row.want)
		}
	}
	if _, err := capture.Open(filepath.Join(t.TempDir(), "none.pcap")); err == nil || !strings.HasSuffix(err.Error(), "none.pcap: no such file or directory") {
		t.Errorf("no file: %v", err)
	}
}

func classicVersion(major uint16) []byte {
	w := classic(binary.LittleEndian, time.Microsecond, 1)
	w.bytes[4] = byte(major)
	return w.bytes
}

// TestFilesAreMerged: files that follow each other in any order, and files written beside each other.
func TestFilesAreMerged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, seconds ...int) string {
		w := classic(binary.LittleEndian, time.Microsecond, 101)
		for _, s := range seconds {
			p := packet4()
			p.Seq = uint32(s)
			ip := p.Packet()
			w.record(noon.Add(time.Duration(s)*time.Second), time.Microsecond, ip, len(ip))
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, w.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	paths := []string{write("later", 20, 21, 22), write("up", 0, 2, 4, 6), write("down", 1, 2, 3, 5), write("none")}
	c, err := capture.Open(paths...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var got []uint32
	for _, p := range drain(t, c) {
		got = append(got, binary.BigEndian.Uint32(p.IP[24:]))
	}
	want := []uint32{0, 1, 2, 2, 3, 4, 5, 6, 20, 21, 22}
	if len(got) != len(want) || c.Damage() != nil {
		t.Fatalf("%v, %v", got, c.Damage())
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%v", got)
		}
	}

	// What becomes of a damaged one of several: the others are read to their end.
	broken, err := os.ReadFile(paths[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths[1], broken[:len(broken)-70], 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err = capture.Open(paths...); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n := len(drain(t, c)); n != 9 || c.Damage() == nil || !strings.Contains(c.Damage().Error(), "up: damaged behind packet 2") {
		t.Errorf("%d packets, %v", n, c.Damage())
	}
}
