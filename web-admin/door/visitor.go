package door

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// visitor looks at the first bytes of a connection: a TLS handshake record starts with 22, an HTTP request with a letter. A browser that speaks plain HTTP
// is answered with a redirect, instead of being left a puzzle.
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
