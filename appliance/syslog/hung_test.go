package syslog

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/appliance/spool"
)

// A collector whose program hangs, while its kernel goes on taking records, and is then killed: what its kernel had is sent again. Where that is more than may be sent again, it is stated
// which numbers may be missing, and no others are.
func TestWhatAHungCollectorsKernelHadIsSentAgainOrStated(t *testing.T) {
	for _, row := range []struct {
		why   string
		limit int64 // of the spool
		again bool  // all of it is sent again
	}{{"a spool of the default size", 64 << 20, true}, {"a spool so small that it is not", 4 << 20, false}} {
		t.Run(row.why, func(t *testing.T) {
			t.Parallel()
			got := newCollected()
			const first = 6000
			killed := make(chan struct{})
			addr, _ := listenTCP(t, "127.0.0.1:0", func(i int, conn net.Conn) {
				if i > 0 {
					frames(t, conn, got)
					return
				}
				r, w := io.Pipe()
				go func() {
					io.CopyBuffer(w, io.LimitReader(conn, 3<<18), make([]byte, 128<<10)) // which makes the kernel's buffer grow, as a collector that works does
					w.Close()
				}()
				frames(t, r, got)
				<-killed
				if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
					t.Error(err)
				}
			})
			src := newSourceIn(t, spool.Options{Limit: row.limit})
			x, events, stop := src.start(t, Config{Targets: targets("tcp://" + addr)})
			src.some(first)
			last := uint64(0)
			for still := 0; still < 50; time.Sleep(10 * time.Millisecond) { // until the kernels take nothing any more
				if s := x.Status()[0].Sent; s > last || s == 0 {
					still, last = 0, s
				} else {
					still++
				}
				src.some(20)
			}
			to, _ := src.chain.Head()
			close(killed)
			got.wait(t, "the last", all(to, to))
			for deadline := time.Now().Add(20 * time.Second); x.Status()[0].Behind > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%+v", x.Status())
				}
			}
			stop()
			var missing, doubt records.Ranges
			for _, e := range events() {
				if e.What == Again {
					doubt = e.Doubt
				}
			}
			for seq := uint64(1); seq <= to; seq++ {
				if got.seqs[seq] == 0 {
					missing.Add(seq)
				}
			}
			if row.again && (len(missing) > 0 || len(doubt) > 0) || !row.again && len(doubt) == 0 {
				t.Errorf("missing %v, may be missing %v", missing, doubt)
			}
			for i := 0; i < len(missing); i += 2 {
				if !doubt.Covers(missing[i], missing[i+1]) {
					t.Errorf("%d to %d are missing, said was %s", missing[i], missing[i+1], doubt)
				}
			}
			t.Logf("%d of %d records were missing, %s may be", missing.Count(), to, doubt)
		})
	}
}
