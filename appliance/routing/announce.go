package routing

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	announced     = 2               // times; RFC 5227 has two announcements, RFC 4861 at most three
	announceEvery = 2 * time.Second // RFC 5227, section 1.1; RFC 4861 wants a second at least
	announceSoon  = 20 * time.Millisecond
)

// Announcer tells the neighbours of the ports which hardware address this package's addresses have: as they are given, and as a cable is plugged in. Who had
// another box there before would send to that one's for hours otherwise, since nobody looks for duplicates of the addresses.
type Announcer struct {
	ports  []string
	handle *netlink.Handle
	out    int // a packet socket that receives nothing
	links  chan netlink.LinkUpdate
	addrs  chan netlink.AddrUpdate
	done   chan struct{}
	failed chan error
}

// NewAnnouncer belongs to the calling thread's network namespace, wherever it is run.
func NewAnnouncer(ports []string) (a *Announcer, err error) {
	a = &Announcer{ports: ports, out: -1, links: make(chan netlink.LinkUpdate), addrs: make(chan netlink.AddrUpdate), done: make(chan struct{}), failed: make(chan error, 2)}
	defer func() {
		if err != nil {
			err = fmt.Errorf("announce addresses: %w", err)
			a.close()
		}
	}()
	if a.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	if a.out, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	tell := func(err error) {
		select {
		case a.failed <- err:
		default: // the first is enough
		}
	}
	if err := netlink.LinkSubscribeWithOptions(a.links, a.done, netlink.LinkSubscribeOptions{ErrorCallback: tell, ListExisting: true}); err != nil {
		return nil, err
	}
	if err := netlink.AddrSubscribeWithOptions(a.addrs, a.done, netlink.AddrSubscribeOptions{ErrorCallback: tell, ListExisting: true}); err != nil {
		go drain(a.links)
		return nil, err
	}
	return a, nil
}

func (a *Announcer) close() {
	close(a.done)
	if a.handle != nil {
		a.handle.Close()
	}
	if a.out >= 0 {
		unix.Close(a.out)
	}
}

// drain lets who sends there see that it is over.
func drain[T any](c <-chan T) {
	for range c {
	}
}

// Run announces until ctx ends, or the kernel's news cannot be read any more. failed is told of announcements that could not be sent. It is run once.
func (a *Announcer) Run(ctx context.Context, failed func(error)) error {
	defer func() {
		a.close()
		go drain(a.links)
		go drain(a.addrs)
	}()
	carrier, left := map[int]bool{}, map[int]int{}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	begin := func(index int) {
		left[index] = announced
		timer.Reset(announceSoon) // addresses come in a bunch
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-a.failed:
			return fmt.Errorf("announce addresses: %w", err)
		case u, ok := <-a.links:
			if !ok {
				return errors.New("announce addresses: the kernel tells of links no more")
			}
			index := int(u.Index)
			up := u.Header.Type == unix.RTM_NEWLINK && u.IfInfomsg.Flags&unix.IFF_LOWER_UP != 0 && u.IfInfomsg.Flags&unix.IFF_UP != 0
			if up && !carrier[index] && slices.Contains(a.ports, u.Attrs().Name) {
				begin(index)
			}
			carrier[index] = up
		case u, ok := <-a.addrs:
			if !ok {
				return errors.New("announce addresses: the kernel tells of addresses no more")
			}
			if u.NewAddr && u.Flags&ours != 0 {
				begin(u.LinkIndex)
			}
		case <-timer.C:
			for index := range left {
				if err := a.announce(index); err != nil && left[index] == announced {
					failed(err)
				}
				if left[index]--; left[index] == 0 {
					delete(left, index)
				}
			}
			if len(left) > 0 {
				timer.Reset(announceEvery)
			}
		}
	}
}

// announce tells of all addresses of ours that a port has. Where nobody is at the other end of its cable nobody is told.
func (a *Announcer) announce(index int) error {
	l, err := a.handle.LinkByIndex(index)
	if _, gone := err.(netlink.LinkNotFoundError); gone {
		return nil
	}
	if err != nil {
		return err
	}
	port := l.Attrs()
	if !slices.Contains(a.ports, port.Name) || len(port.HardwareAddr) != 6 || port.RawFlags&unix.IFF_LOWER_UP == 0 {
		return nil
	}
	list, err := a.handle.AddrList(l, netlink.FAMILY_ALL)
	errs := []error{err}
	for _, one := range list {
		own, ok := prefixOf(one.IPNet)
		if !ok || one.Flags&ours == 0 {
			continue
		}
		protocol, to, packet := uint16(unix.ETH_P_ARP), net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, arpAnnouncement(port.HardwareAddr, own.Addr())
		if own.Addr().Is6() {
			protocol, to, packet = unix.ETH_P_IPV6, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, advertisement(port.HardwareAddr, own.Addr())
		}
		sa := &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol)), Ifindex: index, Halen: 6}
		copy(sa.Addr[:], to)
		if err := unix.Sendto(a.out, packet, 0, sa); err != nil {
			errs = append(errs, fmt.Errorf("announce %v at %s: %w", own.Addr(), port.Name, err))
		}
	}
	return errors.Join(errs...)
}

// arpAnnouncement is an ARP request for the address by who has it (RFC 5227, section 2.3).
func arpAnnouncement(mac net.HardwareAddr, own netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1} // Ethernet, IPv4, their lengths, request
	b = append(append(b, mac...), own.AsSlice()...)
	return append(append(b, make([]byte, 6)...), own.AsSlice()...)
}

// advertisement is an unsolicited neighbour advertisement of a router to all nodes, with its IPv6 header (RFC 4861, sections 4.4 and 7.2.6).
func advertisement(mac net.HardwareAddr, own netip.Addr) []byte {
	const (
		routerOverride   = 1<<7 | 1<<5
		targetLinkLayer  = 2
		hopLimit, length = 255, 32
	)
	all := netip.IPv6LinkLocalAllNodes()
	b := []byte{0x60, 0, 0, 0, 0, length, unix.IPPROTO_ICMPV6, hopLimit}
	b = append(append(b, own.AsSlice()...), all.AsSlice()...)
	m := append([]byte{136, 0, 0, 0, routerOverride, 0, 0, 0}, own.AsSlice()...)
	m = append(append(m, targetLinkLayer, 1), mac...)
	binary.BigEndian.PutUint16(m[2:], sum(b[8:40], []byte{0, 0, 0, length, 0, 0, 0, unix.IPPROTO_ICMPV6}, m))
	return append(b, m...)
}

// sum is the Internet checksum (RFC 1071) over parts of even length.
func sum(parts ...[]byte) uint16 {
	var s uint32
	for _, p := range parts {
		for i := 0; i < len(p); i += 2 {
			s += uint32(binary.BigEndian.Uint16(p[i:]))
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
