// Package door is the TCP listener of the web admin: who comes in speaks TLS, plain HTTP is sent on to it, and nobody takes all places.
package door

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
)

const (
	// MaxConnections are open at once; more are closed as they come.
	MaxConnections = 512
	// MaxOfOne is how many of them may be of one address, or of one IPv6 network of 64 bits.
	MaxOfOne = 64
)

// Door is a listener whose connections are *tls.Conn. Their handshakes are bounded by the deadlines of who reads them.
type Door struct {
	tcp    net.Listener
	config *tls.Config

	mu   sync.Mutex // guards the two below
	open int
	of   map[netip.Prefix]int
}

// New has TLS spoken by all that l accepts; certificate is asked at every handshake.
func New(l net.Listener, certificate func() (*tls.Certificate, error)) *Door {
	return &Door{tcp: l, of: map[netip.Prefix]int{}, config: &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() },
	}}
}

// Accept is the next connection.
func (d *Door) Accept() (net.Conn, error) {
	for {
		c, err := d.tcp.Accept()
		if err != nil {
			return nil, err
		}
		if left := d.enter(c.RemoteAddr()); left != nil {
			return tls.Server(&visitor{Conn: c, left: left}, d.config), nil
		}
		c.Close()
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
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open >= MaxConnections || d.of[who] >= MaxOfOne {
		return nil
	}
	d.open++
	d.of[who]++
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.open--
		if d.of[who]--; d.of[who] == 0 {
			delete(d.of, who)
		}
	})
}

// Addr is where the door is.
func (d *Door) Addr() net.Addr { return d.tcp.Addr() }

// Close lets nobody in any more. Connections go on.
func (d *Door) Close() error { return d.tcp.Close() }
