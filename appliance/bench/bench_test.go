package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/bench/figures"
	"github.com/mailweir/mailweir/appliance/lab"
)

var mailweir string // mailweir, built by TestMain from this tree

func TestMain(m *testing.M) {
	lab.Reexec()
	Reexec()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "mailweir-bench-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		mailweir = filepath.Join(dir, "mailweir")
		build := exec.Command("go", "build", "-o", mailweir, "../cmd/mailweir")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build mailweir: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// small is a run of a few seconds.
func small(t *testing.T) Options {
	o := Full()
	o.Tree, o.Mailweir, o.Go, o.Dir = "../..", mailweir, "go", t.TempDir()
	o.Report, o.Out, o.Log = filepath.Join(t.TempDir(), "bench.md"), io.Discard, t.Output()
	o.Repetitions, o.Subscribers, o.Changed = 1, 3000, 500
	o.Rate, o.Sample, o.Warm, o.Calm = 200, 500*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
	o.Governor, o.Store, o.Web, o.Against = false, false, false, false
	return o
}

// The whole rig, small: every load does its work, every connection is answered, and everything is in the report. How long
// anything takes is not looked at.
func TestEveryConditionIsMeasured(t *testing.T) {
	o := small(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	l, err := measureLatency(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	text := string((&report{Options: o, began: time.Now(), machine: look(ctx, o), latency: l}).markdown(nil))
	if !strings.Contains(text, "Connections with the collector away take, of what they take with it there") {
		t.Errorf("the report does not compare a collector that is away with one that is there:\n%s", text)
	}
	for _, s := range l.all {
		if len(s.samples) != o.Repetitions || !strings.Contains(text, "| "+s.title+" |") {
			t.Errorf("%s: %d samples; the report has\n%s", s.name, len(s.samples), text)
			continue
		}
		one := s.samples[0]
		if one.failed > 0 || one.answered != 100 || one.p50 <= 0 || one.p99 < one.p50 || one.worst < one.p99 {
			t.Errorf("%s: %+v", s.name, one)
		}
		if s.data != "" && (one.box <= 0 || one.memory < 1e6 || one.peak < one.memory || one.ready <= 0) {
			t.Errorf("%s: what the box uses: %+v", s.name, one)
		}
		if s.load == nil {
			continue
		}
		if len(s.controls) != o.Repetitions || len(one.work) == 0 {
			t.Errorf("%s: %d controls, work %v", s.name, len(s.controls), one.work)
			continue
		}
		for _, c := range one.work {
			if never := s.name == "forged" && c.what == "answered/s"; (c.n == 0) != never && !strings.HasPrefix(c.what, "%") {
				t.Errorf("%s: %s %s", s.name, figures.Figure(c.n), c.what)
			}
		}
	}
	if left, err := os.ReadDir(o.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// The real box is asked for its pages: no page has more than 100 rows, and every figure is in the report. How long it takes is not looked at.
func TestPagesAreMeasured(t *testing.T) {
	o := small(t)
	o.Benchmarks, o.Pages = 2, 3
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := measurePages(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range pagesGoals() {
		n := o.Benchmarks
		if g.unit == "ms" {
			n *= o.Pages
		}
		if v := m[g.from]; len(v) != n || v.Min() <= 0 {
			t.Errorf("%s: %v", g.from, v)
		}
	}
	if rows := m["rows"].Max(); rows < 10 || rows > 100 {
		t.Errorf("%v rows on a page of %d subscribers", rows, o.Subscribers)
	}
	if text := string((&report{Options: o, began: time.Now(), machine: look(ctx, o), pages: m}).markdown(nil)); !strings.Contains(text, "| "+kindsOfPages[0].what+" |") {
		t.Errorf("the report has no pages:\n%s", text)
	}
}

// What `go test -bench` prints is read, and the packages that are measured still print it.
func TestFiguresOfBenchmarks(t *testing.T) {
	t.Parallel()
	m := measures{}
	for range 2 {
		m.add("goos: linux\nBenchmarkTable-2   \t 90\t  0.2126 hot/map\t  2.833 random/map\t   51 allocs/op\nBenchmarkStart1M/cold=false-2 \t 1\t 3144171879 ns/op\t 3.093 load+restore-s\nPASS\n")
	}
	for from, want := range map[string]figures.Spread{"BenchmarkTable random/map": {2.833, 2.833}, "BenchmarkStart1M/cold=false load+restore-s": {3.093, 3.093}, "BenchmarkTable allocs/op": {51, 51}} {
		if !slices.Equal(m[from], want) {
			t.Errorf("%s: %v", from, m[from])
		}
	}
	for file, goals := range map[string][]goal{"../../governor/bench_test.go": governorGoals, "../../governor/store/bench_test.go": storeGoals, "../start_test.go": startGoals, "../whatif_bench_test.go": whatIfGoals, "../syslog/bench_test.go": recordsGoals} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range goals {
			name, unit, _ := strings.Cut(g.from, " ")
			name, _, _ = strings.Cut(name, "/")
			if !regexp.MustCompile(`(?m)^func ` + name + `\(`).Match(text) {
				t.Errorf("%s has no %s", file, name)
			}
			for _, tail := range []string{"-worst-ms", "-median-ms"} { // made of two pieces
				if what, ok := strings.CutSuffix(unit, tail); ok {
					unit = what
				}
			}
			if unit != "allocs/op" && !strings.Contains(string(text), `"`+unit+`"`) {
				t.Errorf("%s does not report %q", file, unit)
			}
		}
	}
}

// A worst case is judged by the worst of it. A goal that is judged by one comparison is not met by another.
func TestGoalsAreJudged(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		g            goal
		v            figures.Spread
		should, says string
	}{
		{goal{most: 3, unit: "s", roughly: true}, figures.Spread{1, 2, 4}, "about 3.00 s", "yes, in the median"},
		{goal{most: 3, unit: "s"}, figures.Spread{1, 2, 3}, "at most 3.00 s", "yes"},
		{goal{most: 25, unit: "ms", always: true}, figures.Spread{1, 2, 26}, "at most 25.0 ms", "no, not in the worst"},
		{goal{most: 25, unit: "ms", always: true}, figures.Spread{1, 2, 25}, "at most 25.0 ms", "yes"},
		{goal{most: 1.5, unit: "x", told: true}, figures.Spread{2.5, 2.6, 2.7}, "the goal is judged by the row above", "by this comparison it would be: no"},
		{goal{told: true}, figures.Spread{2.5}, "", ""},
	} {
		if should, says := row.g.judge(row.v); should != row.should || says != row.says {
			t.Errorf("%+v of %v: %q, %q", row.g, row.v, should, says)
		}
	}
}

// A load that waits is told from one whose figures overlap with its control's, and both from one where the control says
// that the machine was somebody else's.
func TestWaitsAreToldFromNoise(t *testing.T) {
	t.Parallel()
	of := func(p99s ...float64) (all []sample) {
		for _, v := range p99s {
			all = append(all, sample{p50: 100, p99: v})
		}
		return all
	}
	load := func(context.Context, *rig, *box) (load, error) { return nil, nil }
	for _, row := range []struct {
		samples, controls   []sample
		verdict, conclusion string
	}{
		{of(900, 1500, 4000), of(500, 600, 1000), "No wait beyond the noise: p50 1.00x, p99 2.50x its control's, which by itself came to p50 1.00x, p99 1.67x of its median.", "**No wait of the packet path was seen"},
		{of(1100, 1500, 4000), of(500, 600, 1000), "WAITS: p99 2.50x its control's, beyond the noise.", "for: a load.**"},
		{of(900, 1500, 4000), of(500, 600, 9000), "No wait beyond the noise", "**Too noisy to tell, to be measured again on a quiet machine: a load.**"},
	} {
		l := latency{all: []series{{condition: condition{title: "a load", load: load}, samples: row.samples, controls: row.controls}}}
		if got := l.all[0].verdict(); !strings.HasPrefix(got, row.verdict) {
			t.Errorf("%s, want %s", got, row.verdict)
		}
		if got := l.conclusion(); !strings.Contains(got, row.conclusion) {
			t.Errorf("%s, want %s", got, row.conclusion)
		}
	}
}
