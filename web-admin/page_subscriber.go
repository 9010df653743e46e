package webadmin

import (
	"net/http"
	"time"
)

const (
	recordsOfSubscriber   = 20
	decisionsOfSubscriber = 15
)

// subscriberView answers: why, since when, until when, and what do I say?
type subscriberView struct {
	lineView
	Enforce   bool
	Held      bool // stage pace or higher
	Sentence  string
	Reason    string
	Prefix    []string
	Budgets   []budgetView
	Decisions []decisionView
	Records   []recordView
	AllLink   string // all records of this subscriber
	// DecisionsLink leads to all its decisions.
	DecisionsLink string
	Exemption     *exemptionView
}

type exemptionView struct {
	Until  moment
	Reason string
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
}

func (s *Server) subscriberPage(w http.ResponseWriter, r *http.Request) {
	sub, ok := s.opt.Source.Subscriber(r.PathValue("id"))
	if !ok {
		s.refuse(w, r, http.StatusNotFound, "No such subscriber", "Nobody has this id, and no session of it was seen. Search for a name, an address or a case number.")
		return
	}
	z := zone{s.opt.Now(), s.opt.Location}
	st := s.opt.Source.Status()
	records, _ := s.opt.Source.Records(RecordQuery{Subscriber: sub.ID, Limit: recordsOfSubscriber})
	v := subscriberOf(s.complete(sub, st, z.now), st, records, z)
	s.render(w, r, http.StatusOK, "subscriber", frame{Title: v.Name, Here: "/subscribers", Live: true}, v)
}

func subscriberOf(sub Subscriber, st Status, records []Record, z zone) subscriberView {
	v := subscriberView{lineView: lineOf(sub, z), Enforce: st.Mode == "enforce", Held: stageRank(sub.Stage) >= stageRank("pace"),
		Sentence: sub.Sentence, Reason: inert(sub.Reason), AllLink: recordsLink("", sub.ID, ""), DecisionsLink: recordsLink("DECISION", sub.ID, "")}
	for _, p := range sub.Prefixes {
		v.Prefix = append(v.Prefix, inert(p))
	}
	for _, b := range sub.Budgets {
		v.Budgets = append(v.Budgets, budgetOf(b, z))
	}
	for _, d := range sub.Decisions[:min(len(sub.Decisions), decisionsOfSubscriber)] {
		dv := decisionView{At: z.second(d.At.Time), Action: inert(d.Action), Acted: d.Acted, Reason: inert(d.Reason), Before: inert(d.Before),
			Stage: inert(d.Stage), Changed: d.Before != d.Stage && d.Before != "", Until: z.clock(d.Until.Time), Case: inert(d.Case),
			WouldHaveActed: !d.Acted && stageRank(d.Action) >= stageRank("pace")}
		if w := time.Duration(d.Wait); w >= time.Millisecond {
			dv.Wait = waitText(d.Action, w)
		}
		v.Decisions = append(v.Decisions, dv)
	}
	for _, rec := range records {
		v.Records = append(v.Records, recordOf(rec, z))
	}
	if sub.Exemption != nil {
		v.Exemption = &exemptionView{z.clock(sub.Exemption.Until.Time), inert(sub.Exemption.Reason)}
	}
	if v.Name == v.ID {
		v.ID = ""
	}
	return v
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
