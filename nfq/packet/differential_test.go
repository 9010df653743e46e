package packet_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// Where gopacket gives no answer to compare with. No capture has such a packet, the fuzzer makes them.
var (
	errAtomic  = errors.New("gopacket does not go on after an atomic fragment")
	errOptions = errors.New("gopacket refuses IPv6 options that it cannot read, packet steps over them")
)

// theirs is what gopacket finds: the TCP header right behind the outermost IP header and its extensions, or why there
// is none. Tunnels are not looked into, as packet does not.
func theirs(ip []byte) (*packet.Segment, error) {
	first := layers.LayerTypeIPv4
	if ip[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	decoded := gopacket.NewPacket(ip, first, gopacket.NoCopy)
	var src, dst netip.Addr
	var next layers.IPProtocol
	for i, l := range decoded.Layers() {
		before := next
		next = layers.IPProtocolNoNextHeader
		switch l := l.(type) {
		case *layers.IPv4:
			if i > 0 {
				return nil, errors.New("tunnel")
			}
			src, dst = address(l.SrcIP), address(l.DstIP)
			if l.FragOffset == 0 && l.Flags&layers.IPv4MoreFragments == 0 {
				next = l.Protocol
			}
		case *layers.IPv6:
			if i > 0 {
				return nil, errors.New("tunnel")
			}
			src, dst, next = address(l.SrcIP), address(l.DstIP), l.NextHeader
		case *layers.IPv6HopByHop:
			next = l.NextHeader
		case *layers.IPv6Routing:
			next = l.NextHeader
		case *layers.IPv6Destination:
			next = l.NextHeader
		case *layers.IPSecAH:
			next = l.NextHeader
		case *layers.IPv6Fragment: // gopacket goes no further, not even where the fragment is the whole packet
			if l.FragmentOffset == 0 && !l.MoreFragments {
				if next = l.NextHeader; next != layers.IPProtocolTCP {
					return nil, errAtomic
				}
			}
		default:
			options := before == layers.IPProtocolIPv6HopByHop || before == layers.IPProtocolIPv6Destination
			if options && i > 0 && l.LayerType() == gopacket.LayerTypeDecodeFailure {
				return nil, errOptions
			}
			return nil, fmt.Errorf("%v is not TCP", l.LayerType())
		}
		if next == layers.IPProtocolTCP {
			var tcp layers.TCP
			if err := tcp.DecodeFromBytes(l.LayerPayload(), gopacket.NilDecodeFeedback); err != nil {
				return nil, err
			}
			return &packet.Segment{
				Src: netip.AddrPortFrom(src, uint16(tcp.SrcPort)), Dst: netip.AddrPortFrom(dst, uint16(tcp.DstPort)),
				Seq: tcp.Seq, Ack: tcp.Ack, Window: tcp.Window, Flags: packet.Flags(tcp.Contents[13]), Payload: tcp.Payload,
			}, nil
		}
	}
	if failed := decoded.ErrorLayer(); failed != nil {
		return nil, failed.Error()
	}
	return nil, errors.New("no layer left")
}

func address(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

func same(a, b *packet.Segment) bool {
	return a.Src == b.Src && a.Dst == b.Dst && a.Seq == b.Seq && a.Ack == b.Ack && a.Flags == b.Flags &&
		a.Window == b.Window && bytes.Equal(a.Payload, b.Payload)
}

func allCaptures(t testing.TB) []*nfqtest.Capture {
	var all []*nfqtest.Capture
	for _, folder := range []string{"ja4", "smtp", "subscriber", "tls"} {
		for _, path := range nfqtest.Captures(t, folder) {
			all = append(all, nfqtest.Read(t, path))
		}
	}
	for _, path := range nfqtest.Captures(t, "seeds") {
		all = append(all, nfqtest.ReadArchive(t, path)...)
	}
	return all
}

// disagreement compares Decode with gopacket; "" if they say the same.
func disagreement(ip []byte) (reason packet.Reason, difference string) {
	var ours packet.Segment
	reason = packet.Decode(ip, &ours)
	if v := ip[0] >> 4; v != 4 && v != 6 {
		if reason != packet.BadVersion {
			return reason, "neither IPv4 nor IPv6"
		}
		return reason, ""
	}
	want, err := theirs(ip)
	switch {
	case err == errAtomic, err == errOptions:
	case reason == packet.OK && err != nil:
		return reason, fmt.Sprintf("a segment, but gopacket says: %v", err)
	case reason == packet.BadExtensionHeader && err == nil:
		// gopacket has no rule of order
	case reason != packet.OK && err == nil:
		return reason, fmt.Sprintf("no segment (%v), but gopacket has %+v", reason, *want)
	case reason == packet.OK && !same(&ours, want):
		return reason, fmt.Sprintf("%+v, but gopacket has %+v", ours, *want)
	}
	return reason, ""
}

// Every packet of every capture, tunnels and deliberately broken ones included, reads the same as with gopacket. None of
// them needs the exceptions that disagreement makes.
func TestDecodeAgreesWithGopacket(t *testing.T) {
	packets := 0
	var reasons [packet.Reasons]int
	captures := allCaptures(t)
	for _, c := range captures {
		for _, p := range c.Packets {
			reason, difference := disagreement(p.IP)
			if difference != "" {
				t.Errorf("%s, frame %d: %s", c.Name, p.Frame, difference)
			}
			packets++
			reasons[reason]++
		}
	}
	t.Logf("%d captures, %d packets compared", len(captures), packets)
	for r, n := range reasons {
		t.Logf("%6d %v", n, packet.Reason(r))
	}
	if reasons[packet.OK] < 30000 {
		t.Errorf("only %d segments: the captures are not read as they should be", reasons[packet.OK])
	}
}
