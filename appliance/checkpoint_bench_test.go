package appliance

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/governor"
)

// BenchmarkCheckpoint makes checkpoints of 100,000 lines that have used something, into a journal on the disk, while one worker judges
// without a pause; beside what it costs it tells how long that worker's sessions took, and how long they take without a checkpoint.
func BenchmarkCheckpoint(b *testing.B) {
	const lines = 100_000
	j, _, err := journal.Open(journal.Options{Dir: filepath.Join(b.TempDir(), "journal"), Bounds: journal.Bounds{Sessions: 30 * 24 * time.Hour, Records: 180 * 24 * time.Hour, Bytes: 256 << 20}})
	if err != nil {
		b.Fatal(err)
	}
	end := background(context.Background(), j.Run)
	preset := governor.Plan{Name: "residential", HighestStage: governor.StageCut, Ladder: governor.DefaultLadder(), Budgets: []governor.Budget{
		{Of: governor.Sessions, Limit: 20, Per: time.Hour, Burst: 5}, {Of: governor.Sessions, Limit: 100, Per: 24 * time.Hour}, {Of: governor.TLSHandshakes, Limit: 20, Per: time.Hour, Burst: 5},
		{Of: governor.TLSFailures, Limit: 10, Per: time.Hour}, {Of: governor.ConcurrentSessions, Limit: 3}, {Of: governor.Destinations, Limit: 5, Per: time.Hour}, {Of: governor.Messages, Limit: 60, Per: time.Hour}}}
	g := governor.New(governor.Policy{Mode: governor.ModeEnforce, Plans: []governor.Plan{preset}}, time.Now())
	g.Record(j, time.Now())
	session := func(n int) time.Duration {
		sub, now := fmt.Sprintf("S-%06d", n%lines), time.Now()
		to := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(n), byte(n >> 8), 0}), 24)
		began := time.Now()
		d := g.Open(governor.Attempt{Subscriber: sub, Plan: "residential", Destination: to}, now)
		took := time.Since(began)
		if d.LetThrough() {
			g.In(d.Session).Spend(sub, "residential", governor.TLSHandshakes, 1, now)
			g.In(d.Session).SpendEstimated(sub, "residential", 1, now)
			g.In(d.Session).Close(sub, now)
		}
		return took
	}
	for n := range lines {
		session(n)
	}
	var stop atomic.Bool
	measure := func() func() []time.Duration {
		done := make(chan []time.Duration)
		stop.Store(false)
		go func() {
			var all []time.Duration
			for n := 0; !stop.Load(); n++ {
				all = append(all, session(n*7919))
			}
			slices.Sort(all)
			done <- all
		}()
		return func() []time.Duration { stop.Store(true); return <-done }
	}
	calm := measure()
	time.Sleep(time.Second) // as long as is measured
	without := calm()
	before := j.Status().Written
	busy := measure()
	n := 0
	for b.Loop() {
		g.Checkpoint(time.Now, j.Room)
		n++
	}
	with := busy()
	if err := end(); err != nil {
		b.Fatal(err)
	}
	written := j.Status().Written - before
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	if st := j.Status(); st.Err != nil || st.Inputs > 0 {
		b.Fatalf("%+v", st)
	}
	at := func(all []time.Duration, part float64) float64 {
		return float64(all[int(float64(len(all)-1)*part)].Nanoseconds()) / 1e3
	}
	b.ReportMetric(float64(written)/float64(n)/lines, "B/line") // with what the worker did meanwhile
	for _, part := range []float64{0.5, 0.99, 0.999} {
		b.ReportMetric(at(with, part), fmt.Sprintf("open-p%g-us", part*100))
		b.ReportMetric(at(without, part), fmt.Sprintf("open-p%g-us-without", part*100))
	}
}
