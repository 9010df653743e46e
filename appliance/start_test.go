package appliance

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/sources"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/store"
	"github.com/mailweir/mailweir/governor/subscriber"
)

const startPlans = `mode: enforce
identity: {unmapped_plan: unmapped}
plans:
  - {name: residential, preset: residential}
  - {name: unmapped, preset: unmapped}
`

// million is how many lines a large box has.
const million = 1_000_000

func lineName(n int) string { return fmt.Sprintf("S-%07d", n) }

// nthPrefix is an address of 100.64.0.0/10.
func nthPrefix(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64 + byte(n>>16), byte(n >> 8), byte(n)}), 32)
}

// writeLines writes a list of n lines, each with an address, a prefix, a circuit and a name.
func writeLines(path string, n int) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := bufio.NewWriterSize(f, 1<<20)
	fmt.Fprintln(b, "subscriber,plan,prefixes,circuits,name")
	for i := range n {
		fmt.Fprintf(b, "%s,residential,10.%d.%d.%d 2001:db8:%x:%x00::/56,acct-%07d,Line %07d\n", lineName(i), i>>16, i>>8&255, i&255, i>>8, i&255, i, i)
	}
	return b.Flush()
}

// saveWorld writes what a box keeps of n lines: a session of RADIUS for each, and budgets that are in use.
func saveWorld(dir string, table *subscriber.Table, p governor.Policy, n int) (err error) {
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	now := time.Now()
	g, d := governor.New(p, now), subscriber.NewDirectory(table)
	var changes []store.Change
	const part = 5000
	for i := range n {
		b := subscriber.Binding{Prefix: nthPrefix(i), Source: subscriber.RADIUS, Session: "192.0.2.9|" + strconv.Itoa(i), User: fmt.Sprintf("acct-%07d", i),
			Circuits: []string{fmt.Sprintf("olt1/3/7:%07d", i)}, Dated: true}
		if _, err := d.BindSession([]subscriber.Binding{b}, now, now); err != nil {
			return err
		}
		g.Open(governor.Attempt{Subscriber: lineName(i), Plan: "residential", Destination: netip.MustParsePrefix("192.0.2.0/24")}, now)
		g.Close(lineName(i), now)
		if i%part != part-1 && i != n-1 {
			continue
		}
		for _, one := range d.Pending(2 * part) {
			changes = append(changes, store.Change{Key: one.Key, Value: one.Value, Delete: one.Value == nil})
		}
		d = subscriber.NewDirectory(table) // a small one takes bindings more quickly
		if len(changes) < 20*part && i != n-1 {
			continue
		}
		if err := s.Shelf(directoryShelf).Apply(changes); err != nil {
			return err
		}
		changes = nil
	}
	w, err := s.Snapshot()
	if err != nil {
		return err
	}
	for from := 0; from >= 0; {
		var some []governor.Saved
		some, from = g.Snapshot(from, 2000, now)
		if err := w.Write(some, g.State(now, now)); err != nil {
			return err
		}
	}
	return errors.Join(w.Commit(), w.Abort())
}

// BenchmarkStart is what a box with a million lines does before it judges the first packet: it reads the list, and who
// has which address by RADIUS, and all budgets. What is left is to write the rules, which takes as long with one line.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	file, data := filepath.Join(dir, "mailweir.yaml"), filepath.Join(dir, "data")
	err := errors.Join(os.WriteFile(file, []byte(startPlans), 0o600), os.Mkdir(data, 0o700), writeLines(filepath.Join(dir, "subscribers.csv"), million))
	if err != nil {
		b.Fatal(err)
	}
	cfg, table, _, err := loadConfig(file)
	if err == nil {
		err = saveWorld(data, table, cfg.Policy(), million)
	}
	if err != nil {
		b.Fatal(err)
	}
	cfg, table = nil, nil
	var starts, follows []float64
	for b.Loop() {
		ballast, collect := collectLess()
		began := time.Now()
		cfg, err := config.Load(file)
		if err != nil {
			b.Fatal(err)
		}
		a := &Appliance{opt: Options{ConfigFile: file, DataDir: data, Now: time.Now, Log: slog.New(slog.DiscardHandler)}, now: time.Now,
			log: slog.New(slog.DiscardHandler), start: time.Now(), cases: newCasebook(), book: sources.New(), traffic: &traffic{}}
		if err := a.recall(cfg, readList(cfg)); err != nil {
			b.Fatal(err)
		}
		starts = append(starts, time.Since(began).Seconds())
		collect()
		runtime.KeepAlive(ballast)
		b.StopTimer()
		began = time.Now()
		a.who.Follow()
		follows = append(follows, time.Since(began).Seconds())
		if s := a.who.Stats(); s.Bindings != million || s.Unknown > 0 || a.gov.Count() != million {
			b.Fatalf("%+v, %d with budgets", s, a.gov.Count())
		}
		a.close()
		runtime.GC()
		b.StartTimer()
	}
	b.ReportMetric(slices.Max(starts), "start-s")
	b.ReportMetric(slices.Max(follows), "follow-s")
}
