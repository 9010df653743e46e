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
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// patience is how long the server lets a handshake take.
const patience = 5 * time.Second

// house is a server behind a door, and who comes to it.
type house struct {
	t    *testing.T
	door *Door
	cert atomic.Pointer[tls.Certificate]
	ctx  chan error // how the request of /wait ended
}

func newHouse(t *testing.T) *house {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, ctx: make(chan error, 1)}
	h.cert.Store(certificate(t, "first.example"))
	h.door = New(l, func() (*tls.Certificate, error) {
		if c := h.cert.Load(); c != nil {
			return c, nil
		}
		return nil, errors.New("there is none")
	})
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
	server := &http.Server{Handler: mux, ReadHeaderTimeout: patience, Protocols: new(http.Protocols), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(h.door) }()
	t.Cleanup(func() {
		server.Close()
		<-ended
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

func TestWhoComesIsLedIn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for proto, two := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		said := strings.Fields(h.get(h.client(two), "/who"))
		if len(said) != 3 || said[0] != proto || !strings.HasPrefix(said[1], "127.0.0.1:") || said[2] != h.door.Addr().String() {
			t.Errorf("%s: %v", proto, said)
		}
	}
}

func TestWhatIsSaidComesWhole(t *testing.T) {
	t.Parallel()
	much := make([]byte, 5<<20)
	rand.Read(much)
	h := newHouse(t)
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
}

// Who sends more than is read is told so: no reset overtakes the answer.
func TestAnAnswerIsReadBeforeTheConnectionEnds(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
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
}

func TestWhoLeavesIsMissed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
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
}

func TestPlainHTTPIsRedirected(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := c.Get("http://" + h.door.Addr().String() + "/a?b=c")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if to := r.Header.Get("Location"); r.StatusCode != http.StatusPermanentRedirect || to != h.url("/a?b=c") {
		t.Errorf("%d to %q", r.StatusCode, to)
	}
}

// The certificate that there is now is shown, and a fault with it takes nobody else's connection.
func TestTheCertificateOfNowIsShown(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
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
}

// Who is one takes not the place of all others.
func TestOneAddressTakesNotAllPlaces(t *testing.T) {
	t.Parallel()
	d := New(nil, nil)
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

// Whoever says nothing is hung up on.
func TestAHandshakeTakesNotForEver(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.get(h.client(false), "/who")
	c, err := net.Dial("tcp", h.door.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	c.SetReadDeadline(began.Add(4 * patience))
	if n, err := c.Read(make([]byte, 1)); err != io.EOF || n > 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if took := time.Since(began); took < patience {
		t.Errorf("after %v already", took)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &pipeListener{conns: make(chan net.Conn)}
		door := New(l, nil)
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
