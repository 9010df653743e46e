package syslog

import (
	"io"
	"net"
	"testing"
	"time"
)

// A collector proves that it has read everything when it ends its side after ours and its kernel has all; one that ends its side before its kernel has all proves nothing.
func TestWhatAnEndProves(t *testing.T) {
	t.Parallel()
	for _, reads := range []bool{true, false} {
		sent := make(chan struct{})
		addr, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) {
			if reads {
				io.Copy(io.Discard, conn)
				return
			}
			receiveBuffer(t, conn, 1<<10)
			<-sent
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Error(err)
			}
			<-t.Context().Done()
		})
		src := newSource(t)
		r := src.spool.Reader("tcp://" + addr)
		r.Seek(0)
		src.some(2000)
		src.spool.Sync()
		items, err := r.Next(2000)
		if err != nil || len(items) != 2000 {
			t.Fatalf("%d items, %v", len(items), err)
		}
		w, err := dialWire(t.Context(), addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := newStream(w, maxUnproven, false)
		for len(items) > 0 { // as long as it does not block
			n, err := s.send(items[:min(100, len(items))])
			if err != nil {
				t.Fatal(err)
			}
			if items = items[n:]; !reads && s.written > sendBuffer/2 {
				break
			}
		}
		if arrived, ok := s.arrived(); !reads && (!ok || arrived >= s.written) {
			t.Fatalf("its kernel has all: %d of %d bytes", arrived, s.written)
		}
		if close(sent); !reads {
			<-s.gone // before ours is ended
		}
		s.settle(t.Context())
		if got, want := s.safe(), s.last; reads && (got != want || s.taken != want) || !reads && (got != 0 || s.taken != 0) {
			t.Errorf("reads %v: sure up to %d, taken %d, sent %d", reads, got, s.taken, want)
		}
		s.close()
		r.Close()
	}
}

// A connection is ended here when too much was sent over it, or for too long, or when the collector would end it soon.
func TestWhenAConnectionIsDue(t *testing.T) {
	t.Parallel()
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	for _, row := range []struct {
		why string
		s   stream
		due bool
	}{
		{"nothing was sent", stream{first: ago(2 * proveAfter), quiet: ago(2 * proveAfter), idle: time.Second}, false},
		{"a while ago", stream{sent: 1, first: ago(59 * time.Minute), quiet: ago(59 * time.Minute)}, false},
		{"an hour ago", stream{sent: 1, first: ago(61 * time.Minute), quiet: time.Now()}, true},
		{"too much", stream{sent: 1, first: time.Now(), quiet: time.Now(), full: true}, true},
		{"quiet", stream{sent: 1, first: ago(time.Minute), quiet: ago(31 * time.Second), idle: 30 * time.Second}, true},
		{"not quiet for so long", stream{sent: 1, first: ago(time.Minute), quiet: ago(20 * time.Second), idle: 30 * time.Second}, false},
		{"one that is not to be asked", stream{sent: 1, first: ago(2 * proveAfter), quiet: ago(2 * proveAfter), idle: time.Second, full: true, never: true}, false},
	} {
		if got := row.s.due(); got != row.due {
			t.Errorf("%s: %v", row.why, got)
		}
	}
}
