package peers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailweir/mailweir/appliance/bench/figures"
)

// sample is one measurement of one variant.
type sample struct {
	values   map[string]float64 // by quantity
	loaded   float64            // processors that were busy just before, with nothing of ours running
	foreign  float64            // processors that others used meanwhile
	stolen   float64            // processors that the machine below this one kept for others
	repeated bool               // it was taken a second time, since others had used the processors in the first
	lost     float64            // packets that the kernel could not queue
	note     string             // what it says about itself, for the report
}

// measure is one thing that is measured of every variant.
type measure struct {
	name, title string
	how         string // for the report
	quantities  []quantity
	only        []string                                    // the variants for which it makes sense; nil: all
	needs       []func(context.Context, *rig) error         // what is to be had before
	begin       func(context.Context, *rig) (end, error)    // what all its samples share
	take        func(context.Context, *rig, *running) error // fills in running.values
}

// end undoes what was begun.
type end = func() error

// quantity is a figure that a measure brings.
type quantity struct {
	name, title string
	ratios      bool // it has a table of its own, with ratios
}

// tooMuch is how many processors others may use while a sample is taken; beyond that it is taken once more.
const tooMuch = 0.15

// patience bounds one sample, in which nothing takes longer than some seconds.
const patience = time.Minute

// sample takes one, and once more if others used the processors.
func (r *rig) sample(ctx context.Context, m measure, v variant) (sample, error) {
	s, err := r.once(ctx, m, v)
	if err != nil || s.foreign <= tooMuch {
		return s, err
	}
	r.opt.progress("others used %.2f processors: once more", s.foreign)
	s, err = r.once(ctx, m, v)
	s.repeated = true
	return s, err
}

func (r *rig) once(ctx context.Context, m measure, v variant) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.loaded = quiet(ctx)
	run := &running{values: map[string]float64{}}
	defer func() {
		err = errors.Join(err, run.stop())
		s.note = run.note // the end adds to it
		if s.values != nil && run.sessions > 0 {
			s.values["records"] = run.records / run.sessions
			if s.values["records"] < 0.99 {
				err = errors.Join(err, fmt.Errorf("of %.0f sessions only %.0f records came to the collector", run.sessions, run.records))
			}
		}
	}()
	if err := v.up(ctx, r, run); err != nil {
		return s, fmt.Errorf("start: %w", err)
	}
	if err := m.take(ctx, r, run); err != nil {
		return s, err
	}
	s.foreign, s.stolen = run.used.foreign, run.used.stolen
	s.values = run.values
	if s.lost, err = r.queueLosses(); err != nil {
		return s, err
	}
	return s, nil
}

func (s sample) text(m measure) string {
	text := ""
	for _, q := range m.quantities {
		if v, ok := s.values[q.name]; ok {
			text += figures.Figure(v) + " " + q.title + "; "
		}
	}
	text += fmt.Sprintf("others %.2f processors", s.foreign)
	if s.lost > 0 {
		text += "; " + figures.Figure(s.lost) + " packets lost in the queue"
	}
	return text
}
