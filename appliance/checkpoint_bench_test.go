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
	// As the preset residential, but so wide that the worker brings nobody above observe.
	wide := governor.Plan{Name: "residential", HighestStage: governor.StageCut, Ladder: governor.DefaultLadder(), Budgets: []governor.Budget{
		{Of: governor.Sessions, Limit: 20_000, Per: time.Hour}, {Of: governor.Sessions, Limit: 100_000, Per: 24 * time.Hour}, {Of: governor.TLSHandshakes, Limit: 20_000, Per: time.Hour},
		{Of: governor.TLSFailures, Limit: 10_000, Per: time.Hour}, {Of: governor.ConcurrentSessions, Limit: 30}, {Of: governor.Destinations, Limit: 50, Per: time.Hour}, {Of: governor.Messages, Limit: 60_000, Per: time.Hour}}}
	g := governor.New(governor.Policy{Mode: governor.ModeEnforce, Plans: []governor.Plan{wide}}, time.Now())
	g.Record(j, time.Now())
	session := func(n int) time.Duration {
		if n%256 == 0 {
			j.Room() // no box has so many sessions that the disk cannot follow
		}
		sub, now := fmt.Sprintf("S-%06d", n%lines), time.Now()
		to := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(n % 30), 0, 0}), 24)
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
	before := j.Status().Written
	alone := time.Now()
	g.Checkpoint(time.Now, j.Room)
	took := time.Since(alone)
	time.Sleep(time.Second) // until it is written
	written := j.Status().Written - before
	calm := measure()
	time.Sleep(time.Second) // as long as is measured
	without := calm()
	busy := measure()
	for b.Loop() {
		g.Checkpoint(time.Now, j.Room)
	}
	with := busy()
	if err := end(); err != nil {
		b.Fatal(err)
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	if st := j.Status(); st.Err != nil || st.Inputs > 0 {
		b.Fatalf("%+v", st)
	}
	at := func(all []time.Duration, part float64) float64 {
		return float64(all[int(float64(len(all)-1)*part)].Nanoseconds()) / 1e3
	}
	b.ReportMetric(float64(written)/lines, "B/line")
	b.ReportMetric(took.Seconds()*1e3, "alone-ms")
	for _, part := range []float64{0.5, 0.99, 0.999} {
		b.ReportMetric(at(with, part), fmt.Sprintf("open-p%g-us", part*100))
		b.ReportMetric(at(without, part), fmt.Sprintf("open-p%g-us-without", part*100))
	}
}
