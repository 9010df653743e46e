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
	"github.com/mailweir/mailweir/appliance/records"
	"github.com/mailweir/mailweir/governor"
)

// BenchmarkWhatIf tries two policies on the journal of a week with a million sessions of 5000 lines, of which each hundredth is
// a bot, as a box writes it: with a handshake and a message for each session that ran, a look each second, and a record of each session, decision and
// change of stage. Then it has all of it decided again as it was, and held against the records.
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
	chain, err := records.OpenChain(filepath.Join(dir, "records.state"), "bench")
	if err != nil {
		b.Fatal(err)
	}
	defer chain.Close()
	chain.SetPolicy(cfg.Mode, cfg.Policy().Hash)
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
	said := 0
	say := func(e records.Entry) {
		if said++; said%4096 == 0 { // before there are too many that wait
			written()
		}
		j.Add(chain.Append(e, e.Time))
	}
	decided := func(d governor.Decision) {
		if d.Session > 0 && d.Notable() || d.Session == 0 && holdsReply(d) {
			say(records.Decision(records.DecisionFacts{Decision: d}))
		}
		if d.Change != nil {
			say(records.Stage(*d.Change))
		}
	}
	ticked := now
	for n := range sessions {
		now = now.Add(time.Duration(rnd.Int64N(int64(2 * 7 * 24 * time.Hour / sessions))))
		for now.Sub(ticked) >= time.Second {
			ticked = ticked.Add(time.Second)
			for _, c := range g.Tick(ticked) {
				say(records.Stage(c))
			}
		}
		line := rnd.IntN(lines)
		if n%2 == 0 {
			line = rnd.IntN(lines / 100) // the bots
		}
		sub := fmt.Sprintf("S-%05d", line)
		to := netip.AddrFrom4([4]byte{198, 51, byte(rnd.IntN(256)), 0})
		d := g.Open(governor.Attempt{Subscriber: sub, Plan: "residential", Destination: netip.PrefixFrom(to, 24)}, now)
		decided(d)
		if d.LetThrough() {
			s := g.In(d.Session)
			decided(s.Spend(sub, "residential", governor.TLSHandshakes, 1, now))
			decided(s.SpendEstimated(sub, "residential", 1, now))
			s.Close(sub, now)
			say(records.Session(records.SessionFacts{Subscriber: sub, Plan: "residential", Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 64, byte(line >> 8), byte(line)}), 40000),
				Dst: netip.AddrPortFrom(to.Next(), 25), Start: now, End: now, TLS: "starttls", Handshake: "complete", MessagesLo: 1, MessagesHi: 1, EndReason: "fin"}))
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
	b.StopTimer()
	cpu, wall := processorTime(b)-used, b.Elapsed()
	began := time.Now()
	used = processorTime(b)
	again, err := WhatIf(context.Background(), WhatIfOptions{Journal: filepath.Join(dir, "journal")})
	if err != nil {
		b.Fatal(err)
	}
	if rec := again.Recorded; rec.Same < sessions/10 || rec.OnlyThen+rec.OnlyNow+rec.CutOff+rec.Unchecked > 0 {
		b.Fatalf("%+v", rec)
	}
	b.ReportMetric(time.Since(began).Seconds(), "again-s")
	b.ReportMetric((processorTime(b) - used).Seconds(), "again-cpu-s")
	b.ReportMetric(float64(again.Recorded.Same)/sessions, "again-records/session")
	b.ReportMetric(cpu.Seconds()/float64(b.N), "whatif-cpu-s") // which other programs do not prolong
	b.ReportMetric(wall.Seconds()/float64(b.N), "whatif-s")
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
