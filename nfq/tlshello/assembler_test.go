package tlshello_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/mailweir/mailweir/nfq/tlshello"
)

// todays is what Go's crypto/tls sends as its first flight: one record with a ClientHello that has a post-quantum key
// share and so is longer than a segment.
func todays(t testing.TB, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := tls.Client(client, &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12, NextProtos: []string{"smtp"}})
		if err := c.Handshake(); err == nil {
			t.Error("a handshake without a server succeeded")
		}
	}()
	first := make([]byte, 5)
	if _, err := io.ReadFull(server, first); err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, binary.BigEndian.Uint16(first[3:]))
	if _, err := io.ReadFull(server, rest); err != nil {
		t.Fatal(err)
	}
	server.Close()
	<-done
	return append(first, rest...)
}

// records puts the handshake message into records of the given sizes, the last one repeated until all is in.
func records(message []byte, sizes ...int) []byte {
	var out []byte
	for len(message) > 0 {
		n := min(sizes[0], len(message))
		out = append(out, 22, 3, 1, byte(n>>8), byte(n))
		out = append(out, message[:n]...)
		message = message[n:]
		if len(sizes) > 1 {
			sizes = sizes[1:]
		}
	}
	return out
}

func TestTodaysHello(t *testing.T) {
	t.Parallel()
	wire := todays(t, "mx.example.net")
	if len(wire) < 1460 {
		t.Errorf("a hello of %d bytes fits into one segment: it has no post-quantum key share", len(wire))
	}
	var a tlshello.Assembler
	if got := a.Write(wire); got != tlshello.Done {
		t.Fatal(got)
	}
	h := a.Hello()
	if h.Version != tls.VersionTLS13 || h.LegacyVersion != tls.VersionTLS12 || h.SNI != "mx.example.net" || h.ALPN != "smtp" {
		t.Errorf("%+v", h)
	}
	if !slices.Contains(h.Groups, uint16(tls.X25519MLKEM768)) {
		t.Errorf("no X25519MLKEM768 among the groups %x", h.Groups)
	}
	if h.JA4[:4] != "t13d" || h.JA4[8:11] != "sp_" {
		t.Errorf("JA4 is %s", h.JA4)
	}
}

func TestSplitHelloIsTheSameHello(t *testing.T) {
	t.Parallel()
	wire := todays(t, "mx.example.net")
	message := wire[5:]
	want, err := tlshello.Parse(message)
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	check := func(why string, segments ...[]byte) {
		t.Helper()
		cases++
		var a tlshello.Assembler
		for i, s := range segments {
			status := a.Write(s)
			if last := i == len(segments)-1; last && status != tlshello.Done || !last && status != tlshello.NeedMore {
				t.Fatalf("%s: %v after segment %d of %d", why, status, i+1, len(segments))
			}
		}
		if !reflect.DeepEqual(a.Hello(), want) {
			t.Fatalf("%s: %+v, want %+v", why, a.Hello(), want)
		}
	}
	each := func(b []byte, size int) [][]byte { return slices.Collect(slices.Chunk(b, size)) }

	check("in one piece", wire)
	check("byte by byte", each(wire, 1)...)
	for cut := 1; cut < len(wire); cut++ {
		check("cut in two segments", wire[:cut], wire[cut:])
	}
	for size := 1; size < len(message); size++ {
		check("records of one size", records(message, size))
		check("two records", records(message, size, len(message)))
	}
	check("records of one byte, byte by byte", each(records(message, 1), 1)...)
	for cut := 1; cut < 40; cut++ {
		split := records(message, cut, 16384)
		for at := 1; at < 60; at++ {
			check("two records cut in two segments", split[:at], split[at:])
		}
	}
	check("more in the record and behind it", append(records(append(slices.Clone(message), 11, 0, 0, 0), 16384), "more"...))
	t.Logf("%d ways of cutting a hello of %d bytes", cases, len(wire))
}

func TestWriteAfterTheEndChangesNothing(t *testing.T) {
	t.Parallel()
	var a tlshello.Assembler
	a.Write(todays(t, "a.example"))
	h := a.Hello()
	if got := a.Write([]byte("garbage")); got != tlshello.Done || a.Hello() != h {
		t.Errorf("%v, another hello: %v", got, a.Hello() != h)
	}
	var b tlshello.Assembler
	b.Write([]byte("E"))
	if got := b.Write(todays(t, "a.example")); got != tlshello.NotTLS || b.Hello() != nil {
		t.Errorf("after the end: %v %v", got, b.Hello())
	}
}

func TestWhatIsNoHello(t *testing.T) {
	t.Parallel()
	good := hello{}.message()
	v2 := sslv2Hello(0x0301, 0x000004, 0x010080, 0x00002f)
	tests := []struct {
		why  string
		wire []byte
		want tlshello.Status
	}{
		{"nothing yet", nil, tlshello.NeedMore},
		{"half a header", []byte{22, 3, 1}, tlshello.NeedMore},
		{"SMTP", []byte("EHLO client.example\r\n"), tlshello.NotTLS},
		{"one byte that is not TLS", []byte("E"), tlshello.NotTLS},
		{"a handshake record of version 2", []byte{22, 2}, tlshello.NotTLS},
		{"an alert", []byte{21, 3, 1, 0, 2, 2, 40}, tlshello.NotTLS},
		{"application data", []byte{23, 3, 3, 0, 9}, tlshello.NotTLS},
		{"another handshake message", []byte{22, 3, 3, 0, 4, 14}, tlshello.NotTLS},
		{"an empty record", []byte{22, 3, 1, 0, 0}, tlshello.Malformed},
		{"a record above 16 KiB", []byte{22, 3, 1, 0x40, 1}, tlshello.Malformed},
		{"an empty record in the middle", append(records(good[:8], 8), 22, 3, 1, 0, 0), tlshello.Malformed},
		{"an alert in the middle", append(records(good[:8], 8), 21, 3, 1, 0, 2, 2, 40), tlshello.Malformed},
		{"something else in the middle", append(records(good[:8], 8), 'E'), tlshello.Malformed},
		{"as long as is followed", records([]byte{1, 0, 0x40, 0, 3, 3}, 16384), tlshello.NeedMore},
		{"a byte longer", records([]byte{1, 0, 0x40, 1, 3, 3}, 16384), tlshello.TooLong},
		{"16 MiB", records([]byte{1, 0xff, 0xff, 0xff}, 16384), tlshello.TooLong},
		{"a message that contradicts itself", records([]byte{1, 0, 0, 4, 3, 3, 0, 0}, 16384), tlshello.Malformed},

		{"SSL 2.0 framing, half", v2[:20], tlshello.NeedMore},
		{"SSL 2.0 framing", v2, tlshello.Done},
		{"SSL 2.0 itself", sslv2Hello(0x0002, 0x010080), tlshello.Done},
		{"SSL 2.0 framing, another message", []byte{0x80, 0x2e, 4}, tlshello.NotTLS},
		{"SSL 2.0 framing, another version", []byte{0x80, 0x2e, 1, 4}, tlshello.NotTLS},
		{"SSL 2.0 framing, version 0.3", []byte{0x80, 0x2e, 1, 0, 3}, tlshello.NotTLS},
		{"SSL 2.0 framing, too short", []byte{0x80, 8, 1, 3, 1}, tlshello.NotTLS},
		{"SSL 2.0 framing, too long", []byte{0x82, 1, 1, 3, 1}, tlshello.NotTLS},
		{"SSL 2.0 framing, lengths beyond the message", change(v2, 6, 0xff), tlshello.Malformed},
		{"SSL 2.0 framing, lengths short of the message", change(v2, 6, 6), tlshello.Malformed},
		{"a byte with its top bit set", []byte{0xff, 0xfb, 0x18}, tlshello.NotTLS},
	}
	for _, test := range tests {
		var whole, bytewise tlshello.Assembler
		got := whole.Write(test.wire)
		if got != test.want {
			t.Errorf("%s: %v, want %v", test.why, got, test.want)
		}
		if (whole.Hello() != nil) != (got == tlshello.Done) {
			t.Errorf("%s: %v with hello %v", test.why, got, whole.Hello())
		}
		for i := range test.wire {
			bytewise.Write(test.wire[i : i+1])
		}
		if again := bytewise.Write(nil); again != got {
			t.Errorf("%s: %v in one piece, %v byte by byte", test.why, got, again)
		}
	}
}

// sslv2Hello is a hello in SSL 2.0 framing with the given cipher specs and a challenge of 16 bytes.
func sslv2Hello(version uint16, specs ...uint32) []byte {
	b := []byte{0x80, byte(9 + 3*len(specs) + 16), 1, byte(version >> 8), byte(version), 0, byte(3 * len(specs)), 0, 0, 0, 16}
	for _, s := range specs {
		b = append(b, byte(s>>16), byte(s>>8), byte(s))
	}
	return append(b, bytes.Repeat([]byte{7}, 16)...)
}

func TestSSLv2Hello(t *testing.T) {
	t.Parallel()
	var a tlshello.Assembler
	if got := a.Write(sslv2Hello(0x0301, 0x000004, 0x010080, 0x00002f)); got != tlshello.Done {
		t.Fatal(got)
	}
	want := &tlshello.Hello{Version: 0x0301, LegacyVersion: 0x0301, Ciphers: []uint16{4, 0x2f}}
	if !reflect.DeepEqual(a.Hello(), want) {
		t.Errorf("%+v, want %+v", a.Hello(), want)
	}
}

// The buffer grows with what was sent and never beyond one message; a hello that fits costs few allocations.
func TestAssemblerMemory(t *testing.T) {
	wire := todays(t, "mx.example.net")
	var a tlshello.Assembler
	if n := testing.AllocsPerRun(100, func() { a = tlshello.Assembler{}; a.Write(wire[:1000]) }); n > 1 {
		t.Errorf("%v allocations for the first kilobyte", n)
	}
	smtp := []byte("EHLO client.example\r\n")
	if n := testing.AllocsPerRun(100, func() { a = tlshello.Assembler{}; a.Write(smtp) }); n != 0 {
		t.Errorf("%v allocations to see that it is not TLS", n)
	}
	announced := []byte{22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc}
	if n := testing.AllocsPerRun(100, func() { a = tlshello.Assembler{}; a.Write(announced) }); n > 1 {
		t.Errorf("%v allocations for a length that was only announced", n)
	}
	if n := bytesPerRun(1000, func() { a = tlshello.Assembler{}; a.Write(announced) }); n > 4<<10 {
		t.Errorf("%d bytes for a length that was only announced", n)
	}
}

// bytesPerRun is how much memory f takes, on an average.
func bytesPerRun(runs uint64, f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / runs
}

func change(b []byte, at int, to byte) []byte {
	b = slices.Clone(b)
	b[at] = to
	return b
}

func BenchmarkTodaysHello(b *testing.B) {
	wire := todays(b, "mx.example.net")
	b.ReportAllocs()
	b.SetBytes(int64(len(wire)))
	for b.Loop() {
		var a tlshello.Assembler
		a.Write(wire[:1400])
		a.Write(wire[1400:])
	}
}
