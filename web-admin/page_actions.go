package webadmin

import (
	"net/http"
	"strings"
	"time"
)

// What a person may do on a subscriber's page. Each form says what will happen, and leads back to the page when it has; what cannot be
// taken comes back with the reason, and with what was typed.

func (s *Server) releaseLine(w http.ResponseWriter, r *http.Request) {
	_, err := s.opt.Source.Release(r.PathValue("id"), actorOf(r).who)
	s.backToLine(w, r, form{}, err, "The line was not released")
}

func (s *Server) unreleaseLine(w http.ResponseWriter, r *http.Request) {
	_, err := s.opt.Source.Unrelease(r.PathValue("id"), actorOf(r).who)
	s.backToLine(w, r, form{}, err, "The release was not taken back")
}

func (s *Server) exemptLine(w http.ResponseWriter, r *http.Request) {
	f := form{Open: "exempt", Until: strings.TrimSpace(r.PostFormValue("until")), Reason: strings.TrimSpace(r.PostFormValue("reason"))}
	until, err := EndOfDay(f.Until, s.opt.Location)
	switch {
	case f.Until == "":
		f.wrong("until", "is missing")
	case err != nil:
		f.wrong("until", "a day like "+s.opt.Now().In(s.opt.Location).AddDate(0, 0, 7).Format(time.DateOnly))
	default:
		if message := untilWrong(until, s.opt.Now()); message != "" {
			f.wrong("until", message)
		}
	}
	if f.Reason == "" {
		f.wrong("reason", "is missing")
	} else if message := unfit(f.Reason); message != "" {
		f.wrong("reason", message)
	}
	if len(f.Errors) > 0 {
		s.showLine(w, r, http.StatusBadRequest, f)
		return
	}
	_, err = s.opt.Source.Exempt(r.PathValue("id"), until, f.Reason, actorOf(r).who)
	s.backToLine(w, r, f, err, "The line was not exempted")
}

func (s *Server) unexemptLine(w http.ResponseWriter, r *http.Request) {
	_, err := s.opt.Source.Unexempt(r.PathValue("id"), actorOf(r).who)
	s.backToLine(w, r, form{}, err, "The exemption was not ended")
}

func (s *Server) setLinePlan(w http.ResponseWriter, r *http.Request) {
	f := form{Open: "plan", Plan: r.PostFormValue("plan")}
	if message := s.planWrong(f.Plan); message != "" {
		f.wrong("plan", message)
		s.showLine(w, r, http.StatusBadRequest, f)
		return
	}
	_, err := s.opt.Source.SetPlan(r.PathValue("id"), f.Plan, actorOf(r).who)
	s.backToLine(w, r, f, err, "The plan was not changed")
}

// form is what was typed into one of a subscriber's forms, and what is wrong with it.
type form struct {
	Open                string // which one stays open: exempt, plan
	Until, Reason, Plan string
	Errors              []formError
}

type formError struct{ Field, Label, Message string }

// labels are what the fields are called on the page.
var labels = map[string]string{"until": "Until the end of", "reason": "Reason", "plan": "Plan"}

func (f *form) wrong(field, message string) {
	f.Errors = append(f.Errors, formError{field, labels[field], message})
}

// backToLine leads to the subscriber's page, or shows why nothing was changed.
func (s *Server) backToLine(w http.ResponseWriter, r *http.Request, f form, err error, not string) {
	if err == nil {
		http.Redirect(w, r, subscriberLink(r.PathValue("id")), http.StatusSeeOther)
		return
	}
	status, detail, wrong := s.whyNot(err, not)
	for _, e := range wrong {
		f.wrong(e.Field, e.Message)
	}
	if detail != "" {
		f.Errors = append(f.Errors, formError{Message: not + ". " + detail})
	}
	s.showLine(w, r, status, f)
}
