package crossing

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/lab"
)

// Tap writes what goes over one interface to a capture file, as the kernel hands it on: segments that are larger than
// the link's packets (GSO) stay whole, which is also how the box sees them.
type Tap struct {
	file   *os.File
	out    *bufio.Writer
	socket int
	last   atomic.Bool   // Close wants the end
	done   chan struct{} // closed when run has ended
	err    error         // of run, once done is closed
}

const (
	tapBuffer = 256 << 20 // what the kernel may keep for us: a slow disk is no reason to lose packets
	tapLook   = 50 * time.Millisecond
	tapLength = 1 << 18 // more than any packet has
)

// OpenTap begins to capture on the interface dev in ns. Close ends it.
func OpenTap(ns *lab.Namespace, dev, path string) (*Tap, error) {
	t := &Tap{done: make(chan struct{})}
	if err := ns.Do(func() error { return t.listen(dev) }); err != nil {
		return nil, fmt.Errorf("tap on %s: %w", dev, err)
	}
	var err error
	if t.file, err = os.Create(path); err != nil {
		return nil, errors.Join(err, unix.Close(t.socket))
	}
	t.out = bufio.NewWriterSize(t.file, 1<<20)
	w := pcapgo.NewWriterNanos(t.out)
	if err := w.WriteFileHeader(tapLength, layers.LinkTypeEthernet); err != nil {
		return nil, errors.Join(err, unix.Close(t.socket), t.file.Close())
	}
	go func() {
		defer close(t.done)
		t.err = t.run(w)
	}()
	return t, nil
}

// listen opens the socket; it runs inside the namespace.
func (t *Tap) listen(dev string) error {
	var err error
	if t.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	req, err := unix.NewIfreq(dev)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(t.socket, unix.SIOCGIFINDEX, req); err != nil {
		return err
	}
	look := unix.NsecToTimeval(tapLook.Nanoseconds())
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
	return errors.Join(
		unix.SetsockoptInt(t.socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapBuffer),
		unix.SetsockoptTimeval(t.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &look),
		unix.SetsockoptInt(t.socket, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.Bind(t.socket, &unix.SockaddrLinklayer{Protocol: all, Ifindex: int(req.Uint32())}))
}

// run writes packets until it is told that it is the end and no more are there.
func (t *Tap) run(w *pcapgo.Writer) error {
	frame, control := make([]byte, tapLength), make([]byte, 256)
	for {
		last := t.last.Load()
		n, controls, _, _, err := unix.Recvmsg(t.socket, frame, control, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			if last {
				return nil
			}
			continue
		case err != nil:
			return err
		}
		info := gopacket.CaptureInfo{Timestamp: stamp(control[:controls]), CaptureLength: n, Length: n}
		if err := w.WritePacket(info, frame[:n]); err != nil {
			return err
		}
	}
}

// stamp is when the kernel had the packet.
func stamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) == 16 {
			sec, nsec := binary.NativeEndian.Uint64(m.Data), binary.NativeEndian.Uint64(m.Data[8:])
			return time.Unix(int64(sec), int64(nsec))
		}
	}
	return time.Now()
}

// Close ends the capture with what has come until now, and says if packets were lost.
func (t *Tap) Close() error {
	t.last.Store(true)
	<-t.done
	stats, err := unix.GetsockoptTpacketStats(t.socket, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err == nil && stats.Drops > 0 {
		err = fmt.Errorf("tap: %d of %d packets were lost", stats.Drops, stats.Packets)
	}
	return errors.Join(t.err, err, unix.Close(t.socket), t.out.Flush(), t.file.Close())
}
