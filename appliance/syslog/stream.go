package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sort"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/spool"
)

// What a collector's kernel acknowledged and its program has not read is gone when that dies, and nothing that can be seen from here bounds it: a kernel keeps what its receive buffer
// holds, which may be many times the window that it offers (measured: six times). So a connection is ended here when maxUnproven bytes or proveAfter have gone over it: a collector that
// then ends its own side has read everything, and until it has, all of it is sent again.
const (
	maxUnproven = 2 << 20
	spoolShares = 8 // and no more than such a part of the spool, which has to keep it
	proveAfter  = time.Hour
)

const (
	sendBuffer   = 256 << 10
	writeTimeout = 20 * time.Second
	dialTimeout  = 10 * time.Second
	// The kernel is asked what was acknowledged once in askEvery.
	askEvery = 50 * time.Millisecond
)

// wire is a TCP connection, with or without TLS, that knows how many of its bytes have arrived.
type wire struct {
	tcp     *net.TCPConn
	conn    net.Conn // what is written to and read from: tcp, or TLS over it
	written uint64   // bytes given to the kernel; only who sends touches it
}

// counted is the wire's TCP connection as TLS uses it.
type counted struct {
	net.Conn
	w *wire
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.w.written += uint64(n)
	return n, err
}

// dialWire connects, with TLS where config is not nil.
func dialWire(ctx context.Context, address string, config *tls.Config) (*wire, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	w := &wire{tcp: conn.(*net.TCPConn)}
	w.conn = counted{w.tcp, w}
	err = w.tcp.SetWriteBuffer(sendBuffer)
	if err == nil {
		// A collector whose machine vanished answers nothing: without this, TCP goes on trying for a quarter of an hour.
		err = w.control(func(fd int) error {
			return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(writeTimeout.Milliseconds()))
		})
	}
	if err != nil {
		w.tcp.Close()
		return nil, fmt.Errorf("set up the connection: %w", err)
	}
	if config != nil {
		secured := tls.Client(w.conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			w.tcp.Close()
			return nil, &phaseError{"the TLS handshake", err}
		}
		w.conn = secured
	}
	return w, nil
}

// write gives all of b to the kernel, or fails within writeTimeout.
func (w *wire) write(b []byte) error {
	if err := w.tcp.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := w.conn.Write(b)
	return err
}

// arrived is how many bytes the collector's kernel has acknowledged (SIOCOUTQ, see tcp(7)); false when ours cannot say any more.
func (w *wire) arrived() (uint64, bool) {
	var out int
	if err := w.control(func(fd int) (err error) {
		out, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return err
	}); err != nil || out < 0 || uint64(out) > w.written {
		return 0, false
	}
	return w.written - uint64(out), true
}

func (w *wire) control(f func(fd int) error) error {
	raw, err := w.tcp.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// endWrite says that nothing follows.
func (w *wire) endWrite() error {
	if s, ok := w.conn.(*tls.Conn); ok {
		if err := s.CloseWrite(); err != nil {
			return err
		}
	}
	return w.tcp.CloseWrite()
}

// stream sends octet-counted frames (RFC 6587 section 3.4.1, RFC 5425 section 4.3).
type stream struct {
	*wire
	buf     []byte
	most    uint64        // bytes that may be unproven
	idle    time.Duration // how long nothing may be sent with what was sent unproven: see restless; 0: as long as it likes
	quiet   time.Time     // since when nothing was sent
	never   bool          // the collector does not end connections that are ended here: what it has read cannot be known, and most before what its kernel acknowledged is sent again
	sent    uint64        // bytes of frames
	full    bool          // no more may be sent: see due
	first   time.Time     // when the first was sent
	batches []batch       // what was written, as far as it is sent again
	last    uint64        // the last record that was written
	seq     uint64        // the last that is acknowledged
	sure    uint64        // the last that is not sent again
	taken   uint64        // the last that the collector's program has read for certain
	asked   time.Time
	err     error         // why gone was closed
	gone    chan struct{} // closed by the listening goroutine, which ends with the connection
}

// batch is records that were written at once.
type batch struct {
	last uint64 // record
	end  uint64 // wire.written as it was after it
}

func newStream(w *wire, most uint64, never bool) *stream {
	s := &stream{wire: w, most: most, never: never, quiet: time.Now(), gone: make(chan struct{})}
	go func() { // a collector says nothing; what ends this is its end of the connection, or ours
		defer close(s.gone)
		var b [512]byte
		for {
			if _, s.err = w.conn.Read(b[:]); s.err != nil {
				if _, secure := w.conn.(*tls.Conn); secure && errors.Is(s.err, io.EOF) { // close_notify may stand in front of a reset, which says that something was not read
					if _, s.err = io.Copy(io.Discard, w.tcp); s.err == nil {
						s.err = io.EOF
					}
				}
				return
			}
		}
	}()
	return s
}

func (s *stream) send(items []spool.Item) (int, error) {
	select {
	case <-s.gone: // half closed: the kernel would take the bytes and nobody would read them
		return 0, s.why()
	default:
	}
	s.buf = s.buf[:0]
	n := 0
	for _, it := range items {
		before := len(s.buf)
		s.buf = strconv.AppendInt(s.buf, int64(len(it.Line)), 10)
		s.buf = append(s.buf, ' ')
		s.buf = append(s.buf, it.Line...)
		if !s.never && s.sent+uint64(len(s.buf)) > s.most && s.sent+uint64(n) > 0 {
			s.buf, s.full = s.buf[:before], true
			break
		}
		n++
	}
	if n == 0 {
		return 0, nil
	}
	if s.sent == 0 {
		s.first = time.Now()
	}
	if err := s.write(s.buf); err != nil {
		select { // what the collector said before it ended tells more than that writing does not work
		case <-s.gone:
			return 0, s.why()
		case <-time.After(askPeriod):
		}
		return 0, err
	}
	s.sent, s.quiet = s.sent+uint64(len(s.buf)), time.Now()
	s.last = items[n-1].Seq
	s.batches = append(s.batches, batch{s.last, s.written})
	return n, nil
}

// due is when as much has been sent, or as long, as may be unproven, or when the collector would soon end the connection itself.
func (s *stream) due() bool {
	return !s.never && (s.full || s.sent > 0 && (time.Since(s.first) >= proveAfter || s.idle > 0 && time.Since(s.quiet) >= s.idle))
}

func (s *stream) news() <-chan struct{} { return nil }

func (s *stream) broken() <-chan struct{} { return s.gone }

func (s *stream) why() error {
	if errors.Is(s.err, io.EOF) {
		return errEnded
	}
	return s.err
}

func (s *stream) acked() uint64 {
	if len(s.batches) > 0 && time.Since(s.asked) >= askEvery {
		s.ask()
	}
	return s.seq
}

func (s *stream) ask() {
	s.asked = time.Now()
	arrived, ok := s.arrived()
	if !ok {
		return
	}
	s.seq = max(s.seq, s.upTo(arrived))
	if !s.never {
		return
	}
	old := arrived - min(arrived, s.most)
	s.sure = max(s.sure, s.upTo(old))
	// In large pieces: what stays is moved each time.
	if i := s.after(old); i > len(s.batches)/2 {
		s.batches = slices.Delete(s.batches, 0, i)
	}
}

// after is the index of the first batch that does not end within so many bytes.
func (s *stream) after(bytes uint64) int {
	return sort.Search(len(s.batches), func(i int) bool { return s.batches[i].end > bytes })
}

// upTo is the last record within so many bytes; 0 where that is not remembered.
func (s *stream) upTo(bytes uint64) uint64 {
	if i := s.after(bytes); i > 0 {
		return s.batches[i-1].last
	}
	return 0
}

func (s *stream) safe() uint64 { return s.sure }

// settle ends our side and waits for the collector to end its own: it has read everything then.
func (s *stream) settle(ctx context.Context) {
	if s.endWrite() != nil {
		return
	}
	select {
	case <-s.gone:
	case <-ctx.Done():
		return
	}
	if s.err != nil && !errors.Is(s.err, io.EOF) && !errors.Is(s.err, io.ErrUnexpectedEOF) {
		return
	}
	// One that ended its own side before it got what we had sent has not read that; its kernel does not acknowledge it, either.
	if arrived, ok := s.arrived(); !ok || arrived < s.written {
		return
	}
	s.seq, s.sure, s.taken, s.batches = s.last, s.last, s.last, nil
}

func (s *stream) interrupt() { s.tcp.Close() }

func (s *stream) close() {
	s.ask() // the last chance
	s.tcp.Close()
	<-s.gone
}
