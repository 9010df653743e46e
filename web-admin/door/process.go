package door

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is the only argument of the process that makes handshakes for another.
const Command = "shake-hands"

const (
	nobody    = 65534            // has no rights
	writeTime = 30 * time.Second // for the other end to take what it is sent
	lingering = time.Second      // for the other end to read what it was sent last
	copied    = 4 << 10          // bytes at a time
	heapMost  = 32 << 20         // from there on garbage is collected as often as it takes
)

// Reexec returns at once in an ordinary process. In one that is to make handshakes it does so until nobody hands it connections any more and those that it
// has are closed, and does not return.
func Reexec() {
	if len(os.Args) != 2 || os.Args[1] != Command {
		return
	}
	if err := shakeHands(); err != nil {
		fmt.Fprintf(os.Stderr, "mailweir: TLS handshakes: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func shakeHands() error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP) // it ends with who hands it connections, after these are over
	handed, err := connOf(3)
	if err != nil {
		return fmt.Errorf("descriptor 3, by which connections come: %w", err)
	}
	asked, err := connOf(4)
	if err != nil {
		return fmt.Errorf("descriptor 4, by which certificates come: %w", err)
	}
	if err := giveUpRights(); err != nil {
		return err
	}
	debug.SetGCPercent(50) // there is little to look at
	debug.SetMemoryLimit(heapMost)
	certificates := &certificates{ask: asked, questions: json.NewEncoder(asked), answers: json.NewDecoder(asked)}
	go func() { // who hears nothing takes this process for one that hangs
		for _, err := certificates.current(); !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF); _, err = certificates.current() {
			time.Sleep(askEvery)
		}
	}()
	speak := config(certificates.current)
	return greet(handed, MaxConnections, func(tcp net.Conn, in *net.UnixConn) { serve(tcp, in, speak) })
}

// greet serves whoever is handed on, at most so many at once: more are closed as they come, since who hands them on does not see who reads slowly. It returns
// when nobody is handed on any more, or cannot be taken; who hands on sees at once that it is over, and those that are inside are waited for.
func greet(handed *net.UnixConn, most int64, serve func(tcp net.Conn, in *net.UnixConn)) error {
	var all sync.WaitGroup
	defer all.Wait()
	defer handed.Close()
	var inside atomic.Int64
	for {
		tcp, in, err := take(handed)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if inside.Add(1) > most {
			inside.Add(-1)
			tcp.Close()
			in.Close()
			continue
		}
		all.Go(func() {
			defer inside.Add(-1)
			serve(tcp, in)
		})
	}
}

// giveUpRights makes root nobody: this process needs none but to speak with who is there.
func giveUpRights() error {
	if os.Geteuid() != 0 {
		return nil
	}
	return errors.Join(os.NewSyscallError("setgroups", syscall.Setgroups(nil)),
		os.NewSyscallError("setresgid", syscall.Setresgid(nobody, nobody, nobody)), os.NewSyscallError("setresuid", syscall.Setresuid(nobody, nobody, nobody)))
}

// take is the next connection, and where it is to be led. io.EOF: there are no more.
func take(from *net.UnixConn) (tcp net.Conn, in *net.UnixConn, err error) {
	var b [1]byte
	rights := make([]byte, unix.CmsgSpace(2*4))
	said, n, _, _, err := from.ReadMsgUnix(b[:], rights)
	if err != nil {
		return nil, nil, err
	}
	if said == 0 {
		return nil, nil, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil {
		return nil, nil, err
	}
	var fds []int
	for _, m := range messages {
		some, bad := unix.ParseUnixRights(&m)
		fds, err = append(fds, some...), errors.Join(err, bad)
	}
	if err == nil && len(fds) != 2 { // the kernel hands on no more than there is room for
		err = fmt.Errorf("%d descriptors came with a connection, not 2; are too many files open?", len(fds))
	}
	if err != nil {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, nil, err
	}
	f := os.NewFile(uintptr(fds[0]), "connection")
	defer f.Close()
	in, err = connOf(fds[1])
	if err != nil {
		return nil, nil, err
	}
	if tcp, err = net.FileConn(f); err != nil {
		return nil, nil, errors.Join(err, in.Close())
	}
	return tcp, in, nil
}

// serve makes the handshake, and leads what is said to where it is to go.
func serve(c net.Conn, in *net.UnixConn, speak *tls.Config) {
	defer in.Close()
	defer c.Close()
	t := tls.Server(&visitor{Conn: c, left: func() {}}, speak)
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	err := t.HandshakeContext(ctx)
	cancel()
	if err != nil {
		return
	}
	said := make(chan struct{})
	go func() {
		defer close(said)
		relay(in, t, func() error { return nil })
		in.CloseWrite()
	}()
	relay(t, in, func() error { return t.SetWriteDeadline(time.Now().Add(writeTime)) })
	// What was sent last is to be read before a reset can overtake it.
	t.CloseWrite()
	t.SetReadDeadline(time.Now().Add(lingering))
	<-said
}

var buffers = sync.Pool{New: func() any { return new([copied]byte) }}

// relay copies until there is no more, or nobody takes it.
func relay(to io.Writer, from io.Reader, before func() error) {
	b := buffers.Get().(*[copied]byte)
	defer buffers.Put(b)
	for {
		n, err := from.Read(b[:])
		if n > 0 {
			if before() != nil {
				return
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// certificates is what there is to show.
type certificates struct {
	ask *net.UnixConn

	mu        sync.Mutex // held while it is asked
	questions *json.Encoder
	answers   *json.Decoder
	number    uint64
	shown     *tls.Certificate
}

func (c *certificates) current() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ask.SetDeadline(time.Now().Add(Patience)); err != nil {
		return nil, err
	}
	if err := c.questions.Encode(question{c.number}); err != nil {
		return nil, err
	}
	var a answer
	if err := c.answers.Decode(&a); err != nil {
		// An answer that comes too late would be taken for that to the next question.
		c.ask.Close()
		return nil, fmt.Errorf("which certificate: %w", err)
	}
	if a.Fault != "" {
		return nil, errors.New(a.Fault)
	}
	if a.Number == c.number {
		return c.shown, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(a.Key)
	if err != nil {
		return nil, err
	}
	c.shown, c.number = &tls.Certificate{Certificate: a.Chain, PrivateKey: key}, a.Number
	return c.shown, nil
}
