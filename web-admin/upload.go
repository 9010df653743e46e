package webadmin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const (
	// maxUpdateBytes has room for a whole slot (64 MiB) and what is around it in the file and in a form.
	maxUpdateBytes = 65 << 20

	uploadPause = 30 * time.Second // in which something has to come
	uploadMost  = sessionIdle      // and in which all of it has to: no longer than a login lasts that nobody uses
	settleMost  = 5 * time.Minute  // for a disk to have written and read back what came
)

// deadlines are those of a connection, or of its one stream.
type deadlines interface {
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// arriving is a large body on its way. The server's own times are for small ones; here as much time is given as something comes, up to an end.
type arriving struct {
	body  io.Reader
	conn  deadlines
	now   func() time.Time
	end   time.Time
	given time.Time // until when the next bytes may take
}

// arrive has the body of r come so.
func arrive(w http.ResponseWriter, r *http.Request) *arriving {
	a := &arriving{body: r.Body, conn: http.NewResponseController(w), now: time.Now, end: time.Now().Add(uploadMost)}
	r.Body = struct {
		io.Reader
		io.Closer
	}{a, r.Body}
	return a
}

func (a *arriving) Read(b []byte) (int, error) {
	if now := a.now(); a.given.Sub(now) < uploadPause-time.Second { // not at each of thousands of reads
		a.given = now.Add(uploadPause)
		if a.given.After(a.end) {
			a.given = a.end
		}
		if err := errors.Join(a.conn.SetReadDeadline(a.given), a.conn.SetWriteDeadline(a.given.Add(settleMost))); err != nil {
			return 0, err
		}
	}
	n, err := a.body.Read(b)
	_, large := errors.AsType[*http.MaxBytesError](err)
	switch {
	case err == nil || errors.Is(err, io.EOF) || large:
	case errors.Is(err, os.ErrDeadlineExceeded) && a.given.Equal(a.end):
		err = fmt.Errorf("not all of it came in %.0f minutes", uploadMost.Minutes())
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("nothing came for %.0f seconds", uploadPause.Seconds())
	default:
		err = errors.New("the upload broke off")
	}
	return n, err
}

// rest reads what nobody wants any more, so that whoever sends it hears the answer: a browser looks for that when it has sent all.
func (a *arriving) rest() { io.Copy(io.Discard, a) }
