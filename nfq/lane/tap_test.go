package lane

import (
	"errors"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// tap keeps the frames that come in at an interface.
type tap struct {
	space
	socket int
}

func (s space) tap(name string) *tap {
	s.T.Helper()
	w := &tap{space: s}
	s.Must(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if w.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		s.T.Cleanup(func() { _ = unix.Close(w.socket) })
		if err := unix.SetsockoptInt(w.socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(w.socket, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return err
		}
		return unix.Bind(w.socket, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: 0x0300 /* all, network order */})
	})
	return w
}

// frames are those since the last call.
func (w *tap) frames() (all [][]byte) {
	w.T.Helper()
	b := make([]byte, 1<<17)
	for {
		n, _, err := unix.Recvfrom(w.socket, b, 0)
		if errors.Is(err, unix.EAGAIN) {
			return all
		}
		if err != nil {
			w.T.Fatal(err)
		}
		all = append(all, slices.Clone(b[:n]))
	}
}

func checksum(parts ...[]byte) uint16 { return nfqtest.Checksum(parts...) }
