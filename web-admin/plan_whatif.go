package webadmin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// planDays is how much of the journal a changed plan is tried on.
const planDays = 7

// whatIfView says what a change would have meant for people.
type whatIfView struct {
	Empty      bool // the journal has nothing of these days
	From       moment
	Sessions   string
	Missing    string
	Deferred   []whatIfLine // who would have been deferred, and was not
	Free       []whatIfLine // who was, and would not have been
	MoreHit    string
	MoreFree   string
	Hit, Freed string // in words
	Other      string // who is at another stage than before, below deferral
	Guessed    string
	List       string // why it does not go by the list in the file
	Rows       []whatIfRow
}

type whatIfLine struct{ ID, Link, Plan, Was, Is, Why string }

// whatIfRow compares a number now and then.
type whatIfRow struct{ What, Was, Is string }

const shownWhatIfLines = 30

// listInForce is the word of a what-if that goes by the list which the box has in memory, and not by the file.
const listInForce = "in_force"

// whatIfReport is what a page needs of the answer to a what-if.
type whatIfReport struct {
	From        time.Time    `json:"from"`
	Sessions    int64        `json:"sessions"`
	Missing     int64        `json:"missing"`
	Config      whatIfRun    `json:"config"`
	Against     *whatIfRun   `json:"against"`
	Subscribers []whatIfLife `json:"subscribers"`
}

type whatIfRun struct {
	List      string `json:"list"`
	Guessed   int64  `json:"guessed"`
	Decisions struct {
		Passed, Paced, Deferred, Cut int64
	} `json:"decisions"`
}

type whatIfLife struct {
	Subscriber string `json:"subscriber"`
	whatIfOutcome
	Against *whatIfOutcome `json:"against"`
}

type whatIfOutcome struct {
	Plan    string             `json:"plan"`
	Highest string             `json:"highest_stage"`
	Why     string             `json:"why"`
	Stages  map[string]float64 `json:"stage_seconds"`
}

// tryPlan has a change tried on the last days and shows it on v. Where that cannot be, v says why; then it can be saved all the same, but for
// another trial that is under way. It answers itself, and returns false, when nobody waits any more.
func (s *Server) tryPlan(w http.ResponseWriter, r *http.Request, v *planView, o ConfigOutcome) bool {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(whatIfAnswerIn)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.broken(w, r, err, "Nothing was tried")
		return false
	}
	answer, err := s.opt.Source.WhatIf(r.Context(), []byte(o.Text), planDays, actorOf(r).who)
	var refused Refused
	var report whatIfReport
	switch {
	case errors.Is(err, context.Canceled):
		return false
	case errors.Is(err, ErrBusy):
		v.NoTrial = "Another what-if is under way, and there is one at a time. Try again in some seconds."
		return true
	case errors.Is(err, ErrNoJournal):
		v.NoTrial = "The box has no journal now, so there is nothing to try it on. It can be saved untried."
	case errors.As(err, &refused):
		v.NoTrial = "It could not be tried: " + inert(refused.Message) + ". It can be saved untried."
	case err == nil:
		err = json.Unmarshal(answer, &report)
		fallthrough
	default:
		if err != nil {
			s.opt.Log.Error("web admin: a plan could not be tried", "err", err)
			v.NoTrial = "It could not be tried; the box's log says why. It can be saved untried."
			break
		}
		v.WhatIf = s.whatIfOf(report)
	}
	v.Seen = o.Revision
	return true
}

func (s *Server) whatIfOf(report whatIfReport) *whatIfView {
	v := &whatIfView{Sessions: count(report.Sessions, "session", "sessions"), Empty: report.Sessions == 0, From: zone{s.opt.Now(), s.opt.Location}.clock(report.From)}
	if report.Missing > 0 {
		v.Missing = count(report.Missing, "thing is missing in the journal", "things are missing in the journal")
	}
	if report.Config.Guessed > 0 {
		v.Guessed = count(report.Config.Guessed, "session was refused then and would not have been", "sessions were refused then and would not have been")
	}
	switch report.Config.List {
	case "":
	case listInForce:
		v.List = "The list of subscribers in the file is not the one in force (it has an error, or was not read yet); this goes by the one in force"
	default:
		v.List = "The list of subscribers cannot be read; plans are those that the journal has"
	}
	hit, freed, other := 0, 0, 0
	deferRank := stageRank("defer")
	for _, one := range report.Subscribers {
		if one.Against == nil {
			continue
		}
		is, was := stageRank(one.Highest) >= deferRank, stageRank(one.Against.Highest) >= deferRank
		line := whatIfLine{ID: inert(one.Subscriber), Link: subscriberLink(one.Subscriber), Plan: inert(one.Plan), Was: one.Against.Highest, Is: one.Highest, Why: inert(one.Why)}
		switch {
		case is && !was:
			if hit++; hit <= shownWhatIfLines {
				v.Deferred = append(v.Deferred, line)
			}
		case was && !is:
			line.Why = inert(one.Against.Why)
			if freed++; freed <= shownWhatIfLines {
				v.Free = append(v.Free, line)
			}
		case one.Highest != one.Against.Highest:
			other++
		}
	}
	v.Hit, v.Freed = count(hit, "subscriber would have been deferred or cut who was not", "subscribers would have been deferred or cut who were not"),
		count(freed, "subscriber was deferred or cut who would not have been", "subscribers were deferred or cut who would not have been")
	if hit > len(v.Deferred) {
		v.MoreHit = number(hit-len(v.Deferred)) + " more"
	}
	if freed > len(v.Free) {
		v.MoreFree = number(freed-len(v.Free)) + " more"
	}
	if other > 0 {
		v.Other = count(other, "subscriber comes to another stage below that", "subscribers come to another stage below that")
	}
	var was whatIfRun
	if report.Against != nil {
		was = *report.Against
	}
	a, b := was.Decisions, report.Config.Decisions
	v.Rows = []whatIfRow{{"passed", number(a.Passed), number(b.Passed)}, {"paced", number(a.Paced), number(b.Paced)}, {"deferred", number(a.Deferred), number(b.Deferred)}, {"cut", number(a.Cut), number(b.Cut)}}
	for _, stage := range []string{"pace", "defer", "cut"} {
		var now, then float64
		for _, one := range report.Subscribers {
			now += one.Stages[stage]
			if one.Against != nil {
				then += one.Against.Stages[stage]
			}
		}
		v.Rows = append(v.Rows, whatIfRow{"hours in stage " + stage + ", of those whom it changes", fmt.Sprintf("%.1f", then/3600), fmt.Sprintf("%.1f", now/3600)})
	}
	return v
}
