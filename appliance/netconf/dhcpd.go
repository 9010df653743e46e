package netconf

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
)

const (
	givenFirst, givenMost = 100, 16          // the last byte of the first address that is given, and how many there are
	givenFor              = 10 * time.Minute // short: soon the network will be another
	givenAfter            = 2 * time.Second  // from a client's first question: who else may answer has done so by then
)

// server gives addresses of the fallback's network to who sits at the management port of a box that nobody has set up, where nobody else gives
// any (RFC 2131). It names no router and no name server, so that a computer with another network keeps that.
type server struct {
	now  func() time.Time
	conn *server4.Server
	done chan struct{}

	mu    sync.Mutex
	asked map[string]time.Time // when a client, by its hardware address, asked first
	given map[netip.Addr]given
}

type given struct {
	to    string // hardware address; "": somebody else was found to have it
	until time.Time
}

const mostAsked = 256 // clients that are remembered, so that made-up ones fill no memory

// serve answers on a link until its close.
func serve(link string, now func() time.Time) (*server, error) {
	s := &server{now: now, done: make(chan struct{}), asked: map[string]time.Time{}, given: map[netip.Addr]given{}}
	conn, err := server4.NewIPv4UDPConn(link, &net.UDPAddr{IP: net.IPv4zero, Port: dhcpv4.ServerPort})
	if err != nil {
		return nil, err
	}
	if s.conn, err = server4.NewServer(link, nil, s.handle, server4.WithConn(conn)); err != nil {
		conn.Close()
		return nil, err
	}
	go func() {
		defer close(s.done)
		s.conn.Serve() // until it is closed
	}()
	return s, nil
}

func (s *server) close() {
	s.conn.Close()
	<-s.done
}

// handle answers one packet.
func (s *server) handle(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
	if a := s.answer(m); a != nil {
		conn.WriteTo(a.ToBytes(), peer) // who does not get it asks again
	}
}

// answer is what a packet is answered; nil: nothing.
func (s *server) answer(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	if m.OpCode != dhcpv4.OpcodeBootRequest || len(m.ClientHWAddr) == 0 || !m.GatewayIPAddr.IsUnspecified() {
		return nil // not a client on this link
	}
	if id := m.ServerIdentifier(); id != nil && !id.Equal(Fallback.Addr().AsSlice()) {
		return nil // it chose another server
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	who := m.ClientHWAddr.String()
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		if !s.waited(who) {
			return nil
		}
		if a, ok := s.free(who); ok {
			return s.reply(m, dhcpv4.MessageTypeOffer, a)
		}
	case dhcpv4.MessageTypeRequest:
		wanted := m.RequestedIPAddress()
		if wanted == nil {
			wanted = m.ClientIPAddr
		}
		a, ok := s.free(who)
		if !ok {
			return nil
		}
		if w, _ := netip.AddrFromSlice(wanted); w.Unmap() != a {
			if m.ServerIdentifier() == nil && !s.waited(who) {
				return nil // it remembers an address of another network, of which somebody else may know
			}
			return s.reply(m, dhcpv4.MessageTypeNak, netip.Addr{})
		}
		s.given[a] = given{who, s.now().Add(givenFor)}
		return s.reply(m, dhcpv4.MessageTypeAck, a)
	case dhcpv4.MessageTypeDecline:
		if a, ok := netip.AddrFromSlice(m.RequestedIPAddress()); ok && s.given[a.Unmap()].to == who {
			s.given[a.Unmap()] = given{"", s.now().Add(givenFor)}
		}
	case dhcpv4.MessageTypeRelease:
		if a, ok := netip.AddrFromSlice(m.ClientIPAddr); ok && s.given[a.Unmap()].to == who {
			delete(s.given, a.Unmap())
		}
	}
	return nil
}

// waited tells whether a client has asked for so long that nobody else will answer.
func (s *server) waited(who string) bool {
	now := s.now()
	first, known := s.asked[who]
	if !known {
		if len(s.asked) >= mostAsked {
			clear(s.asked)
		}
		s.asked[who] = now
	}
	return known && now.Sub(first) >= givenAfter
}

// free is the address that a client has, or may have.
func (s *server) free(who string) (free netip.Addr, ok bool) {
	now := s.now()
	base := Fallback.Masked().Addr().As4()
	for i := range givenMost {
		base[3] = byte(givenFirst + i)
		a := netip.AddrFrom4(base)
		g, taken := s.given[a]
		if taken && g.to == who {
			return a, true
		}
		if !ok && (!taken || !now.Before(g.until)) {
			free, ok = a, true
		}
	}
	return free, ok
}

// reply is an answer with an address.
func (s *server) reply(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType, a netip.Addr) *dhcpv4.DHCPv4 {
	with := []dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithServerIP(Fallback.Addr().AsSlice()), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(Fallback.Addr().AsSlice()))}
	if a.IsValid() {
		with = append(with, dhcpv4.WithYourIP(a.AsSlice()), dhcpv4.WithNetmask(net.CIDRMask(Fallback.Bits(), 32)), dhcpv4.WithLeaseTime(uint32(givenFor.Seconds())))
	}
	r, err := dhcpv4.NewReplyFromRequest(m, with...)
	if err != nil {
		return nil
	}
	return r
}
