package webadmin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// planDays is how much of the journal a changed plan is tried on.
const planDays = 7

// whatIfView says what a change would have meant for people.
type whatIfView struct {
	Empty      bool // the journal has nothing of these days
	From, To   moment
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
	Servers    whatIfServers
}

// whatIfLine is a subscriber; ID is empty where it has no other name.
type whatIfLine struct{ Name, ID, Link, Plan, Was, Is, Why string }

// whatIfServers is what becomes of the mail of registered mail servers, which is the lawful mail that the box knows of.
type whatIfServers struct {
	Lead  string // in one line
	Known string // which lines these are, and what is not known
}

// whatIfRow compares a number now and then.
type whatIfRow struct{ What, Was, Is string }

const shownWhatIfLines = 30

// listInForce is the word of a what-if that goes by the list which the box has in memory, and not by the file.
const listInForce = "in_force"

// tryPlan has a change tried on the last days and shows it on v. Where that cannot be, v says why; then it can be saved all the same, but for
// another trial that is under way. It returns false when nobody waits any more.
func (s *Server) tryPlan(r *http.Request, v *planView, o ConfigOutcome, q WhatIfQuestion) bool {
	q.Config, q.Days, q.Who = []byte(o.Text), planDays, actorOf(r).who
	answer, err := s.opt.Source.WhatIf(r.Context(), q)
	var refused Refused
	var report WhatIf
	switch {
	case errors.Is(err, context.Canceled):
		return false
	case errors.Is(err, ErrBusy):
		busy, _ := errors.AsType[Busy](err)
		v.NoTrial = capital(s.behind(*busy.progress())) + ", and there is one at a time. Try again in some seconds."
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

// planLine is a line of an answer to a page that tries as somebody types: how far it is, and at last the page.
type planLine struct {
	Says    string `json:"says,omitempty"`
	Percent *int   `json:"percent,omitempty"` // none: not known
	Part    int    `json:"part,omitempty"`    // another one is worth saying aloud
	Page    string `json:"page,omitempty"`
}

// tellPlan tells a page how far a what-if is.
func (s *Server) tellPlan(out *lines) func(WhatIfProgress) {
	return func(p WhatIfProgress) {
		line := planLine{Says: capital(s.howFar(p)) + "."}
		switch p.Doing {
		case DoingWait:
			line.Part = 1
		case DoingList:
			line.Part = 2
		case DoingJournal:
			done := donePercent(p)
			line.Percent, line.Part = &done, 3+done/25
		case DoingReport:
			done := 100
			line.Percent, line.Part = &done, 8
		}
		out.say(line)
	}
}

func donePercent(p WhatIfProgress) int {
	if p.Of <= 0 {
		return 0
	}
	return int(p.Read * 100 / p.Of)
}

// howFar is how far a what-if is, in words.
func (s *Server) howFar(p WhatIfProgress) string {
	switch p.Doing {
	case DoingWait:
		return "waits: " + s.behind(p)
	case DoingList:
		return "reads the list of subscribers"
	case DoingReport:
		return "all read, adds up"
	}
	percent := fmt.Sprintf("%d\u00a0%%", donePercent(p))
	all, at := p.To.Sub(p.From.Time), min(max(p.At.Sub(p.From.Time), 0), p.To.Sub(p.From.Time))
	for _, unit := range []struct {
		of   time.Duration
		many string
	}{{24 * time.Hour, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if n := (all + unit.of - 1) / unit.of; n > 2 { // of two, nothing would seem to be read for long
			return fmt.Sprintf("%d of %d %s read, %s", at/unit.of, n, unit.many, percent)
		}
	}
	return percent + " read"
}

// behind is whose what-if another one waits for.
func (s *Server) behind(p WhatIfProgress) string {
	if p.Behind == "" {
		return "another what-if is under way"
	}
	return fmt.Sprintf("the what-if of %s has been under way for %s", inert(p.Behind), span(max(0, s.opt.Now().Sub(p.Since.Time))))
}

func (s *Server) whatIfOf(report WhatIf) *whatIfView {
	z := zone{s.opt.Now(), s.opt.Location}
	v := &whatIfView{Sessions: count(report.Sessions, "session", "sessions"), Empty: report.Sessions == 0, From: z.clock(report.From.Time), To: z.clock(report.To.Time)}
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
		line := whatIfLine{Name: inert(cmp.Or(one.Name, one.Subscriber)), Link: subscriberLink(one.Subscriber), Plan: inert(one.Plan), Was: one.Against.Highest, Is: one.Highest, Why: reasonText(one.Why)}
		if one.Name != "" && one.Name != one.Subscriber {
			line.ID = inert(one.Subscriber)
		}
		switch {
		case is && !was:
			if hit++; hit <= shownWhatIfLines {
				v.Deferred = append(v.Deferred, line)
			}
		case was && !is:
			line.Why = reasonText(one.Against.Why)
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
	var was WhatIfRun
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
	v.serve(was.MailServers, report.Config.MailServers)
	return v
}

// serve says how much mail of lawful servers the box held back, or would: of those that the operator has put under a plan for mail servers. More it cannot know.
func (v *whatIfView) serve(was, is WhatIfMailServers) {
	plans := slices.Compact(slices.Sorted(slices.Values(slices.Concat(was.Plans, is.Plans))))
	for i := range plans {
		plans[i] = inert(plans[i])
	}
	sent := max(was.Subscribers, is.Subscribers)
	switch under := strings.Join(plans, ", "); {
	case len(plans) == 0:
		v.Servers = whatIfServers{"of mail servers nothing can be said", "No plan begins as mailserver, so the box does not know which lines are registered mail servers, and how much of their mail would have been touched"}
		return
	case sent == 0:
		v.Servers = whatIfServers{"no registered mail server sent anything", "Registered mail servers are the lines under " + under + ", and none of them sent anything in these days. Lines that run one under another plan are not known as such"}
		return
	default:
		v.Servers.Known = "Registered mail servers are the lines under " + under + "; a server under another plan is not known as one, and what their mail is the box does not know either. " +
			"Messages are counted in sessions that ran then, inside TLS at least so many; what sessions had sent that were refused then nobody knows"
	}
	v.Servers.Lead = fmt.Sprintf("mail of %s would have been held back or refused (as it is: %s)", count(is.Touched, "registered mail server", "registered mail servers"), number(was.Touched))
	for _, row := range []struct {
		what string
		of   func(WhatIfMailServers) string
	}{
		{"registered mail servers touched", func(m WhatIfMailServers) string { return number(m.Touched) + " of " + number(sent) }},
		{"their sessions paced", func(m WhatIfMailServers) string { return number(m.Decisions.Paced) }},
		{"their sessions deferred or cut", func(m WhatIfMailServers) string { return number(m.Decisions.Deferred + m.Decisions.Cut) }},
		{"their messages in these sessions, at least", func(m WhatIfMailServers) string { return number(m.Messages) }},
	} {
		v.Rows = append(v.Rows, whatIfRow{row.what, row.of(was), row.of(is)})
	}
}
