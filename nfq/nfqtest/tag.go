package nfqtest

import (
	"errors"
	"math/bits"
	"net"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// Tag makes an interface of the namespace it is called in send its frames with VLAN tags and take them off those that come, by two programs that the kernel needs no
// support for VLANs for. A tag is its protocol and its TCI, the outer comes first: 0x81000007 is VLAN 7 of 802.1Q, 0x88a80064 is VLAN 100 of 802.1ad.
func Tag(dev string, tags ...uint32) (undo func() error, err error) {
	const next = -1 // TCX_NEXT
	push, pop := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}, asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	for _, one := range slices.Backward(tags) {
		push = append(push, asm.Mov.Reg(asm.R1, asm.R6),
			asm.LoadImm(asm.R2, int64(bits.ReverseBytes16(uint16(one>>16))), asm.DWord), // __be16, on a little-endian machine
			asm.Mov.Imm(asm.R3, int32(one&0xffff)), asm.FnSkbVlanPush.Call())
		pop = append(pop, asm.Mov.Reg(asm.R1, asm.R6), asm.FnSkbVlanPop.Call())
	}
	push = append(push, asm.Mov.Imm(asm.R0, next), asm.Return())
	pop = append(pop, asm.Mov.Imm(asm.R0, next), asm.Return())
	in, err := net.InterfaceByName(dev)
	if err != nil {
		return nil, err
	}
	var links []link.Link
	undo = func() error {
		var errs []error
		for _, l := range links {
			errs = append(errs, l.Close())
		}
		links = nil
		return errors.Join(errs...)
	}
	for attach, what := range map[ebpf.AttachType]asm.Instructions{ebpf.AttachTCXEgress: push, ebpf.AttachTCXIngress: pop} {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: what, License: "GPL"})
		if err != nil {
			return nil, errors.Join(err, undo())
		}
		l, err := link.AttachTCX(link.TCXOptions{Interface: in.Index, Program: p, Attach: attach})
		p.Close()
		if err != nil {
			return nil, errors.Join(err, undo())
		}
		links = append(links, l)
	}
	return undo, nil
}
