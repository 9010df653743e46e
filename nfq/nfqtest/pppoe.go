package nfqtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// PPPoE is one end of sessions of PPPoE (RFC 2516), as a router at home or an access concentrator has it: a point-to-point interface whose packets travel in frames
// of an Ethernet interface. Sessions are not negotiated: both ends know them. What is no IP is not answered. It is made in the namespace it is of.
type PPPoE struct {
	MAC net.HardwareAddr // of the Ethernet interface

	tun    *os.File
	link   netlink.Link
	socket int
	index  int // of the Ethernet interface

	mu    sync.Mutex
	peers map[netip.Addr]peer
}

// peer is where packets for an address go.
type peer struct {
	session uint16
	mac     net.HardwareAddr
}

const (
	etherPPPoE    = 0x8864
	ethernetBytes = 14
	pppoeBytes    = 8 // with PPP's protocol field
)

// NewPPPoE makes the interface dev over an Ethernet interface.
func NewPPPoE(ethernet, dev string) (*PPPoE, error) {
	n := &PPPoE{peers: map[netip.Addr]peer{}}
	eth, err := netlink.LinkByName(ethernet)
	if err != nil {
		return nil, err
	}
	n.MAC, n.index = eth.Attrs().HardwareAddr, eth.Attrs().Index
	if n.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(networkOrder(etherPPPoE))); err != nil {
		return nil, err
	}
	err = errors.Join(unix.Bind(n.socket, &unix.SockaddrLinklayer{Protocol: networkOrder(etherPPPoE), Ifindex: n.index}),
		unix.SetsockoptTimeval(n.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100000})) // to see that the test is over
	if err != nil {
		return nil, err
	}
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: dev}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_DEFAULTS | netlink.TUNTAP_NO_PI, NonPersist: true, Queues: 1}
	if err := netlink.LinkAdd(tun); err != nil {
		return nil, fmt.Errorf("%s: %w", dev, err)
	}
	n.tun = tun.Fds[0]
	if n.link, err = netlink.LinkByName(dev); err != nil {
		return nil, err
	}
	return n, errors.Join(netlink.LinkSetMTU(n.link, eth.Attrs().MTU-pppoeBytes), netlink.LinkSetUp(n.link))
}

func networkOrder(n uint16) uint16 { return n>>8 | n<<8 }

// Peer has packets for an address sent in a session to mac; the zero address stands for all that are not named.
func (n *PPPoE) Peer(addr netip.Addr, session uint16, mac net.HardwareAddr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peers[addr] = peer{session, mac}
}

// Route leads to the interface, from an address if that is one. A default route takes the place of that by the Ethernet interface. It is called in the
// namespace of the interface.
func (n *PPPoE) Route(to netip.Prefix, from netip.Addr) error {
	if to.Bits() == 0 {
		family := map[bool]int{true: netlink.FAMILY_V4, false: netlink.FAMILY_V6}[to.Addr().Is4()]
		old, err := netlink.RouteListFiltered(family, &netlink.Route{LinkIndex: n.index}, netlink.RT_FILTER_OIF)
		if err != nil {
			return err
		}
		for _, r := range old {
			if r.Gw == nil {
				continue
			}
			if err := netlink.RouteDel(&r); err != nil {
				return err
			}
		}
	}
	r := netlink.Route{LinkIndex: n.link.Attrs().Index, Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}}
	if from.IsValid() {
		r.Src = from.AsSlice()
	}
	return netlink.RouteAdd(&r)
}

// find is where a packet goes.
func (n *PPPoE) find(packet []byte) peer {
	var to netip.Addr
	if len(packet) >= 20 && packet[0]>>4 == 4 {
		to = netip.AddrFrom4([4]byte(packet[16:20]))
	} else if len(packet) >= 40 {
		to = netip.AddrFrom16([16]byte(packet[24:40]))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, there := n.peers[to]; there {
		return p
	}
	return n.peers[netip.Addr{}]
}

// Run carries packets until the test ends.
func (n *PPPoE) Run(t testing.TB) {
	var wg sync.WaitGroup
	var done atomic.Bool
	wg.Go(func() {
		b := make([]byte, 1<<16)
		for {
			size, err := n.tun.Read(b)
			if err != nil {
				return
			}
			p := n.find(b[:size])
			if p.session == 0 {
				continue
			}
			frame := append(append(append([]byte{}, p.mac...), n.MAC...), 0x88, 0x64, 0x11, 0)
			frame = binary.BigEndian.AppendUint16(frame, p.session)
			frame = binary.BigEndian.AppendUint16(frame, uint16(size+2))
			frame = binary.BigEndian.AppendUint16(frame, map[bool]uint16{false: 0x0021, true: 0x0057}[b[0]>>4 == 6])
			unix.Sendto(n.socket, append(frame, b[:size]...), 0, &unix.SockaddrLinklayer{Protocol: networkOrder(etherPPPoE), Ifindex: n.index}) // what is lost is sent again
		}
	})
	wg.Go(func() {
		b := make([]byte, 1<<16)
		for !done.Load() {
			size, _, err := unix.Recvfrom(n.socket, b, 0)
			if err != nil || size < ethernetBytes+pppoeBytes || [6]byte(b) != [6]byte(n.MAC) || b[14] != 0x11 || b[15] != 0 {
				continue
			}
			if said := int(binary.BigEndian.Uint16(b[18:])) - 2; said > 0 && ethernetBytes+pppoeBytes+said <= size {
				n.tun.Write(b[ethernetBytes+pppoeBytes:][:said])
			}
		}
	})
	t.Cleanup(func() {
		done.Store(true)
		n.tun.Close()
		wg.Wait()
		unix.Close(n.socket)
	})
}

// OwnChecksums has an interface of the namespace it is called in send whole checksums: who reads its frames from a packet socket otherwise sees those that a network
// card would complete.
func OwnChecksums(dev string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	value := struct{ command, on uint32 }{command: unix.ETHTOOL_STXCSUM}
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(request.name[:unix.IFNAMSIZ-1], dev)
	request.data = unsafe.Pointer(&value)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("checksums of %s: %w", dev, errno)
	}
	return nil
}
