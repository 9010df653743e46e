package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/ruleset"
)

// selfTestAddress is of the loopback network, where nobody else is.
var selfTestAddress = netip.AddrFrom4([4]byte{127, 25, 25, 25})

// prepareSelfTest has the self-test's packets queued to the first of the queues.
func prepareSelfTest(queue uint16) error {
	k, err := ruleset.Probe()
	if err != nil {
		return err
	}
	return k.SelfTest(selfTestAddress, queue)
}

// selfTest sends a packet to the mail port of selfTestAddress, and waits until it arrives: somebody took it from the queue and let it pass. It is
// a reset, which belongs to no session, so that nobody is charged for it and no record is made.
func selfTest(most time.Duration) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return fmt.Errorf("raw socket: %w", err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet4{Addr: selfTestAddress.As4()}
	if err := unix.Bind(fd, to); err != nil { // it gets what comes to this address only
		return fmt.Errorf("raw socket: %w", err)
	}
	sequence := uint32(time.Now().UnixNano())
	if err := unix.Sendto(fd, reset(sequence), 0, to); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	got := make([]byte, 128)
	for deadline := time.Now().Add(most); ; {
		left := unix.NsecToTimeval(max(time.Until(deadline), time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &left); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		n, _, err := unix.Recvfrom(fd, got, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return fmt.Errorf("a packet got no verdict in %v", most)
		case err != nil:
			return os.NewSyscallError("recvfrom", err)
		case n >= 20:
			if head := int(got[0]&15) * 4; n >= head+8 && binary.BigEndian.Uint32(got[head+4:]) == sequence {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("a packet got no verdict in %v", most)
		}
	}
}

// reset is a TCP header (RFC 9293, 3.1) with RST to port 25. Its checksum is not right, and nobody looks at it.
func reset(sequence uint32) []byte {
	h := make([]byte, 20)
	binary.BigEndian.PutUint16(h[0:], 25000)
	binary.BigEndian.PutUint16(h[2:], 25)
	binary.BigEndian.PutUint32(h[4:], sequence)
	h[12] = 5 << 4 // header length in words
	h[13] = 1 << 2 // RST
	return h
}
