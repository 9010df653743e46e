package lane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// both runs a test with each way of attaching.
func both(t *testing.T, f func(t *testing.T, how string)) {
	for _, how := range []string{"tcx", "clsact"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f(t, how)
		})
	}
}

// attached opens a lane and puts it to the box's interfaces.
func (r *rig) attached(how string) *Lane {
	r.t.Helper()
	o := options()
	o.Attach = how
	o.RingBytes = 8 << 20
	l := r.open(o)
	r.box.Must(func() error { return attachAll(l) })
	if l.How() != how {
		r.t.Fatalf("attached by %q, want %q", l.How(), how)
	}
	return l
}

// listen makes a server in s.
func (s space) listen(addr netip.Addr, port uint16) net.Listener {
	s.T.Helper()
	var l net.Listener
	s.Must(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(addr, port).String())
		return err
	})
	s.T.Cleanup(func() { _ = l.Close() })
	return l
}

// dial connects from s.
func (s space) dial(to net.Addr) net.Conn {
	s.T.Helper()
	var c net.Conn
	s.Must(func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c, err = new(net.Dialer).DialContext(ctx, "tcp", to.String())
		return err
	})
	s.T.Cleanup(func() { _ = c.Close() })
	return c
}

// stream joins the segments of one direction, as far as they follow each other.
type stream struct {
	begun, ended bool
	next         uint32
	data         []byte
	later        map[uint32][]byte
}

func (s *stream) add(seg packet.Segment) {
	if seg.Flags.Has(packet.SYN) {
		s.begun, s.next, s.later = true, seg.Seq+1, make(map[uint32][]byte)
		return
	}
	if seg.Flags.Has(packet.FIN) {
		s.ended = true
	}
	if len(seg.Payload) > 0 {
		s.later[seg.Seq] = bytes.Clone(seg.Payload)
	}
	for {
		p, ok := s.later[s.next]
		if !ok {
			return
		}
		delete(s.later, s.next)
		s.data = append(s.data, p...)
		s.next += uint32(len(p))
	}
}

func TestCopiesAreTheWholeConversation(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, how string) {
		r := newRig(t)
		l := r.attached(how)
		for _, a := range []struct{ client, server netip.Addr }{{sub4, inter4}, {sub6, inter6}} {
			if err := l.SetSource(a.client, 1); err != nil {
				t.Fatal(err)
			}
			l.Grant(1, 1)
			l.Alive(time.Hour)

			up, down := make([]byte, 300_000), make([]byte, 200_000)
			for i := range up {
				up[i] = byte(rand.Int())
			}
			for i := range down {
				down[i] = byte(rand.Int())
			}
			server := r.inter.listen(a.server, 25)
			var wg sync.WaitGroup
			wg.Go(func() {
				c, err := server.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				wg.Go(func() { _, _ = c.Write(down) })
				if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, up) {
					t.Errorf("the server got %d bytes of %d, %v", len(got), len(up), err)
				}
			})
			client := r.sub.dial(server.Addr())
			if _, err := client.Write(up); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(down))
			if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, down) {
				t.Fatalf("the client got something else, %v", err)
			}
			_ = client.Close()
			wg.Wait()

			var streams [2]stream
			tokens := 0
			nfqtest.Eventually(t, "both directions have been seen to their end", func() bool {
				l.Read(func(c *Copy) {
					var seg packet.Segment
					if why := packet.Decode(c.IP, &seg); why != packet.OK {
						t.Fatalf("a copy that is no TCP: %v", why)
					}
					if c.Lease != 1 || c.Length != len(c.IP) || c.Down != (seg.Src.Port() == 25) {
						t.Fatalf("copy %+v of %v", c, seg)
					}
					if c.Token {
						tokens++
					}
					if len(seg.Payload) == 0 && !seg.Flags.Any(packet.SYN|packet.FIN|packet.RST) {
						t.Errorf("a pure ACK was copied")
					}
					if c.Down {
						streams[1].add(seg)
					} else {
						streams[0].add(seg)
					}
				})
				return streams[0].ended && streams[1].ended
			})
			if !bytes.Equal(streams[0].data, up) || !bytes.Equal(streams[1].data, down) {
				t.Errorf("the copies hold %d of %d bytes up and %d of %d down", len(streams[0].data), len(up), len(streams[1].data), len(down))
			}
			if tokens != 1 || l.Tokens(1) != 0 {
				t.Errorf("%d copies with a token, %d tokens left", tokens, l.Tokens(1))
			}
			_ = server.Close()
		}
	})
}

func TestWaitEndsByACopyAnInterruptOrInTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := r.attached("tcx")
	if err := l.SetSource(sub4, 1); err != nil {
		t.Fatal(err)
	}
	l.Grant(1, 1000)
	l.Alive(time.Hour)
	server := r.inter.listen(inter4, 25)
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()

	begin := time.Now()
	if err := l.Wait(begin.Add(30 * time.Millisecond)); err != nil || time.Since(begin) < 30*time.Millisecond {
		t.Fatalf("with nothing there: %v after %v", err, time.Since(begin))
	}
	l.Interrupt()
	if err := l.Wait(time.Time{}); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, l.Interrupt)
	if err := l.Wait(time.Time{}); err != nil {
		t.Fatal(err)
	}
	// Many times, so that the reader goes to sleep in every phase of a copy.
	for i := range 200 {
		begin := time.Now()
		go r.sub.Do(func() {
			if c, err := net.DialTimeout("tcp", server.Addr().String(), 4*time.Second); err == nil {
				_ = c.Close()
			}
		})
		for seen := 0; seen < 1; {
			if err := l.Wait(begin.Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			l.Read(func(c *Copy) {
				if c.Token {
					seen++
				}
			})
			if time.Since(begin) > 4*time.Second {
				t.Fatalf("connection %d has woken nobody", i)
			}
		}
	}
	done := make(chan error, 1)
	go func() {
		for {
			if err := l.Wait(time.Time{}); err != nil {
				done <- err
				return
			}
			l.Read(func(*Copy) {})
		}
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Wait of a closed lane: %v", err)
	}
	if l.Interrupt(); l.Read(func(*Copy) {}) != 0 {
		t.Error("a closed lane was read")
	}
	l.Grant(1, 1) // writes where nobody reads
	if err := l.SetSource(sub4, 1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("SetSource of a closed lane: %v", err)
	}
}

// tcState is what is attached to an interface of the box by clsact, in words.
func (r *rig) tcState(name string) (state string) {
	r.t.Helper()
	r.box.Must(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		var words []string
		qdiscs, err := netlink.QdiscList(l)
		if err != nil {
			return err
		}
		for _, q := range qdiscs {
			if q.Type() == "clsact" {
				words = append(words, "clsact")
			}
		}
		filters, err := netlink.FilterList(l, netlink.HANDLE_MIN_INGRESS)
		if err != nil {
			return err
		}
		for _, f := range filters {
			if b, ok := f.(*netlink.BpfFilter); ok {
				words = append(words, fmt.Sprintf("%s/%d", b.Name, b.Priority))
			} else {
				words = append(words, f.Type())
			}
		}
		state = strings.Join(words, " ")
		return nil
	})
	return state
}

func TestACleanStopLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := r.attached("clsact")
	if s := r.tcState("lan0"); s != "clsact mailweir/28023" {
		t.Fatalf("attached: %q", s)
	}
	if err := l.Detach(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lan0", "lan1", "wan0"} {
		if s := r.tcState(name); s != "" {
			t.Errorf("%s after Detach: %q", name, s)
		}
	}
	r.box.Must(func() error { return attachAll(l) })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if s := r.tcState("wan0"); s != "" {
		t.Errorf("after Close: %q", s)
	}
}
