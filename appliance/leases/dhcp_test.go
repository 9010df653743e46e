package leases

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// customer is one home behind a relay: what it says of itself, and what the relay says of it.
type customer struct {
	hardware        net.HardwareAddr
	clientID        []byte // DHCPv4 option 61, none when nil
	duid            []byte
	circuit, remote []byte // none when nil
}

// relay speaks DHCP for customers as a relay agent does, so that neither raw sockets nor broadcasts are needed.
type relay struct {
	t      *testing.T
	v4, v6 net.PacketConn
	xid    uint32
}

const (
	serverIP4, relayIP4 = "10.9.0.1", "10.9.0.2"
	serverIP6, relayIP6 = "2001:db8:9::1", "2001:db8:9::2"
)

// newRelay opens the relay's sockets in its namespace.
func newRelay(t *testing.T, in space) *relay {
	t.Helper()
	r := &relay{t: t, xid: 0x1000}
	in.must(func() (err error) {
		var lc net.ListenConfig
		if r.v4, err = lc.ListenPacket(context.Background(), "udp4", relayIP4+":67"); err != nil {
			return err
		}
		r.v6, err = lc.ListenPacket(context.Background(), "udp6", "["+relayIP6+"]:547")
		return err
	})
	t.Cleanup(func() { _ = errors.Join(r.v4.Close(), r.v6.Close()) })
	return r
}

// lease4 gets an address for c: discover, offer, request, ack.
func (r *relay) lease4(c customer) netip.Addr {
	r.t.Helper()
	offer := r.ask4(c, 1, nil)
	var want []byte
	want = option4(want, 50, offer[16:20])
	want = option4(want, 54, netip.MustParseAddr(serverIP4).AsSlice())
	ack := r.ask4(c, 3, want)
	addr, _ := netip.AddrFromSlice(ack[16:20])
	return addr
}

// release4 gives an address back. Nobody answers.
func (r *relay) release4(c customer, addr netip.Addr) {
	r.t.Helper()
	p := r.packet4(c, 7, option4(nil, 54, netip.MustParseAddr(serverIP4).AsSlice()))
	copy(p[12:16], addr.AsSlice())
	r.send(r.v4, p, serverIP4, 67)
}

func (r *relay) packet4(c customer, kind byte, more []byte) []byte {
	r.xid++
	p := make([]byte, 236)
	p[0], p[1], p[2], p[3] = 1, 1, byte(len(c.hardware)), 1 // request, Ethernet, one hop
	binary.BigEndian.PutUint32(p[4:], r.xid)
	copy(p[24:28], netip.MustParseAddr(relayIP4).AsSlice())
	copy(p[28:44], c.hardware)
	p = append(p, 0x63, 0x82, 0x53, 0x63)
	p = option4(p, 53, []byte{kind})
	p = append(p, more...)
	if c.clientID != nil {
		p = option4(p, 61, c.clientID)
	}
	var info []byte
	if c.circuit != nil {
		info = option4(info, 1, c.circuit)
	}
	if c.remote != nil {
		info = option4(info, 2, c.remote)
	}
	if info != nil {
		p = option4(p, 82, info)
	}
	return append(p, 255)
}

func (r *relay) ask4(c customer, kind byte, more []byte) []byte {
	r.t.Helper()
	p := r.packet4(c, kind, more)
	return r.exchange(r.v4, p, serverIP4, 67, func(answer []byte) bool {
		return len(answer) > 240 && answer[0] == 2 && binary.BigEndian.Uint32(answer[4:]) == r.xid
	})
}

// lease6 gets what the server gives at once (rapid commit, RFC 8415 section 18.2.1): an address, which it returns, and a prefix
// when asked for.
func (r *relay) lease6(c customer, iaid uint32, prefix bool) netip.Addr {
	r.t.Helper()
	r.xid++
	id := binary.BigEndian.AppendUint32(nil, iaid)
	m := []byte{1, 0, byte(r.xid >> 8), byte(r.xid)} // SOLICIT
	m = option6(m, 1, c.duid)
	m = option6(m, 14, nil)
	m = option6(m, 8, []byte{0, 0}) // elapsed time
	m = option6(m, 3, append(id[:4:4], make([]byte, 8)...))
	if prefix {
		m = option6(m, 25, append(id[:4:4], make([]byte, 8)...))
	}
	p := []byte{12, 0} // RELAY-FORW
	p = append(p, netip.MustParseAddr(relayIP6).AsSlice()...)
	p = append(p, netip.MustParseAddr("fe80::5eff:fe00:5301").AsSlice()...)
	if c.circuit != nil {
		p = option6(p, 18, c.circuit)
	}
	if c.remote != nil {
		p = option6(p, 37, append([]byte{0, 0, 0, 9}, c.remote...))
	}
	p = option6(p, 9, m)
	answer := r.exchange(r.v6, p, serverIP6, 547, func(answer []byte) bool { return len(answer) > 34 && answer[0] == 13 })
	reply := find6(answer[34:], 9)
	if len(reply) < 4 || reply[0] != 7 {
		r.t.Fatalf("no REPLY in % x", answer)
	}
	ia := find6(reply[4:], 3)
	if len(ia) < 12 {
		r.t.Fatalf("no address in % x", reply)
	}
	addr, _ := netip.AddrFromSlice(find6(ia[12:], 5)[:16])
	return addr
}

// find6 is the body of the first option of a kind, nil when there is none.
func find6(b []byte, code uint16) []byte {
	for len(b) >= 4 {
		n := 4 + int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return nil
		}
		if binary.BigEndian.Uint16(b) == code {
			return b[4:n]
		}
		b = b[n:]
	}
	return nil
}

func (r *relay) send(c net.PacketConn, p []byte, to string, port int) {
	r.t.Helper()
	if _, err := c.WriteTo(p, &net.UDPAddr{IP: net.ParseIP(to), Port: port}); err != nil {
		r.t.Fatal(err)
	}
}

// exchange sends until an answer fits: the server may still be starting.
func (r *relay) exchange(c net.PacketConn, p []byte, to string, port int, fits func([]byte) bool) []byte {
	r.t.Helper()
	b := make([]byte, 4096)
	for range 60 {
		if _, err := c.WriteTo(p, &net.UDPAddr{IP: net.ParseIP(to), Port: port}); err != nil && !errors.Is(err, net.ErrClosed) {
			r.t.Logf("send: %v", err) // unreachable while nobody listens yet
		}
		_ = c.SetReadDeadline(time.Now().Add(250 * time.Millisecond))
		for {
			n, _, err := c.ReadFrom(b)
			if err != nil {
				break
			}
			if fits(b[:n]) {
				return b[:n]
			}
		}
	}
	r.t.Fatalf("no answer from %s port %d", to, port)
	return nil
}

func option4(b []byte, code byte, body []byte) []byte {
	return append(append(b, code, byte(len(body))), body...)
}

func option6(b []byte, code uint16, body []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}
