// Package door is the TCP listener of the web admin: who comes in speaks TLS, and is led on in the clear. Handshakes are made by a process of its own
// (Command), at a lower priority and with a heap of its own, so that neither their work nor their garbage is that of the process that judges packets. Where
// there is none, they are made in this process.
//
// For each connection this process makes a pair of sockets, hands the connection and one end of the pair to the other process, and serves the other end. The
// listening socket stays here, so that a life that ends in any way leaves the address free.
package door

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// MaxConnections are open at once; more are closed as they come.
	MaxConnections = 512
	// MaxOfOne is how many of them may be of one address, or of one IPv6 network of 64 bits.
	MaxOfOne = 64
	// Patience is how long a handshake may take.
	Patience = 5 * time.Second

	startAgain = 10 * time.Second // a process that has ended is not started more often
	handWithin = time.Second      // a process that does not take a connection for so long is given up
	endWithin  = 3 * time.Second  // of the process, once nobody may come in and all connections are closed
	askEvery   = 2 * time.Second  // the process, for the certificate, also when nobody comes
	silentMost = 10 * time.Second // a process that has not asked for so long hangs
)

// Options are what a Door needs.
type Options struct {
	// Certificate is asked at every handshake.
	Certificate func() (*tls.Certificate, error)
	// Start starts the process of Executable; nil: handshakes are made in this one.
	Start      func(*exec.Cmd) error
	Executable string
	Log        *slog.Logger
}

// Door is a listener whose connections are in the clear, or are *tls.Conn where no other process makes their handshakes.
type Door struct {
	tcp  net.Listener
	opt  Options
	here *tls.Config // of handshakes in this process

	counting sync.Mutex // guards the two below
	open     int
	of       map[netip.Prefix]int

	mu      sync.Mutex // held by who starts or ends the process
	process *process   // nil: none runs
	leaving []*process // they take nobody in any more, and serve who is inside
	started time.Time
	closed  bool
}

// New has TLS spoken by all that l accepts. The process is started by Begin, or by the first who comes.
func New(l net.Listener, o Options) *Door {
	d := &Door{tcp: l, opt: o, of: map[netip.Prefix]int{}}
	d.here = config(func() (*tls.Certificate, error) { return o.Certificate() })
	return d
}

// config is how handshakes are made, wherever.
func config(certificate func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() },
	}
}

// Begin starts the process ahead of the first who comes.
func (d *Door) Begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running()
}

// Accept is the next connection; what it is led through is up to its reader.
func (d *Door) Accept() (net.Conn, error) {
	for {
		c, err := d.tcp.Accept()
		if err != nil {
			return nil, err
		}
		left := d.enter(c.RemoteAddr())
		if left == nil {
			c.Close()
			continue
		}
		if in := d.leadIn(c, left); in != nil {
			return in, nil
		}
		return tls.Server(&visitor{Conn: c, left: left}, d.here), nil
	}
}

// enter lets somebody of an address in; nil: there are too many. Else it is called once they have left, however often.
func (d *Door) enter(from net.Addr) (left func()) {
	var who netip.Prefix // of what is no TCP: all are one
	if a, ok := from.(*net.TCPAddr); ok {
		at := a.AddrPort().Addr().Unmap()
		bits := at.BitLen()
		if at.Is6() {
			bits = 64
		}
		who, _ = at.WithZone("").Prefix(bits)
	}
	d.counting.Lock()
	defer d.counting.Unlock()
	if d.open >= MaxConnections || d.of[who] >= MaxOfOne {
		return nil
	}
	d.open++
	d.of[who]++
	return sync.OnceFunc(func() {
		d.counting.Lock()
		defer d.counting.Unlock()
		d.open--
		if d.of[who]--; d.of[who] == 0 {
			delete(d.of, who)
		}
	})
}

// Addr is where the door is.
func (d *Door) Addr() net.Addr { return d.tcp.Addr() }

// Close lets nobody in any more. Connections go on; once they are closed Wait returns.
func (d *Door) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.process != nil {
		d.process.hand.Close()
	}
	return d.tcp.Close()
}

// Wait returns when the process has ended after Close; it is killed where it takes too long.
func (d *Door) Wait() {
	d.mu.Lock()
	all := d.leaving
	if d.process != nil {
		all = append(all, d.process)
	}
	d.mu.Unlock()
	late := time.After(endWithin)
	for _, p := range all {
		select {
		case <-p.ended:
		case <-late:
			for _, p := range all {
				p.cmd.Process.Kill()
				<-p.ended
			}
			return
		}
	}
}

// leadIn hands c to the process, and is nil where there is none.
func (d *Door) leadIn(c net.Conn, left func()) net.Conn {
	d.mu.Lock()
	p := d.running()
	d.mu.Unlock()
	tcp, ok := c.(*net.TCPConn)
	if p == nil || !ok {
		return nil
	}
	in, err := p.lead(tcp)
	switch {
	case err == nil:
	case errors.Is(err, errHere), errors.Is(err, net.ErrClosed): // the process is well; the door may be closing
		d.opt.Log.Warn("web admin: a TLS handshake is made beside packets, which may wait for it", "err", err)
		return nil
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		d.opt.Log.Error("web admin: the process that makes TLS handshakes takes nobody in any more, and another one is started", "err", err)
		d.leave(p)
		return nil
	default:
		d.opt.Log.Error("web admin: the process that makes TLS handshakes takes no connection, and is started again", "err", err)
		p.cmd.Process.Kill()
		return nil
	}
	in.left = left
	c.Close() // the process has it
	return in
}

// leave has another process in the place of p, which ends by itself.
func (d *Door) leave(p *process) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.process != p {
		return
	}
	d.process = nil
	d.leaving = append(slices.DeleteFunc(d.leaving, func(p *process) bool {
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	}), p)
}

// running is the process, started where there is none; nil: it cannot be. mu is held.
func (d *Door) running() *process {
	if d.process != nil {
		select {
		case <-d.process.ended:
			d.process = nil
		default:
			return d.process
		}
	}
	if d.opt.Start == nil || d.closed || time.Since(d.started) < startAgain {
		return nil
	}
	d.started = time.Now()
	p, err := d.start()
	if err != nil {
		d.opt.Log.Error("web admin: TLS handshakes are made beside packets, which may wait for it", "err", err)
		return nil
	}
	d.process = p
	return p
}

// process makes handshakes for this one.
type process struct {
	cmd   *exec.Cmd
	hand  *net.UnixConn // one message for each connection: two descriptors
	ended chan struct{} // closed once it has
}

func (d *Door) start() (_ *process, err error) {
	hand, handed, err := pair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	defer handed.Close()
	answers, asked, err := pair(unix.SOCK_STREAM)
	if err != nil {
		return nil, errors.Join(err, hand.Close())
	}
	defer asked.Close()
	cmd := exec.Command(d.opt.Executable, Command)
	cmd.Args[0] = "mailweir"
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{handed, asked}
	cmd.Env = []string{"GOMAXPROCS=1"}
	if err := d.opt.Start(cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", d.opt.Executable, err), hand.Close(), answers.Close())
	}
	p := &process{cmd, hand, make(chan struct{})}
	go func() {
		defer close(p.ended)
		if err := d.answer(answers); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = fmt.Errorf("it has not asked for the certificate for %v, and is ended: it hangs", silentMost)
			}
			d.opt.Log.Error("web admin: the process that makes TLS handshakes", "err", err)
			cmd.Process.Kill()
		}
		answers.Close() // it ends by that, if it has not
		hand.Close()
		cmd.Wait()
	}()
	return p, nil
}

// question is what the process asks at each handshake: which certificate is to be shown? It has the one of that number.
type question struct{ Have uint64 }

// answer has the number of the certificate, and the certificate where it is another one.
type answer struct {
	Number uint64
	Chain  [][]byte // DER, the leaf first
	Key    []byte   // PKCS #8
	Fault  string   // there is none
}

// answer answers until the process asks no more.
func (d *Door) answer(c net.Conn) error {
	questions, answers := json.NewDecoder(c), json.NewEncoder(c)
	var shown *tls.Certificate
	var number uint64
	for {
		var q question
		if err := c.SetReadDeadline(time.Now().Add(silentMost)); err != nil {
			return err
		}
		if err := questions.Decode(&q); errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
			return nil
		} else if err != nil {
			return err
		}
		now, err := d.opt.Certificate()
		if now != shown && err == nil {
			shown = now
			number++
		}
		a := answer{Number: number}
		if err == nil && q.Have != number {
			a.Chain = now.Certificate
			a.Key, err = x509.MarshalPKCS8PrivateKey(now.PrivateKey)
		}
		if err != nil {
			a = answer{Fault: err.Error()}
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

// errHere is of this process: the other one is not asked.
var errHere = errors.New("no pair of sockets")

// lead hands a connection on.
func (p *process) lead(c *net.TCPConn) (*led, error) {
	in, out, err := pair(unix.SOCK_STREAM)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHere, err)
	}
	defer out.Close()
	raw, err := c.SyscallConn()
	if err == nil {
		err = p.hand.SetWriteDeadline(time.Now().Add(handWithin))
	}
	if err == nil {
		var sent error
		err = raw.Control(func(fd uintptr) {
			_, _, sent = p.hand.WriteMsgUnix([]byte{0}, unix.UnixRights(int(fd), int(out.Fd())), nil)
		})
		err = errors.Join(err, sent)
	}
	if err != nil {
		in.Close()
		return nil, err
	}
	return &led{UnixConn: in, from: c.RemoteAddr(), to: c.LocalAddr()}, nil
}

// led is a connection that another process speaks TLS with.
type led struct {
	*net.UnixConn
	from, to net.Addr
	left     func()
}

func (l *led) RemoteAddr() net.Addr { return l.from }
func (l *led) LocalAddr() net.Addr  { return l.to }

func (l *led) Close() error {
	l.left()
	return l.UnixConn.Close()
}

// pair makes two sockets that are connected, the first for this process, the second to be handed on.
func pair(kind int) (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	other := os.NewFile(uintptr(fds[1]), "pair")
	c, err := connOf(fds[0])
	if err != nil {
		return nil, nil, errors.Join(err, other.Close())
	}
	return c, other, nil
}

// connOf takes the descriptor of a unix socket over.
func connOf(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close() // FileConn duplicates it
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a %T where a unix socket was expected", c), c.Close())
	}
	return u, nil
}
