package syslog

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// udpSender sends one record per datagram (RFC 5426 section 3.1).
type udpSender struct {
	conn   net.Conn
	proven bool // no record is on probation, and gone is listened for
	last   []item
	err    error         // why gone was closed
	gone   chan struct{} // closed by the listening goroutine, which ends with conn
}

// probation is how long the host of a collector that has refused a record may take to refuse the next one. A port that is closed
// is noticed by the ICMP message that it causes, so records are not poured into it again and again.
const probation = 200 * time.Millisecond

// dial connects. cautious: the connection before was refused or broken.
func dial(ctx context.Context, network, address string, cautious bool) (sender, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if network == "udp" {
		u := &udpSender{conn: conn, gone: make(chan struct{})}
		if !cautious {
			u.listen()
		}
		return u, nil
	}
	return newTCP(conn.(*net.TCPConn))
}

func (u *udpSender) send(items []item) (int, error) {
	for i, it := range items {
		_, err := u.conn.Write(it.line)
		switch {
		case errors.Is(err, syscall.EMSGSIZE): // cannot be: records are bounded far below a datagram's size
			return i + 1, err
		case err != nil:
			return i, err
		}
		if !u.proven {
			if err := u.prove(); err != nil {
				return i, err
			}
		}
		u.last = append(u.last[:0], it)
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

func (u *udpSender) broken() <-chan struct{} { return u.gone }

// pending is the last record, when the connection ended because something was refused.
func (u *udpSender) pending() []item {
	select {
	case <-u.gone:
		return u.last
	default:
		return nil
	}
}

func (u *udpSender) unsure() int { return len(u.pending()) }

func (u *udpSender) why() error { return u.err }

func (u *udpSender) settle(context.Context) { u.last = nil }

func (u *udpSender) interrupt() { u.conn.Close() }

func (u *udpSender) close() {
	u.conn.Close()
	if u.proven {
		<-u.gone
	}
}
