// Package responder answers the sessions that are deferred: it is the far end of
// the redirect, says one 421 line in plain words and lets the client go.
//
// The answer is given as the greeting (RFC 5321 section 3.1 allows 421 there), so
// a sending mail server keeps the message and tries again, and a person who reads
// its queue sees why and until when. STARTTLS is never offered and never refused:
// a client that was told 454 might fall back to clear text.
package responder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the responder. A client over budget is by definition one that asks
// too often, so everything here is small and ends by itself.
const (
	maxConns   = 2048             // answered at once; over it a connection is closed unanswered, and counted
	maxLinger  = 16               // connections of one client (IPv6: one /64) that are waited for with patience
	writeLimit = 10 * time.Second // for the one line
	linger     = 5 * time.Second  // for the client to read it and close
	hurry      = time.Second / 4  // the same, for a client with many connections
	maxLine    = 510              // RFC 5321 section 4.5.3.1.5: 512 octets with CRLF
)

// General is said to a client that nobody announced, which happens when the box
// was restarted between its SYN and now.
const General = "Too many mail sessions from your line; retry later"

// Responder says 421. Make it with Listen; Run serves it.
type Responder struct {
	ln  net.Listener
	now func() time.Time

	pending *pending

	mu        sync.Mutex
	lingering map[netip.Addr]int

	answered, general, refused atomic.Uint64
	conns                      sync.WaitGroup
	slots                      chan struct{}
}

// Stats counts what the responder did since it was made.
type Stats struct {
	Answered uint64 // 421 said, whatever the text
	General  uint64 // of these with the general text, because no answer was announced
	Refused  uint64 // closed unanswered: too many at once
}

// Listen opens the responder's port on every address, IPv4 and IPv6: a redirect
// arrives at whatever address the subscribers' interface has. The port is chosen
// by the kernel; the ruleset keeps it unreachable for anything but the redirect. Its
// packets bear the mark, by which routes can be chosen for them; 0: none.
func Listen(now func() time.Time, mark uint32) (*Responder, error) {
	lc := net.ListenConfig{}
	if mark != 0 {
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark)) }), err)
		}
	}
	ln, err := lc.Listen(context.Background(), "tcp", ":0")
	if err != nil {
		return nil, fmt.Errorf("listen for deferred sessions: %w", err)
	}
	return &Responder{
		ln:        ln,
		now:       now,
		pending:   newPending(now()),
		lingering: make(map[netip.Addr]int),
		slots:     make(chan struct{}, maxConns),
	}, nil
}

// Port is the TCP port that deferred sessions have to be redirected to.
func (r *Responder) Port() uint16 {
	return uint16(r.ln.Addr().(*net.TCPAddr).Port)
}

// Expect announces that client will be redirected here and what it is to be told
// after "421 4.7.0 ". It never blocks for longer than a map access, and it is no
// error when there is no room: the client hears the general text then.
func (r *Responder) Expect(client netip.AddrPort, text string) {
	r.pending.put(client, text, r.now())
}

// Run serves until ctx ends, then waits for the clients being answered.
func (r *Responder) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { r.ln.Close() })
	defer stop()
	defer r.conns.Wait()
	var delay time.Duration
	for {
		c, err := r.ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept deferred sessions: %w", err)
			}
			// Out of descriptors, or a client that went away: the next one may do.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return nil
			}
			continue
		}
		delay = 0
		select {
		case r.slots <- struct{}{}:
			r.conns.Go(func() {
				defer func() { <-r.slots }()
				r.serve(ctx, c)
			})
		default:
			r.refused.Add(1)
			c.Close()
		}
	}
}

// serve says the line and waits until the client has had it: closing with its
// EHLO unread would send a reset, and a reset may overtake the 421.
func (r *Responder) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(r.now().Add(time.Second)) })
	defer stop()
	addr, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return
	}
	client := netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	text, ok := r.pending.take(client, r.now())
	if !ok {
		text = General
		r.general.Add(1)
	}
	c.SetWriteDeadline(r.now().Add(writeLimit))
	if _, err := io.WriteString(c, Line(text)); err != nil {
		return
	}
	r.answered.Add(1)
	if t, ok := c.(*net.TCPConn); ok {
		t.CloseWrite()
	}
	c.SetReadDeadline(r.now().Add(r.patience(network(client.Addr()))))
	defer r.lingered(network(client.Addr()))
	io.Copy(io.Discard, io.LimitReader(c, 64<<10))
}

// patience is how long a client is waited for. One that has many answered
// connections already must not take everybody's places.
func (r *Responder) patience(client netip.Addr) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lingering[client]++
	if r.lingering[client] > maxLinger {
		return hurry
	}
	return linger
}

func (r *Responder) lingered(client netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lingering[client]--; r.lingering[client] == 0 {
		delete(r.lingering, client)
	}
}

// Stats returns the counts so far.
func (r *Responder) Stats() Stats {
	return Stats{Answered: r.answered.Load(), General: r.general.Load(), Refused: r.refused.Load()}
}

// Line makes the reply line out of text: printable ASCII only, so that no value
// in it can end the line early, and cut to what RFC 5321 allows.
func Line(text string) string {
	clean := strings.Map(func(c rune) rune {
		switch {
		case c < ' ' || c == 0x7f:
			return ' '
		case c > 0x7f:
			return '?'
		}
		return c
	}, text)
	line := "421 4.7.0 " + clean
	if len(line) > maxLine {
		line = line[:maxLine]
	}
	return line + "\r\n"
}
