// Package bench is `make bench`: it measures this machine and this source tree in one run, the variants one after the
// other in every repetition, and writes what came of it as a Markdown table with the date, the machine, and how noisy it
// was. It has six parts:
//
//   - The governor: the benchmarks of package governor, each repetition a process of its own.
//   - The store: those of package governor/store.
//   - The records: that of appliance/syslog, with a real rsyslog.
//   - The pages: the real binary with a million subscribers restored from disk, asked for its page of them.
//   - The packet path: the real binary in a network of the lab, with as many. Thousands
//     of connections are timed from SYN to SYN-ACK, both of which wait for a verdict, while budgets are saved, RADIUS
//     accounting floods in, the list of subscribers is read again and again, pages are rendered, and many log in at once.
//   - The peers: package peers. Its tables are also written to a file of their own.
//
// On a small machine whatever works takes processor time from what waits for a verdict. So each load has a control: other
// processes burn as much processor time as the load did, in mailweir and outside of it, and share nothing else with
// mailweir. What connections take longer than under their control they waited for in mailweir.
//
// It stands in appliance because it drives the whole box; the thin program around it is appliance/cmd/bench. The network
// comes from appliance/lab, so it needs root, is made of namespaces without names, and is gone when the program is.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/mailweir/mailweir/appliance/bench/peers"
)

// Options says what is measured. Every field but Loads, More and Quick is needed.
type Options struct {
	Tree        string    // the source tree
	Mailweir    string    // the binary
	Go          string    // the go command
	Dir         string    // an existing directory on the disk that is to be measured; what is made in it is removed again
	Report      string    // the file to write
	Out         io.Writer // the report once more
	Log         io.Writer // what is being done
	Quick       bool      // only for the report, which says so
	Repetitions int
	Benchmarks  int // repetitions of Go's benchmarks: the governor's and the store's

	Pages int // how often each page is opened

	// Of the packet path, and of the pages.
	Subscribers int           // at most 2^20
	Changed     int           // how many of them are saved at a time
	Rate        float64       // connections a second
	Sample      time.Duration // for so long
	Warm        time.Duration // after a load has begun
	Calm        time.Duration // after a load, before its control: longer than it takes to notice a new list
	Loads       []string      // by name; none: all of them
	More        string        // configuration of the box, beside what it always is

	Peers       peers.Options // Mailweir, Dir and Log are those above
	PeersReport string        // the file to write

	Governor, Store, Records, Web, Latency, Against bool // the parts; Web: the pages; Against: the peers
}

// Full is what the published figures are made with.
func Full() Options {
	return Options{Repetitions: 5, Benchmarks: 5, Subscribers: 1_000_000, Changed: 16_000, Rate: 500, Sample: 8 * time.Second, Warm: time.Second, Calm: 2 * time.Second,
		Pages: 40, Peers: peers.Full(), Governor: true, Store: true, Records: true, Web: true, Latency: true, Against: true}
}

// Quick takes less than five minutes.
func Quick() Options {
	o := Full()
	o.Peers = peers.Quick()
	o.Quick, o.Repetitions, o.Benchmarks = true, 1, 1
	o.Subscribers, o.Sample, o.Warm, o.Calm = 250_000, time.Second, 500*time.Millisecond, 1200*time.Millisecond
	return o
}

func (o *Options) progress(format string, args ...any) {
	fmt.Fprintf(o.Log, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// Main measures and reports. What could be measured is reported even if something else could not; the error says what
// could not.
func Main(ctx context.Context, o Options) error {
	r := report{Options: o, began: time.Now(), machine: look(ctx, o)}
	var errs []error
	part := func(name string, wanted bool, measure func() error) {
		if !wanted || ctx.Err() != nil {
			return
		}
		o.progress("%s", name)
		if err := measure(); err != nil {
			errs = append(errs, fmt.Errorf("%s was not measured: %w", name, err))
		}
	}
	part("the governor", o.Governor, func() (err error) { r.governor, err = measureGovernor(ctx, o); return err })
	part("the store", o.Store, func() (err error) { r.store, err = measureStore(ctx, o); return err })
	part("the records", o.Records, func() (err error) { r.records, err = measureRecords(ctx, o); return err })
	part("the pages", o.Web, func() (err error) { r.pages, err = measurePages(ctx, o); return err })
	part("the packet path", o.Latency, func() (err error) { r.latency, err = measureLatency(ctx, o); return err })
	part("mailweir against its peers", o.Against, func() (err error) { r.peers, err = measurePeers(ctx, o); return err })
	errs = append(errs, ctx.Err())
	if r.peers != nil {
		errs = append(errs, writeFile(o.PeersReport, r.peers.Markdown(r.head(), 1)))
	}
	text := r.markdown(errs)
	errs = append(errs, writeFile(o.Report, text))
	if _, err := o.Out.Write(text); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func measurePeers(ctx context.Context, o Options) (*peers.Result, error) {
	p := o.Peers
	p.Mailweir, p.Dir, p.Log = o.Mailweir, o.Dir, o.Log
	return peers.Measure(ctx, p)
}

// writeFile makes the directory as well.
func writeFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
