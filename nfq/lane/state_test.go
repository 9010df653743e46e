package lane

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

func TestWhatIsCopiedInWhichState(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	timestamps := []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
	for _, c := range []conn{connection(sub4, 5000, inter4, 25, 7), connection(sub6, 5000, inter6, 587, 7)} {
		h.lease(c.Client.Addr(), 4, 1)
		h.up(c.syn().Packet())
		h.copied()
		const (
			data, ack, end, opens = 1, 2, 4, 8 // kinds of packets
		)
		for _, row := range []struct {
			state State
			up    int // kinds that are copied of the client's packets
			down  int // and of the server's
			mark  uint32
		}{
			{See, data | end | opens, data | end | opens, 0x0b000000},
			{Up, end | opens, data | end | opens, 0x0b000000},
			{Both, end | opens, end | opens, 0x0b000000},
			{Handed, end, end, 0x01000000},
			{See, data | end | opens, data | end | opens, 0x0b000000}, // and back
		} {
			if found, err := h.SetState(c.Key, c.isn, row.state); !found || err != nil {
				t.Fatalf("state %d: found %v, %v", row.state, found, err)
			}
			for _, p := range []struct {
				why     string
				kind    int
				flags   packet.Flags
				payload string
				options []byte
			}{
				{"one byte", data, packet.ACK, "x", nil},
				{"one byte with push and options", data, packet.ACK | packet.PSH, "x", timestamps},
				{"a full segment", data, packet.ACK, strings.Repeat("m", 1400), timestamps},
				{"pure ACK", ack, packet.ACK, "", nil},
				{"pure ACK with options", ack, packet.ACK, "", timestamps},
				{"pure ACK with ECE", ack, packet.ACK | packet.ECE, "", nil},
				{"FIN", end, packet.ACK | packet.FIN, "", nil},
				{"FIN with payload", end, packet.ACK | packet.FIN, "x", nil},
				{"RST", end, packet.RST, "", nil},
				{"RST with ACK", end, packet.RST | packet.ACK, "", timestamps},
				{"SYN-ACK", opens, packet.SYN | packet.ACK, "", nil},
			} {
				for _, down := range []bool{false, true} {
					why := fmt.Sprintf("%v state %d, %s, down %v", c.Client.Addr(), row.state, p.why, down)
					tcp, kinds, give := c.up(p.flags, p.payload), row.up, h.up
					if down {
						tcp, kinds, give = c.down(p.flags, p.payload), row.down, h.down
					}
					tcp.Options = p.options
					ip := tcp.Packet()
					verdict, mark := give(ip)
					if verdict != goOn || mark != row.mark {
						t.Errorf("%s: verdict %d, mark %#x, want %#x", why, verdict, mark, row.mark)
					}
					copies := h.copied()
					if want := kinds&p.kind != 0; want != (len(copies) == 1) {
						t.Errorf("%s: %d copies", why, len(copies))
						continue
					} else if !want {
						continue
					}
					if k := copies[0]; !bytes.Equal(k.IP, ip) || k.Length != len(ip) || k.Lease != 4 || k.Down != down || k.Token {
						t.Errorf("%s: copy %+v", why, k)
					}
				}
			}
		}
	}
}

func TestEthernetsPaddingIsNoPayload(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	h.lease(sub4, 1, 1)
	c := connection(sub4, 5000, inter4, 25, 7)
	h.up(c.syn().Packet())
	h.copied()
	h.run(programProgSubscriberEth, "lan0", append(ethernet(c.up(packet.ACK, "").Packet()), make([]byte, 6)...), 0)
	if copies := h.copied(); len(copies) != 0 {
		t.Errorf("a padded pure ACK was copied: %+v", copies)
	}
	ip := c.up(packet.ACK, "x").Packet()
	h.run(programProgSubscriberEth, "lan0", append(ethernet(ip), make([]byte, 5)...), 0)
	if copies := h.copied(); len(copies) != 1 || !bytes.Equal(copies[0].IP, ip) || copies[0].Length != len(ip) {
		t.Errorf("a padded byte: copies %+v", copies)
	}
}

func TestEveryLengthIsCopiedWhole(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	h.lease(sub4, 1, 1)
	c := connection(sub4, 5000, inter4, 25, 7)
	h.up(c.syn().Packet())
	h.copied()
	for _, room := range []int{128, 320, 640, 1536, 3000} { // the kernel takes no longer test packets
		for length := max(room-3, 41); length <= room+3; length++ {
			ip := c.up(packet.ACK, strings.Repeat("ab", 2000)[:length-40]).Packet()
			h.up(ip)
			if copies := h.copied(); len(copies) != 1 || !bytes.Equal(copies[0].IP, ip) {
				t.Errorf("%d bytes: %d copies", length, len(copies))
			}
		}
	}
}

func TestOnlyItsOwnSideSpeaksForAFlow(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	h.lease(sub4, 1, 1)
	c := connection(sub4, 5000, inter4, 25, 7)
	h.up(c.syn().Packet())
	h.copied()
	for _, row := range []struct {
		why     string
		program string
		p       nfqtest.TCP
	}{
		{"an answer from a subscriber", programProgSubscriberEth, c.down(packet.ACK, "250 ok\r\n")},
		{"a SYN-ACK from a subscriber", programProgSubscriberEth, c.synAck()},
		{"a client's packet from outside", programProgUpstreamEth, c.up(packet.ACK, "QUIT\r\n")},
		{"another client port", programProgSubscriberEth, connection(sub4, 5001, inter4, 25, 7).up(packet.ACK, "x")},
		{"another server", programProgUpstreamEth, connection(sub4, 5000, inter4.Next(), 25, 7).down(packet.ACK, "x")},
	} {
		if verdict, mark := h.run(row.program, "lan0", ethernet(row.p.Packet()), 0); verdict != goOn || mark != 0 || len(h.copied()) != 0 {
			t.Errorf("%s: verdict %d, mark %#x, or a copy", row.why, verdict, mark)
		}
	}
}

func TestAnEditIsForTheFlowThatIsMeant(t *testing.T) {
	t.Parallel()
	o := options()
	h := newHand(t, o)
	h.lease(sub4, 1, 200)
	c := connection(sub4, 6000, inter4, 25, 50)
	fast := func() bool {
		_, mark := h.up(c.up(packet.ACK, "x").Packet())
		return mark == 0x0b000000
	}
	h.up(c.syn().Packet())
	for _, row := range []struct {
		why   string
		do    func() (bool, error)
		found bool
		fast  bool
	}{
		{"the state of an earlier flow of these addresses", func() (bool, error) { return h.SetState(c.Key, 49, Handed) }, false, true},
		{"the end of an earlier flow", func() (bool, error) { return h.DeleteFlow(c.Key, 49) }, false, true},
		{"its own state", func() (bool, error) { return h.SetState(c.Key, 50, Handed) }, true, false},
		{"and back", func() (bool, error) { return h.SetState(c.Key, 50, See) }, true, true},
		{"its own end", func() (bool, error) { return h.DeleteFlow(c.Key, 50) }, true, false},
		{"once more", func() (bool, error) { return h.DeleteFlow(c.Key, 50) }, false, false},
		{"the state of what is gone", func() (bool, error) { return h.SetState(c.Key, 50, See) }, false, false},
	} {
		found, err := row.do()
		if err != nil || found != row.found || fast() != row.fast {
			t.Errorf("%s: found %v, %v", row.why, found, err)
		}
	}
	// Many at once: more than one system call takes.
	var edits []Edit
	for i := range uint16(150) {
		d := connection(sub4, 7000+i, inter4, 25, uint32(i))
		h.up(d.syn().Packet())
		edits = append(edits, Edit{Key: d.Key, ISN: uint32(i), State: Both})
	}
	edits = slices.Insert(edits, 70, Edit{Key: c.Key, ISN: 1, Delete: true})
	if found, err := h.Edit(edits); found != 150 || err != nil {
		t.Errorf("%d of 150 flows were found, %v", found, err)
	}
	h.copied()
	for i := range edits {
		edits[i].Delete = true
	}
	h.up(connection(sub4, 7149, inter4, 25, 149).up(packet.ACK, "x").Packet())
	if copies := h.copied(); len(copies) != 0 {
		t.Errorf("the last one's state is not both: %+v", copies)
	}
	if found, err := h.Edit(edits); found != 150 || err != nil {
		t.Errorf("%d of 150 flows were deleted, %v", found, err)
	}
}
