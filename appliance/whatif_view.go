package appliance

import (
	"cmp"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/mailweir/mailweir/governor"
)

// WhatIfView is a what-if as JSON, of `mailweir replay --journal --json`.
type WhatIfView struct {
	From        time.Time           `json:"from"`
	To          time.Time           `json:"to"`
	Sessions    uint64              `json:"sessions"`
	Inputs      uint64              `json:"inputs"`
	Missing     uint64              `json:"missing"` // inputs that the journal does not have, at least: what comes after is an estimate
	MissingWhy  []LackView          `json:"missing_why,omitempty"`
	Starts      int                 `json:"starts"`             // of the box
	Recorded    *ReproducedView     `json:"recorded,omitempty"` // without a configuration
	Config      WhatIfRunView       `json:"config"`
	Against     *WhatIfRunView      `json:"against,omitempty"`
	Subscribers []WhatIfOutcomeView `json:"subscribers"` // those above observe; with another configuration, those with a difference
}

// LackView is a reason why inputs are missing.
type LackView struct {
	Why    string `json:"why"`
	Places int    `json:"places"`
	File   string `json:"file,omitempty"` // the first one
	Files  int    `json:"files,omitempty"`
}

// ReproducedView is how the records and the decisions made again compare.
type ReproducedView struct {
	Same      int      `json:"same"`
	OnlyThen  int      `json:"only_then"`
	OnlyNow   int      `json:"only_now"`
	CutOff    int      `json:"cut_off"`
	Unchecked int      `json:"unchecked"`
	Covered   float64  `json:"covered_s"` // seconds of which all is known; 0: nothing could be checked
	Examples  []string `json:"examples,omitempty"`
}

// WhatIfRunView is a policy and what it would have done.
type WhatIfRunView struct {
	File      string          `json:"file,omitempty"`
	InForce   bool            `json:"in_force,omitempty"` // it is what the running box goes by, whatever its file says
	List      string          `json:"list,omitempty"`     // where its list of subscribers is from, if not from the file: ListInForce, ListRecorded
	Policy    string          `json:"policy,omitempty"`   // its hash, as records have it
	Mode      string          `json:"mode"`
	Decisions ReplayDecisions `json:"decisions"`
	Acted     int             `json:"acted"`
	Guessed   uint64          `json:"guessed"` // sessions that were denied then and not here: what they would have done nobody knows
	Highest   map[string]int  `json:"highest"` // how many subscribers came how far, above observe
	// MailServers is what becomes of the mail of registered mail servers; without a configuration it is not known which they are.
	MailServers *MailServersView `json:"mail_servers,omitempty"`
}

// MailServersView is what becomes of registered mail servers: lines under a plan that begins as the preset of that name, in either of the configurations.
type MailServersView struct {
	Plans       []string        `json:"plans"`       // of this configuration; none: it has none for them
	Subscribers int             `json:"subscribers"` // that sent something
	Touched     int             `json:"touched"`     // of these, of whom a session was paced, deferred or cut
	Decisions   ReplayDecisions `json:"decisions"`
	Messages    int             `json:"messages_lo"` // in sessions that ran then and were paced, deferred or cut, at least
}

// OutcomeView is what becomes of a subscriber under a policy.
type OutcomeView struct {
	Plan      string             `json:"plan"`
	Highest   string             `json:"highest_stage"`
	Why       string             `json:"why,omitempty"`
	Stages    map[string]float64 `json:"stage_seconds"`
	Decisions ReplayDecisions    `json:"decisions"`
}

// WhatIfOutcomeView is a subscriber.
type WhatIfOutcomeView struct {
	Subscriber string `json:"subscriber"`
	Name       string `json:"name,omitempty"` // as the list has it
	OutcomeView
	Against *OutcomeView `json:"against,omitempty"`
}

// View is the report as JSON. Subscribers are in the order of what happened to them, the harshest first.
func (r *WhatIfReport) View() WhatIfView {
	v := WhatIfView{From: r.First.UTC(), To: r.Last.UTC(), Sessions: r.Sessions, Inputs: r.Inputs, Missing: r.Missing, Starts: r.Lives,
		Subscribers: []WhatIfOutcomeView{}}
	servers := r.mailServers()
	v.Config = r.Run.view(servers)
	for _, l := range r.Lacks {
		v.MissingWhy = append(v.MissingWhy, LackView{l.Why, l.Places, l.File, l.Files})
	}
	if c := r.Recorded; c != nil {
		v.Recorded = &ReproducedView{c.Same, c.OnlyThen, c.OnlyNow, c.CutOff, c.Unchecked, c.Covered.Seconds(), c.Examples}
	}
	var all []ReplayDifference
	if r.Against != nil {
		against := r.Against.view(servers)
		v.Against = &against
		all = Differences(&r.Run.ReplayRun, &r.Against.ReplayRun)
	} else {
		for _, s := range r.Run.Subscribers {
			if s.Highest > governor.StageObserve {
				all = append(all, ReplayDifference{ID: s.ID, One: s})
			}
		}
	}
	slices.SortFunc(all, func(a, b ReplayDifference) int {
		return cmp.Or(cmp.Compare(max(b.One.Highest, b.Two.Highest), max(a.One.Highest, a.Two.Highest)), cmp.Compare(a.ID, b.ID))
	})
	for _, d := range all {
		o := WhatIfOutcomeView{Subscriber: d.ID, Name: r.name(d.ID), OutcomeView: d.One.outcome()}
		if r.Against != nil {
			two := d.Two.outcome()
			o.Against = &two
		}
		v.Subscribers = append(v.Subscribers, o)
	}
	return v
}

// name is what a subscriber is called, by the first list that says so.
func (r *WhatIfReport) name(id string) string {
	for _, run := range r.runs() {
		if run.names != nil {
			if name := run.names(id); name != "" {
				return name
			}
		}
	}
	return ""
}

func (r *WhatIfReport) runs() []*WhatIfRun {
	if r.Against == nil {
		return []*WhatIfRun{&r.Run}
	}
	return []*WhatIfRun{&r.Run, r.Against}
}

// mailServers are the subscribers that are under a plan of mail servers in one of the runs.
func (r *WhatIfReport) mailServers() map[string]bool {
	ids := map[string]bool{}
	for _, run := range r.runs() {
		for _, s := range run.Subscribers {
			if run.mailServers[s.Plan] {
				ids[s.ID] = true
			}
		}
	}
	return ids
}

// served is what becomes of those mail servers.
func (r *WhatIfRun) served(ids map[string]bool) *MailServersView {
	if r.mailServers == nil {
		return nil
	}
	v := &MailServersView{Plans: slices.Sorted(maps.Keys(r.mailServers))}
	if v.Plans == nil {
		v.Plans = []string{}
	}
	for _, s := range r.Subscribers {
		if !ids[s.ID] {
			continue
		}
		if s.Sessions > 0 {
			v.Subscribers++
		}
		d := s.Decisions
		if d.Paced+d.Deferred+d.Cut > 0 {
			v.Touched++
		}
		v.Decisions = ReplayDecisions{v.Decisions.Passed + d.Passed, v.Decisions.Paced + d.Paced, v.Decisions.Deferred + d.Deferred, v.Decisions.Cut + d.Cut}
		v.Messages += s.Touched
	}
	return v
}

func (r *WhatIfRun) view(servers map[string]bool) WhatIfRunView {
	v := WhatIfRunView{InForce: r.InForce, List: r.List, Policy: r.Policy, Mode: r.Mode, Decisions: r.Decisions, Acted: r.Acted, Guessed: r.Guessed, Highest: map[string]int{}, MailServers: r.served(servers)}
	if r.ConfigFile != "" {
		v.File = filepath.Base(r.ConfigFile)
	}
	for _, s := range r.Subscribers {
		if s.Highest > governor.StageObserve {
			v.Highest[s.Highest.String()]++
		}
	}
	return v
}

func (s *ReplaySubscriber) outcome() OutcomeView {
	o := OutcomeView{Plan: s.Plan, Highest: s.Highest.String(), Why: s.Why, Stages: map[string]float64{}, Decisions: s.Decisions}
	for stage, d := range s.In {
		o.Stages[stage.String()] = d.Seconds()
	}
	return o
}
