package nfq

import (
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// chat keeps n clients busy until stop, each with one short session after the
// other. Any error is an error of the test.
func (r *rig) chat(t testing.TB, n int) (stop func(), rounds *atomic.Int64) {
	l := r.inter.listen(25)
	var clients, servers sync.WaitGroup
	servers.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			servers.Go(func() {
				defer c.Close()
				c.Write([]byte("220 ok\r\n"))
				for buf := make([]byte, 6); ; { // a server that never says what we would release
					if _, err := io.ReadFull(c, buf); err != nil {
						return
					}
					c.Write([]byte("250 ok\r\n"))
				}
			})
		}
	})
	var done atomic.Bool
	rounds = new(atomic.Int64)
	session := func() {
		client, err := r.sub.dial(server4, 25, 10*time.Second)
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		client.SetDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 8)
		for i := 0; i < 20 && !done.Load(); i++ {
			if _, err := io.ReadFull(client, buf); err != nil {
				t.Error(err)
				return
			}
			if _, err := client.Write([]byte("NOOP\r\n")); err != nil {
				t.Error(err)
				return
			}
			rounds.Add(1)
		}
	}
	for range n {
		clients.Go(func() {
			for !done.Load() && !t.Failed() {
				session()
			}
		})
	}
	stop = func() {
		done.Store(true)
		clients.Wait()
		l.Close()
		servers.Wait()
	}
	t.Cleanup(stop)
	return stop, rounds
}

// more waits for n further rounds.
func more(t testing.TB, rounds *atomic.Int64, n int64) {
	t.Helper()
	from := rounds.Load()
	nfqtest.Eventually(t, "more rounds", func() bool { return rounds.Load() >= from+n })
}

func testStopUnderTraffic(t *testing.T, reader string) {
	r := newRig(t, 2)
	for range 5 {
		q := r.run(Config{Reader: reader, Count: 2, Policy: &policy{}})
		stop, rounds := r.chat(t, 8)
		more(t, rounds, 200)
		before := r.sub.retransmissions() + r.inter.retransmissions()
		if err := q.stop(); err != nil {
			t.Fatal(err)
		}
		more(t, rounds, 200)
		stop()
		s := q.Stats()
		balanced(t, s)
		for _, one := range s.Queues {
			if one.Abandoned+one.Kernel.QueueDropped+one.Kernel.UserDropped != 0 || one.Kernel.Sequence != one.Packets {
				t.Errorf("queue %d lost packets: %d abandoned of %d, kernel %+v", one.Number, one.Abandoned, one.Packets, one.Kernel)
			}
		}
		// A busy machine can make a sender impatient, so this proves nothing by itself.
		t.Logf("%d segments sent again", r.sub.retransmissions()+r.inter.retransmissions()-before)
	}
}

func testRebind(t *testing.T, reader string) {
	r := newRig(t, 1)
	stop, rounds := r.chat(t, 8) // nobody reads: the rules bypass
	more(t, rounds, 100)
	for range 10 {
		q := r.run(Config{Reader: reader, Policy: &policy{}})
		nfqtest.Eventually(t, "packets", func() bool { return q.Stats().Queues[0].Packets > 0 })
		more(t, rounds, 20)
		for _, w := range q.workers {
			w.reader.close() // as when the process is killed: no verdict, no farewell
		}
		select {
		case err := <-q.done:
			if err == nil {
				t.Error("Run did not notice that its queue is gone")
			}
			q.done <- err
		case <-time.After(10 * time.Second):
			t.Fatal("Run goes on without its queue")
		}
		more(t, rounds, 20)
	}
	stop()
}
