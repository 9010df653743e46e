package tlshello_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
	"github.com/mailweir/mailweir/nfq/tlshello"
)

// FuzzClientHello: no input panics, how it is cut changes nothing, and names are safe to log.
func FuzzClientHello(f *testing.F) {
	f.Add(todays(f, "mx.example.net"), uint16(700))
	f.Add(sslv2Hello(0x0301, 4, 5), uint16(3))
	f.Add(records(hello{ciphers: []uint16{1}, extensions: []extension{sni("a"), alpn("h2"), versions(0x0304)}}.message(), 9), uint16(12))
	seeds := 0
	for _, path := range nfqtest.Captures(f, "tls") {
		for _, p := range nfqtest.Read(f, path).Packets {
			var s packet.Segment
			if packet.Decode(p.IP, &s) == packet.OK && beginsHello(s.Payload, true) && len(s.Payload) < 2000 && seeds < 200 {
				f.Add(s.Payload, uint16(len(s.Payload)/2))
				seeds++
			}
		}
	}
	f.Logf("%d seeds from the captures", seeds)
	f.Fuzz(func(t *testing.T, wire []byte, cut uint16) {
		at := min(int(cut), len(wire))
		var whole, parts, bytewise tlshello.Assembler
		status := whole.Write(wire)
		parts.Write(wire[:at])
		for i := range wire {
			bytewise.Write(wire[i : i+1])
		}
		if got := parts.Write(wire[at:]); got != status || !reflect.DeepEqual(parts.Hello(), whole.Hello()) {
			t.Fatalf("%v in one piece, %v cut at %d", status, got, at)
		}
		if got := bytewise.Write(nil); got != status || !reflect.DeepEqual(bytewise.Hello(), whole.Hello()) {
			t.Fatalf("%v in one piece, %v byte by byte", status, got)
		}
		h := whole.Hello()
		if (h != nil) != (status == tlshello.Done) {
			t.Fatalf("%v with hello %v", status, h)
		}
		if h == nil {
			return
		}
		if h.JA4 != "" && (len(h.JA4) != 36 || h.JA4[10] != '_' || h.JA4[23] != '_') {
			t.Fatalf("JA4 is %q", h.JA4)
		}
		for _, text := range []string{h.SNI, h.ALPN, h.JA4, h.JA3, tlshello.VersionName(h.Version)} {
			if len(text) > 253 || strings.ContainsFunc(strings.TrimPrefix(text, "hex:"), func(r rune) bool {
				return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune("._-/", r)
			}) {
				t.Fatalf("not safe to log: %q", text)
			}
		}
	})
}
