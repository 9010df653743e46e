package nfq

import (
	"testing"
	"time"
)

// A reader is closed while it waits, and while it is interrupted from all sides: it
// comes back, and nothing that it reads is written meanwhile (make test-race).
func TestAReaderIsClosedWhileItReads(t *testing.T) {
	s := newSpace(t)
	for range 50 {
		var r reader
		s.Must(func() (err error) { r, err = bindFast(7, readerOptions{length: 16, buffer: 1 << 20}); return err })
		done := make(chan error, 1)
		go func() {
			for {
				if _, err := r.read(); err != nil {
					done <- err
					return
				}
			}
		}()
		go r.interrupt()
		r.close()
		select {
		case <-done:
		case <-time.After(5 * time.Second):
			t.Fatal("it goes on waiting")
		}
		r.interrupt() // too late, and harmless
		r.close()
	}
}
