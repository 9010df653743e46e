package lane

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

const redirect = 7 // TC_ACT_REDIRECT, TCX_REDIRECT

// skb words that a test sets beside mark and interface.
const (
	skbPriority = 8
	skbGSOSegs  = 41
	skbGSOSize  = 44
)

// neighbours makes the box's neighbours known, so that nothing depends on who was asked,
// and gives its interfaces the address that frames made by hand are for.
func (r *rig) neighbours() {
	r.t.Helper()
	r.box.Must(func() error {
		for _, name := range []string{"lan0", "lan1", "wan0"} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetHardwareAddr(l, ethernet(make([]byte, 20))[:6]); err != nil {
				return err
			}
		}
		for _, n := range []struct {
			link string
			ip   net.IP
		}{
			{"lan0", sub4.AsSlice()}, {"lan0", sub6.AsSlice()}, {"wan0", inter4.AsSlice()}, {"wan0", inter6.AsSlice()},
		} {
			l, err := netlink.LinkByName(n.link)
			if err != nil {
				return err
			}
			if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: n.ip, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}}); err != nil {
				return err
			}
		}
		return nil
	})
}

// answered begins a session that the short cut may be used for.
func (h *hand) answered(c conn) {
	h.t.Helper()
	h.up(c.syn().Packet())
	h.down(c.synAck().Packet())
	h.copied()
}

// given runs a program and returns what it made of the frame too.
func (h *hand) given(program, in string, frame []byte, set func(*skb)) (verdict uint32, after skb, out []byte) {
	h.t.Helper()
	h.box.Must(func() (err error) {
		var before skb
		before[skbIfindex] = uint32(h.index[in])
		if set != nil {
			set(&before)
		}
		verdict, after, out, err = h.runWith(program, frame, before)
		return err
	})
	return verdict, after, out
}

func TestTheShortCut(t *testing.T) {
	t.Parallel()
	for _, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			h := newHand(t, options())
			h.neighbours()
			c := connection(sub4, 5000, inter4, 25, 7)
			if family == "IPv6" {
				c = connection(sub6, 5000, inter6, 25, 7)
			}
			h.lease(c.Client.Addr(), 1, 9)
			h.answered(c)
			for _, row := range []struct {
				why    string
				allow  time.Duration
				state  State
				packet nfqtest.TCP
				change func(ip []byte)
				pad    int
				tags   []uint16
				in     string // "": its own
				mac    byte   // in the address that it is for
				set    func(*skb)
				cut    bool
				reason func(Stack) uint64
			}{
				{why: "not allowed", packet: c.up(packet.ACK, "x"), reason: func(s Stack) uint64 { return s.Shut }},
				{why: "no longer allowed", allow: -1, packet: c.up(packet.ACK, "x"), reason: func(s Stack) uint64 { return s.Shut }},
				{why: "the client's", allow: time.Hour, packet: c.up(packet.ACK, "EHLO home\r\n"), cut: true},
				{why: "the server's", allow: time.Hour, packet: c.down(packet.ACK, "250 ok\r\n"), cut: true},
				{why: "a pure ACK", allow: time.Hour, packet: c.up(packet.ACK, ""), cut: true},
				{why: "padded", allow: time.Hour, packet: c.up(packet.ACK, ""), pad: 6, cut: true},
				{why: "FIN", allow: time.Hour, packet: c.up(packet.ACK|packet.FIN, ""), cut: true},
				{why: "RST", allow: time.Hour, packet: c.down(packet.RST, ""), cut: true},
				{why: "nothing of it is copied", allow: time.Hour, state: Both, packet: c.up(packet.ACK, "x"), cut: true},
				{why: "TTL 2", allow: time.Hour, packet: func() nfqtest.TCP { p := c.up(packet.ACK, "x"); p.TTL = 2; return p }(), cut: true},
				{why: "the answer to the SYN", allow: time.Hour, packet: c.synAck(), reason: func(s Stack) uint64 { return s.Begins }},
				{why: "by another interface than its SYN", allow: time.Hour, packet: c.up(packet.ACK, "x"), in: "lan1", reason: func(s Stack) uint64 { return s.Path }},
				{why: "by another interface than its answer", allow: time.Hour, packet: c.down(packet.ACK, "x"), in: "lan1", reason: func(s Stack) uint64 { return s.Path }},
				{why: "for another's MAC address", allow: time.Hour, packet: c.up(packet.ACK, "x"), mac: 7, reason: func(s Stack) uint64 { return s.Odd }},
				{why: "a mark of somebody else's", allow: time.Hour, packet: c.up(packet.ACK, "x"), set: func(b *skb) { b[skbMark] = 1 }, reason: func(s Stack) uint64 { return s.Odd }},
				{why: "our bits of the mark", allow: time.Hour, packet: c.up(packet.ACK, "x"), set: func(b *skb) { b[skbMark] = 0x0b000000 }, cut: true},
				{why: "a VLAN tag", allow: time.Hour, packet: c.up(packet.ACK, "x"), tags: []uint16{0x8100}, reason: func(s Stack) uint64 { return s.Odd }},
				{why: "as long as what leaves may be", allow: time.Hour, packet: c.up(packet.ACK, string(make([]byte, 1500-len(c.up(packet.ACK, "").Packet())))), cut: true},
				{why: "longer than what leaves may be", allow: time.Hour, packet: c.up(packet.ACK, string(make([]byte, 1501-len(c.up(packet.ACK, "").Packet())))), reason: func(s Stack) uint64 { return s.Length }},
				{why: "joined, its segments fit", allow: time.Hour, packet: c.up(packet.ACK, string(make([]byte, 2800))), set: func(b *skb) { b[skbGSOSegs], b[skbGSOSize] = 2, 1400 }, cut: true},
				{why: "joined, its segments do not fit", allow: time.Hour, packet: c.up(packet.ACK, string(make([]byte, 2962))), set: func(b *skb) { b[skbGSOSegs], b[skbGSOSize] = 2, 1481 }, reason: func(s Stack) uint64 { return s.Length }},
				{why: "joined, with something behind it", allow: time.Hour, packet: c.up(packet.ACK, string(make([]byte, 2800))), pad: 1, set: func(b *skb) { b[skbGSOSegs], b[skbGSOSize] = 2, 1400 }, reason: func(s Stack) uint64 { return s.Odd }},
				{why: "no length, and not joined", allow: time.Hour, packet: c.up(packet.ACK, "x"), change: func(ip []byte) { clearLength(ip) }, reason: func(s Stack) uint64 { return s.Odd }},
			} {
				h.ShortCut(row.allow)
				if row.allow < 0 {
					h.ShortCut(time.Nanosecond)
					time.Sleep(20 * time.Millisecond) // the program's clock ticks that slowly
				}
				if found, err := h.SetState(c.Key, c.isn, row.state); !found || err != nil {
					t.Fatal(found, err)
				}
				program, in := programProgSubscriberEth, "lan0"
				if row.packet.Src == c.Server {
					program, in = programProgUpstreamEth, "wan0"
				}
				if row.in != "" {
					in = row.in
				}
				ip := row.packet.Packet()
				if row.change != nil {
					row.change(ip)
				}
				frame := append(ethernet(ip, row.tags...), make([]byte, row.pad)...)
				frame[5] ^= row.mac
				before := h.stats()
				verdict, left, out := h.given(program, in, frame, row.set)
				mark, after := left[skbMark], h.stats()
				if after.Fast-before.Fast != 1 {
					t.Errorf("%s: not a packet of the lane", row.why)
				}
				for _, k := range h.copied() {
					if !bytes.Equal(k.IP, ip) {
						t.Errorf("%s: the copy is not what came", row.why)
					}
				}
				if !row.cut {
					if verdict != goOn || mark&0x0f000000 != 0x0b000000 || !bytes.Equal(out, frame) || after.ShortCut != before.ShortCut {
						t.Errorf("%s: verdict %d, mark %#x, frame changed %v", row.why, verdict, mark, !bytes.Equal(out, frame))
					}
					if row.reason(after.Stack)-row.reason(before.Stack) != 1 {
						t.Errorf("%s: reasons %+v, before %+v", row.why, after.Stack, before.Stack)
					}
					continue
				}
				want := frame[:len(frame)-row.pad]
				if ip[0]>>4 == 4 {
					lowered := row.packet
					lowered.TTL = want[14+8] - 1
					want = append(want[:14:14], lowered.Packet()...)
				} else {
					want = changed(want, func(b []byte) { b[14+7]-- })
				}
				if verdict != redirect || mark != 0 || after.ShortCut-before.ShortCut != 1 || after.Stack != before.Stack {
					t.Errorf("%s: verdict %d, mark %#x, %+v", row.why, verdict, mark, after.Stack)
				}
				if !bytes.Equal(out, want) {
					t.Errorf("%s: the frame became\n%x, want\n%x", row.why, out, want)
				}
			}
		})
	}
}

func clearLength(ip []byte) {
	at := 2
	if ip[0]>>4 == 6 {
		at = 4
	}
	ip[at], ip[at+1] = 0, 0
}

// What is IPv4's alone.
func TestTheShortCutKnowsAWrongChecksumAndOptions(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	h.neighbours()
	c := connection(sub4, 5000, inter4, 25, 7)
	h.lease(sub4, 1, 1)
	h.answered(c)
	h.ShortCut(time.Hour)
	ip := c.up(packet.ACK, "x").Packet()
	for _, row := range []struct {
		why string
		ip  []byte
	}{
		{"wrong checksum", changed(ip, func(b []byte) { b[11]++ })},
		{"a bit of the header", changed(ip, func(b []byte) { b[5] ^= 0x80 })},
		{"options", withOptions(ip, 1)},
	} {
		frame := ethernet(row.ip)
		if verdict, _, out := h.given(programProgSubscriberEth, "lan0", frame, nil); verdict != goOn || !bytes.Equal(out, frame) {
			t.Errorf("%s: verdict %d, or the frame was changed", row.why, verdict)
		}
	}
	if s := h.stats(); s.Stack.Odd != 3 {
		t.Errorf("%+v", s.Stack)
	}
	// The priority that ip_forward gives (rt_tos2priority).
	for tos, want := range map[byte]uint32{0: 0, 0x02: 0, 0x08: 2, 0x0a: 2, 0x10: 6, 0x12: 6, 0x18: 4, 0x1c: 4, 0xb8: 4, 0x48: 2} {
		marked := changed(ip, func(b []byte) { b[1] = tos; sum(b) })
		if verdict, after, _ := h.given(programProgSubscriberEth, "lan0", ethernet(marked), nil); verdict != redirect || after[skbPriority] != want {
			t.Errorf("TOS %#x: verdict %d, priority %d, want %d", tos, verdict, after[skbPriority], want)
		}
	}
	// Every TTL and many checksums.
	for ttl := 2; ttl < 256; ttl++ {
		for id := range uint16(64) {
			p := c.up(packet.ACK, "x")
			p.TTL = byte(ttl)
			ip := changed(p.Packet(), func(b []byte) { binary.BigEndian.PutUint16(b[4:], id*1021); sum(b) })
			want := changed(ip, func(b []byte) { b[8]--; sum(b) })
			verdict, _, out := h.given(programProgSubscriberEth, "lan0", ethernet(ip), nil)
			if verdict != redirect || !bytes.Equal(out[14:], want) && nfqtest.Checksum(out[14:34]) != 0 {
				t.Fatalf("TTL %d, id %d: verdict %d, header %x, want %x", ttl, id, verdict, out[14:34], want[:20])
			}
			h.copied()
		}
	}
}

// sum puts the right checksum into an IPv4 header of five words.
func sum(ip []byte) {
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], nfqtest.Checksum(ip[:20]))
}

func TestTheShortCutLeavesToTheKernelWhatItDoesNotForward(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	h.neighbours()
	c4, c6 := connection(sub4, 5000, inter4, 25, 7), connection(sub6, 5000, inter6, 25, 7)
	for _, c := range []conn{c4, c6} {
		h.lease(c.Client.Addr(), 1, 1)
		h.answered(c)
	}
	h.ShortCut(time.Hour)
	write := func(key, value string) func() {
		return func() { h.box.Must(func() error { return sysctl(key, value) }) }
	}
	rule := func(add bool) func() {
		return func() {
			h.box.Must(func() error {
				r := netlink.NewRule()
				r.Priority, r.Type, r.IifName = 10, 8 /* RTN_PROHIBIT */, "lan0"
				if add {
					return netlink.RuleAdd(r)
				}
				return netlink.RuleDel(r)
			})
		}
	}
	stranger := func(c conn) func() {
		return func() {
			h.box.Must(func() error {
				return netlink.NeighDel(&netlink.Neigh{LinkIndex: h.index["wan0"], IP: c.Server.Addr().AsSlice()})
			})
		}
	}
	for _, row := range []struct {
		why      string
		do, undo func()
		c        conn
	}{
		{"IPv4 forwarding is off at the interface", write("ipv4/conf/lan0/forwarding", "0"), write("ipv4/conf/lan0/forwarding", "1"), c4},
		{"IPv6 forwarding is off at the interface", write("ipv6/conf/lan0/forwarding", "0"), write("ipv6/conf/lan0/forwarding", "1"), c6},
		{"a rule of policy routing forbids it", rule(true), rule(false), c4},
		{"the neighbour is not known", stranger(c4), h.neighbours, c4},
		{"the neighbour is not known in IPv6", stranger(c6), h.neighbours, c6},
	} {
		give := func() uint32 {
			verdict, _ := h.up(row.c.up(packet.ACK, "x").Packet())
			return verdict
		}
		if v := give(); v != redirect {
			t.Fatalf("before %s: verdict %d", row.why, v)
		}
		before := h.stats()
		row.do()
		if v := give(); v != goOn {
			t.Errorf("%s: verdict %d", row.why, v)
		}
		if after := h.stats(); after.Stack.Route-before.Stack.Route != 1 {
			t.Errorf("%s: %+v", row.why, after.Stack)
		}
		row.undo()
		if v := give(); v != redirect {
			t.Errorf("after %s: verdict %d", row.why, v)
		}
	}
}

func TestWhatMayNotCutShort(t *testing.T) {
	t.Parallel()
	h := newHand(t, options())
	h.neighbours()
	h.lease(sub4, 1, 9)
	h.ShortCut(time.Hour)
	give := func(c conn) (verdict, mark uint32) { return h.up(c.up(packet.ACK, "x").Packet()) }
	c := connection(sub4, 5000, inter4, 25, 7)
	h.up(c.syn().Packet())
	if v, _ := give(c); v != goOn {
		t.Errorf("before the server's answer: %d", v)
	}
	h.down(c.synAck().Packet())
	if v, _ := give(c); v != redirect {
		t.Errorf("after it: %d", v)
	}
	if v, _ := h.up(c.syn().Packet()); v != goOn {
		t.Errorf("the SYN once more: %d", v)
	}
	_, _ = h.SetState(c.Key, c.isn, Handed)
	if v, mark := give(c); v != goOn || mark != 0x01000000 {
		t.Errorf("handed over: %d, mark %#x", v, mark)
	}
	_, _ = h.SetState(c.Key, c.isn, See)
	if v, _ := give(c); v != redirect {
		t.Errorf("and back: %d", v)
	}
	h.control.Epoch++
	if v, _ := give(c); v != goOn {
		t.Errorf("after the interfaces have changed: %d", v)
	}
	d := connection(sub4, 5001, inter4, 25, 8)
	h.answered(d)
	if v, _ := give(d); v != redirect {
		t.Errorf("a session that began after that: %d", v)
	}
	again := connection(sub4, 5001, inter4, 25, 9)
	h.up(again.syn().Packet())
	if v, _ := give(again); v != goOn {
		t.Errorf("a new session with the same ports, before its answer: %d", v)
	}
	e := connection(sub4, 5002, inter4, 25, 8)
	h.run(programProgSubscriberIp, "lan0", e.syn().Packet(), 0)
	h.down(e.synAck().Packet())
	if v, _ := give(e); v != goOn {
		t.Errorf("began without an Ethernet header: %d", v)
	}
}

// Without the short cut nothing of it is left in the program, so that a kernel takes it
// that has not got its helpers.
func TestAKernelWithoutTheHelpersTakesTheRest(t *testing.T) {
	t.Parallel()
	o, err := options().withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for _, helper := range []asm.BuiltinFunc{asm.FnRedirectNeigh, asm.FnKtimeGetCoarseNs, asm.FnSkbChangeTail} {
		patched := 0
		coll, uncut, err := load(o, func(o Options, cutsShort bool) (*ebpf.CollectionSpec, error) {
			spec, err := prepared(o, cutsShort)
			if err != nil {
				return nil, err
			}
			for _, p := range spec.Programs {
				for i := range p.Instructions {
					if in := &p.Instructions[i]; in.IsBuiltinCall() && in.Constant == int64(helper) {
						in.Constant = 100000 // no kernel has that one
						patched++
					}
				}
			}
			return spec, nil
		})
		if err != nil {
			t.Errorf("%v: %v", helper, err)
			continue
		}
		coll.Close()
		if uncut == nil || patched == 0 {
			t.Errorf("%v: the kernel took a helper that is not there (%d calls)", helper, patched)
		}
	}
}
