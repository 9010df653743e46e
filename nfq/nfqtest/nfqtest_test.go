package nfqtest_test

import (
	"bytes"
	"compress/gzip"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

func built() []nfqtest.TCP {
	v4 := nfqtest.TCP{Src: netip.MustParseAddrPort("192.0.2.1:40000"), Dst: netip.MustParseAddrPort("198.51.100.2:25"),
		Seq: 1, Ack: 2, Flags: packet.ACK, Options: []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1}, Payload: []byte("QUIT\r\n!")}
	v6 := v4
	v6.Src, v6.Dst = netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8::2]:25")
	extended := v6
	extended.Extensions = []nfqtest.Extension{{Kind: 0}, {Kind: 43, Body: make([]byte, 22)}, {Kind: 60, Body: make([]byte, 9)}, {Kind: 51, Body: make([]byte, 22)}}
	return []nfqtest.TCP{v4, v6, extended}
}

func TestPacketsAreRight(t *testing.T) {
	t.Parallel()
	for i, want := range built() {
		ip := want.Packet()
		first := layers.LayerTypeIPv6
		if want.Src.Addr().Is4() {
			first = layers.LayerTypeIPv4
			if nfqtest.Checksum(ip[:20]) != 0 {
				t.Errorf("packet %d: wrong IPv4 checksum", i)
			}
		}
		decoded := gopacket.NewPacket(ip, first, gopacket.Default)
		tcp, _ := decoded.TransportLayer().(*layers.TCP)
		if tcp == nil {
			t.Fatalf("packet %d: gopacket finds no TCP: %v", i, decoded)
		}
		if !bytes.Equal(tcp.Payload, want.Payload) || uint16(tcp.SrcPort) != want.Src.Port() || tcp.Window != 65535 {
			t.Errorf("packet %d reads as %+v", i, tcp)
		}
		if err := tcp.SetNetworkLayerForChecksum(decoded.NetworkLayer()); err != nil {
			t.Fatal(err)
		}
		if err, wrong := decoded.VerifyChecksums(); err != nil || len(wrong) != 0 {
			t.Errorf("packet %d: checksums: %v %v", i, err, wrong)
		}
		var s packet.Segment
		if r := packet.Decode(ip, &s); r != packet.OK || s.Seq != want.Seq || s.Dst != want.Dst {
			t.Errorf("packet %d: %v %+v", i, r, s)
		}
	}
}

func TestReadTakesPcapAndPcapngAlsoPacked(t *testing.T) {
	t.Parallel()
	ip := built()[0].Packet()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	info := gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(ip), Length: len(ip)}

	var classic, ng, packed bytes.Buffer
	w := pcapgo.NewWriter(&classic)
	if err := w.WriteFileHeader(65535, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	n, err := pcapgo.NewNgWriter(&ng, layers.LinkTypeRaw)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.WritePacket(info, ip); err != nil {
			t.Fatal(err)
		}
		if err := n.WritePacket(info, ip); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Flush(); err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(classic.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}

	for name, file := range map[string][]byte{"a.pcap": classic.Bytes(), "a.pcapng": ng.Bytes(), "a.pcap.gz": packed.Bytes()} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		c := nfqtest.Read(t, path)
		if c.Name != name || c.Frames != 2 || len(c.Packets) != 2 || c.Damage != nil {
			t.Fatalf("%s: %d frames, %d packets, %v", c.Name, c.Frames, len(c.Packets), c.Damage)
		}
		if p := c.Packets[1]; p.Frame != 2 || !bytes.Equal(p.IP, ip) || !p.Time.Equal(at) {
			t.Errorf("%s: %+v", name, p)
		}
	}

	cut := filepath.Join(t.TempDir(), "cut.pcap")
	if err := os.WriteFile(cut, classic.Bytes()[:classic.Len()-5], 0o600); err != nil {
		t.Fatal(err)
	}
	if c := nfqtest.Read(t, cut); len(c.Packets) != 1 || c.Damage == nil {
		t.Errorf("a file cut in its last packet gives %d packets, damage %v", len(c.Packets), c.Damage)
	}
}
