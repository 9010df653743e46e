package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mailweir/mailweir/governor"
	"golang.org/x/sys/unix"
)

const million = 1_000_000

// residential is the plan of that name with all its windows.
var residential = governor.Plan{Name: "residential", HighestStage: governor.StageCut, Budgets: []governor.Budget{
	{Of: governor.Sessions, Limit: 20, Per: time.Hour, Burst: 5},
	{Of: governor.Sessions, Limit: 60, Per: 24 * time.Hour, Burst: 20},
	{Of: governor.TLSHandshakes, Limit: 20, Per: time.Hour, Burst: 5},
	{Of: governor.TLSFailures, Limit: 10, Per: time.Hour, Burst: 5},
	{Of: governor.ConcurrentSessions, Limit: 3, Burst: 3},
	{Of: governor.Destinations, Limit: 15, Per: time.Hour, Burst: 10},
	{Of: governor.Messages, Limit: 100, Per: 24 * time.Hour, Burst: 50},
}}

// living is one of many subscribers whose budgets are all in use, each with two destinations.
func living(n int, clock time.Duration, rnd *rand.Rand) governor.Saved {
	s := governor.Saved{Subscriber: fmt.Sprintf("S-%07d", n), Plan: residential.Name, Mode: governor.ModeEnforce}
	for i, b := range residential.Budgets {
		u := governor.SavedBudget{Budget: b}
		if b.Per > 0 {
			u.WholeAt = clock + time.Duration(rnd.Int64N(int64(b.Per)))
		}
		s.Budgets = append(s.Budgets, u)
		if b.Of == governor.Destinations {
			for range 2 {
				s.Destinations = append(s.Destinations, governor.SavedDestination{Budget: i, Network: governor.Network{Bits: rnd.Uint32()}, At: clock - time.Duration(rnd.Int64N(int64(b.Per)))})
			}
		}
	}
	return s
}

type timings []time.Duration

func (t timings) report(b *testing.B, what string) {
	slices.Sort(t)
	for _, q := range []struct {
		name string
		at   int
	}{{"median", len(t) / 2}, {"p99", len(t) * 99 / 100}, {"worst", len(t) - 1}} {
		b.ReportMetric(float64(t[q.at].Microseconds())/1000, what+"-"+q.name+"-ms")
	}
}

// probe is what the disk itself takes, with all who use it besides: 4 KiB appended and waited for.
func probe(b *testing.B, dir string) (t timings) {
	f, err := os.Create(filepath.Join(dir, "probe"))
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 4096)
	for n := range 500 {
		t = append(t, timed(b, func() error {
			_, err := f.WriteAt(data, int64(n*len(data)))
			return errors.Join(err, osFile{f}.Sync())
		}))
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return t
}

func timed(t *testing.B, do func() error) time.Duration {
	t.Helper()
	from := time.Now()
	if err := do(); err != nil {
		t.Fatal(err)
	}
	return time.Since(from)
}

// One operation is all from one snapshot of a million subscribers to the next: 10,000 random ones saved again and
// again, in batches of 2,000 as the box saves them, until the log has outgrown the snapshot and the next one is whole,
// with saving going on beside it. The ratio is all that was written to what the saved records have in bytes. The times
// are those of one Save and of one piece of a snapshot, and of the disk by itself just before and after.
func BenchmarkSave10kOf1M(b *testing.B) {
	s, dir := fresh(b)
	disk := probe(b, dir)
	rnd := rand.New(rand.NewPCG(1, 2))
	clock := 1000 * time.Hour
	var writes, saves, commits timings
	snapshot := func(then time.Duration) {
		var w *Snapshot
		begin := timed(b, func() (err error) { w, err = s.Snapshot(); return err })
		writes = append(writes, begin)
		rnd, part := rand.New(rand.NewPCG(3, 4)), make([]governor.Saved, 1000)
		for from := 0; from < million; from += len(part) {
			for i := range part {
				part[i] = living(from+i, then, rnd)
			}
			writes = append(writes, timed(b, func() error { return w.Write(part, at(then)) }))
		}
		commits = append(commits, timed(b, w.Commit))
	}
	snapshot(clock)
	from, records, encoded, snapshots := s.WrittenBytes(), 0, 0, 0
	var buf []byte
	b.ResetTimer()
	for range b.N {
		var wait sync.WaitGroup
		for over := make(chan struct{}); ; {
			for range 5 {
				clock += 200 * time.Millisecond
				some := make([]governor.Saved, 0, 2000)
				for range 2000 {
					some = append(some, living(rnd.IntN(million), clock, rnd))
					buf = appendRecord(buf[:0], &some[len(some)-1], 0, clock)
					encoded += len(buf)
				}
				records += len(some)
				saves = append(saves, timed(b, func() error { return s.Save(some, at(clock)) }))
			}
			if s.SnapshotDue() {
				snapshots++
				then := clock
				wait.Go(func() { snapshot(then); close(over) })
			}
			select {
			case <-over:
			default:
				continue
			}
			break
		}
		wait.Wait()
	}
	b.StopTimer()
	b.ReportMetric(float64(s.WrittenBytes()-from)/float64(encoded), "written/encoded")
	b.ReportMetric(float64(encoded)/float64(records), "B/record")
	b.ReportMetric(float64(s.budgets.snapshot)/1e6, "snapshot-MB")
	disk = append(disk, probe(b, dir)...)
	disk.report(b, "disk")
	saves.report(b, "save")
	writes.report(b, "chunk")
	b.ReportMetric(float64(slices.Max(commits).Microseconds())/1000, "commit-worst-ms") // most of it deletes, a piece at a time
}

// What a box with a million subscribers waits for at its start, when the log is as long as it gets: with the files in
// the page cache, and without.
func BenchmarkStart1M(b *testing.B) {
	s, dir := fresh(b)
	rnd := rand.New(rand.NewPCG(1, 2))
	clock := 1000 * time.Hour
	all := make([]governor.Saved, million)
	for n := range all {
		all[n] = living(n, clock, rnd)
	}
	w, err := s.Snapshot()
	if err == nil {
		err = w.Write(all, at(clock))
	}
	if err == nil {
		err = w.Commit()
	}
	for err == nil && !s.SnapshotDue() {
		var some []governor.Saved
		for range 2000 {
			some = append(some, all[rnd.IntN(million)])
		}
		err = s.Save(some, at(clock))
	}
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	all = nil
	p := governor.Policy{Mode: governor.ModeEnforce, Plans: []governor.Plan{residential}}
	for _, cold := range []bool{false, true} {
		b.Run(fmt.Sprintf("cold=%v", cold), func(b *testing.B) {
			var opened, restored time.Duration
			for range b.N {
				if cold {
					b.StopTimer()
					forget(b, dir)
					b.StartTimer()
				}
				var s *Store
				opened += timed(b, func() (err error) { s, err = Open(dir, Options{}); return err })
				g := governor.New(p, wall)
				restored += timed(b, func() error {
					st, _ := s.State()
					_, err := g.Restore(st, func(each func(*governor.Saved)) error { _, err := s.Load(each); return err }, st.Wall, wall)
					return err
				})
				if g.Count() != million {
					b.Fatalf("%d came back", g.Count())
				}
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(opened.Seconds()/float64(b.N), "open-s")
			b.ReportMetric(restored.Seconds()/float64(b.N), "load+restore-s")
			b.StopTimer()
			b.ReportMetric(timed(b, func() error {
				s, err := Open(dir, Options{})
				if err == nil {
					_, err = s.Load(func(*governor.Saved) {})
				}
				if err == nil {
					err = s.Close()
				}
				return err
			}).Seconds(), "open+load-s")
		})
	}
}

// forget takes the files in dir out of the page cache.
func forget(b *testing.B, dir string) {
	b.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "budgets", "*"))
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range names {
		fd, err := unix.Open(name, unix.O_RDONLY, 0)
		if err == nil {
			err = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
		}
		if err == nil {
			err = unix.Close(fd)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
