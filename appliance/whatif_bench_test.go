package appliance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/governor"
)

// BenchmarkWhatIf tries two policies on the journal of a week with a million sessions of 5000 lines, of which each hundredth is
// a bot, as the governor of a box wrote it: with a handshake and a message for each session that ran, and a look each second.
func BenchmarkWhatIf(b *testing.B) {
	const sessions, lines = 1_000_000, 5000
	dir := b.TempDir()
	const head = "mode: enforce\nidentity: {subscribers_file: \"\", unmapped_plan: residential}\nplans:\n"
	for name, text := range map[string]string{
		"current.yaml":   head + "  - {name: residential, preset: residential}\n",
		"candidate.yaml": head + "  - {name: residential, preset: residential, highest_stage: defer}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "current.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	j, _, err := journal.Open(journal.Options{Dir: filepath.Join(dir, "journal"), Bounds: journal.Bounds{Sessions: 30 * 24 * time.Hour, Records: 180 * 24 * time.Hour, Bytes: 4 << 30}})
	if err != nil {
		b.Fatal(err)
	}
	written := func() {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		if err := j.Run(done); err != nil {
			b.Fatal(err)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	g := governor.New(cfg.Policy(), now)
	g.Record(j, now)
	ticked := now
	for n := range sessions {
		now = now.Add(time.Duration(rnd.Int64N(int64(2 * 7 * 24 * time.Hour / sessions))))
		for now.Sub(ticked) >= time.Second {
			ticked = ticked.Add(time.Second)
			g.Tick(ticked)
		}
		line := rnd.IntN(lines)
		if n%2 == 0 {
			line = rnd.IntN(lines / 100) // the bots
		}
		sub := fmt.Sprintf("S-%05d", line)
		d := g.Open(governor.Attempt{Subscriber: sub, Plan: "residential", Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(rnd.IntN(256)), 0}), 24)}, now)
		if d.LetThrough() {
			s := g.In(d.Session)
			s.Spend(sub, "residential", governor.TLSHandshakes, 1, now)
			s.SpendEstimated(sub, "residential", 1, now)
			s.Close(sub, now)
		}
		if n%4096 == 0 {
			written()
		}
	}
	written()
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	if st := j.Status(); st.Inputs > 0 || st.Err != nil {
		b.Fatalf("%+v", st)
	}
	bytes := j.Status().Bytes
	b.ResetTimer()
	used := processorTime(b)
	var r *WhatIfReport
	for b.Loop() {
		if r, err = WhatIf(context.Background(), WhatIfOptions{Journal: filepath.Join(dir, "journal"), ConfigFile: filepath.Join(dir, "candidate.yaml"), Against: filepath.Join(dir, "current.yaml")}); err != nil {
			b.Fatal(err)
		}
	}
	if r.Sessions != sessions || r.Missing > 0 || r.Against.Decisions.Cut == 0 {
		b.Fatalf("%+v", r)
	}
	b.ReportMetric((processorTime(b)-used).Seconds()/float64(b.N), "whatif-cpu-s") // which other programs do not prolong
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "whatif-s")
	b.ReportMetric(float64(bytes)/sessions, "B/session")
	b.ReportMetric(float64(r.Inputs)/sessions, "inputs/session")
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
