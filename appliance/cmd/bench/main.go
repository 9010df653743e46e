// Command bench is `make bench`: see package bench.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/mailweir/mailweir/appliance/bench"
	"github.com/mailweir/mailweir/appliance/bench/peers"
	"github.com/mailweir/mailweir/appliance/lab"
)

func main() {
	lab.Reexec()
	bench.Reexec()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	o := bench.Full()
	if slices.ContainsFunc(os.Args[1:], func(a string) bool { return a == "-quick" || a == "--quick" }) {
		o = bench.Quick()
	}
	flag.Bool("quick", false, "less than five minutes: other defaults for the flags below")
	flag.StringVar(&o.Tree, "tree", ".", "the source tree")
	flag.StringVar(&o.Mailweir, "mailweir", "bin/mailweir", "the binary")
	flag.StringVar(&o.Go, "go", "go", "the go command")
	flag.StringVar(&o.Dir, "dir", "/var/tmp", "an existing directory on the disk that is to be measured")
	flag.StringVar(&o.Report, "report", "out/bench.md", "the file to write")
	flag.IntVar(&o.Repetitions, "repetitions", o.Repetitions, "how often everything is measured (quick, and not said here: Go's benchmarks once)")
	flag.IntVar(&o.Subscribers, "subscribers", o.Subscribers, "of the packet path's box, at most 1048576")
	flag.IntVar(&o.Changed, "changed", o.Changed, "subscribers that are saved at a time")
	flag.Float64Var(&o.Rate, "rate", o.Rate, "connections a second")
	flag.DurationVar(&o.Sample, "sample", o.Sample, "how long a sample of connections takes")
	parts := flag.String("parts", "governor,store,records,pages,latency,peers", "what is measured")
	loads := flag.String("loads", "", "of the packet path, only these: collector,away,saves,radius,forged,list,pages,search,api,logins")
	measures := flag.String("measures", strings.Join(o.Peers.Measures, ","), "of the peers, only these: "+strings.Join(peers.MeasureNames(), ","))
	variants := flag.String("variants", strings.Join(o.Peers.Variants, ","), "of the peers, only these: "+strings.Join(peers.VariantNames(), ","))
	flag.StringVar(&o.Peers.Beside, "beside", "", "of the peers, another mailweir binary, for the variants that end in -beside: what did a change cost?")
	flag.DurationVar(&o.Peers.Sample, "peers-sample", o.Peers.Sample, "of the peers, how long a sample takes")
	flag.StringVar(&o.PeersReport, "peers-report", "out/peers.md", "the file to write about the peers")
	flag.Parse()
	if flag.NArg() > 0 || o.Repetitions < 1 || o.Subscribers < 1 || o.Subscribers > 1<<20 || o.Changed < 1 || o.Rate <= 0 || o.Rate*o.Sample.Seconds() < 1 {
		flag.Usage()
		os.Exit(2)
	}
	if *loads != "" {
		o.Loads = strings.Split(*loads, ",")
	}
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "repetitions" {
			o.Benchmarks, o.Peers.Repetitions = o.Repetitions, o.Repetitions
		}
	})
	o.Peers.Measures, o.Peers.Variants = names(*measures), names(*variants)
	if o.Peers.Beside != "" {
		abs, err := filepath.Abs(o.Peers.Beside)
		if err != nil {
			return err
		}
		o.Peers.Beside = abs
	}
	if err := o.Peers.Check(); err != nil {
		return err
	}
	o.Governor, o.Store, o.Records, o.Web, o.Latency, o.Against = false, false, false, false, false, false
	for part := range strings.SplitSeq(*parts, ",") {
		switch part {
		case "governor":
			o.Governor = true
		case "store":
			o.Store = true
		case "records":
			o.Records = true
		case "pages":
			o.Web = true
		case "latency":
			o.Latency = true
		case "peers":
			o.Against = true
		default:
			return fmt.Errorf("-parts: there is no part %q", part)
		}
	}
	for _, path := range []*string{&o.Tree, &o.Mailweir, &o.Dir, &o.Report, &o.PeersReport} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	o.Out, o.Log = os.Stdout, os.Stderr
	return bench.Main(ctx, o)
}

// names takes a list apart; none means all.
func names(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}
