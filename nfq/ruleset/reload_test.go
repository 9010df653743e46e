package ruleset

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A reload under load: no byte is lost, nobody is reset, released flows stay
// released, and at no moment does a packet see half a table.
func TestApplyWhileTrafficFlows(t *testing.T) {
	both(t, func(t *testing.T, r *rig, a addresses) {
		r.listen([]uint16{10}, govern(func(p packet) answer {
			if p.payload == len("release me") {
				return withMark(value(Both))
			}
			return answer{}
		}))
		o := options()
		o.FailOpen = false
		r.apply(o)
		srv := r.inter.serve(a.inter, 25)
		seen, released := r.connect(srv, a.sub, a.inter, 25), r.connect(srv, a.sub, a.inter, 25)
		seen.talk("hello")
		released.talk("release me")

		_ = srv.Listener.(*net.TCPListener).SetDeadline(time.Time{}) // the loop below accepts by itself
		var stop atomic.Bool
		var flows sync.WaitGroup
		for _, s := range []session{seen, released} {
			flows.Go(func() {
				for !stop.Load() {
					if err := errors.Join(stream(s.client, s.server, 100_000), pass(s.server, s.client, "250 ok")); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		flows.Go(func() {
			for !stop.Load() {
				c, err := r.sub.dial(a.other, a.inter, 25, nil)
				if err != nil {
					t.Error(err)
					return
				}
				end, err := srv.Accept()
				if err == nil {
					err = pass(end, c, "220 hello")
					abort(end)
				}
				if err != nil {
					t.Error(err)
					return
				}
				abort(c)
			}
		})
		const applies = 100
		k := r.probe()
		start := time.Now()
		for i := range applies {
			if o.Ports = []uint16{25}; i%2 == 1 {
				o.Ports = []uint16{25, 587}
			}
			r.box.Must(func() error {
				rs, err := Apply(o, k)
				if err != nil {
					return err
				}
				return rs.Close()
			})
		}
		t.Logf("%s per Apply", time.Since(start)/applies)
		stop.Store(true)
		flows.Wait()
	})
}

// Packets that wait in a queue stay there when the table is written anew and
// when it is disarmed; Remove takes them from us.
func TestWaitingPackets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why   string
		do    func(r *rig, rs *Ruleset) error
		stays bool
	}{
		{"Apply", func(r *rig, _ *Ruleset) error {
			o := options()
			o.Ports = []uint16{25, 587}
			return r.apply(o).Close()
		}, true},
		{"Disarm", func(_ *rig, rs *Ruleset) error { return rs.Disarm() }, true},
		{"Remove", func(r *rig, _ *Ruleset) (err error) {
			r.box.Do(func() { err = Remove() })
			return err
		}, false},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			held := make(chan packet, 1)
			l := r.listen([]uint16{10}, govern(func(p packet) answer {
				if p.payload > 0 && !p.up {
					select {
					case held <- p:
					default: // a retransmission
					}
					return answer{hold: true}
				}
				return answer{}
			}))
			rs := r.apply(options())
			s := r.connect(r.inter.serve(interIP4, 25), subIP4, interIP4, 25)
			if _, err := s.server.Write([]byte("220 hello")); err != nil {
				t.Fatal(err)
			}
			p := <-held
			if err := c.do(r, rs); err != nil {
				t.Fatal(err)
			}
			if waiting := r.waiting(10); (waiting > 0) != c.stays {
				t.Errorf("%d packets wait after %s", waiting, c.why)
			}
			l.verdict(p, answer{}) // after Remove it comes by itself, sent again
			_ = s.client.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(s.client, make([]byte, len("220 hello"))); err != nil {
				t.Error(err)
			}
		})
	}
}

// waiting reads how many packets of a queue have no verdict yet.
func (r *rig) waiting(queue int) int {
	r.t.Helper()
	var text []byte
	r.box.Must(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
		return err
	})
	for line := range strings.Lines(string(text)) {
		var number, portID, total int
		if _, err := fmt.Sscan(line, &number, &portID, &total); err == nil && number == queue {
			return total
		}
	}
	r.t.Fatalf("queue %d is not bound:\n%s", queue, text)
	return 0
}

func TestDisarmLetsEverythingPass(t *testing.T) {
	both(t, func(t *testing.T, r *rig, a addresses) {
		l := r.listen([]uint16{10}, govern(nil))
		rs := r.apply(options())
		srv := r.inter.serve(a.inter, 25)
		s := r.connect(srv, a.sub, a.inter, 25)
		s.talk("hello")
		cut(t, rs, a.other, time.Hour)
		queued := l.count(func(packet) bool { return true })
		if err := rs.Disarm(); err != nil {
			t.Fatal(err)
		}
		s.talk("unseen")
		r.connect(srv, a.other, a.inter, 25).talk("unseen")
		if n := l.count(func(packet) bool { return true }); n != queued {
			t.Errorf("%d packets were queued after Disarm", n-queued)
		}
		r.apply(options())
		s.talk("seen again")
		if n := l.count(func(p packet) bool { return p.payload == len("seen again") }); n != 1 {
			t.Error("the session is not followed after Apply")
		}
	})
}
