package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mailweir/mailweir/appliance/bench/figures"
)

// nameBytes is what a subscriber's name takes in governor's table: every record has room for a short one.
const nameBytes = 24

// measures are the figures of Go's benchmarks by "BenchmarkName unit", one for each repetition.
type measures map[string]figures.Spread

// goal is one line of the report: what was measured, with what it should be.
type goal struct {
	what    string
	from    string  // in measures
	less    float64 // to be taken off: what does not count
	unit    string
	most    float64 // what it should be at most; told is true where it need not be anything
	told    bool    // with most: the goal is judged by the row above, and this one says how it would be by another comparison
	roughly bool
	always  bool // of a worst case: judged by the worst repetition, and no other
}

var governorGoals = []goal{
	{what: "memory of a subscriber, seven budgets, without its name", from: "BenchmarkMemory B/subscriber", less: nameBytes, unit: "bytes", most: 160},
	{what: "whole Open over seven budgets, a random one of a million / plain lookup in a Go map, waited for", from: "BenchmarkTable random/map-waited-for", unit: "x", most: 1.5},
	{what: "the same / lookups of which the processor makes several at once", from: "BenchmarkTable random/map", unit: "x", most: 1.5, told: true},
	{what: "whole Open, a hot one / plain lookup of a random one, several at once", from: "BenchmarkTable hot/map", unit: "x", most: 0.5},
	{what: "plain lookup of a random one of a million names in a Go map, waited for", from: "BenchmarkTable ns/map-lookup-waited-for", unit: "ns", told: true},
	{what: "the same, several at once", from: "BenchmarkTable ns/map-lookup", unit: "ns", told: true},
	{what: "whole Open, a random one of a million", from: "BenchmarkTable ns/random-open", unit: "ns", told: true},
	{what: "whole Open, a hot one", from: "BenchmarkTable ns/hot-open", unit: "ns", told: true},
	{what: "allocations of Open and Close", from: "BenchmarkOpen allocs/op", unit: "", most: 0},
	{what: "allocations of a session: Open, handshake, message, Close", from: "BenchmarkSession/1048576 allocs/op", unit: "", most: 0},
}

var storeGoals = []goal{
	{what: "bytes written / bytes of the records, saving 10,000 random ones of a million a second, snapshots included", from: "BenchmarkSave10kOf1M written/encoded", unit: "x", most: 4},
	{what: "one save of 2,000, worst", from: "BenchmarkSave10kOf1M save-worst-ms", unit: "ms", most: 25, always: true},
	{what: "one save of 2,000, median", from: "BenchmarkSave10kOf1M save-median-ms", unit: "ms", told: true},
	{what: "one piece of a snapshot, worst", from: "BenchmarkSave10kOf1M chunk-worst-ms", unit: "ms", most: 25, always: true},
	{what: "the disk by itself, 4 KiB written and waited for, worst", from: "BenchmarkSave10kOf1M disk-worst-ms", unit: "ms", told: true},
	{what: "load and restore a million, files in memory", from: "BenchmarkStart1M/cold=false load+restore-s", unit: "s", most: 3, roughly: true},
	{what: "load and restore a million, files on disk", from: "BenchmarkStart1M/cold=true load+restore-s", unit: "s", most: 3, roughly: true},
}

// recordsGoals are the box's own share: rsyslog, which receives the records, is another process.
var recordsGoals = []goal{
	{what: "processor time of 1000 records a second, RELP, of a core", from: "BenchmarkRecords/relp core-%", unit: "%", most: 10},
	{what: "the same, TLS", from: "BenchmarkRecords/tls core-%", unit: "%", most: 10},
	{what: "bytes written to spool and journal for a record, RELP", from: "BenchmarkRecords/relp disk-B/record", unit: "bytes", told: true},
	{what: "the same, TLS", from: "BenchmarkRecords/tls disk-B/record", unit: "bytes", told: true},
	{what: "records a second", from: "BenchmarkRecords/relp records/s", unit: "", told: true},
}

var startGoals = []goal{
	{what: "start with a list of a million, a session of RADIUS for each, and all their budgets, until the rules are written", from: "BenchmarkStart start-s", unit: "s", most: 3, roughly: true},
	{what: "what is done of it after packets are judged", from: "BenchmarkStart follow-s", unit: "s", told: true},
}

var whatIfGoals = []goal{
	{what: "what-if over a week of a million sessions, two policies", from: "BenchmarkWhatIf whatif-s", unit: "s", most: 10, roughly: true},
	{what: "the same, of a processor", from: "BenchmarkWhatIf whatif-cpu-s", unit: "s", most: 10, roughly: true},
	{what: "all of it decided again as it was, and held against its records", from: "BenchmarkWhatIf again-s", unit: "s", most: 10, roughly: true},
	{what: "the same, of a processor", from: "BenchmarkWhatIf again-cpu-s", unit: "s", told: true},
	{what: "inputs and records in the journal, of a session", from: "BenchmarkWhatIf B/session", unit: "bytes", told: true},
}

func measureGovernor(ctx context.Context, o Options) (measures, error) {
	return goBench(ctx, o, "governor", "^Benchmark(Table|Memory|Open|Session)$", "1s", governorGoals)
}

func measureStore(ctx context.Context, o Options) (measures, error) {
	all, err := goBench(ctx, o, "governor/store", "^Benchmark(Save10kOf1M|Start1M)$", "1x", storeGoals)
	if err != nil {
		return nil, err
	}
	starts, err := goBench(ctx, o, "appliance", "^BenchmarkStart$", "1x", startGoals)
	maps.Copy(all, starts)
	if err != nil {
		return all, err
	}
	tried, err := goBench(ctx, o, "appliance", "^BenchmarkWhatIf$", "1x", whatIfGoals)
	maps.Copy(all, tried)
	return all, err
}

func measureRecords(ctx context.Context, o Options) (measures, error) {
	return goBench(ctx, o, "appliance/syslog", "^BenchmarkRecords$", "1x", recordsGoals)
}

// goBench runs a package's benchmarks, each repetition a process of its own.
func goBench(ctx context.Context, o Options, pkg, which, long string, goals []goal) (measures, error) {
	dir, err := os.MkdirTemp(o.Dir, "mailweir-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "test")
	build := exec.CommandContext(ctx, o.Go, "test", "-c", "-o", program, "./"+pkg)
	build.Dir = o.Tree
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the benchmarks of %s: %w\n%s", pkg, err, out)
	}
	all := measures{}
	for i := range o.Benchmarks {
		o.progress("%d/%d %s", i+1, o.Benchmarks, pkg)
		run := exec.CommandContext(ctx, program, "-test.run", "^$", "-test.bench", which, "-test.benchtime", long, "-test.benchmem")
		run.Dir = filepath.Join(o.Tree, pkg)
		run.Env = append(os.Environ(), "TMPDIR="+dir) // on the disk that is to be measured
		var said bytes.Buffer
		run.Stderr = &said
		out, err := run.Output()
		if err != nil {
			return nil, fmt.Errorf("benchmarks of %s: %w\n%s%s", pkg, err, out, said.Bytes())
		}
		all.add(string(out))
	}
	var missing []error
	for _, g := range goals {
		if len(all[g.from]) != o.Benchmarks {
			missing = append(missing, fmt.Errorf("%s does not say %q", pkg, g.from))
		}
	}
	return all, errors.Join(missing...)
}

// add reads what `go test -bench` printed: a name, how often, then pairs of a figure and its unit.
func (m measures) add(out string) {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := f[0]
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			if _, err := strconv.Atoi(name[i+1:]); err == nil { // the number of processors
				name = name[:i]
			}
		}
		for i := 2; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				m[name+" "+f[i+1]] = append(m[name+" "+f[i+1]], v)
			}
		}
	}
}
