package syslog

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/mailweir/mailweir/appliance/spool"
)

// udpSender sends one record per datagram (RFC 5426 section 3.1).
type udpSender struct {
	conn   net.Conn
	proven bool // no record is on probation, and gone is listened for
	sent   uint64
	mark   uint64 // sent as it was at marked
	marked time.Time
	sure   uint64        // up to here a refusal would have come by now
	err    error         // why gone was closed
	gone   chan struct{} // closed by the listening goroutine, which ends with conn
}

// probation is how long the host of a collector may take to refuse a record. A port that is closed
// is noticed by the ICMP message that it causes, so records are not poured into it again and again.
const probation = 200 * time.Millisecond

// dialUDP makes a socket. cautious: the one before was refused.
func dialUDP(ctx context.Context, address string, cautious bool) (*udpSender, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	u := &udpSender{conn: conn, gone: make(chan struct{})}
	if !cautious {
		u.listen()
	}
	return u, nil
}

func (u *udpSender) send(items []spool.Item) (int, error) {
	if u.proven {
		select {
		case <-u.gone:
			return 0, u.why()
		default:
		}
	}
	u.safe()
	for i, it := range items {
		if _, err := u.conn.Write(it.Line); err != nil && !errors.Is(err, syscall.EMSGSIZE) { // which cannot be: records are bounded far below that
			return i, err
		}
		if !u.proven {
			if err := u.prove(); err != nil {
				return i, err
			}
			u.sure, u.mark = it.Seq, it.Seq
		}
		u.sent = it.Seq
	}
	return len(items), nil
}

// prove waits whether the first record after a refusal is refused, and from then on listens in the background.
func (u *udpSender) prove() error {
	if err := u.conn.SetReadDeadline(time.Now().Add(probation)); err != nil {
		return err
	}
	var b [512]byte
	if _, err := u.conn.Read(b[:]); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if err := u.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	u.listen()
	return nil
}

// listen hears in the background of records that are refused, until the connection is closed.
func (u *udpSender) listen() {
	u.proven = true
	go func() {
		defer close(u.gone)
		var b [512]byte
		for {
			if _, u.err = u.conn.Read(b[:]); u.err != nil {
				return
			}
		}
	}()
}

func (u *udpSender) due() bool { return false }

func (u *udpSender) news() <-chan struct{} { return nil }

func (u *udpSender) broken() <-chan struct{} { return u.gone }

func (u *udpSender) why() error { return u.err }

func (u *udpSender) acked() uint64 { return u.sure }

// safe is behind what was sent while a refusal may still come, or has.
func (u *udpSender) safe() uint64 {
	select {
	case <-u.gone:
	default:
		if now := time.Now(); now.Sub(u.marked) >= probation {
			u.sure, u.mark, u.marked = max(u.sure, u.mark), u.sent, now
		}
	}
	return u.sure
}

// settle waits for a refusal of the last records.
func (u *udpSender) settle(ctx context.Context) {
	if u.sure == u.sent {
		return
	}
	select {
	case <-u.gone:
	case <-ctx.Done():
	case <-time.After(probation):
		u.sure = u.sent
	}
}

func (u *udpSender) interrupt() { u.conn.Close() }

func (u *udpSender) close() {
	u.conn.Close()
	if u.proven {
		<-u.gone
	}
}
