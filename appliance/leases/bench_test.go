package leases

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// BenchmarkLoad reads a Kea file with so many leases, each with what a relay said, and tells what a lease takes in memory.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "k.csv")
			var text strings.Builder
			text.WriteString(keaHeader4)
			addr := netip.MustParseAddr("100.64.0.0")
			for i := range n {
				addr = addr.Next()
				fmt.Fprintf(&text, "%v,02:00:%02x:%02x:%02x:%02x,,600,%d,1,0,0,,0,{ \"ISC\": { \"relay-agent-info\": \"0x0108%016X\" } }\n",
					addr, i>>24&255, i>>16&255, i>>8&255, i&255, time.Now().Unix()+int64(3600+i%600), 0x6f6c743130303030+i)
			}
			if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(text.Len()))
			b.ReportAllocs()
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var w *Watcher
			for b.Loop() {
				w = New(Options{Path: path, Format: KeaCSV, Log: slog.New(slog.DiscardHandler), Now: time.Now})
				if w.look(time.Now()); w.Status().Leases != n {
					b.Fatalf("%+v", w.Status())
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/lease")
			runtime.KeepAlive(w)
		})
	}
}
