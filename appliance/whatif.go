package appliance

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// WhatIfOptions say which policies are tried on what a journal holds.
type WhatIfOptions struct {
	Journal    string    // its directory
	From       time.Time // zero: all of it
	Now        time.Time // what is stamped later is of a clock that was ahead, and From is not found by it; zero: nothing is
	ConfigFile string    // a configuration; "": the policies that were in force, and is the same decided again?
	Against    string    // another one, to compare with; "": none
	InForce    string    // in its place, a file with what a running box goes by, as [InForce]; "": none
	ListPlans  bool      // plans are those of the configuration's list, not those that subscribers had

	// Loaded is told of each configuration before anything is read; nil: nobody is.
	Loaded func(*config.Config, *subscriber.Table)
	// Unlisted is told of each list that cannot be read and is not needed (see ListRecorded), and why; nil: nobody is.
	Unlisted func(file string, why error)
	// Progress is told how far it is: at each beginning of something else, and behind each frame of the journal; nil: nobody is.
	Progress func(webadmin.WhatIfProgress)
}

// WhatIfReport is what came of it.
type WhatIfReport struct {
	First, Last time.Time // of the inputs
	Inputs      uint64
	Sessions    uint64
	Missing     uint64      // inputs that the journal does not have, at least: of what is damaged nobody knows how many it held
	Lacks       []Lack      // why, in the order of the first of each
	Lives       int         // starts of the box that are in it
	Recorded    *Reproduced // where no configuration was given
	Run         WhatIfRun
	Against     *WhatIfRun // nil: there was no other configuration
}

// Lack is a reason why inputs are missing.
type Lack struct {
	Why    string
	Places int    // in the journal
	File   string // the first one in which that is; "": of none
	Files  int    // how many
	last   string
}

// WhatIfRun is what becomes of the journal under one policy.
type WhatIfRun struct {
	ReplayRun
	Policy  string // its hash, as records have it; "": as it was
	InForce bool   // it is that of the running box, whatever its configuration file says by now
	List    string // where its list of subscribers is from: ListInForce or ListRecorded; "": the file
	Guessed uint64 // sessions that were denied then and are not now: what they would have done nobody knows

	names       func(id string) string // of its list; nil: there is none
	mailServers map[string]bool        // plans of registered mail servers; nil: of the policies as they were nobody knows
}

// WhatIf has the governor decide again what a journal says it was told, under other policies. Nothing is written, and no
// network is used. Each policy is tried by a goroutine of its own, while others decode what comes next.
func WhatIf(ctx context.Context, opt WhatIfOptions) (*WhatIfReport, error) {
	tell := opt.Progress
	if tell == nil {
		tell = func(webadmin.WhatIfProgress) {}
	}
	tell(webadmin.WhatIfProgress{Doing: webadmin.DoingList})
	lists := lists{byList: opt.ListPlans, unlisted: opt.Unlisted}
	var err error
	if lists.inForce, err = readInForce(opt.InForce); err != nil {
		return nil, err
	}
	var runs []*trial
	if err := configsOf([]string{opt.ConfigFile, opt.Against}, lists.of, func(cfg *config.Config, table *subscriber.Table) error {
		if opt.Loaded != nil {
			opt.Loaded(cfg, table)
		}
		runs = append(runs, tryConfig(cfg, table, opt.ListPlans))
		runs[len(runs)-1].list = lists.from
		return nil
	}); err != nil {
		return nil, err
	}
	if lists.inForce != nil {
		r, err := tryInForce(&lists)
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	reader, err := journal.Read(opt.Journal)
	if err != nil {
		return nil, err
	}
	far := webadmin.WhatIfProgress{Doing: webadmin.DoingJournal}
	reader.Tell = func(r journal.Reading) {
		far.Read, far.Of, far.From, far.To, far.At = r.Bytes, r.Of, webadmin.At(r.From), webadmin.At(r.To), webadmin.At(r.At)
		tell(far)
	}
	var compared *comparison
	if len(runs) == 0 {
		if compared, err = compare(reader, opt.From); err != nil {
			return nil, err
		}
		compared.run.played = compared.played
		runs = append(runs, compared.run)
	}
	report, err := play(ctx, reader, opt.From, opt.Now, runs)
	if err != nil {
		return nil, err
	}
	far.Doing = webadmin.DoingReport
	tell(far)
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

// turn is a batch that several trials play.
type turn struct {
	*journal.Batch
	left    atomic.Int32 // trials that have not played it yet
	restart int          // the input before which everybody begins to count anew; -1: none
}

// turnsFar is how many batches one trial may be ahead of another.
const turnsFar = 8

// play has trials play the inputs from a time on, and those before it that they need to know what was known then; now is that of [WhatIfOptions].
func play(ctx context.Context, reader *journal.Reader, from, now time.Time, runs []*trial) (*WhatIfReport, error) {
	report := &WhatIfReport{}
	began := from.IsZero()
	var all sync.WaitGroup
	var to []chan *turn
	for _, r := range runs {
		turns := make(chan *turn, turnsFar)
		to = append(to, turns)
		all.Go(func() {
			for t := range turns {
				r.take(t, from)
				if t.left.Add(-1) == 0 {
					t.Free()
				}
			}
		})
	}
	err := reader.Inputs(from, now, func(b *journal.Batch) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t := &turn{Batch: b, restart: -1}
		for i := range b.In {
			if in := &b.In[i]; !began && !in.Now.Before(from) && (now.IsZero() || !in.Now.After(now)) { // what came before was for what is known
				began, *report, t.restart = true, WhatIfReport{}, i
			}
			report.count(&b.In[i])
		}
		t.left.Store(int32(len(to)))
		for _, turns := range to {
			turns <- t
		}
		return nil
	})
	for _, turns := range to {
		close(turns)
	}
	all.Wait()
	if err == nil && !began { // there is nothing of the time that is wanted
		*report = WhatIfReport{}
		for _, r := range runs {
			r.restart(from)
		}
	}
	return report, err
}

// count counts an input.
func (r *WhatIfReport) count(in *governor.Input) {
	r.Inputs++
	switch in.Op {
	case governor.OpBegin:
		r.Lives++
	case governor.OpOpen:
		r.Sessions++
	case governor.OpLost: // which has no time of its own
		r.lacks(in)
		return
	}
	if r.First.IsZero() || in.Now.Before(r.First) {
		r.First = in.Now
	}
	r.Last = later(r.Last, in.Now)
}

// lacks counts inputs that are missing, by why they are.
func (r *WhatIfReport) lacks(in *governor.Input) {
	r.Missing += uint64(in.Cost)
	i := slices.IndexFunc(r.Lacks, func(l Lack) bool { return l.Why == in.Reason })
	if i < 0 {
		i = len(r.Lacks)
		r.Lacks = append(r.Lacks, Lack{Why: in.Reason, File: in.By})
	}
	l := &r.Lacks[i]
	if l.Places++; in.By != "" && in.By != l.last {
		l.Files++
		l.last = in.By
	}
}

// trial is one policy on a tape.
type trial struct {
	file, mode string
	policy     string // its hash; "": those that were in force
	inForce    bool
	list       string                 // as WhatIfRun.List
	names      func(id string) string // as in WhatIfRun
	servers    map[string]bool        // the same, mailServers
	player     *governor.Player
	held       bool                // what is being played would have been held back
	touched    map[uint64]struct{} // sessions that ran then, run still, and were held back here
	tally      *tally
	sum        ReplayDecisions
	acted      int
	noted      notes                 // told, too; nil: nobody is
	played     func(*governor.Input) // told of each input after it was played; nil: nobody is
}

// take plays a batch.
func (r *trial) take(t *turn, from time.Time) {
	for i := range t.In {
		if i == t.restart {
			r.restart(from)
		}
		r.held = false
		r.player.Play(&t.In[i])
		r.follow(&t.In[i])
		if r.played != nil {
			r.played(&t.In[i])
		}
	}
}

func newTrial(file, mode string, opt governor.PlayerOptions) *trial {
	r := &trial{file: file, mode: mode, tally: newTally(), touched: map[uint64]struct{}{}}
	opt.Decision, opt.Change = r.decision, r.change
	opt.Began = func(c governor.StageChange) { r.tally.change(c) }
	r.player = governor.NewPlayer(opt)
	return r
}

// tryConfig tries the policy of a configuration.
func tryConfig(cfg *config.Config, table *subscriber.Table, byList bool) *trial {
	r := tryPolicy(cfg.Policy(), table, cfg.Identity.UnmappedPlan, byList, cfg.MailServerPlans())
	r.file, r.mode = cfg.Path(), cfg.Mode
	return r
}

// tryPolicy tries a policy. Who has a plan that it does not have is under that of the list, and who is in no list under that of strangers.
func tryPolicy(policy governor.Policy, table *subscriber.Table, unmapped string, byList bool, servers []string) *trial {
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
		return unmapped
	}
	r := newTrial("", policy.Mode.String(), governor.PlayerOptions{Policy: &policy, PlanOf: planOf})
	r.policy = policy.Hash
	r.names = func(id string) string { s, _ := table.ByID(id); return s.Name }
	r.servers = map[string]bool{}
	for _, name := range servers {
		r.servers[name] = true
	}
	return r
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
	r.held = r.held || action >= governor.ActionPace
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

// follow counts messages of sessions that ran then and are held back here: all of a session that does not begin here, or begins late, and of one whose
// replies are held those from then on. What a session had in it that a cut ends here is not among them, nor what one would have had that was denied then.
func (r *trial) follow(in *governor.Input) {
	if r.held && in.Session > 0 && (in.Op != governor.OpOpen || in.Ran) {
		r.touched[in.Session] = struct{}{}
	}
	switch in.Op {
	case governor.OpBegin: // whose sessions have numbers of their own
		clear(r.touched)
	case governor.OpClose, governor.OpWithdraw:
		delete(r.touched, in.Session)
	case governor.OpSpend, governor.OpEstimate:
		if _, held := r.touched[in.Session]; held && in.Of == governor.Messages {
			if a := r.tally.accounts[in.Subscriber]; a != nil {
				a.Touched += in.Cost
			}
		}
	}
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
	run := WhatIfRun{Policy: r.policy, InForce: r.inForce, List: r.list, Guessed: r.player.Guessed, names: r.names, mailServers: r.servers, ReplayRun: ReplayRun{ConfigFile: r.file, Mode: r.mode, Decisions: r.sum, Acted: r.acted, Unlisted: len(r.tally.unlisted)}}
	if g := r.player.Governor(); g != nil {
		run.Uncounted = g.Stats().Untracked
	}
	for _, a := range r.tally.accounts {
		a.spent(r.player.Last())
		run.Subscribers = append(run.Subscribers, a.ReplaySubscriber)
	}
	return run
}
