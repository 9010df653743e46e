package lane

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Options says what the lane governs and how large it may become. Where
// zero stands for a default, so does nothing else.
type Options struct {
	Ports   []uint16 // governed TCP ports of the servers
	Limited []uint16 // those of Ports at which somebody can be cut; the others are counted only

	Mask      uint32 // bits of the packet mark that are ours
	Fast, See uint32 // their values for a packet that is let through, and for one that the queue must see

	LineBits int // of an IPv6 address: what of it tells one line from another, 1 to 64; 0: 64

	Routed   bool // the box routes: a SYN whose route leads to a subscriber asks. A bridge: what has a VLAN tag is left alone
	FailOpen bool // what is too much for user space passes instead of being dropped

	// Memory of the kernel in bytes is about 120 for a flow (taken at once), 90 for a known
	// or cut source (as they come), 8 for a lease, and 100 for a metered source (at once).
	Flows     int // 0: 131072 (16 MB)
	Sources   int // 0: 131072 (12 MB when full)
	Leases    int // 0: 65536 (0.5 MB)
	Blocked   int // 0: 16384 (1.5 MB when full)
	Metered   int // 0: 65536 (6.5 MB)
	RingBytes int // 0: 8 MiB; a power of two, at least 256 KiB

	// SYNs a second, and at once. Floods are metered by line, Total is for all of them
	// together on their way to the queue, Answer is for a source that is cut. A line with more
	// than Calm gives way to the others when half of Total's burst is used up.
	FloodRate, FloodBurst   int // 0: 50 and 200
	CalmRate, CalmBurst     int // 0: 5 and 50
	TotalRate, TotalBurst   int // 0: 5000 and 5000
	AnswerRate, AnswerBurst int // 0: 20 and 40

	Attach string // "tcx", "clsact" or "": the first that works
	Log    *slog.Logger
}

const minRing = 1 << 18 // three packets of 64 KiB

func (o Options) withDefaults() (Options, error) {
	for _, n := range []struct {
		name  string
		value *int
		zero  int
		most  int
	}{
		{"flows", &o.Flows, 1 << 17, 1 << 24},
		{"sources", &o.Sources, 1 << 17, 1 << 24},
		{"leases", &o.Leases, 1 << 16, 1 << 24},
		{"blocked sources", &o.Blocked, 1 << 14, 1 << 24},
		{"metered sources", &o.Metered, 1 << 16, 1 << 24},
		{"bytes of the ring", &o.RingBytes, 8 << 20, 1 << 30},
		{"flood rate", &o.FloodRate, 50, 1e9},
		{"flood burst", &o.FloodBurst, 200, 1e9},
		{"calm rate", &o.CalmRate, 5, 1e9},
		{"calm burst", &o.CalmBurst, 50, 1e9},
		{"total rate", &o.TotalRate, 5000, 1e9},
		{"total burst", &o.TotalBurst, 5000, 1e9},
		{"answer rate", &o.AnswerRate, 20, 1e9},
		{"answer burst", &o.AnswerBurst, 40, 1e9},
	} {
		if *n.value == 0 {
			*n.value = n.zero
		}
		if *n.value < 0 || *n.value > n.most {
			return o, fmt.Errorf("%s %d: 1 to %d", n.name, *n.value, n.most)
		}
	}
	if o.RingBytes < minRing || o.RingBytes&(o.RingBytes-1) != 0 {
		return o, fmt.Errorf("bytes of the ring %d: a power of two, %d at least", o.RingBytes, minRing)
	}
	if o.LineBits == 0 {
		o.LineBits = 64
	}
	if o.LineBits < 1 || o.LineBits > 64 {
		return o, fmt.Errorf("bits of a line's IPv6 addresses %d: 1 to 64", o.LineBits)
	}
	o.Log = discard(o.Log)
	return o, o.validate()
}

func (o Options) validate() error {
	if len(o.Ports) == 0 {
		return errors.New("no governed port")
	}
	for _, port := range o.Ports {
		if port == 0 {
			return errors.New("governed port 0: 1 to 65535")
		}
	}
	for _, port := range o.Limited {
		if !slices.Contains(o.Ports, port) {
			return fmt.Errorf("limited port %d is not a governed one", port)
		}
	}
	switch {
	case o.Mask == 0:
		return errors.New("no bit of the mark is ours")
	case o.Fast&^o.Mask != 0 || o.See&^o.Mask != 0:
		return fmt.Errorf("marks %#x and %#x: bits outside mask %#x", o.Fast, o.See, o.Mask)
	case o.Fast == 0 || o.See == 0 || o.Fast == o.See:
		return fmt.Errorf("marks %#x and %#x: neither zero nor the same", o.Fast, o.See)
	}
	switch o.Attach {
	case "", "tcx", "clsact":
		return nil
	}
	return fmt.Errorf("attach %q: tcx, clsact or empty", o.Attach)
}

// meter is what one SYN costs in ns, and how much may have been spent in advance.
func meter(rate, burst int) (step, most uint64) {
	step = max(uint64(time.Second)/uint64(rate), 1)
	return step, step * uint64(burst)
}
