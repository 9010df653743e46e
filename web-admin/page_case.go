package webadmin

import (
	"net/http"
	"net/url"
)

// caseView answers: what happened in this case?
type caseView struct {
	ID               string
	Subscriber, Name string
	Plan, Link       string
	Open             bool
	Stage, Highest   string
	Opened, Closed   moment
	Until            moment
	Reason           string
	Changes          []changeView
	Decisions        []decisionView
	AllLink          string // all records of the subscriber
	PackLink         string
}

type changeView struct {
	At       moment
	From, To string
	Reason   string
}

// caseLink is the page of a case.
func caseLink(id string) string { return "/cases/" + url.PathEscape(id) }

func (s *Server) casePage(w http.ResponseWriter, r *http.Request) {
	c, ok := s.see(r).Case(caseNumber(r.PathValue("id")))
	if !ok {
		s.refuse(w, r, http.StatusNotFound, "No such case", "No case has this number, or it is so old that the box has forgotten it. The collectors' records have it.")
		return
	}
	z := zone{s.opt.Now(), s.opt.Location}
	v := caseView{ID: inert(c.ID), Subscriber: shortID(c.Subscriber), Name: inert(c.Name), Plan: inert(c.Plan), Link: subscriberLink(c.Subscriber),
		Open: c.Closed.IsZero(), Stage: inert(c.Stage), Highest: inert(c.Highest), Opened: z.clock(c.Opened.Time), Closed: z.clock(c.Closed.Time),
		Until: z.clock(c.Until.Time), Reason: reasonText(c.Reason), Decisions: decisionsOf(c.Decisions, z), AllLink: recordsLink("", c.Subscriber),
		PackLink: apiRoot + caseLink(c.ID) + "/evidence.zip"}
	if v.Name == "" {
		v.Name = v.Subscriber
	}
	for _, ch := range c.Changes {
		v.Changes = append(v.Changes, changeView{z.second(ch.At.Time), inert(ch.From), inert(ch.To), reasonText(ch.Reason)})
	}
	s.render(w, r, http.StatusOK, "case", frame{Title: "Case " + v.ID, Here: "/subscribers", Live: true}, v)
}
