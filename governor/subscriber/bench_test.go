package subscriber

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// list is a file of n lines as an access network has them: an address, a delegated prefix, a circuit and a name each.
func list(n int) []byte {
	var b bytes.Buffer
	b.WriteString("subscriber,plan,prefixes,circuits,name,note\n")
	for i := range n {
		fmt.Fprintf(&b, "S-%07d,residential,10.%d.%d.%d 2001:db8:%x:%x00::/56,acct-%d,Name of %d,\n", i, i>>16, i>>8&255, i&255, i>>8, i&255, i, i)
	}
	return b.Bytes()
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkParse reads a million lines: bytes are what the table keeps for each line, peak is what the heap grew to.
func BenchmarkParse(b *testing.B) {
	const n = 1_000_000
	data := list(n)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	var t *Table
	var kept float64
	for b.Loop() {
		b.StopTimer()
		t = nil
		before := heap()
		b.StartTimer()
		var err error
		if t, err = Parse("x", bytes.NewReader(data), nil); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		kept = float64(heap()-before) / n
		b.StartTimer()
	}
	b.ReportMetric(kept, "B/line")
	start := time.Now()
	runtime.GC()
	b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/GC")
	runtime.KeepAlive(t)
}

// BenchmarkDirectoryLookup is what the packet path pays: a random one of a million lines, half of them with a binding of RADIUS.
func BenchmarkDirectoryLookup(b *testing.B) {
	const n = 1 << 20
	t, err := Parse("x", bytes.NewReader(list(n)), nil)
	if err != nil {
		b.Fatal(err)
	}
	d := NewDirectory(t)
	now := time.Unix(1_800_000_000, 0)
	before := heap()
	for i := range n / 2 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		if _, err := d.Bind(Binding{Prefix: p, Source: RADIUS, Session: fmt.Sprintf("10.0.0.1|%08x", i), User: fmt.Sprintf("acct-%d", i)}, now, now); err != nil {
			b.Fatal(err)
		}
	}
	d.Pending(n)
	each := (heap() - before) / (n / 2)
	plain := make(map[netip.Addr]int32, n)
	for i := range n {
		plain[netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})] = int32(i)
	}
	b.Run("a map of as many addresses, to compare", func(b *testing.B) {
		i := uint32(1)
		for b.Loop() {
			i = i*1664525 + 1013904223
			runtime.KeepAlive(plain[netip.AddrFrom4([4]byte{10, byte(i >> 24 & 15), byte(i >> 16), byte(i >> 8)})])
		}
	})
	b.Logf("%d bytes a binding", each)
	for _, c := range []struct {
		name string
		addr func(i uint32) netip.Addr
	}{
		{"list", func(i uint32) netip.Addr {
			return netip.AddrFrom4([4]byte{10, byte(i >> 16 & 15), byte(i >> 8), byte(i)})
		}},
		{"list IPv6", func(i uint32) netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 16 & 15), byte(i >> 8), byte(i), 15: 9})
		}},
		{"radius", func(i uint32) netip.Addr {
			return netip.AddrFrom4([4]byte{100, byte(i >> 16 & 7), byte(i >> 8), byte(i)})
		}},
		{"nobody", func(i uint32) netip.Addr { return netip.AddrFrom4([4]byte{192, byte(i >> 16), byte(i >> 8), byte(i)}) }},
		{"hot", func(i uint32) netip.Addr { return netip.AddrFrom4([4]byte{100, 0, 0, byte(i & 31)}) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			i := uint32(1)
			for b.Loop() {
				i = i*1664525 + 1013904223
				d.Lookup(c.addr(i >> 8))
			}
		})
	}
}

func BenchmarkBind(b *testing.B) {
	t, err := Parse("x", bytes.NewReader(list(100_000)), nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := NewDirectory(t)
			now := time.Unix(1_800_000_000, 0)
			bind := func(i, session int) {
				now = now.Add(time.Microsecond)
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
				if _, err := d.Bind(Binding{Prefix: p, Source: RADIUS, Session: fmt.Sprintf("10.0.0.1|%08x", session), User: fmt.Sprintf("acct-%d", session%n)}, now, now); err != nil {
					b.Fatal(err)
				}
			}
			for i := range n {
				bind(i, i)
			}
			b.ReportAllocs()
			i := n
			for b.Loop() {
				i++
				bind(i%n, i)
			}
		})
	}
}

// BenchmarkSetTable changes a list of a million lines for one with another plan on each, with a million bindings. The
// longest that a word of RADIUS waits meanwhile is told beside it.
func BenchmarkSetTable(b *testing.B) {
	const n = 1_000_000
	data := list(n)
	t, err := Parse("x", bytes.NewReader(data), nil)
	if err != nil {
		b.Fatal(err)
	}
	other, err := Parse("x", bytes.NewReader(bytes.ReplaceAll(data, []byte("residential"), []byte("office"))), nil)
	if err != nil {
		b.Fatal(err)
	}
	d := NewDirectory(nil)
	now := time.Now()
	address := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	saved := recall{d: d}
	for i := range n {
		c := &claim{prefix: address(i), source: RADIUS, name: fmt.Sprintf("acct-%d", i), id: fmt.Sprintf("S-%07d", i), row: -1,
			from: stamp(now), bound: stamp(now), seen: stamp(now), told: stamp(now)}
		saved.all = append(saved.all, savedClaim{c, fmt.Sprintf("10.0.0.1|%08x", i)})
	}
	saved.settle()
	d.Begin(t, now)
	d.Follow()
	var worst time.Duration
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			began := time.Now()
			_, err := d.BindSession([]Binding{{Prefix: address(n + i%1000), Source: RADIUS, Session: "10.0.0.1|0", User: "acct-0", Dated: true}}, began, began)
			if worst = max(worst, time.Since(began)); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	for b.Loop() {
		d.SetTable(other, time.Now())
		t, other = other, t
	}
	close(stop)
	<-stopped
	b.ReportMetric(float64(worst.Microseconds())/1000, "bind-worst-ms")
}
