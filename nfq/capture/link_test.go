package capture_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/mailweir/mailweir/nfq/capture"
	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

func packet4() nfqtest.TCP {
	return nfqtest.TCP{Src: netip.MustParseAddrPort("192.0.2.1:40000"), Dst: netip.MustParseAddrPort("198.51.100.2:25"),
		Seq: 1, Ack: 2, Flags: packet.ACK, Payload: []byte("QUIT\r\n!")}
}

func packet6() nfqtest.TCP {
	p := packet4()
	p.Src, p.Dst = netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8::2]:25")
	return p
}

func TestIPIsFoundBehindEveryLink(t *testing.T) {
	t.Parallel()
	v4, v6 := packet4().Packet(), packet6().Packet()
	mac := make([]byte, 12)
	tests := []struct {
		why   string
		link  uint16
		frame []byte
		want  []byte
	}{
		{"Ethernet", 1, join(mac, 0x0800, v4), v4},
		{"Ethernet, IPv6", 1, join(mac, 0x86dd, v6), v6},
		{"one VLAN tag", 1, join(mac, 0x8100, 42, 0x0800, v4), v4},
		{"two VLAN tags", 1, join(mac, 0x88a8, 7, 0x8100, 42, 0x86dd, v6), v6},
		{"PPPoE session", 1, join(mac, 0x8864, 0x1100, 5, len(v4)+2, 0x0021, v4), v4},
		{"PPPoE control", 1, join(mac, 0x8864, 0x11a7, 5, 0), nil},
		{"PPP", 9, join(0x0057, v6), v6},
		{"PPP with address and control", 9, join(0xff03, 0x0021, v4), v4},
		{"PPP, LCP", 9, join(0xff03, 0xc021, v4), nil},
		{"BSD loopback", 0, join(2, 0, v4), v4},
		{"raw", 101, v6, v6},
		{"Linux cooked", 113, join(mac, 0, 0x0800, v4), v4},
		{"Linux cooked v2", 276, join(0x86dd, 0, mac, mac[:4], v6), v6},
		{"ARP", 1, join(mac, 0x0806, make([]byte, 28)), nil},
		{"IPv4 announced, something else there", 1, join(mac, 0x0800, 0x1234), nil},
		{"802.11", 105, v4, nil},
	}
	for _, test := range tests {
		if got := capture.IP(test.link, test.frame); !bytes.Equal(got, test.want) {
			t.Errorf("%s: %x, want %x", test.why, got, test.want)
		}
		for n := range len(test.frame) { // a frame cut anywhere must not panic
			capture.IP(test.link, test.frame[:n])
		}
	}
}
