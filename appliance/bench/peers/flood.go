package peers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// floodTask is connections that are only begun, written to an interface as they stand: SYNs from Sources addresses from
// First on in turn, at most floodBatch of them, with random ports and sequence numbers.
type floodTask struct {
	Device   string
	Gateway  net.HardwareAddr
	To       netip.AddrPort
	First    netip.Addr
	Sources  int
	Rate     int // a second; 0: as many as can be
	Duration time.Duration
	Seed     uint64
}

type floodResult struct {
	Sent, Refused uint64 // packets, and calls that the interface had no room for
	Took          time.Duration
}

const (
	floodBatch = 64
	synLength  = 14 + 20 + 20 // Ethernet, IPv4, TCP
)

type mmsghdr struct {
	unix.Msghdr
	n uint32
	_ [4]byte
}

// flood sends until its time is over or stop is closed. It goes past the queue of the interface and gives the kernel many
// packets in a call.
func flood(task floodTask, stop <-chan struct{}) (floodResult, error) {
	runtime.LockOSThread()
	dev, err := net.InterfaceByName(task.Device)
	if err != nil {
		return floodResult{}, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return floodResult{}, err
	}
	defer unix.Close(fd)
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16([]byte{0x08, 0x00}), Ifindex: dev.Index}),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1))
	if err != nil {
		return floodResult{}, fmt.Errorf("send on %s: %w", task.Device, err)
	}
	var packets [floodBatch][synLength]byte
	var vectors [floodBatch]unix.Iovec
	var messages [floodBatch]mmsghdr
	var sums [floodBatch]uint32
	for i := range packets {
		copy(packets[i][0:], task.Gateway)
		copy(packets[i][6:], dev.HardwareAddr)
		packets[i][12] = 0x08
		sums[i] = task.syn(packets[i][14:], i)
		vectors[i].Base = &packets[i][0]
		vectors[i].SetLen(synLength)
		messages[i].Iov = &vectors[i]
		messages[i].SetIovlen(1)
	}
	rnd := rand.New(rand.NewPCG(task.Seed, 2))
	var r floodResult
	began := time.Now()
	for {
		r.Took = time.Since(began)
		select {
		case <-stop:
			return r, nil
		default:
		}
		if r.Took >= task.Duration {
			return r, nil
		}
		if task.Rate > 0 && float64(r.Sent) > r.Took.Seconds()*float64(task.Rate) {
			time.Sleep(200 * time.Microsecond)
			continue
		}
		for i := range packets {
			vary(packets[i][14+20:], sums[i], rnd.Uint64())
		}
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages[0])), floodBatch, 0, 0, 0)
		switch errno {
		case 0:
			r.Sent += uint64(n)
		case unix.ENOBUFS, unix.EAGAIN, unix.EINTR:
			r.Refused++
		default:
			return r, fmt.Errorf("send on %s: %w", task.Device, errno)
		}
	}
}

// syn writes all of one but what differs each time, and returns what its checksum is made of so far. Whoever makes
// packets must not be slower than the box that is to be measured.
func (t *floodTask) syn(p []byte, number int) uint32 {
	from := t.First.As4()
	to := t.To.Addr().As4()
	binary.BigEndian.PutUint32(from[:], binary.BigEndian.Uint32(from[:])+uint32(number%t.Sources))
	ip, tcp := p[:20], p[20:40]
	ip[0], ip[3], ip[8], ip[9] = 0x45, 40, 64, unix.IPPROTO_TCP
	copy(ip[12:], from[:])
	copy(ip[16:], to[:])
	binary.BigEndian.PutUint16(ip[10:], fold(sum(ip, 0)))
	binary.BigEndian.PutUint16(tcp[2:], t.To.Port())
	tcp[12], tcp[13] = 5<<4, 0x02
	binary.BigEndian.PutUint16(tcp[14:], 65535)
	return sum(tcp, sum(ip[12:20], unix.IPPROTO_TCP+20))
}

// vary gives a packet a port above 1023, a sequence number and their checksum.
func vary(tcp []byte, so uint32, random uint64) {
	port, seq := uint16(random>>32)|1024, uint32(random)
	binary.BigEndian.PutUint16(tcp[0:], port)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	binary.BigEndian.PutUint16(tcp[16:], fold(so+uint32(port)+seq>>16+seq&0xffff))
}

// sum adds up what the checksums of IP and TCP are made of.
func sum(b []byte, s uint32) uint32 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
