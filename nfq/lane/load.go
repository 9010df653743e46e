package lane

import (
	"errors"
	"fmt"
	mathbits "math/bits"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// maxInterfaces bounds those on the subscribers' side.
const maxInterfaces = 1024

// prepared is the program with its sizes and constants in place.
func prepared(o Options, cutsShort bool) (*ebpf.CollectionSpec, error) {
	spec, err := loadProgram()
	if err != nil {
		return nil, fmt.Errorf("read the embedded program: %w", err)
	}
	for name, n := range map[string]int{
		programMapSubscribers: maxInterfaces,
		programMapFlows:       o.Flows,
		programMapSources:     o.Sources,
		programMapLeases:      o.Leases,
		programMapBlocked:     o.Blocked,
		programMapMeters:      o.Metered,
		programMapFloods:      min(o.Metered, 4096),
		programMapLostEnds:    min(o.Flows, 1<<14),
		programMapWaited:      min(o.Flows, 1<<14),
		programMapCopies:      o.RingBytes,
	} {
		spec.Maps[name].MaxEntries = uint32(n)
	}
	floodStep, floodMost := meter(o.FloodRate, o.FloodBurst)
	calmStep, calmMost := meter(o.CalmRate, o.CalmBurst)
	totalStep, totalMost := meter(o.TotalRate, o.TotalBurst)
	answerStep, answerMost := meter(o.AnswerRate, o.AnswerBurst)
	for name, v := range map[string]any{
		programVarMarkMask:   o.Mask,
		programVarMarkFast:   o.Fast,
		programVarMarkSee:    o.See,
		programVarRouted:     o.Routed,
		programVarFailOpen:   o.FailOpen,
		programVarCutsShort:  cutsShort,
		programVarFloodStep:  floodStep,
		programVarFloodMost:  floodMost,
		programVarCalmStep:   calmStep,
		programVarCalmMost:   calmMost,
		programVarLineMask:   lineMask(o.LineBits),
		programVarTotalStep:  totalStep,
		programVarTotalMost:  totalMost,
		programVarAnswerStep: answerStep,
		programVarAnswerMost: answerMost,
	} {
		if err := spec.Variables[name].Set(v); err != nil {
			return nil, fmt.Errorf("set %s in the embedded program: %w", name, err)
		}
	}
	return spec, nil
}

// lineMask is the first bits of the first half of an IPv6 address, as the program sees them in
// memory: in network order.
func lineMask(bits int) uint64 { return mathbits.ReverseBytes64(^uint64(0) << (64 - bits)) }

// load brings the program into the kernel and tells it what does not change. uncut is why
// it cannot cut short, if it was to.
func load(o Options, prepare func(Options, bool) (*ebpf.CollectionSpec, error)) (coll *ebpf.Collection, uncut, err error) {
	as := func(cutsShort bool) (*ebpf.Collection, error) {
		spec, err := prepare(o, cutsShort)
		if err != nil {
			return nil, err
		}
		return ebpf.NewCollection(spec)
	}
	coll, err = as(o.Routed)
	if err != nil && o.Routed {
		uncut = err
		coll, err = as(false)
	}
	if err != nil {
		return nil, nil, lacking(err)
	}
	if err := fill(coll, o); err != nil {
		coll.Close()
		return nil, nil, err
	}
	return coll, uncut, nil
}

// tellSides says behind which interfaces subscribers are.
func tellSides(coll *ebpf.Collection, before, now []device) error {
	m := coll.Maps[programMapSubscribers]
	for _, d := range before {
		if err := m.Delete(uint32(d.index)); d.subscriber && err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget interface %s: %w", d.name, err)
		}
	}
	for _, d := range now {
		if !d.subscriber {
			continue
		}
		if err := m.Put(uint32(d.index), uint32(1)); err != nil {
			return fmt.Errorf("write interface %s: %w", d.name, err)
		}
	}
	return nil
}

func fill(coll *ebpf.Collection, o Options) error {
	words := make(map[uint32]programPortBits)
	for _, port := range o.Ports {
		w := words[uint32(port/32)]
		w.Governed |= 1 << (port % 32)
		words[uint32(port/32)] = w
	}
	for _, port := range o.Limited {
		w := words[uint32(port/32)]
		w.Limited |= 1 << (port % 32)
		words[uint32(port/32)] = w
	}
	for word, bits := range words {
		if err := coll.Maps[programMapPorts].Put(word, bits); err != nil {
			return fmt.Errorf("write governed ports: %w", err)
		}
	}
	return nil
}

// lacking says what the kernel lacks, if that is why the program was not taken.
func lacking(err error) error {
	if errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("this kernel has no bpf system call (CONFIG_BPF_SYSCALL): %w", err)
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("not permitted to load eBPF programs (CAP_BPF and CAP_NET_ADMIN are needed): %w", err)
	}
	if errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("not enough memory for the configured sizes: %w", err)
	}
	for _, probe := range []struct {
		what string
		try  func() error
	}{
		{"classifier programs (CONFIG_NET_CLS_ACT or CONFIG_NET_CLS_BPF)", func() error { return features.HaveProgramType(ebpf.SchedCLS) }},
		{"the eBPF ring buffer (Linux 5.8)", func() error { return features.HaveMapType(ebpf.RingBuf) }},
		{"32-bit jumps in eBPF (Linux 5.1)", features.HaveV3ISA},
		{"route lookups from eBPF (Linux 4.18)", func() error { return features.HaveProgramHelper(ebpf.SchedCLS, asm.FnFibLookup) }},
		{"atomic exchanges in eBPF (Linux 5.12)", haveExchange},
	} {
		if errors.Is(probe.try(), ebpf.ErrNotSupported) {
			return fmt.Errorf("this kernel lacks %s: %w", probe.what, err)
		}
	}
	return fmt.Errorf("load the eBPF program: %w", err)
}

// haveExchange tries the youngest thing that the program needs.
func haveExchange() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS,
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R0, 0),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreMem(asm.RFP, -8, asm.R0, asm.DWord),
			asm.CmpXchg.Mem(asm.RFP, asm.R1, asm.DWord, -8),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
		License: "GPL",
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ebpf.ErrNotSupported, err)
	}
	return p.Close()
}
