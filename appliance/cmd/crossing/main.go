// Command crossing is `make crossing`: see package crossing.
package main

import (
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/mailweir/mailweir/appliance/crossing"
	"github.com/mailweir/mailweir/appliance/lab"
)

func main() {
	lab.Reexec()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "crossing:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	o := crossing.Options{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	flag.StringVar(&o.Mailweir, "mailweir", "bin/mailweir", "the binary")
	flag.StringVar(&o.Keep, "keep", "", "an existing directory for the captures and what is true of them")
	seed := flag.Uint64("seed", 1, "of the cases that are drawn")
	drawn := flag.Int("drawn", 10, "how many cases are drawn for each pair, beside the known ones, in each way")
	only := flag.String("only", "", "a kind of session, such as burst: no others are done")
	known := flag.Bool("known", true, "the known cases too")
	corpus := flag.String("corpus", "", "a file for the lines that nfq/session is tested with, compressed")
	path := flag.String("report", "out/crossing.md", "the file to write")
	flag.Var((*ways)(&o.Phases), "way", "how it is estimated, may be repeated: capture, fast, queue (all three)")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if len(o.Phases) == 0 {
		o.Phases = []crossing.Phase{{Way: crossing.Steered}, {Way: crossing.FastLane}, {Way: crossing.QueueLane}}
	}
	for i := range o.Phases {
		o.Phases[i].Plan = crossing.Drawn(*seed+uint64(i), *drawn, crossing.Kind(*only))
		if *known && *only != "" {
			o.Phases[i].Plan = crossing.Whole().Only(crossing.Kind(*only)).Then(o.Phases[i].Plan)
		} else if *known {
			o.Phases[i].Plan = crossing.Whole().Then(o.Phases[i].Plan)
		}
	}
	report, err := cross(ctx, o, *corpus)
	if report == nil {
		return err
	}
	if merr := os.MkdirAll(filepath.Dir(*path), 0o755); merr != nil {
		return errors.Join(err, merr)
	}
	file, ferr := os.Create(*path)
	if ferr != nil {
		return errors.Join(err, ferr)
	}
	report.Write(io.MultiWriter(os.Stdout, file))
	return errors.Join(err, file.Close(), report.Goals(0))
}

// cross crosses, and writes the corpus if it is to have a file.
func cross(ctx context.Context, o crossing.Options, corpus string) (*crossing.Report, error) {
	if corpus == "" {
		return crossing.Cross(ctx, o)
	}
	file, err := os.Create(corpus)
	if err != nil {
		return nil, err
	}
	zip := gzip.NewWriter(file)
	o.Corpus = zip
	report, err := crossing.Cross(ctx, o)
	return report, errors.Join(err, zip.Close(), file.Close())
}

// ways are phases by their short names.
type ways []crossing.Phase

func (w *ways) String() string { return "" }

func (w *ways) Set(name string) error {
	way, ok := map[string]crossing.Way{"capture": crossing.Steered, "fast": crossing.FastLane, "queue": crossing.QueueLane}[name]
	if !ok {
		return fmt.Errorf("no such way")
	}
	*w = append(*w, crossing.Phase{Way: way})
	return nil
}
