package syslog

import (
	"net"
	"testing"
	"time"
)

// What the exporter before sent after the next one was made is not lost.
func TestAReloadStatesNothingAsLostThatWasDelivered(t *testing.T) {
	t.Parallel()
	for why, n := range map[string]int{"on one connection": 50, "on several": 2 * maxUnproven / 300} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			got := newCollected()
			addr, _ := listenTCP(t, "127.0.0.1:0", func(_ int, conn net.Conn) { frames(t, conn, got) })
			src := newSource(t)
			cfg := Config{Targets: targets("tcp://" + addr)}
			before, _, stop := src.start(t, cfg)
			src.some(n)
			got.wait(t, "the first ones", all(1, uint64(n)))
			for deadline := time.Now().Add(20 * time.Second); before.Status()[0].Behind > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%+v", before.Status())
				}
			}
			x, events, end := src.startAfter(t, cfg, func() {
				src.some(30)
				stop()
			})
			src.some(20)
			got.wait(t, "all", all(1, uint64(n)+50))
			end()
			if w := events(); len(w) > 0 {
				t.Errorf("%+v", w)
			}
			if st := x.Status()[0]; st.Dropped > 0 || st.Again > 0 || st.Behind > 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}
