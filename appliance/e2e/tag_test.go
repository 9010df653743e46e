package e2e

import (
	"net"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/mailweir/mailweir/appliance/lab"
)

// tag makes an interface send and take its frames with a VLAN tag, by two programs that the
// kernel needs no support for VLANs for.
func tag(t *testing.T, at *lab.Namespace, dev string) (undo func()) {
	t.Helper()
	const next = -1 // TCX_NEXT
	push := asm.Instructions{
		asm.LoadImm(asm.R2, int64(uint16(0x8100)>>8|uint16(0x8100&0xff)<<8), asm.DWord), // __be16, on a little-endian machine
		asm.Mov.Imm(asm.R3, 7),
		asm.FnSkbVlanPush.Call(), asm.Mov.Imm(asm.R0, next), asm.Return(),
	}
	pop := asm.Instructions{asm.FnSkbVlanPop.Call(), asm.Mov.Imm(asm.R0, next), asm.Return()}
	var links []link.Link
	err := at.Do(func() error {
		in, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		for attach, what := range map[ebpf.AttachType]asm.Instructions{ebpf.AttachTCXEgress: push, ebpf.AttachTCXIngress: pop} {
			p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: what, License: "GPL"})
			if err != nil {
				return err
			}
			defer p.Close()
			l, err := link.AttachTCX(link.TCXOptions{Interface: in.Index, Program: p, Attach: attach})
			if err != nil {
				return err
			}
			links = append(links, l)
		}
		return nil
	})
	undo = func() {
		for _, l := range links {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
		links = nil
	}
	t.Cleanup(undo)
	if err != nil {
		t.Fatal(err)
	}
	return undo
}
