package lane

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// hand gives packets to the program by hand (BPF_PROG_TEST_RUN), in the box of a rig.
type hand struct {
	*rig
	*Lane
	index map[string]int
}

func newHand(t *testing.T, o Options) *hand {
	t.Helper()
	r := newRig(t)
	return r.hand(r.open(o))
}

func (r *rig) hand(l *Lane) *hand {
	r.t.Helper()
	h := &hand{rig: r, Lane: l, index: make(map[string]int)}
	r.box.Must(func() error {
		for _, name := range []string{"lan0", "lan1", "wan0"} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			h.index[name] = l.Attrs().Index
		}
		return nil
	})
	return h
}

// skb is struct __sk_buff, in words.
type skb [48]uint32

const (
	skbMark    = 2
	skbIfindex = 10
)

// What the program returns.
const (
	goOn = ^uint32(0)
	drop = 2
)

// run gives a frame to a program as if it came in at an interface, and returns verdict and mark.
func (h *hand) run(program, in string, frame []byte, mark uint32) (verdict, after uint32) {
	h.t.Helper()
	h.box.Must(func() (err error) {
		verdict, after, err = h.runHere(program, in, frame, mark)
		return err
	})
	return verdict, after
}

// runHere is run on a thread that is in the box already.
func (h *hand) runHere(program, in string, frame []byte, mark uint32) (verdict, after uint32, err error) {
	var before skb
	before[skbMark] = mark
	before[skbIfindex] = uint32(h.index[in])
	verdict, left, _, err := h.runWith(program, frame, before)
	return verdict, left[skbMark], err
}

// runWith gives the frame as it is afterwards, too.
func (h *hand) runWith(program string, frame []byte, before skb) (verdict uint32, after skb, out []byte, err error) {
	o := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+64), Context: before, ContextOut: &after}
	verdict, err = h.coll.Programs[program].Run(o)
	return verdict, after, o.DataOut, err
}

// up gives an IP packet to the program as a subscriber's, down as the server's.
func (h *hand) up(ip []byte) (verdict, mark uint32) {
	h.t.Helper()
	return h.run(programProgSubscriberEth, "lan0", ethernet(ip), 0)
}

func (h *hand) down(ip []byte) (verdict, mark uint32) {
	h.t.Helper()
	return h.run(programProgUpstreamEth, "wan0", ethernet(ip), 0)
}

// copied is what was copied since it was last asked.
func (h *hand) copied() []Copy {
	var all []Copy
	h.Read(func(c *Copy) {
		kept := *c
		kept.IP = slices.Clone(c.IP)
		all = append(all, kept)
	})
	return all
}

func (h *hand) stats() Stats {
	h.t.Helper()
	s, err := h.Lane.Stats()
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// lease makes a source known and gives its lease tokens.
func (h *hand) lease(addr netip.Addr, lease uint32, tokens int32) {
	h.t.Helper()
	if err := h.SetSource(addr, lease); err != nil {
		h.t.Fatal(err)
	}
	h.Grant(lease, tokens)
	h.Alive(time.Hour)
}

// ethernet puts an Ethernet header before an IP packet, with the given tags in between.
func ethernet(ip []byte, tags ...uint16) []byte {
	frame := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	for _, kind := range tags {
		frame = append(frame, byte(kind>>8), byte(kind), 0, 7)
	}
	if ip[0]>>4 == 6 {
		return append(append(frame, 0x86, 0xdd), ip...)
	}
	return append(append(frame, 0x08, 0x00), ip...)
}

// conn is a connection whose packets are made by hand.
type conn struct {
	Key
	isn uint32
}

func connection(client netip.Addr, port uint16, server netip.Addr, serverPort uint16, isn uint32) conn {
	return conn{Key{netip.AddrPortFrom(client, port), netip.AddrPortFrom(server, serverPort)}, isn}
}

func (c conn) up(flags packet.Flags, payload string) nfqtest.TCP {
	return nfqtest.TCP{Src: c.Client, Dst: c.Server, Seq: c.isn + 1, Ack: 77, Flags: flags, Payload: []byte(payload)}
}

func (c conn) down(flags packet.Flags, payload string) nfqtest.TCP {
	return nfqtest.TCP{Src: c.Server, Dst: c.Client, Seq: 77, Ack: c.isn + 1, Flags: flags, Payload: []byte(payload)}
}

func (c conn) syn() nfqtest.TCP {
	return nfqtest.TCP{Src: c.Client, Dst: c.Server, Seq: c.isn, Flags: packet.SYN, Options: []byte{2, 4, 5, 180, 4, 2, 1, 3, 3, 7}}
}

func (c conn) synAck() nfqtest.TCP {
	return nfqtest.TCP{Src: c.Server, Dst: c.Client, Seq: 76, Ack: c.isn + 1, Flags: packet.SYN | packet.ACK}
}

func TestWaitingBeginsAnewAfterAnError(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	l := r.open(options())
	// Something else under its number, which cannot be waited for.
	if err := unix.Dup3(l.ring.wake.fd, l.ring.epoll, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(time.Now()); err == nil {
		t.Fatal("what is no epoll can be waited for")
	}
	began := time.Now()
	if err := l.Wait(began.Add(50 * time.Millisecond)); err != nil || time.Since(began) < 50*time.Millisecond {
		t.Errorf("the next one: %v after %v", err, time.Since(began))
	}
	l.Interrupt()
	if err := l.Wait(time.Time{}); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}
