package door

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Reexec()
	os.Exit(m.Run())
}

// house is a server behind a door, and who comes to it.
type house struct {
	t    *testing.T
	door *Door
	cert atomic.Pointer[tls.Certificate]
	said *log
	ctx  chan error // how the request of /wait ended
}

type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newHouse(t *testing.T, elsewhere bool) *house {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, said: &log{}, ctx: make(chan error, 1)}
	h.cert.Store(certificate(t, "first.example"))
	o := Options{Log: slog.New(slog.NewTextHandler(h.said, nil)), Certificate: func() (*tls.Certificate, error) {
		if c := h.cert.Load(); c != nil {
			return c, nil
		}
		return nil, errors.New("there is none")
	}}
	if elsewhere {
		o.Executable, o.Start = "/proc/self/exe", func(cmd *exec.Cmd) error { return cmd.Start() }
	}
	h.door = New(l, o)
	mux := http.NewServeMux()
	mux.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Proto, r.RemoteAddr, r.Context().Value(http.LocalAddrContextKey))
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	mux.HandleFunc("/refuse", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		http.Error(w, strings.Repeat("no", 100), http.StatusRequestEntityTooLarge)
	})
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			h.ctx <- nil
		case <-time.After(20 * time.Second):
			h.ctx <- errors.New("the request goes on after its client has gone")
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: Patience, Protocols: new(http.Protocols), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(h.door) }()
	t.Cleanup(func() {
		server.Close()
		<-ended
		h.door.Wait()
	})
	return h
}

func certificate(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (h *house) client(http2 bool) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: http2}
	h.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

func (h *house) url(path string) string { return "https://" + h.door.Addr().String() + path }

func (h *house) get(c *http.Client, path string) string {
	h.t.Helper()
	r, err := c.Get(h.url(path))
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b)
}

// pid is that of the process; 0: none runs.
func (h *house) pid() int {
	h.door.mu.Lock()
	defer h.door.mu.Unlock()
	if h.door.process == nil {
		return 0
	}
	return h.door.process.cmd.Process.Pid
}

// both runs a test where another process makes the handshakes, and where none does.
func both(t *testing.T, test func(t *testing.T, h *house)) {
	for name, elsewhere := range map[string]bool{"elsewhere": true, "here": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, elsewhere)
			test(t, h)
			if (h.pid() != 0) != elsewhere {
				t.Errorf("process %d", h.pid())
			}
			if s := h.said.String(); s != "" {
				t.Errorf("it says %s", s)
			}
		})
	}
}

func TestWhoComesIsLedIn(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, h *house) {
		for proto, two := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
			said := strings.Fields(h.get(h.client(two), "/who"))
			if len(said) != 3 || said[0] != proto || !strings.HasPrefix(said[1], "127.0.0.1:") || said[2] != h.door.Addr().String() {
				t.Errorf("%s: %v", proto, said)
			}
		}
	})
}

func TestWhatIsSaidComesWhole(t *testing.T) {
	t.Parallel()
	much := make([]byte, 5<<20)
	rand.Read(much)
	both(t, func(t *testing.T, h *house) {
		for _, two := range []bool{false, true} {
			r, err := h.client(two).Post(h.url("/echo"), "application/octet-stream", bytes.NewReader(much))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil || !bytes.Equal(got, much) {
				t.Errorf("%d bytes of %d came back, %v", len(got), len(much), err)
			}
		}
	})
}

// Who sends more than is read is told so: no reset overtakes the answer.
func TestAnAnswerIsReadBeforeTheConnectionEnds(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, h *house) {
		for range 20 {
			c, err := tls.Dial("tcp", h.door.Addr().String(), &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n")
			c.Write(make([]byte, 300_000))
			got, err := io.ReadAll(c) // to the close_notify, without which it is an error
			c.Close()
			if err != nil || !bytes.Contains(got, []byte(" 413 ")) || !bytes.HasSuffix(got, []byte("nono\n")) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		}
	})
}

func TestWhoLeavesIsMissed(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, h *house) {
		ctx, leave := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", h.url("/wait"), nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := h.client(false).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		leave()
		answer.Body.Close()
		if err := <-h.ctx; err != nil {
			t.Error(err)
		}
	})
}

func TestPlainHTTPIsRedirected(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, h *house) {
		c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		r, err := c.Get("http://" + h.door.Addr().String() + "/a?b=c")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if to := r.Header.Get("Location"); r.StatusCode != http.StatusPermanentRedirect || to != h.url("/a?b=c") {
			t.Errorf("%d to %q", r.StatusCode, to)
		}
	})
}

// The certificate that there is now is shown, and a fault with it takes nobody else's connection.
func TestTheCertificateOfNowIsShown(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, h *house) {
		shown := func() string {
			c, err := tls.Dial("tcp", h.door.Addr().String(), &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				return "none"
			}
			defer c.Close()
			return c.ConnectionState().PeerCertificates[0].Subject.CommonName
		}
		second := certificate(t, "second.example")
		for _, step := range []struct {
			cert *tls.Certificate
			want string
		}{{h.cert.Load(), "first.example"}, {second, "second.example"}, {nil, "none"}, {second, "second.example"}} {
			h.cert.Store(step.cert)
			for range 2 {
				if got := shown(); got != step.want {
					t.Errorf("%s is shown, not %s", got, step.want)
				}
			}
		}
	})
}

// A process that is killed takes its connections with it; the next are served all the same, and later by another process.
func TestAProcessThatDiesIsReplaced(t *testing.T) {
	t.Parallel()
	h := newHouse(t, true)
	h.get(h.client(false), "/who")
	first := h.pid()
	h.door.mu.Lock()
	p := h.door.process
	h.door.mu.Unlock()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	h.get(h.client(false), "/who")
	if got := h.pid(); got != 0 {
		t.Errorf("process %d is there at once after %d", got, first)
	}
	h.door.mu.Lock()
	h.door.started = h.door.started.Add(-startAgain)
	h.door.mu.Unlock()
	h.get(h.client(false), "/who")
	if got := h.pid(); got == 0 || got == first {
		t.Errorf("process %d after %d", got, first)
	}
}

// One that is there and does nothing, as one that was stopped, is noticed although nobody comes, and ended.
func TestAProcessThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t, true)
	h.get(h.client(false), "/who")
	h.door.mu.Lock()
	p := h.door.process
	h.door.mu.Unlock()
	if err := unix.Kill(p.cmd.Process.Pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(4 * silentMost):
		t.Fatal("nobody notices")
	}
	h.get(h.client(false), "/who")
	if s := h.said.String(); !strings.Contains(s, "it hangs") {
		t.Errorf("it says %q", s)
	}
}

// One that nobody comes to is left alone.
func TestAProcessThatRestsIsLeftAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t, true)
	h.get(h.client(false), "/who")
	first := h.pid()
	time.Sleep(silentMost + 2*askEvery)
	h.get(h.client(false), "/who")
	if h.pid() != first || h.said.String() != "" {
		t.Errorf("process %d after %d; it says %q", h.pid(), first, h.said.String())
	}
}

// Who is one takes not the place of all others.
func TestOneAddressTakesNotAllPlaces(t *testing.T) {
	t.Parallel()
	d := New(nil, Options{})
	at := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	var left []func()
	for n := range MaxOfOne {
		left = append(left, d.enter(at(fmt.Sprintf("[2001:db8::%x]:1", n+1))))
	}
	if d.enter(at("[2001:db8::ffff]:2")) != nil || d.enter(at("[2001:db8:0:1::1]:2")) == nil || d.enter(at("192.0.2.1:2")) == nil {
		t.Error("one network of 64 bits is not one")
	}
	left[0]()
	left[0]()
	if d.enter(at("[2001:db8::ffff]:2")) == nil || d.enter(at("[2001:db8::ffff]:3")) != nil {
		t.Error("after one has left one may come")
	}
	for n := range MaxOfOne {
		if d.enter(at(fmt.Sprintf("[::ffff:192.0.2.2]:%d", n+1))) == nil {
			t.Fatal(n)
		}
	}
	if d.enter(at("192.0.2.2:9")) != nil || d.enter(at("192.0.2.3:9")) == nil {
		t.Error("an IPv4 address is not one")
	}
}

func TestWhereItCannotBeStartedHandshakesAreMadeHere(t *testing.T) {
	t.Parallel()
	h := newHouse(t, false)
	h.door.mu.Lock()
	h.door.opt.Executable, h.door.opt.Start = "/nowhere/mailweir", func(cmd *exec.Cmd) error { return cmd.Start() }
	h.door.mu.Unlock()
	for range 3 {
		h.get(h.client(false), "/who")
	}
	if s := h.said.String(); strings.Count(s, "beside packets") != 1 || !strings.Contains(s, "/nowhere/mailweir") {
		t.Errorf("it says %q", s)
	}
}

// The process has no rights, and ends with whoever handed it connections.
func TestTheProcessIsNobody(t *testing.T) {
	t.Parallel()
	h := newHouse(t, true)
	h.get(h.client(false), "/who")
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.pid()))
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "Groups:\t \n", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
	}
	c, err := tls.Dial("tcp", h.door.Addr().String(), &tls.Config{InsecureSkipVerify: true}) // somebody is inside, and stays
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h.door.mu.Lock()
	p := h.door.process
	h.door.mu.Unlock()
	began := time.Now()
	h.door.Close()
	h.door.Wait()
	select {
	case <-p.ended:
	default:
		t.Error("the process is still there")
	}
	if took := time.Since(began); took < endWithin {
		t.Errorf("who was inside was not waited for: %v", took)
	}
}

// Whoever says nothing is hung up on.
func TestAHandshakeTakesNotForEver(t *testing.T) {
	t.Parallel()
	h := newHouse(t, true)
	h.get(h.client(false), "/who")
	c, err := net.Dial("tcp", h.door.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	c.SetReadDeadline(began.Add(4 * Patience))
	if n, err := c.Read(make([]byte, 1)); err != io.EOF || n > 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if took := time.Since(began); took < Patience {
		t.Errorf("after %v already", took)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &pipeListener{conns: make(chan net.Conn)}
		door := New(l, Options{})
		let := make(chan net.Conn)
		go func() {
			for {
				c, err := door.Accept()
				if err != nil {
					close(let)
					return
				}
				let <- c
			}
		}()
		var inside []net.Conn
		for n := range MaxConnections {
			_, theirs := net.Pipe()
			l.conns <- from{theirs, n / 32}
			inside = append(inside, <-let)
		}
		ours, theirs := net.Pipe()
		l.conns <- theirs
		if _, err := ours.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("one too many: %v", err)
		}
		inside[0].Close()
		inside[0].Close()
		_, theirs = net.Pipe()
		l.conns <- theirs
		if c := <-let; c == nil {
			t.Error("nobody is let in after one has left")
		}
		close(l.conns)
		<-let
	})
}

// arrival is a TCP connection, from both sides.
func arrival(t *testing.T) (theirs net.Conn, ours *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	theirs, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close(); c.Close() })
	return theirs, c.(*net.TCPConn)
}

// A door that has no descriptors for a pair of sockets, or is closing, makes the handshake itself, and leaves the process and who is inside alone.
func TestAHealthyProcessIsLeftAlone(t *testing.T) { // not beside others: there are no descriptors for a while
	h := newHouse(t, true)
	c := h.client(false)
	h.get(c, "/who") // and stays inside
	first := h.pid()
	_, ours := arrival(t)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	in := h.door.leadIn(ours, func() {})
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if s := h.said.String(); in != nil || !strings.Contains(s, "too many open files") {
		t.Errorf("without descriptors: %v, it says %q", in, s)
	}
	h.get(c, "/who")
	h.get(h.client(false), "/who")
	if got := h.pid(); got != first {
		t.Errorf("process %d after %d", got, first)
	}

	h.door.mu.Lock()
	p := h.door.process
	h.door.mu.Unlock()
	p.hand.Close() // as Close does
	if in := h.door.leadIn(ours, func() {}); in != nil {
		t.Errorf("handed on by a door that is closed: %v", in)
	}
	h.get(c, "/who")
	select {
	case <-p.ended:
		t.Error("the process is gone with who is inside")
	default:
	}
}

// A process that cannot take a connection says so at once, and serves those inside to their end; the next is led to another one.
func TestAProcessThatCannotTakeLetsTheNextGoElsewhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t, true)
	c := h.client(false)
	h.get(c, "/who") // and stays inside
	first := h.pid()
	h.door.mu.Lock()
	p := h.door.process
	h.door.started = h.door.started.Add(-startAgain)
	h.door.mu.Unlock()
	if _, err := p.hand.Write([]byte{0}); err != nil { // as the kernel hands on where there is no room for a descriptor
		t.Fatal(err)
	}
	for {
		if _, err := p.hand.Write([]byte{0}); errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			break
		}
	}
	for range 2 { // one that finds out, and one that is led elsewhere
		h.get(h.client(false), "/who")
	}
	if got := h.pid(); got == first || got == 0 {
		t.Errorf("process %d after %d", got, first)
	}
	h.get(c, "/who")
	select {
	case <-p.ended:
		t.Error("the process is gone with who is inside")
	default:
	}
	if s := h.said.String(); !strings.Contains(s, "takes nobody in any more") {
		t.Errorf("it says %q", s)
	}
}

// The process itself bounds who is inside, too: the door counts only what it has not closed yet, and a slow reader keeps the other end.
func TestTheProcessBoundsWhoIsInside(t *testing.T) {
	t.Parallel()
	hand, other, err := pair(unix.SOCK_SEQPACKET)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(other.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	handed, err := connOf(fd)
	if err != nil {
		t.Fatal(err)
	}
	began, leave, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- greet(handed, 2, func(tcp net.Conn, in *net.UnixConn) {
			began <- struct{}{}
			<-leave
			tcp.Close()
			in.Close()
		})
	}()
	p := &process{hand: hand}
	come := func() (theirs net.Conn, in *led) {
		t.Helper()
		theirs, ours := arrival(t)
		in, err := p.lead(ours)
		if err != nil {
			t.Fatal(err)
		}
		ours.Close()
		return theirs, in
	}
	for range 2 {
		_, in := come()
		<-began
		in.UnixConn.Close() // the door has forgotten it
	}
	theirs, in := come()
	for _, c := range []net.Conn{theirs, in.UnixConn} {
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("one too many: %v", err)
		}
	}
	leave <- struct{}{}
	leave <- struct{}{}
	for { // until one who has left is counted so
		theirs, in := come()
		out := make(chan struct{})
		go func() {
			in.SetDeadline(time.Now().Add(20 * time.Second))
			in.Read(make([]byte, 1))
			close(out)
		}()
		select {
		case <-began:
		case <-out:
			theirs.Close()
			continue
		}
		break
	}
	hand.Close()
	select {
	case err := <-ended:
		t.Errorf("who is inside was not waited for: %v", err)
	default:
	}
	leave <- struct{}{}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// from is a connection of the nth address.
type from struct {
	net.Conn
	n int
}

func (f from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(f.n)}), 1))
}

type pipeListener struct{ conns chan net.Conn }

func (l *pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l *pipeListener) Close() error   { return nil }
func (l *pipeListener) Addr() net.Addr { return nil }
