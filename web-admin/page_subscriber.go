package webadmin

import (
	"cmp"
	"net/http"
	"time"
)

const (
	recordsOfSubscriber   = 20
	decisionsOfSubscriber = 15
	shownAddresses        = 3 // prefixes of a line that stand above what to say on the telephone
)

// subscriberView answers: why, since when, until when, and what do I say?
type subscriberView struct {
	lineView
	Enforce   bool
	Held      bool // stage pace or higher
	Sentence  string
	Lang, Dir string // of the sentence
	Reason    string
	Next      string // what its next session meets, in one line
	Prefix    []prefixView
	Rest      []prefixView // more of them, folded
	Budgets   []budgetView
	Decisions []decisionView
	History   historyView
	Records   []recordView
	AllLink   string // all records of this subscriber
	// DecisionsLink leads to all its decisions.
	DecisionsLink string
	CaseLink      string
	Exemption     *exemptionView
	Released      *releasedView
	ByHand        bool         // the plan is not the list's
	ListPlan      string       // the list's plan; empty: the list does not have this line
	Plans         []planOption // empty: its plan cannot be changed here
	Form          form
	FirstDay      string // that an exemption may end on
	LastDay       string
}

// prefixView is a prefix with who says that this line holds it: "RADIUS since 11 Nov 08:00"; nothing when it is the list alone.
type prefixView struct {
	Prefix, Source string
	From           moment
}

type exemptionView struct {
	Since, Until moment
	Reason, By   string
}

type releasedView struct{ Since, Until moment }

type planOption struct {
	Value, Text string
	Chosen      bool
}

type decisionView struct {
	At             moment
	Action         string
	Acted          bool
	Reason         string
	Before, Stage  string
	Changed        bool
	Wait           string
	Until          moment
	Case           string
	WouldHaveActed bool
	Note           string // a retry, or by which exemption it passed
}

func (s *Server) subscriberPage(w http.ResponseWriter, r *http.Request) {
	s.showLine(w, r, http.StatusOK, form{})
}

// showLine is the subscriber's page, with a form that could not be taken when there is one.
func (s *Server) showLine(w http.ResponseWriter, r *http.Request, status int, f form) {
	in := input{q: r.URL.Query()}
	step := in.length("step", stepsOfHistory[usualStep], stepsOfHistory)
	if len(in.errors) > 0 {
		s.refuse(w, r, http.StatusBadRequest, "This address asks for something that does not exist", "Start again from the list of subscribers.")
		return
	}
	sub, ok := s.see(r).Subscriber(r.PathValue("id"))
	if !ok {
		s.refuse(w, r, http.StatusNotFound, "No such subscriber", "Nobody has this id, and no session of it was seen. Search for a name, an address or a case number.")
		return
	}
	z := zone{s.opt.Now(), s.opt.Location}
	st := s.see(r).Status()
	records, err := s.see(r).Records(r.Context(), RecordQuery{Subscriber: sub.ID, Limit: recordsOfSubscriber})
	if err != nil {
		return // nobody waits any more
	}
	history, _, err := s.see(r).History(r.Context(), sub.ID, step)
	if err != nil {
		return
	}
	v := subscriberOf(s.complete(sub, st, z.now), st, records.Items, s.see(r).Plans(), f, z)
	v.Dir = s.sentences.Load().Dir()
	v.History = historyOf(history, sub, cmp.Or(in.text("step"), stepsOfHistory[usualStep]), z)
	// A form that came back is not asked for again each second: its address takes no GET.
	s.render(w, r, status, "subscriber", frame{Title: v.Name, Here: "/subscribers", Live: status == http.StatusOK}, v)
}

func subscriberOf(sub Subscriber, st Status, records []Record, plans []Plan, f form, z zone) subscriberView {
	v := subscriberView{lineView: lineOf(sub, z), Enforce: st.Mode == "enforce", Held: stageRank(sub.Stage) >= stageRank("pace"),
		Sentence: sub.Sentence, Lang: sub.Language, Reason: reasonText(sub.Reason), AllLink: recordsLink("", sub.ID), DecisionsLink: recordsLink("DECISION", sub.ID),
		ByHand: sub.PlanSource == "operator", ListPlan: inert(sub.ListPlan), Form: f}
	if sub.Case != "" {
		v.CaseLink = caseLink(sub.Case)
	}
	if v.Prefix = prefixesOf(sub, z); len(v.Prefix) > shownAddresses+1 { // one more would take no less room folded
		v.Prefix, v.Rest = v.Prefix[:shownAddresses], v.Prefix[shownAddresses:]
	}
	v.Next = nextSession(sub.Lane)
	for _, b := range sub.Budgets {
		v.Budgets = append(v.Budgets, budgetOf(b, z))
	}
	v.Decisions = decisionsOf(sub.Decisions[:min(len(sub.Decisions), decisionsOfSubscriber)], z)
	for _, rec := range records {
		v.Records = append(v.Records, recordOf(rec, z))
	}
	today := z.now.In(z.loc)
	v.FirstDay, v.LastDay = today.Format(time.DateOnly), today.AddDate(0, 0, 365).Format(time.DateOnly)
	if e := sub.Exemption; e != nil {
		v.Exemption = &exemptionView{z.clock(e.Since.Time), z.clock(e.Until.Time), inert(e.Reason), inert(e.By)}
	}
	if u := sub.Released; u != nil {
		v.Released = &releasedView{z.clock(u.Since.Time), z.clock(u.Until.Time)}
	}
	if f.Open != "exempt" { // what a form that did not come back offers
		v.Form.Until = today.AddDate(0, 0, 7).Format(time.DateOnly)
		if e := sub.Exemption; e != nil {
			v.Form.Until, v.Form.Reason = e.Until.In(z.loc).Add(-time.Nanosecond).Format(time.DateOnly), inert(e.Reason)
		}
	}
	if !sub.Unmapped {
		v.Plans = planOptions(sub, plans, f)
	}
	if v.Name == v.ID {
		v.ID = ""
	}
	return v
}

// sourceNames are the words for who says that a line holds a prefix.
var sourceNames = map[string]string{"csv": "list", "lease": "DHCP lease", "radius": "RADIUS", "api": "API"}

func sourceName(source string) string {
	if name := sourceNames[source]; name != "" {
		return name
	}
	return inert(source)
}

func prefixesOf(sub Subscriber, z zone) []prefixView {
	said := map[string]bool{}
	var out []prefixView
	for _, b := range sub.Bindings {
		said[b.Prefix] = true
		p := prefixView{Prefix: inert(b.Prefix), From: z.clock(b.From.Time)}
		if b.Source != "csv" || p.From.Text != "" {
			p.Source = sourceName(b.Source)
		}
		out = append(out, p)
	}
	for _, p := range sub.Prefixes {
		if !said[p] {
			out = append(out, prefixView{Prefix: inert(p)})
		}
	}
	return out
}

// planOptions are the plans that a line can be put under; going back to the list's is the empty one.
func planOptions(sub Subscriber, plans []Plan, f form) []planOption {
	chosen := sub.Plan
	if sub.PlanSource != "operator" {
		chosen = ""
	}
	if f.Open == "plan" {
		chosen = f.Plan
	}
	out := []planOption{{"", "as the list says", chosen == ""}}
	if sub.ListPlan != "" {
		out[0].Text += ": " + inert(sub.ListPlan)
	}
	for _, p := range plans {
		out = append(out, planOption{p.Name, inert(p.Name), chosen == p.Name})
	}
	return out
}

func decisionsOf(all []Decision, z zone) []decisionView {
	var out []decisionView
	for _, d := range all {
		v := decisionView{At: z.second(d.At.Time), Action: inert(d.Action), Acted: d.Acted, Reason: reasonText(d.Reason), Before: inert(d.Before),
			Stage: inert(d.Stage), Changed: d.Before != d.Stage && d.Before != "", Until: z.clock(d.Until.Time), Case: inert(d.Case),
			WouldHaveActed: !d.Acted && stageRank(d.Action) >= stageRank("pace")}
		if w := time.Duration(d.Wait); w >= time.Millisecond {
			v.Wait = waitText(d.Action, w)
		}
		switch {
		case d.Exemption != "":
			v.Note = "passed, exempt: " + inert(d.Exemption)
		case d.Retry:
			v.Note = "a retry, which does not count towards a cut"
		}
		out = append(out, v)
	}
	return out
}

// waitText says what a decision's wait means for its action.
func waitText(action string, w time.Duration) string {
	switch action {
	case "pace":
		return "held " + span(w)
	case "defer":
		return "retry in " + span(w)
	case "cut":
		return "for " + span(w)
	}
	return span(w)
}
