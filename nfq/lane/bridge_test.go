package lane

import (
	"io"
	"testing"
	"time"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

func bridged() Options {
	o := options()
	o.Routed = false
	return o
}

func TestWhatHasATagPassesABridgeUntouched(t *testing.T) {
	t.Parallel()
	h := newHand(t, bridged())
	h.lease(sub4, 1, 1000)
	h.lease(sub6, 1, 0)
	if err := h.Block(other4, time.Hour); err != nil {
		t.Fatal(err)
	}
	syn4, syn6 := connection(sub4, 4000, inter4, 25, 1).syn().Packet(), connection(sub6, 4000, inter6, 25, 1).syn().Packet()
	cut := connection(other4, 4000, inter4, 25, 1).syn().Packet()
	for _, row := range []struct {
		why   string
		frame []byte
		ours  bool
	}{
		{"IPv4", ethernet(syn4), true},
		{"IPv6", ethernet(syn6), true},
		{"a VLAN tag", ethernet(syn4, 0x8100), false},
		{"a VLAN tag before IPv6", ethernet(syn6, 0x8100), false},
		{"a service tag and a VLAN tag", ethernet(syn4, 0x88a8, 0x8100), false},
		{"of who is cut", ethernet(cut, 0x8100), false},
	} {
		for range 100 { // more than are answered of who is cut
			verdict, mark := h.run(programProgSubscriberEth, "lan0", row.frame, 0)
			if verdict != goOn || (mark == 0x0b000000) != row.ours || (mark == 0) == row.ours {
				t.Fatalf("%s: verdict %d, mark %#x", row.why, verdict, mark)
			}
		}
		if n := len(h.copied()); row.ours != (n == 100) {
			t.Errorf("%s: %d copies", row.why, n)
		}
	}
}

// A subscriber's own port brings no answers of his server, whatever it claims.
func TestAnAnswerByTheClientsOwnPortIsForged(t *testing.T) {
	t.Parallel()
	h := newHand(t, bridged())
	h.lease(sub4, 1, 1000)
	c := connection(sub4, 4000, other4, 25, 1)
	if _, mark := h.up(c.syn().Packet()); mark != 0x0b000000 {
		t.Fatalf("the SYN: mark %#x", mark)
	}
	h.copied()
	answer := ethernet(c.down(packet.SYN|packet.ACK, "").Packet())
	if verdict, mark := h.run(programProgUpstreamEth, "lan0", answer, 0); verdict != goOn || mark != 0 || len(h.copied()) != 0 {
		t.Errorf("by the same port: verdict %d, mark %#x, or it was copied", verdict, mark)
	}
	for _, in := range []string{"lan1", "wan0"} {
		if verdict, mark := h.run(programProgUpstreamEth, in, answer, 0); verdict != goOn || mark != 0x0b000000 || len(h.copied()) != 1 {
			t.Errorf("by %s: verdict %d, mark %#x, or no copy", in, verdict, mark)
		}
	}
}

// A session between two subscribers' ports is seen both ways.
func TestServersBehindAnotherPort(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, how string) {
		r := newRig(t)
		o := bridged()
		o.Attach = how
		l := r.open(o)
		r.box.Must(func() error { return attachAll(l) })
		if how == "clsact" {
			if s := r.tcState("lan0"); s != "clsact mailweir/28023 mailweir/28023" {
				t.Errorf("attached: %q", s)
			}
		}
		if err := l.SetSource(sub4, 1); err != nil {
			t.Fatal(err)
		}
		l.Grant(1, 1)
		l.Alive(time.Hour)
		server := r.other.listen(other4, 25)
		go func() {
			if c, err := server.Accept(); err == nil {
				_, _ = io.WriteString(c, "220 hello\r\n")
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}
		}()
		client := r.sub.dial(server.Addr())
		if _, err := io.WriteString(client, "EHLO me\r\n"); err != nil {
			t.Fatal(err)
		}
		var said [2]stream
		nfqtest.Eventually(t, "both have been seen to speak", func() bool {
			l.Read(func(c *Copy) {
				var seg packet.Segment
				if why := packet.Decode(c.IP, &seg); why != packet.OK {
					t.Errorf("a copy that is no TCP: %v", why)
					return
				}
				side := 0
				if c.Down {
					side = 1
				}
				said[side].add(seg)
			})
			return string(said[0].data) == "EHLO me\r\n" && string(said[1].data) == "220 hello\r\n"
		})
		if err := l.Detach(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"lan0", "lan1", "wan0"} {
			if s := r.tcState(name); s != "" {
				t.Errorf("%s after Detach: %q", name, s)
			}
		}
	})
}
