package webadmin

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// What the API's routes that change something take.
type (
	exemptionBody struct {
		Until  string `json:"until" format:"date-time"`
		Reason string `json:"reason"`
	}
	planBody struct {
		Plan string `json:"plan"` // empty: what the list says
	}
	bindingBody struct {
		Prefix     string `json:"prefix"`
		Subscriber string `json:"subscriber"`
	}
)

func (s *Server) apiRelease(w http.ResponseWriter, r *http.Request) {
	sub, err := s.opt.Source.Release(r.PathValue("id"), actorOf(r).who)
	s.changed(w, sub, err, "The subscriber was not released")
}

func (s *Server) apiUnrelease(w http.ResponseWriter, r *http.Request) {
	sub, err := s.opt.Source.Unrelease(r.PathValue("id"), actorOf(r).who)
	s.changed(w, sub, err, "The release was not taken back")
}

func (s *Server) apiExempt(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	until, reason := b.time("until"), b.text("reason", false)
	if !until.IsZero() {
		if message := untilWrong(until, s.opt.Now()); message != "" {
			b.wrong("until", message)
		}
	}
	if b.refused(w) {
		return
	}
	sub, err := s.opt.Source.Exempt(r.PathValue("id"), until, reason, actorOf(r).who)
	s.changed(w, sub, err, "The subscriber was not exempted")
}

func (s *Server) apiUnexempt(w http.ResponseWriter, r *http.Request) {
	sub, err := s.opt.Source.Unexempt(r.PathValue("id"), actorOf(r).who)
	s.changed(w, sub, err, "The exemption was not ended")
}

func (s *Server) apiSetPlan(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	plan := b.text("plan", true)
	if message := s.planWrong(plan); message != "" {
		b.wrong("plan", message)
	}
	if b.refused(w) {
		return
	}
	sub, err := s.opt.Source.SetPlan(r.PathValue("id"), plan, actorOf(r).who)
	s.changed(w, sub, err, "The plan was not changed")
}

// planWrong says why nobody can be put under a plan; empty: one can.
func (s *Server) planWrong(plan string) string {
	var names []string
	for _, p := range s.opt.Source.Plans() {
		names = append(names, p.Name)
	}
	if plan == "" || slices.Contains(names, plan) {
		return ""
	}
	return "there is no plan " + strconv.Quote(inert(plan)) + "; there are " + strings.Join(names, ", ")
}

// changed answers with the subscriber that something was done to, or with why it was not.
func (s *Server) changed(w http.ResponseWriter, sub Subscriber, err error, not string) {
	if err != nil {
		s.notDone(w, err, not)
		return
	}
	writeJSON(w, http.StatusOK, s.complete(sub, s.opt.Source.Status(), s.opt.Now()))
}

// notDone answers why a change was not made; not says which.
func (s *Server) notDone(w http.ResponseWriter, err error, not string) {
	status, detail, wrong := s.whyNot(err, not)
	writeProblem(w, problemDetails{Title: not, Status: status, Detail: detail, Errors: wrong})
}

// whyNot is an error of the source for whoever asked. What only the box's owner can repair is logged, too.
func (s *Server) whyNot(err error, not string) (status int, detail string, wrong []fieldError) {
	var refused Refused
	switch {
	case errors.Is(err, ErrUnknownSubscriber):
		return http.StatusNotFound, "Nobody has this id, and no session of it was seen.", nil
	case errors.Is(err, ErrNotExempt):
		return http.StatusNotFound, "This subscriber has no exemption.", nil
	case errors.Is(err, ErrNotReleased):
		return http.StatusConflict, "A release can be taken back once, within a quarter of an hour, and not after the line was cut anew, its plan was changed, observing it ended, or the box was restarted.", nil
	case errors.Is(err, ErrNotBound):
		return http.StatusNotFound, "The API has not given this prefix to anybody.", nil
	case errors.Is(err, errNoUser):
		return http.StatusNotFound, "Nobody has this name.", nil
	case errors.As(err, &refused):
		return http.StatusBadRequest, "", []fieldError{{Field: refused.Field, Message: refused.Message}}
	}
	s.opt.Log.Error("web admin: "+not, "err", err)
	return http.StatusInternalServerError, "Nothing was changed: " + err.Error(), nil
}
