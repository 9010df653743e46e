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

// One that is there and takes nothing, as one that was stopped, is not waited for.
func TestAProcessThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	h := newHouse(t, true)
	h.get(h.client(false), "/who")
	if err := unix.Kill(h.pid(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// Its queue takes some; whoever is in it waits until the process is given up, and is cut off then.
	var all sync.WaitGroup
	for range 2000 {
		if strings.Contains(h.said.String(), "takes no connection") {
			break
		}
		c, err := net.Dial("tcp", h.door.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() { io.Copy(io.Discard, c); c.Close() })
	}
	all.Wait()
	h.get(h.client(false), "/who")
	if s := h.said.String(); !strings.Contains(s, "takes no connection") {
		t.Errorf("it says %q", s)
	}
}

func TestWhereItCannotBeStartedHandshakesAreMadeHere(t *testing.T) {
	t.Parallel()
	h := newHouse(t, false)
	h.door.opt.Executable, h.door.opt.Start = "/nowhere/mailweir", func(cmd *exec.Cmd) error { return cmd.Start() }
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
		for range MaxConnections {
			_, theirs := net.Pipe()
			l.conns <- theirs
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
