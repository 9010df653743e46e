// Package peers holds mailweir against what an operator could put in its place: plain forwarding, a meter of nftables, an
// accept-all reader of the kernel's queue in C and in Go, and Suricata. All of them govern the same two namespaces, one
// after the other in every repetition and each time in another order, so that whatever else the machine does meets all of
// them; what is to be believed are ratios within one run.
//
//	4000 subscribers (10.64.0.0/12) - sub0 [box] up0 - mail server (10.0.2.2)
//
// Clients, server, box and governor share this machine's processors: a rate is what all of that together came to, and the
// CPU time of a session is the whole machine's. mailweir runs complete: it parses everything, its records go to a
// collector over TCP, its metrics are on, and all load but the floods is within every budget.
package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// Options says what is measured. Every field but Measures, Variants, Quick and Cache is needed.
type Options struct {
	Mailweir    string    // the binary
	Beside      string    // another one, for the variants that end in -beside; "": these are left out
	Dir         string    // an existing directory; what is made in it is removed again
	Cache       string    // of unpacked packages, as lab.Options.Cache
	Log         io.Writer // what is being done
	Quick       bool      // only for the report, which says so
	Repetitions int
	Measures    []string // by name; none: all of them
	Variants    []string // by name; none: all of them

	Sample  time.Duration // how long a sample takes; a latency's takes twice as long
	Warm    time.Duration // load before a sample begins
	Message int64         // bytes of the one long message, at most: it ends after two samples' time in any case
}

// Tiny is for a look whether everything works: what it measures is worth nothing.
func Tiny() Options {
	o := Quick()
	o.Repetitions, o.Sample, o.Warm, o.Message = 1, 100*time.Millisecond, 50*time.Millisecond, 16<<20
	o.Variants, o.Measures = []string{plain, queue}, nil
	return o
}

// Full is what the published figures are made with.
func Full() Options {
	return Options{Repetitions: 5, Sample: time.Second, Warm: 300 * time.Millisecond, Message: 16 << 30}
}

// Quick leaves variants and measures out.
func Quick() Options {
	o := Full()
	o.Quick, o.Repetitions, o.Sample, o.Warm = true, 3, 300*time.Millisecond, 150*time.Millisecond
	o.Variants = []string{plain, meter, fast, queue, inC}
	o.Measures = []string{"sessions", "starttls", "bulk", "latency", "attack", "flood"}
	return o
}

// Check tells whether Measures and Variants are names of what there is.
func (o Options) Check() error {
	var errs []error
	check := func(what string, chosen, names []string) {
		for _, c := range chosen {
			if !slices.Contains(names, c) {
				errs = append(errs, fmt.Errorf("there is no %s %q; there are %s", what, c, strings.Join(names, ", ")))
			}
		}
	}
	check("measure", o.Measures, MeasureNames())
	check("variant", o.Variants, VariantNames())
	for _, v := range variants() {
		if v.beside && o.Beside == "" && slices.Contains(o.Variants, v.name) {
			errs = append(errs, fmt.Errorf("%s: which other binary?", v.name))
		}
	}
	return errors.Join(errs...)
}

// MeasureNames are what Options.Measures may have.
func MeasureNames() (names []string) {
	for _, m := range measures() {
		names = append(names, m.name)
	}
	return names
}

// VariantNames are what Options.Variants may have.
func VariantNames() (names []string) {
	for _, v := range variants() {
		names = append(names, v.name)
	}
	return names
}

func (o *Options) progress(format string, args ...any) {
	fmt.Fprintf(o.Log, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// Result is what a run came to.
type Result struct {
	options  Options
	began    time.Time
	took     time.Duration
	measures []measure
	variants []variant
	missing  map[string]error // variants that could not be had
	rows     map[key]*series
}

type key struct{ measure, variant string }

// series is what one variant came to over the repetitions of one measure.
type series struct {
	samples []sample
	failed  []error
}

// Measure measures. What could be measured is in the result even if there is an error, which says what could not.
func Measure(ctx context.Context, o Options) (_ *Result, err error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	res := &Result{options: o, began: time.Now(), missing: map[string]error{}, rows: map[key]*series{}}
	defer func() { res.took = time.Since(res.began) }()
	for _, m := range measures() {
		if len(o.Measures) == 0 || slices.Contains(o.Measures, m.name) {
			res.measures = append(res.measures, m)
		}
	}
	for _, v := range variants() {
		if len(o.Variants) == 0 && (!v.beside || o.Beside != "") || slices.Contains(o.Variants, v.name) {
			res.variants = append(res.variants, v)
		}
	}
	l, err := lab.Start(ctx, lab.Options{Dir: o.Dir, Cache: o.Cache})
	if err != nil {
		return nil, fmt.Errorf("build the network: %w", err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	r, err := newRig(ctx, l, &o)
	if err != nil {
		return nil, fmt.Errorf("build the network: %w", err)
	}
	if err := r.prepare(ctx, res); err != nil {
		return nil, err
	}
	for i := range o.Repetitions {
		for _, m := range res.measures {
			if err := res.repeat(ctx, r, i, m); err != nil {
				return res, fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	return res, res.failures()
}

// prepare fetches and builds what the variants and the measures need.
func (r *rig) prepare(ctx context.Context, res *Result) error {
	for _, m := range res.measures {
		for _, need := range m.needs {
			if err := need(ctx, r); err != nil {
				return fmt.Errorf("prepare %s: %w", m.name, err)
			}
		}
	}
	for _, v := range res.variants {
		for _, need := range v.needs {
			if err := need(ctx, r); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				res.missing[v.name] = err
				r.opt.progress("%s is not available: %v", v.name, err)
			}
		}
	}
	return nil
}

// repeat takes a sample of every variant for which the measure makes sense: from another one on each time, and in every
// second repetition the other way round.
func (res *Result) repeat(ctx context.Context, r *rig, repetition int, m measure) (err error) {
	var turn []variant
	for _, v := range res.variants {
		if res.missing[v.name] == nil && (m.only == nil || slices.Contains(m.only, v.name)) {
			turn = append(turn, v)
		}
	}
	if len(turn) == 0 {
		return nil
	}
	first := repetition * max(1, len(turn)/max(1, res.options.Repetitions)) % len(turn)
	turn = append(turn[first:len(turn):len(turn)], turn[:first]...)
	if repetition%2 == 1 {
		slices.Reverse(turn)
	}
	end := func() error { return nil }
	if m.begin != nil {
		if end, err = m.begin(ctx, r); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, end()) }()
	for _, v := range turn {
		s, err := r.sample(ctx, m, v)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		row := res.rows[key{m.name, v.name}]
		if row == nil {
			row = &series{}
			res.rows[key{m.name, v.name}] = row
		}
		if err != nil {
			row.failed = append(row.failed, err)
			r.opt.progress("%d/%d %-8s %-12s FAILED: %v", repetition+1, res.options.Repetitions, m.name, v.name, err)
			continue
		}
		row.samples = append(row.samples, s)
		r.opt.progress("%d/%d %-8s %-12s %s", repetition+1, res.options.Repetitions, m.name, v.name, s.text(m))
	}
	return nil
}

// failures are those of all samples, each variant's once a measure.
func (res *Result) failures() error {
	var errs []error
	for _, m := range res.measures {
		for _, v := range res.variants {
			if row := res.rows[key{m.name, v.name}]; row != nil && len(row.failed) > 0 {
				errs = append(errs, fmt.Errorf("%s, %s: %d of %d samples failed: %w", m.name, v.name, len(row.failed), len(row.failed)+len(row.samples), row.failed[0]))
			}
		}
	}
	return errors.Join(errs...)
}
