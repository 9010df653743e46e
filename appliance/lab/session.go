package lab

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Run sends the traffic from this machine and gives each session's report to
// report, one at a time, in the order they end. It returns when all sessions
// have ended; when ctx ends no new one starts and running ones are broken off.
func (l Line) Run(ctx context.Context, t Traffic, report func(Session)) {
	if t.Concurrency == 0 {
		t.Concurrency = 1
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, t.Concurrency)
	begin := time.Now()
	for i := 0; t.Sessions == 0 || i < t.Sessions; i++ {
		if t.Rate > 0 {
			due := begin.Add(time.Duration(float64(i) / t.Rate * float64(time.Second)))
			select {
			case <-time.After(time.Until(due)):
			case <-ctx.Done():
			case <-t.Stop:
			}
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		case <-t.Stop:
		}
		if t.stopped(ctx) {
			break
		}
		wg.Go(func() {
			s := l.session(ctx, t)
			<-slots
			mu.Lock()
			defer mu.Unlock()
			report(s)
		})
	}
	wg.Wait()
}

func (t Traffic) stopped(ctx context.Context) bool {
	select {
	case <-t.Stop:
		return true
	default:
		return ctx.Err() != nil
	}
}

// Send is Run for a number of sessions, with the reports in a slice.
func (l Line) Send(ctx context.Context, t Traffic) []Session {
	var out []Session
	if t.Sessions == 0 {
		t.Sessions = 1
	}
	l.Run(ctx, t, func(s Session) { out = append(out, s) })
	return out
}

// session is one SMTP session from connect to QUIT.
func (l Line) session(ctx context.Context, t Traffic) (s Session) {
	if t.Messages == 0 {
		t.Messages = 1
	}
	if t.Size == 0 {
		t.Size = 1024
	}
	if t.Timeout == 0 {
		t.Timeout = time.Minute
	}
	s.Start = time.Now()
	defer func() { s.Took = time.Since(s.Start) }()
	from := l.IPv4
	if t.To.Addr().Is6() {
		from = l.IPv6
	}
	if t.To.Addr().IsLoopback() {
		from = t.To.Addr()
	}
	if t.Source.IsValid() {
		from = t.Source
	}
	dctx, cancel := context.WithTimeout(ctx, t.Timeout)
	conn, err := l.Namespace.dial(dctx, from, t.To)
	cancel()
	if err != nil {
		s.fail(err)
		return s
	}
	defer conn.Close()
	s.Connect = time.Since(s.Start)
	// A context that ends is noticed by whoever reads or writes just then.
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	d := dialogue{conn: conn, r: bufio.NewReader(conn), s: &s, timeout: t.Timeout, ctx: ctx}
	if err := d.run(l.Name, t); err != nil {
		s.fail(err)
		return s
	}
	s.Result = Sent
	return s
}

// fail files the error under what it means.
func (s *Session) fail(err error) {
	s.Err = err
	var reply *replyError
	var ne net.Error
	switch {
	case errors.As(err, &reply) && reply.code/100 == 4:
		s.Result = Deferred
	case errors.As(err, &reply) && reply.code/100 == 5:
		s.Result = Rejected
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EPIPE):
		s.Result = Reset
	case errors.Is(err, context.Canceled):
		s.Result = Failed
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		s.Result = TimedOut
	}
}

// replyError is a reply other than the one that was hoped for.
type replyError struct {
	code int
	line string
}

func (e *replyError) Error() string { return e.line }

// dialogue is the client's half of SMTP (RFC 5321, RFC 3207), no pipelining.
type dialogue struct {
	conn    net.Conn
	r       *bufio.Reader
	s       *Session
	timeout time.Duration
	ctx     context.Context
	offered bool // STARTTLS stood in the last reply
}

func (d *dialogue) run(name string, t Traffic) error {
	if err := d.expect(2); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	d.s.Greeting = time.Since(d.s.Start) - d.s.Connect
	if err := d.command(2, "EHLO %s.example", name); err != nil {
		return fmt.Errorf("EHLO: %w", err)
	}
	if t.StartTLS {
		if err := d.startTLS(name); err != nil {
			return err
		}
	}
	for range t.Messages {
		if err := d.message(t); err != nil {
			return err
		}
	}
	return d.command(2, "QUIT")
}

func (d *dialogue) startTLS(name string) error {
	if !d.offered {
		return errors.New("STARTTLS is not offered")
	}
	if err := d.command(2, "STARTTLS"); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	if d.r.Buffered() > 0 {
		return errors.New("bytes in clear after the reply to STARTTLS")
	}
	c := tls.Client(d.conn, &tls.Config{
		// Whose certificate it is gets reported, not judged.
		InsecureSkipVerify: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			d.s.Fingerprint = fingerprint(raw[0])
			return nil
		},
	})
	_ = d.deadline()
	if err := c.HandshakeContext(d.ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	d.s.TLSVersion = tls.VersionName(c.ConnectionState().Version)
	d.conn, d.r = c, bufio.NewReader(c)
	if err := d.command(2, "EHLO %s.example", name); err != nil {
		return fmt.Errorf("EHLO after STARTTLS: %w", err)
	}
	return nil
}

func (d *dialogue) message(t Traffic) error {
	if err := d.command(2, "MAIL FROM:<%s>", t.From); err != nil {
		return fmt.Errorf("MAIL: %w", err)
	}
	if err := d.command(2, "RCPT TO:<%s>", t.Rcpt); err != nil {
		return fmt.Errorf("RCPT: %w", err)
	}
	if err := d.command(3, "DATA"); err != nil {
		return fmt.Errorf("DATA: %w", err)
	}
	id := newMessageID(t.From)
	if err := d.content(compose(id, t), t.Linger); err != nil {
		return fmt.Errorf("content: %w", err)
	}
	if err := d.command(2, "."); err != nil {
		return fmt.Errorf("end of content: %w", err)
	}
	d.s.Accepted = append(d.s.Accepted, id)
	return nil
}

// content sends the message in ten parts, spread over linger.
func (d *dialogue) content(b []byte, linger time.Duration) error {
	part := max(1, len(b)/10)
	for len(b) > 0 {
		n := min(part, len(b))
		if err := d.deadline(); err != nil {
			return err
		}
		if _, err := d.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
		if linger > 0 {
			select {
			case <-time.After(linger / 10):
			case <-d.ctx.Done():
				return d.ctx.Err()
			}
		}
	}
	return nil
}

// command sends a line and reads the reply, whose first digit is to be class.
func (d *dialogue) command(class int, format string, args ...any) error {
	if err := d.deadline(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(d.conn, format+"\r\n", args...); err != nil {
		return err
	}
	return d.expect(class)
}

// expect reads one reply, however many lines it has.
func (d *dialogue) expect(class int) error {
	if err := d.deadline(); err != nil {
		return err
	}
	d.offered = false
	for {
		line, err := d.r.ReadString('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		d.s.Replies = append(d.s.Replies, line)
		code, err := strconv.Atoi(line[:min(3, len(line))])
		if err != nil || len(line) < 3 {
			return fmt.Errorf("not an SMTP reply: %q", line)
		}
		if len(line) > 4 && strings.EqualFold(line[4:], "STARTTLS") {
			d.offered = true
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if code/100 != class {
			return &replyError{code, line}
		}
		return nil
	}
}

// deadline gives the next read or write its time. The context's end sets a
// past deadline; checking after setting ours makes sure it is not undone.
func (d *dialogue) deadline() error {
	if err := d.conn.SetDeadline(time.Now().Add(d.timeout)); err != nil {
		return err
	}
	return d.ctx.Err()
}

func newMessageID(from string) MessageID {
	_, domain, _ := strings.Cut(from, "@")
	return MessageID(strings.ToLower(rand.Text()) + "@" + domain)
}

// compose writes a message whose body has t.Size bytes, ready to send: CRLF,
// and no line that begins with a dot.
func compose(id MessageID, t Traffic) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nDate: %s\r\nMessage-ID: <%s>\r\nSubject: lab %s\r\n\r\n",
		t.From, t.Rcpt, time.Now().Format(time.RFC1123Z), id, id)
	line := strings.Repeat("mailweir lab ", 5) + "\r\n"
	for end := b.Len() + t.Size; b.Len() < end; {
		b.WriteString(line[max(0, len(line)-(end-b.Len())):])
	}
	if !bytes.HasSuffix(b.Bytes(), []byte("\r\n")) {
		b.WriteString("\r\n")
	}
	return b.Bytes()
}
