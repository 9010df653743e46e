package lane

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/nfq/nfqtest"
	"github.com/mailweir/mailweir/nfq/packet"
)

// watchLinear notes into the map it returns how many bytes of the last packet at an
// interface of the box can be read directly.
func (r *rig) watchLinear(name string) *ebpf.Map {
	r.t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = m.Close() })
	const data, dataEnd = 76, 80 // in struct __sk_buff
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS,
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R6, asm.R1, dataEnd, asm.Word),
			asm.LoadMem(asm.R2, asm.R1, data, asm.Word),
			asm.Sub.Reg(asm.R6, asm.R2),
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, m.FD()),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.StoreMem(asm.R0, 0, asm.R6, asm.Word),
			asm.Mov.Imm(asm.R0, -1).WithSymbol("out"),
			asm.Return(),
		},
		License: "GPL",
	})
	if err != nil {
		r.t.Fatal(err)
	}
	defer p.Close()
	r.box.Must(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		tcx, err := link.AttachTCX(link.TCXOptions{Interface: l.Attrs().Index, Program: p, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return err
		}
		r.t.Cleanup(func() { _ = tcx.Close() })
		return nil
	})
	return m
}

// Network cards deliver packets of which hardly anything can be read directly, and joined
// ones of 64 KiB. Here a packet socket makes such.
func TestPacketsInPiecesAreReadAndCopiedWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	linear := r.watchLinear("lan0")
	l := r.attached("tcx")
	if err := l.SetSource(sub4, 1); err != nil {
		t.Fatal(err)
	}
	l.Grant(1, 1)
	l.Alive(time.Hour)
	mtu := func(name string) func() error {
		return func() error {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(l, 65535)
		}
	}
	r.box.Must(mtu("lan0"))
	r.sub.Must(mtu("sub0"))
	var socket int
	r.sub.Must(func() error {
		link, err := netlink.LinkByName("sub0")
		if err != nil {
			return err
		}
		if socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		t.Cleanup(func() { _ = unix.Close(socket) })
		if err := unix.SetsockoptInt(socket, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return err
		}
		return unix.Bind(socket, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: 8 /* IPv4, network order */})
	})
	send := func(ip []byte) {
		t.Helper()
		header := make([]byte, 10) // struct virtio_net_hdr
		header[2] = 14             // what shall be linear
		if _, err := unix.Write(socket, append(header, ethernet(ip)...)); err != nil {
			t.Fatal(err)
		}
	}
	var got []Copy
	read := func() {
		l.Read(func(c *Copy) {
			k := *c
			k.IP = bytes.Clone(c.IP)
			got = append(got, k)
		})
	}
	c := connection(sub4, 1000, inter4, 25, 1)
	send(c.syn().Packet())
	nfqtest.Eventually(t, "the SYN is copied", func() bool { read(); return len(got) == 1 })
	for _, length := range []int{4200, 4608, 4609, 9000, 16384, 16385, 40000, 65500} {
		payload := make([]byte, length-40)
		for i := range payload {
			payload[i] = byte(rand.Int())
		}
		ip := c.up(packet.ACK, string(payload)).Packet()
		got = nil
		send(ip)
		nfqtest.Eventually(t, fmt.Sprintf("%d bytes are copied", length), func() bool { read(); return len(got) == 1 })
		if !bytes.Equal(got[0].IP, ip) || got[0].Length != length {
			t.Errorf("%d bytes: the copy has %d of %d and is not the same", length, len(got[0].IP), got[0].Length)
		}
		var direct uint32
		if err := linear.Lookup(uint32(0), &direct); err != nil || direct >= 54 {
			t.Errorf("%d bytes: %d of them are linear, this test needs fewer (%v)", length, direct, err)
		}
	}
}
