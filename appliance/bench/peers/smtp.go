package peers

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// serveTask is a mail server that takes everything.
type serveTask struct{ At netip.AddrPort }

type serveResult struct{ Messages uint64 }

// serve answers until stop. With STARTTLS: ECDSA P-256, every handshake a full one.
func serve(task serveTask, stop <-chan struct{}) (serveResult, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return serveResult{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{serverName}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return serveResult{}, err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true}
	lis, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(task.At))
	if err != nil {
		return serveResult{}, err
	}
	var messages atomic.Uint64
	go func() { // ends with the listener
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			go converse(c, cfg, &messages) // ends with the connection, at the latest with the process
		}
	}()
	<-stop
	return serveResult{messages.Load()}, lis.Close()
}

const serverName = "mx.example"

// endOfMessage is how DATA ends, and nothing else that a client of ours sends.
var endOfMessage = []byte("\r\n.\r\n")

// converse is one session on the server's side. What a client sends wrongly ends it.
func converse(c net.Conn, cfg *tls.Config, messages *atomic.Uint64) {
	defer func() { _ = c.Close() }()
	var long []byte // for what a message needs
	r := bufio.NewReaderSize(c, 8<<10)
	say := func(text string) bool {
		_, err := io.WriteString(c, text+"\r\n")
		return err == nil
	}
	for ok := say("220 " + serverName + " ESMTP"); ok; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		switch verb {
		case "EHLO":
			ok = say("250-" + serverName + "\r\n250-STARTTLS\r\n250 8BITMIME")
		case "STARTTLS":
			t := tls.Server(c, cfg)
			if !say("220 go ahead") || t.Handshake() != nil {
				return
			}
			c = t
			r.Reset(c)
		case "DATA":
			if !say("354 go ahead") {
				return
			}
			if long == nil {
				long = make([]byte, 256<<10)
			}
			if swallow(r, c, long) != nil {
				return
			}
			messages.Add(1)
			ok = say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			ok = say("250 well")
		}
	}
}

// swallow reads a message to its end: past the small buffer of lines, since most of a long message never passes there.
func swallow(r *bufio.Reader, c net.Conn, long []byte) error {
	keep := len(endOfMessage) - 1
	have := 0 // bytes at the start of long that were the last ones read before
	for {
		n, err := 0, error(nil)
		if r.Buffered() > 0 {
			n, err = r.Read(long[have:])
		} else {
			n, err = c.Read(long[have:])
		}
		if err != nil {
			return err
		}
		all := long[:have+n]
		if bytes.HasSuffix(all, endOfMessage) {
			return nil
		}
		have = copy(long, all[max(0, len(all)-keep):])
	}
}

// client is one session on the subscriber's side.
type client struct {
	c net.Conn
	r *bufio.Reader
}

// dial opens a session from a stated address, and reads the greeting.
func dial(from netip.Addr, to netip.AddrPort) (*client, error) {
	d := net.Dialer{Timeout: 20 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)),
		Control: func(_, _ string, raw syscall.RawConn) error {
			var set error
			err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1) })
			return errors.Join(err, set)
		}}
	d.SetMultipathTCP(false)
	c, err := d.Dial("tcp4", to.String())
	if err != nil {
		return nil, err
	}
	s := &client{c: c, r: bufio.NewReaderSize(c, 4<<10)}
	if err := errors.Join(c.SetDeadline(time.Now().Add(30*time.Second)), s.answer()); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return s, nil
}

// answer reads one reply, which has to be a good one.
func (s *client) answer() error {
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return err
		}
		if len(line) < 4 || line[0] > '3' {
			return fmt.Errorf("the server says %q", line)
		}
		if line[3] != '-' {
			return nil
		}
	}
}

func (s *client) say(text string) error {
	if _, err := io.WriteString(s.c, text+"\r\n"); err != nil {
		return err
	}
	return s.answer()
}

func (s *client) sayAll(texts ...string) error {
	for _, t := range texts {
		if err := s.say(t); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	return nil
}

// secure is STARTTLS. The certificate was made by the server a moment ago, and is nobody's.
func (s *client) secure() error {
	if err := s.say("STARTTLS"); err != nil {
		return err
	}
	t := tls.Client(s.c, &tls.Config{InsecureSkipVerify: true, ServerName: serverName})
	if err := t.Handshake(); err != nil {
		return err
	}
	s.c = t
	s.r.Reset(t)
	return nil
}

// begin is EHLO, where wanted behind STARTTLS as well.
func (s *client) begin(secure bool) error {
	if err := s.say("EHLO subscriber.example"); err != nil || !secure {
		return err
	}
	if err := s.secure(); err != nil {
		return err
	}
	return s.say("EHLO subscriber.example")
}

func (s *client) close() { _ = s.c.Close() }

// session is a whole one with a message.
func session(from netip.Addr, to netip.AddrPort, secure bool, body []byte) error {
	s, err := dial(from, to)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.begin(secure); err != nil {
		return err
	}
	if err := s.sayAll("MAIL FROM:<a@subscriber.example>", "RCPT TO:<b@"+serverName+">", "DATA"); err != nil {
		return err
	}
	if _, err := s.c.Write(body); err != nil {
		return err
	}
	return errors.Join(s.answer(), s.say("QUIT"))
}

// letter is a message of about so many bytes, with its end.
func letter(size int) []byte {
	line := strings.Repeat("x", 76) + "\r\n"
	return []byte("Subject: bench\r\n\r\n" + strings.Repeat(line, max(1, size/len(line))) + ".\r\n")
}

// loadTask is sessions with one message each, from Sources addresses in turn: so many at once without a pause, or so many
// a second whatever becomes of them.
type loadTask struct {
	To         netip.AddrPort
	First      netip.Addr
	Sources    int
	Secure     bool
	Size       int
	Concurrent int     // closed loop
	Rate       float64 // open loop, a second; Concurrent is not looked at
	Warm, Time time.Duration
}

type loadResult struct {
	All    int             // sessions, those before and after Time as well
	Done   int             // that ended within Time
	Took   time.Duration   // Time, as it came out
	Times  []time.Duration // of those, sorted
	Failed int
	Why    string // one of them failed
}

func load(task loadTask, stop <-chan struct{}) (loadResult, error) {
	l := &loader{loadTask: task, body: letter(task.Size)}
	l.began = time.Now()
	if task.Rate > 0 {
		l.open(stop)
	} else {
		l.closed(stop)
	}
	slices.Sort(l.result.Times)
	return l.result, nil
}

// source is the address number n, in turn.
func (l *loader) source(n uint32) netip.Addr {
	b := l.First.As4()
	n = binary.BigEndian.Uint32(b[:]) + n%uint32(l.Sources)
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

type loader struct {
	loadTask
	body  []byte
	began time.Time
	turn  atomic.Uint32

	mu     sync.Mutex
	result loadResult
}

func (l *loader) one() {
	from := l.source(l.turn.Add(1))
	began := time.Now()
	err := session(from, l.To, l.Secure, l.body)
	ended := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch at := ended.Sub(l.began); {
	case err != nil:
		l.result.Failed++
		l.result.Why = err.Error()
		return
	case l.Rate > 0 && began.Sub(l.began) >= l.Warm, l.Rate <= 0 && at >= l.Warm && at < l.Warm+l.Time:
		l.result.Done++
		l.result.Times = append(l.result.Times, ended.Sub(began))
	}
	l.result.All++
}

// closed begins a session whenever one has ended.
func (l *loader) closed(stop <-chan struct{}) {
	var all sync.WaitGroup
	for range l.Concurrent {
		all.Go(func() {
			for time.Since(l.began) < l.Warm+l.Time {
				select {
				case <-stop:
					return
				default:
				}
				l.one()
			}
		})
	}
	all.Wait()
	l.result.Took = l.Time
}

// open begins sessions when they are due.
func (l *loader) open(stop <-chan struct{}) {
	var all sync.WaitGroup
	gap := time.Duration(float64(time.Second) / l.Rate)
	for due := time.Duration(0); due < l.Warm+l.Time; due += gap {
		select {
		case <-stop:
			return
		case <-time.After(due - time.Since(l.began)):
		}
		all.Go(l.one)
	}
	all.Wait()
	l.result.Took = time.Since(l.began) - l.Warm
}

// greet opens and ends a session from every address of a task, before anything is measured: who remembers those whom he
// has seen knows all of them then, as he does after some time in earnest.
func greet(task loadTask, stop <-chan struct{}) (struct{}, error) {
	l := &loader{loadTask: task}
	var all sync.WaitGroup
	var next atomic.Uint32
	for range 32 {
		all.Go(func() {
			for n := next.Add(1); n <= uint32(l.Sources); n = next.Add(1) {
				select {
				case <-stop:
					return
				default:
				}
				if s, err := dial(l.source(n), l.To); err == nil { // who fails here fails again when it is measured
					_ = s.say("QUIT")
					s.close()
				}
			}
		})
	}
	all.Wait()
	return struct{}{}, nil
}

// messageTask is one long message in one session.
type messageTask struct {
	To     netip.AddrPort
	From   netip.Addr
	Secure bool
	Bytes  int64         // at most
	Time   time.Duration // at most
}

type messageResult struct {
	Bytes int64
	Took  time.Duration // from its first byte until it was taken
}

func message(task messageTask, stop <-chan struct{}) (messageResult, error) {
	// Who remembers those whom he has seen knows this one by then, as he does after some time in earnest.
	first, err := dial(task.From, task.To)
	if err != nil {
		return messageResult{}, err
	}
	err = first.say("QUIT")
	first.close()
	if err != nil {
		return messageResult{}, err
	}
	s, err := dial(task.From, task.To)
	if err != nil {
		return messageResult{}, err
	}
	defer s.close()
	if err := s.begin(task.Secure); err != nil {
		return messageResult{}, err
	}
	if err := s.sayAll("MAIL FROM:<a@subscriber.example>", "RCPT TO:<b@"+serverName+">", "DATA"); err != nil {
		return messageResult{}, err
	}
	piece := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", (256<<10)/78))
	var r messageResult
	began := time.Now()
	for r.Bytes < task.Bytes && time.Since(began) < task.Time {
		select {
		case <-stop:
			return r, errors.New("stopped before the end")
		default:
		}
		n, err := s.c.Write(piece)
		r.Bytes += int64(n)
		if err != nil {
			return r, fmt.Errorf("after %d bytes: %w", r.Bytes, err)
		}
	}
	if err := s.say("."); err != nil {
		return r, fmt.Errorf("after %d bytes: %w", r.Bytes, err)
	}
	r.Took = time.Since(began)
	return r, s.say("QUIT")
}
