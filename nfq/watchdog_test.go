package nfq

import (
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/nfqtest"
)

// A policy that does not come back on one session: the reader is replaced, and every
// other session of the same queue comes about, those that were waiting included.
func TestAReaderThatHangsIsReplaced(t *testing.T) {
	for _, reader := range []string{"fast", "portable"} {
		t.Run(reader, func(t *testing.T) {
			r := newRig(t, 1)
			hang := make(chan struct{})
			p := &policy{}
			first := true
			p.opening = func(Flow) Opening {
				if first {
					first = false
					p.mu.Unlock() // it is the policy that hangs, not the test's memory of it
					<-hang
					p.mu.Lock()
				}
				return Opening{}
			}
			q := r.run(Config{Reader: reader, Count: 1, Policy: p, HungAfter: 500 * time.Millisecond})
			defer q.stop()
			defer close(hang)
			l := r.inter.listen(25)
			began := time.Now()
			one := make(chan error, 1)
			go func() {
				c, err := r.sub.dial(server4, 25, 20*time.Second)
				if err == nil {
					c.Close()
				}
				one <- err
			}()
			nfqtest.Eventually(t, "the reader is replaced", func() bool { return q.Queues.Stats().Replaced == 1 })
			if err := <-one; err != nil {
				t.Fatalf("the session that hung does not come about: %v", err)
			}
			accept(t, l)
			client, remote := r.connect(t, l, server4)
			say(t, remote, "220 ready")
			line(t, client)
			t.Logf("both sessions came about %v after the first SYN", time.Since(began))
		})
	}
}

// One that hangs on every session: replacing it does not help, and Run says so.
func TestReplacingReadersEnds(t *testing.T) {
	r := newRig(t, 1)
	hang := make(chan struct{})
	defer close(hang)
	p := &policy{}
	p.opening = func(Flow) Opening {
		p.mu.Unlock()
		<-hang
		p.mu.Lock()
		return Opening{}
	}
	q := r.run(Config{Count: 1, Policy: p, HungAfter: 100 * time.Millisecond})
	r.inter.listen(25)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if c, err := r.sub.dial(server4, 25, 200*time.Millisecond); err == nil {
				c.Close()
			}
		}
	}()
	select {
	case err := <-q.done:
		if err == nil || !strings.Contains(err.Error(), "hangs") {
			t.Errorf("Run ended with %v", err)
		}
		q.done <- err
	case <-time.After(20 * time.Second):
		t.Fatal("Run goes on")
	}
}
