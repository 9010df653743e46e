package syslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// tcpSender sends octet-counted frames (RFC 6587 section 3.4.1) and keeps each until the collector's kernel has acknowledged it.
type tcpSender struct {
	conn    *net.TCPConn
	buf     []byte
	written uint64  // bytes given to the kernel on this connection
	frames  []frame // not acknowledged when last asked; bounded by the send buffer and askEvery
	asked   time.Time
	err     error         // why gone was closed
	gone    chan struct{} // closed by the listening goroutine, which ends with conn
}

type frame struct {
	item
	end uint64 // written as it was after this frame
}

const (
	sendBuffer   = 256 << 10
	writeTimeout = 20 * time.Second
	// The kernel is asked what was acknowledged once in askEvery, or when so many may not have been.
	askEvery = 50 * time.Millisecond
	askFrom  = 4096
)

func newTCP(conn *net.TCPConn) (sender, error) {
	t := &tcpSender{conn: conn, gone: make(chan struct{})}
	err := conn.SetWriteBuffer(sendBuffer)
	if err == nil {
		// A collector whose machine vanished answers nothing: without this, TCP goes on trying for a quarter of an hour.
		err = t.control(func(fd int) error {
			return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(writeTimeout.Milliseconds()))
		})
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("set up the connection: %w", err)
	}
	go func() { // a collector says nothing; what ends this is its end of the connection, or ours
		defer close(t.gone)
		var b [512]byte
		for {
			if _, t.err = conn.Read(b[:]); t.err != nil {
				return
			}
		}
	}()
	return t, nil
}

func (t *tcpSender) send(items []item) (int, error) {
	select {
	case <-t.gone: // half closed: the kernel would take the bytes and nobody would read them
		return 0, t.why()
	default:
	}
	t.buf = t.buf[:0]
	for _, it := range items {
		t.buf = strconv.AppendInt(t.buf, int64(len(it.line)), 10)
		t.buf = append(t.buf, ' ')
		t.buf = append(t.buf, it.line...)
		t.frames = append(t.frames, frame{it, t.written + uint64(len(t.buf))})
	}
	if err := t.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return len(items), err
	}
	n, err := t.conn.Write(t.buf)
	t.written += uint64(n)
	return len(items), err // written in part or not: frames has them until they are acknowledged
}

func (t *tcpSender) broken() <-chan struct{} { return t.gone }

func (t *tcpSender) why() error {
	if errors.Is(t.err, io.EOF) {
		return errEnded
	}
	return t.err
}

func (t *tcpSender) pending() []item {
	t.ask()
	items := make([]item, len(t.frames))
	for i, f := range t.frames {
		items[i] = f.item
	}
	return items
}

func (t *tcpSender) unsure() int {
	if time.Since(t.asked) >= askEvery || len(t.frames) >= askFrom {
		t.ask()
	}
	return len(t.frames)
}

// ask asks the kernel how much the other side has not acknowledged (SIOCOUTQ, Documentation: tcp(7)). When it cannot
// say any more, everything that was not acknowledged before counts as pending.
func (t *tcpSender) ask() {
	t.asked = time.Now()
	var out int
	if err := t.control(func(fd int) (err error) {
		out, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return err
	}); err != nil || out < 0 || uint64(out) > t.written {
		return
	}
	acked := t.written - uint64(out)
	i := 0
	for i < len(t.frames) && t.frames[i].end <= acked {
		i++
	}
	t.frames = slices.Delete(t.frames, 0, i)
}

// settle says that nothing follows and waits for the last acknowledgement.
func (t *tcpSender) settle(ctx context.Context) {
	if t.conn.CloseWrite() != nil {
		return
	}
	ask := time.NewTicker(10 * time.Millisecond)
	defer ask.Stop()
	for len(t.pending()) > 0 {
		select {
		case <-ask.C:
		case <-t.gone:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (t *tcpSender) interrupt() { t.conn.Close() }

func (t *tcpSender) close() {
	t.pending() // the last chance to ask
	t.conn.Close()
	<-t.gone
}

func (t *tcpSender) control(f func(fd int) error) error {
	raw, err := t.conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
