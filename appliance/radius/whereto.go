package radius

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// A box has several addresses, and a NAS believes only the one that it has asked. So the kernel is asked to which address
// each datagram was sent, and told to answer from there.

// controlSize holds the control messages of one datagram: its address in either family, and the count of drops.
var controlSize = unix.CmsgSpace(unix.SizeofInet6Pktinfo) + unix.CmsgSpace(unix.SizeofInet4Pktinfo) + unix.CmsgSpace(4)

// askWhereTo makes the kernel tell where a datagram was sent to, and how many were dropped before it. A socket of IPv6
// tells it of IPv4, too.
func askWhereTo(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
		if domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil && domain == unix.AF_INET6 {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
		}
		if failed = unix.SetsockoptInt(int(fd), level, option, 1); failed == nil {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// control reads the control messages of a datagram: where it was sent to (not valid: the kernel did not say) and how many
// were dropped on this socket before it.
func control(oob []byte) (local netip.Addr, dropped uint32) {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		switch {
		case h.Level == syscall.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			local = netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst, which is ours also when the datagram was a broadcast
		case h.Level == syscall.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			local = netip.AddrFrom16([16]byte(data[:16]))
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			dropped = binary.NativeEndian.Uint32(data)
		}
		oob = rest
	}
	return local, dropped
}

// sendFrom is the control message that makes a datagram come from local; v4 tells the family of the socket. The interface is
// left to routing.
func sendFrom(local netip.Addr, v4 bool) []byte {
	switch {
	case !local.IsValid() || local.IsMulticast():
		return nil
	case v4:
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: local.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: local.As16()})
}
