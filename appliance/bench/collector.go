package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/mailweir/mailweir/appliance/bench/figures"
)

// collector says where the records of the measured sessions go.
type collector uint8

const (
	nowhere collector = iota // none is configured
	there                    // one takes all
	away                     // one is configured and nobody listens there: they go to the spool
)

// collects is the address of the collector.
func (r *rig) collects() netip.AddrPort { return netip.AddrPortFrom(r.nas.IPv4, 1514) }

// settings are what a box is told beside the others'.
func (c collector) settings(r *rig) string {
	if c == nowhere {
		return ""
	}
	return fmt.Sprintf("syslog: {targets: [{url: \"tcp://%s\"}]}\n", r.collects())
}

// collect takes records and throws them away, until the function it returns is called, which says how many bytes there were. One that is away takes none.
func (c collector) collect(r *rig) (end func() int64, err error) {
	if c != there {
		return func() int64 { return 0 }, nil
	}
	lis, err := r.nas.Namespace.Listen("tcp4", r.collects().String())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	context.AfterFunc(ctx, func() { _ = lis.Close() })
	var taken atomic.Int64
	go func() { // ends with the context
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			go take(ctx, conn, &taken)
		}
	}()
	return func() int64 { cancel(); return taken.Load() }, nil
}

func take(ctx context.Context, conn net.Conn, taken *atomic.Int64) {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	for b := make([]byte, 64<<10); ; {
		n, err := conn.Read(b)
		if taken.Add(int64(n)); err != nil {
			_ = conn.Close()
			return
		}
	}
}

// away compares connections while the collector is away with those while it is there, in pairs of one repetition.
func (l *latency) away(b *bytes.Buffer) {
	var with, without *series
	for i := range l.all {
		switch l.all[i].collector {
		case there:
			with = &l.all[i]
		case away:
			without = &l.all[i]
		}
	}
	if with == nil || without == nil {
		return
	}
	ratios := func(of func(sample) float64) figures.Spread {
		var all figures.Spread
		for i := range min(len(with.samples), len(without.samples)) {
			all = append(all, of(without.samples[i])/of(with.samples[i]))
		}
		return all
	}
	fmt.Fprintf(b, "\nConnections with the collector away take, of what they take with it there, in pairs of one repetition: p50 %s, p99 %s. By themselves p50 lay %.0f %% of its median apart, and p99 %.0f %%.\n",
		ratios(p50), ratios(p99), 100*with.of(p50).Apart(), 100*with.of(p99).Apart())
}
