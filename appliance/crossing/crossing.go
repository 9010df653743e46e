// Package crossing holds the estimate of messages inside TLS against the truth: real SMTP clients and mail servers, each
// with each, through the lab's box, with TLS 1.2 and 1.3, STARTTLS and implicit TLS.
//
// What is true of a TCP session is what the server took in it, by the server's own log: Postfix's queue manager says so
// of each queue ID, which the session's line ties to the client's port; Exim's line "<=" has the port itself; OpenSMTPD
// logs a session ID and no port, and its sessions are told apart by their order, one at a time from each machine. Clients
// that know by themselves how many messages were accepted are asked too, and one that says otherwise than the server's
// log is an error, not a session. So is a session that only the capture has, or only a log. A mail server that sends
// may have delivered more than it was given: one that does not see the last reply sends again.
//
// What is estimated comes from session.Facts: of the tracker over a capture of the box's subscriber side, with all
// packets and with those only that reach it in the box, and of the box itself, by its SESSION records, in both lanes.
package crossing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mailweir/mailweir/appliance/lab"
)

// Phase is a part of a crossing.
type Phase struct {
	Plan Plan
	// Way is FastLane or QueueLane with the box at work, Steered without.
	Way Way
}

// Options say what is crossed.
type Options struct {
	Mailweir string // the binary; needed for phases with the box
	Phases   []Phase
	Keep     string    // a directory for captures and truth; "" keeps none
	Corpus   io.Writer // for a line about each session: see corpus; nil for none
	Log      *slog.Logger
}

// Cross builds the rig, does the phases and gives what they came to, also when ctx ends before all is done. An error of a client is told
// with the report.
func Cross(ctx context.Context, o Options) (_ *Report, err error) {
	l, err := lab.Start(ctx, lab.Options{Log: o.Log})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	r, err := Build(ctx, l, o.Log)
	if err != nil {
		return nil, err
	}
	report := &Report{}
	var errs []error
	for i, p := range o.Phases {
		begin := time.Now()
		found, runs, err := r.phase(ctx, o, fmt.Sprintf("%d", i), p)
		report.Sessions = append(report.Sessions, found...)
		report.Runs += runs
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.Way, err))
		}
		o.Log.Info("crossing: a phase is done", "how", p.Way, "cases", runs, "sessions", len(found), "took", time.Since(begin).Round(time.Second))
		if ctx.Err() != nil {
			break
		}
	}
	return report, errors.Join(errs...)
}

// phase does the plan once.
func (r *Rig) phase(ctx context.Context, o Options, name string, p Phase) (_ []Estimated, runs int, err error) {
	dir := r.Lab.Dir
	if o.Keep != "" {
		dir = o.Keep
	}
	var box *box
	if lane, ok := map[Way]string{FastLane: "auto", QueueLane: "off"}[p.Way]; ok {
		if box, err = r.govern(ctx, o.Mailweir, lane); err != nil {
			return nil, 0, err
		}
		defer func() { err = errors.Join(err, box.Stop()) }()
	}
	capture := filepath.Join(dir, "crossing-"+name+".pcap")
	tap, err := OpenTap(r.Lab.Box, "lan0", capture)
	if err != nil {
		return nil, 0, err
	}
	done, failed := r.follow(ctx, box, p.Plan)
	if ctx.Err() != nil { // what is known so far is told all the same
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 2*settle)
		defer cancel()
	} else {
		failed = errors.Join(failed, r.quiet(ctx))
	}
	if err := tap.Close(); err != nil {
		return nil, len(done), errors.Join(failed, err)
	}
	flows, err := Flows(capture, true)
	if err != nil {
		return nil, len(done), errors.Join(failed, err)
	}
	truth, err := Truth(ctx, r.Servers, done, flows)
	failed = errors.Join(failed, err)
	out := make([]Estimated, len(truth))
	whole, err := Flows(capture, false)
	if err != nil {
		return nil, len(done), errors.Join(failed, err)
	}
	for i, s := range truth {
		seen, all := flows[s.flow].Facts, whole[s.flow].Facts
		out[i] = Estimated{Session: s, By: map[Way]Estimate{Steered: {seen.MessagesLo, seen.MessagesHi}, Everything: {all.MessagesLo, all.MessagesHi}}}
	}
	if box != nil {
		err = box.estimate(ctx, p.Way, out)
	}
	if o.Corpus != nil {
		err = errors.Join(err, corpus(o.Corpus, truth, flows))
	}
	if o.Keep == "" {
		err = errors.Join(err, os.Remove(capture))
	} else {
		err = errors.Join(err, write(filepath.Join(dir, "crossing-"+name+".json"), filepath.Base(capture), out))
	}
	return out, len(done), errors.Join(failed, err)
}

// follow does the plan, and reads what the box says meanwhile.
func (r *Rig) follow(ctx context.Context, b *box, plan Plan) ([]Run, error) {
	if b == nil {
		return r.Do(ctx, plan)
	}
	done, read := make(chan struct{}), make(chan error)
	go func() { read <- b.follow(ctx, done) }()
	runs, err := r.Do(ctx, plan)
	close(done)
	return runs, errors.Join(err, <-read)
}
