package packet_test

import (
	"testing"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// FuzzDecode: no input panics, what is found lies inside the input, and gopacket finds the same.
func FuzzDecode(f *testing.F) {
	for _, ip := range [][]byte{
		mail4().Packet(), mail6().Packet(), jumbogram(70000, 10),
		mail6(nfqtest.Extension{Kind: 0}, nfqtest.Extension{Kind: 44, Body: make([]byte, 6)}, nfqtest.Extension{Kind: 51, Body: make([]byte, 22)}).Packet(),
	} {
		f.Add(ip)
	}
	seeds := 0
	for _, path := range nfqtest.Captures(f, "seeds") {
		for _, c := range nfqtest.ReadArchive(f, path) {
			for i, p := range c.Packets { // one of every file, and all odd ones
				var s packet.Segment
				if r := packet.Decode(p.IP, &s); i == 0 || r != packet.OK && r != packet.NotTCP && r != packet.Fragment {
					f.Add(p.IP)
					seeds++
				}
			}
		}
	}
	f.Logf("%d seeds from the captures", seeds)
	f.Fuzz(func(t *testing.T, ip []byte) {
		var s packet.Segment
		reason := packet.Decode(ip, &s)
		if int(reason) >= packet.Reasons {
			t.Fatalf("reason %d does not exist", reason)
		}
		if len(ip) == 0 {
			return
		}
		if reason == packet.OK && (s.Missing < 0 || len(s.Payload) > len(ip)-40) {
			t.Fatalf("%d bytes of payload, %d missing, out of %d bytes", len(s.Payload), s.Missing, len(ip))
		}
		if _, difference := disagreement(ip); difference != "" {
			t.Fatal(difference)
		}
	})
}
