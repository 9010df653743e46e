package appliance

import (
	"context"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
)

// WhatIfOptions say which policies are tried on what a journal holds.
type WhatIfOptions struct {
	Journal    string    // its directory
	From       time.Time // zero: all of it
	ConfigFile string    // a configuration; "": the policies that were in force, and is the same decided again?
	Against    string    // another one, to compare with; "": none
	ListPlans  bool      // plans are those of the configuration's list, not those that subscribers had

	// Loaded is told of each configuration before anything is read; nil: nobody is.
	Loaded func(*config.Config, *subscriber.Table)
}

// WhatIfReport is what came of it.
type WhatIfReport struct {
	First, Last time.Time // of the inputs
	Inputs      uint64
	Sessions    uint64
	Missing     uint64      // inputs that the journal does not have
	Lives       int         // starts of the box that are in it
	Recorded    *Reproduced // where no configuration was given
	Run         WhatIfRun
	Against     *WhatIfRun // nil: there was no other configuration
}

// WhatIfRun is what becomes of the journal under one policy.
type WhatIfRun struct {
	ReplayRun
	Guessed uint64 // sessions that were denied then and are not now: what they would have done nobody knows
}

// WhatIf has the governor decide again what a journal says it was told, under other policies. Nothing is written, and no
// network is used.
func WhatIf(ctx context.Context, opt WhatIfOptions) (*WhatIfReport, error) {
	var runs []*trial
	if err := configsOf([]string{opt.ConfigFile, opt.Against}, opt.Loaded, func(cfg *config.Config, table *subscriber.Table) error {
		runs = append(runs, tryPolicy(cfg, table, opt.ListPlans))
		return nil
	}); err != nil {
		return nil, err
	}
	reader, err := journal.Read(opt.Journal)
	if err != nil {
		return nil, err
	}
	report := &WhatIfReport{}
	var compared *comparison
	if len(runs) == 0 {
		if compared, err = compare(reader, opt.From); err != nil {
			return nil, err
		}
		runs = append(runs, compared.run)
	}
	began := opt.From.IsZero()
	err = reader.Inputs(opt.From, func(in *governor.Input) error {
		if !began && !in.Now.Before(opt.From) { // what came before was for what is known
			began, *report = true, WhatIfReport{}
			for _, r := range runs {
				r.restart(opt.From)
			}
		}
		switch in.Op {
		case governor.OpBegin:
			report.Lives++
		case governor.OpOpen:
			report.Sessions++
		case governor.OpLost:
			report.Missing += uint64(in.Cost)
		}
		if report.Inputs++; report.Inputs%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if in.Op != governor.OpLost { // that has no time of its own
			if report.First.IsZero() || in.Now.Before(report.First) {
				report.First = in.Now
			}
			report.Last = later(report.Last, in.Now)
		}
		for _, r := range runs {
			r.player.Play(in)
		}
		if compared != nil {
			compared.played(in)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !began { // there is nothing of the time that is wanted
		*report = WhatIfReport{}
		for _, r := range runs {
			r.restart(opt.From)
		}
	}
	report.Run = runs[0].finish()
	if len(runs) > 1 {
		against := runs[1].finish()
		report.Against = &against
	}
	if compared != nil {
		report.Recorded, err = compared.finish(reader)
	}
	return report, err
}

// trial is one policy on a tape.
type trial struct {
	file, mode string
	player     *governor.Player
	tally      *tally
	sum        ReplayDecisions
	acted      int
	noted      notes // told, too; nil: nobody is
}

func newTrial(file, mode string, opt governor.PlayerOptions) *trial {
	r := &trial{file: file, mode: mode, tally: newTally()}
	opt.Decision, opt.Change = r.decision, r.change
	opt.Began = func(c governor.StageChange) { r.tally.change(c) }
	r.player = governor.NewPlayer(opt)
	return r
}

// tryPolicy tries the policy of a configuration. Who has a plan that it does not have is under that of its list, and who is
// in no list under that of strangers.
func tryPolicy(cfg *config.Config, table *subscriber.Table, byList bool) *trial {
	policy := cfg.Policy()
	has := map[string]bool{}
	for _, p := range policy.Plans {
		has[p.Name] = true
	}
	planOf := func(sub, was string, _ bool) string {
		if has[was] && !byList {
			return was
		}
		if s, listed := table.ByID(sub); listed {
			return s.Plan
		}
		if has[was] {
			return was
		}
		return cfg.Identity.UnmappedPlan
	}
	return newTrial(cfg.Path(), cfg.Mode, governor.PlayerOptions{Policy: &policy, PlanOf: planOf})
}

// decision counts what was decided, as the judge of the running box does.
func (r *trial) decision(d governor.Decision) {
	if r.noted != nil {
		r.noted.decision(d)
	}
	if d.Session == 0 && !holdsReply(d) {
		return
	}
	action := d.Action
	if action == governor.ActionPace && d.Wait <= 0 {
		action = governor.ActionWarn // nothing would have been held
	}
	a := r.tally.account(d.Subscriber, d.Plan)
	if d.Session > 0 {
		a.Sessions++
	}
	a.count(action)
	switch action {
	case governor.ActionPace:
		r.sum.Paced++
	case governor.ActionDefer:
		r.sum.Deferred++
	case governor.ActionCut:
		r.sum.Cut++
	default:
		r.sum.Passed++
	}
	if d.Acted && action > governor.ActionWarn {
		r.acted++
	}
}

func (r *trial) change(c governor.StageChange) {
	if r.noted != nil {
		r.noted.change(c)
	}
	r.tally.change(c)
}

// restart begins to count anew, with everybody on the stage that is his.
func (r *trial) restart(at time.Time) {
	r.sum, r.acted, r.player.Guessed = ReplayDecisions{}, 0, 0
	old := r.tally
	r.tally = newTally()
	for id, a := range old.accounts {
		if a.stage > governor.StageObserve {
			now := r.tally.account(id, a.Plan)
			now.stage, now.since, now.Highest, now.Why = a.stage, at, a.stage, a.Why
		}
	}
}

func (r *trial) finish() WhatIfRun {
	run := WhatIfRun{Guessed: r.player.Guessed, ReplayRun: ReplayRun{ConfigFile: r.file, Mode: r.mode, Decisions: r.sum, Acted: r.acted, Unlisted: len(r.tally.unlisted)}}
	if g := r.player.Governor(); g != nil {
		run.Uncounted = g.Stats().Untracked
	}
	for _, a := range r.tally.accounts {
		a.spent(r.player.Last())
		run.Subscribers = append(run.Subscribers, a.ReplaySubscriber)
	}
	return run
}
