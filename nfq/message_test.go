package nfq

import (
	"bytes"
	"encoding/binary"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// packetMessage is what the kernel sends; attributes in the order in which it does.
func packetMessage(id, mark, inDev, capLen uint32, ip []byte) []byte {
	b := appendMessage(nil, messagePacket, 0, 0, 0)
	b = appendAttribute(b, attrPacketHeader, 7)
	b = binary.BigEndian.AppendUint32(b, id)
	b = append(b, 0x08, 0x00, 0, 0) // protocol, hook, padding
	b = appendAttribute32(b, attrInDev, inDev)
	if mark != 0 {
		b = appendAttribute32(b, attrMark, mark)
	}
	if capLen != 0 {
		b = appendAttribute32(b, attrCapLen, capLen)
	}
	b = appendAttribute32(b, attrSkbInfo, 3)
	if ip != nil {
		b = appendAttribute(b, attrPayload, len(ip))
		b = append(b, ip...)
	}
	finishMessage(b, 0)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func TestParsePacket(t *testing.T) {
	t.Parallel()
	ip := newTalk(4000).say("NOOP\r\n")
	for _, c := range []struct {
		why     string
		message []byte
		want    queued
		ok      bool
	}{
		{"all there", packetMessage(7, 0xa0000001, 3, 0, ip), queued{id: 7, mark: 0xa0000001, inDev: 3, skbInfo: 3, length: len(ip), ip: ip}, true},
		{"no mark", packetMessage(7, 0, 3, 0, ip), queued{id: 7, inDev: 3, skbInfo: 3, length: len(ip), ip: ip}, true},
		{"a cut copy", packetMessage(7, 0, 3, 90000, ip), queued{id: 7, inDev: 3, skbInfo: 3, length: 90000, ip: ip}, true},
		{"no payload", packetMessage(7, 0, 3, 0, nil), queued{id: 7, inDev: 3, skbInfo: 3}, true},
		{"cut in the payload", packetMessage(7, 0, 3, 0, ip)[:80], queued{id: 7, inDev: 3, skbInfo: 3, length: 80 - 52, ip: ip[:80-52]}, true},
		{"cut before the packet header", packetMessage(7, 0, 3, 0, ip)[:20], queued{}, false},
		{"cut in the header", packetMessage(7, 0, 3, 0, ip)[:18], queued{}, false},
	} {
		_, _, body, _, ok := nextMessage(c.message)
		if !ok {
			t.Errorf("%s: no message", c.why)
			continue
		}
		var p queued
		ok = parsePacket(body, &p)
		if ok != c.ok || ok && (p.id != c.want.id || p.mark != c.want.mark || p.inDev != c.want.inDev || p.skbInfo != c.want.skbInfo || p.length != c.want.length || !bytes.Equal(p.ip, c.want.ip)) {
			t.Errorf("%s: %v %+v, want %+v", c.why, ok, p, c.want)
		}
	}
}

func TestSeveralMessagesInOneRead(t *testing.T) {
	t.Parallel()
	b := append(packetMessage(1, 0, 1, 0, []byte("abc")), packetMessage(2, 0, 1, 0, []byte("abcd"))...)
	b = append(b, 1, 2, 3)
	var ids []uint32
	for {
		_, _, body, rest, ok := nextMessage(b)
		if !ok {
			break
		}
		var p queued
		if parsePacket(body, &p) {
			ids = append(ids, p.id)
		}
		b = rest
	}
	if len(ids) != 2 || ids[0] != 1 || ids[1] != 2 {
		t.Errorf("ids %v", ids)
	}
}

func TestVerdictMessage(t *testing.T) {
	t.Parallel()
	header := func(n uint32) []byte {
		b := binary.NativeEndian.AppendUint32(nil, n)
		b = binary.NativeEndian.AppendUint16(b, 0x0301)
		b = binary.NativeEndian.AppendUint16(b, 1)
		return append(b, make([]byte, 8)...)
	}
	native16 := func(v ...uint16) (b []byte) {
		for _, x := range v {
			b = binary.NativeEndian.AppendUint16(b, x)
		}
		return b
	}
	want := append(header(40), 0, 0, 0x12, 0x34)
	want = append(append(want, native16(12, 2)...), 0, 0, 0, 1, 0, 0, 0, 7)
	want = append(append(want, native16(8, 3)...), 0xa1, 0, 0, 0xff)
	if got := appendVerdict(nil, 0x1234, verdict{id: 7, mark: 0xa10000ff, marked: true}); !bytes.Equal(got, want) {
		t.Errorf("accept and mark:\n% x, want\n% x", got, want)
	}
	want = append(header(32), 0, 0, 0x12, 0x34)
	want = append(append(want, native16(12, 2)...), 0, 0, 0, 0, 0, 0, 0, 7)
	if got := appendVerdict(nil, 0x1234, verdict{id: 7, drop: true}); !bytes.Equal(got, want) {
		t.Errorf("drop:\n% x, want\n% x", got, want)
	}
	if n := len(appendVerdict(nil, 0, verdict{marked: true})); n != verdictSize {
		t.Errorf("the longest verdict is %d bytes, not %d", n, verdictSize)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	var c readerErrors
	for errno, fatal := range map[syscall.Errno]bool{unix.ENOENT: false, unix.EINVAL: false, unix.EPERM: true, unix.ENODEV: true} {
		if err := c.refusal(errno); (err != nil) != fatal {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if c.stale.Load() != 1 || c.refused.Load() != 1 {
		t.Errorf("%d stale, %d refused", c.stale.Load(), c.refused.Load())
	}
}

func TestKernelTable(t *testing.T) {
	t.Parallel()
	const text = `    0   4711    12 2 65531     3     4      100  1
65535 3456789012     0 2 65531 4294967295     0 4294967290  1 99
70000 1 2 3 4 5 6 7 8
short line
    x      1     2 3     4     5     6        7  8
`
	got := parseKernelTable([]byte(text))
	if len(got) != 2 || got[0] != (KernelQueue{true, 4711, 12, 3, 4, 100}) || got[65535].Sequence != 4294967290 || got[65535].PortID != 3456789012 {
		t.Errorf("%+v", got)
	}
	later := KernelQueue{Bound: true, PortID: 3456789012, QueueDropped: 1, Sequence: 5}
	if w := later.after(got[65535]); w.QueueDropped != 1<<32+1 || w.Sequence != 1<<32+5 {
		t.Errorf("past the wrap: %+v", w)
	}
	if w := later.after(got[0]); w != later {
		t.Errorf("another socket's queue: %+v", w)
	}
}

func FuzzMessage(f *testing.F) {
	ip := newTalk(4000).say("NOOP\r\n")
	f.Add(packetMessage(7, 1, 3, 0, ip))
	f.Add(packetMessage(7, 0, 3, 1<<31, nil))
	f.Add(append(packetMessage(1, 0, 1, 0, []byte("abc")), packetMessage(2, 0, 1, 0, []byte("abcd"))...))
	f.Add(append(appendMessage(nil, messageError, 0, 1, 0), 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			kind, _, body, rest, ok := nextMessage(b)
			if !ok {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			var p queued
			if parsePacket(body, &p) && p.length < len(p.ip) {
				t.Fatalf("%d bytes of a packet of %d", len(p.ip), p.length)
			}
			if kind == messageError {
				parseError(body)
			}
			b = rest
		}
	})
}
