package boot

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	pings    = 3           // echo requests to a host
	pingWait = time.Second // for the answer to one, and between two
)

// The numbers of ICMP in IPv4 and IPv6 (IANA, Assigned Internet Protocol Numbers).
const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// ping sends echo requests (RFC 792, RFC 4443) to an address or a name, and tells each line of what came of it. Its errors are that there
// is no such name, or that nothing can be sent there.
func ping(host string, tell func(line string)) error {
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	to := found[0].Unmap()
	p := pinger{to: to, id: rand.IntN(1 << 16), network: "ip4:icmp", any: "0.0.0.0", protocol: protocolICMP, request: ipv4.ICMPTypeEcho, reply: ipv4.ICMPTypeEchoReply}
	if to.Is6() {
		p.network, p.any, p.protocol, p.request, p.reply = "ip6:ipv6-icmp", "::", protocolICMPv6, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	if p.conn, err = icmp.ListenPacket(p.network, p.any); err != nil {
		return err
	}
	defer p.conn.Close()
	answers := 0
	for seq := 1; seq <= pings; seq++ {
		began := time.Now()
		switch from, err := p.once(seq); {
		case err == nil:
			answers++
			tell(fmt.Sprintf("answer from %s in %.1f ms", from, float64(time.Since(began).Microseconds())/1000))
		case errors.Is(err, os.ErrDeadlineExceeded):
			tell(fmt.Sprintf("no answer from %s in %v", to, pingWait))
		default:
			return err
		}
		if seq < pings {
			time.Sleep(pingWait - time.Since(began))
		}
	}
	tell(fmt.Sprintf("%d of %d answered", answers, pings))
	return nil
}

// pinger asks one host.
type pinger struct {
	to             netip.Addr
	conn           *icmp.PacketConn
	id             int // tells our echoes from those of others: all of them come to a raw socket
	network, any   string
	protocol       int
	request, reply icmp.Type
}

// once sends one echo request and waits for the answer. Without one the error is os.ErrDeadlineExceeded.
func (p *pinger) once(seq int) (from net.Addr, err error) {
	m := icmp.Message{Type: p.request, Body: &icmp.Echo{ID: p.id, Seq: seq, Data: make([]byte, 48)}}
	request, err := m.Marshal(nil)
	if err != nil {
		return nil, err
	}
	if _, err := p.conn.WriteTo(request, &net.IPAddr{IP: p.to.AsSlice(), Zone: p.to.Zone()}); err != nil {
		return nil, err
	}
	if err := p.conn.SetReadDeadline(time.Now().Add(pingWait)); err != nil {
		return nil, err
	}
	b := make([]byte, 1500)
	for {
		n, from, err := p.conn.ReadFrom(b)
		if err != nil {
			return nil, err
		}
		m, err := icmp.ParseMessage(p.protocol, b[:n])
		if err != nil || m.Type != p.reply {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && e.ID == p.id && e.Seq == seq {
			return from, nil
		}
	}
}
