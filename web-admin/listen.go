package webadmin

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// frontDoor is the TCP listener under TLS. It bounds the connections, and answers a browser that speaks plain HTTP to it with a
// redirect instead of leaving a puzzle.
type frontDoor struct {
	net.Listener
	open atomic.Int64
}

func (d *frontDoor) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if d.open.Add(1) > maxConnections {
			d.open.Add(-1)
			c.Close()
			continue
		}
		return &visitor{Conn: c, left: sync.OnceFunc(func() { d.open.Add(-1) })}, nil
	}
}

// visitor looks at the first bytes of a connection: a TLS handshake record starts with 22, an HTTP request with a letter.
type visitor struct {
	net.Conn
	seen bool // only the goroutine that reads touches it
	left func()
}

func (v *visitor) Read(b []byte) (int, error) {
	n, err := v.Conn.Read(b)
	if v.seen || n == 0 {
		return n, err
	}
	v.seen = true
	if b[0] == 22 {
		return n, err
	}
	v.redirect(b[:n])
	return 0, io.EOF
}

// redirect answers 308 when b is the whole head of an HTTP request with a Host; anything else is just closed.
func (v *visitor) redirect(b []byte) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
	if err != nil || r.Host == "" {
		return
	}
	to := *r.URL
	to.Scheme, to.Host, to.User = "https", r.Host, nil
	v.SetWriteDeadline(time.Now().Add(time.Second))
	fmt.Fprintf(v.Conn, "HTTP/1.1 308 Permanent Redirect\r\nLocation: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", to.String())
}

func (v *visitor) Close() error {
	v.left()
	return v.Conn.Close()
}

// listenOwnerOnly binds a unix socket that only its owner may open, from its first moment on: it is made in a directory that nobody
// else may enter, and renamed. A socket that a killed process left behind is replaced; one that answers is not.
func listenOwnerOnly(path string) (*net.UnixListener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("%s answers: another mailweir runs on this data directory", path)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		if len(made) > 107 {
			err = errors.New("the data directory's path is too long for a socket in it (the system allows about 85 characters)")
		}
		return nil, fmt.Errorf("socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // it would unlink the name it was made under
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, path)); err != nil {
		l.Close()
		return nil, fmt.Errorf("socket: %w", err)
	}
	return l, nil
}
