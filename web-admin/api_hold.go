package webadmin

import (
	"errors"
	"net/http"
)

// Keeper keeps what belongs to a case beyond its time, for a court or an investigation.
type Keeper interface {
	// Hold holds a case from now on; [ErrNoCase] when there is none of that number.
	Hold(number, reason, who string) (Hold, error)
	// Unhold ends a hold; [ErrNoCase] when there is none.
	Unhold(number, who string) (Hold, error)
}

// ErrNoCase is what [Keeper] returns for a case that is not there.
var ErrNoCase = errors.New("no such case")

// Hold is a held case.
type Hold struct {
	Case       string `json:"case"`
	Subscriber string `json:"subscriber"`
	From       Time   `json:"from"` // what is held begins a day before the case
	To         Time   `json:"to"`   // null: the case is open
	Reason     string `json:"reason"`
	By         string `json:"by"`
	Since      Time   `json:"since"`
}

// Holds are the cases that are held.
type Holds struct {
	Items   []Hold `json:"items"`
	Next    string `json:"next"`
	Unknown string `json:"unknown"` // why there may be more than items, so that nothing of any case is deleted; empty: there are not
}

type holdBody struct {
	Reason string `json:"reason"`
}

func (s *Server) apiHold(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	reason := b.text("reason", false)
	if b.refused(w) {
		return
	}
	h, err := s.opt.Source.Hold(caseNumber(r.PathValue("id")), reason, actorOf(r).who)
	s.holdDone(w, h, err, "The case is not held")
}

func (s *Server) apiUnhold(w http.ResponseWriter, r *http.Request) {
	h, err := s.opt.Source.Unhold(caseNumber(r.PathValue("id")), actorOf(r).who)
	s.holdDone(w, h, err, "The hold was not ended")
}

func (s *Server) holdDone(w http.ResponseWriter, h Hold, err error, not string) {
	switch {
	case errors.Is(err, ErrNoCase):
		problem(w, http.StatusNotFound, not, "There is none of this number: no case to hold, or no hold to end.")
	case err != nil:
		s.notDone(w, err, not)
	default:
		writeJSON(w, http.StatusOK, h)
	}
}

func (s *Server) apiHolds(w http.ResponseWriter, r *http.Request) {
	h := s.see(r).Holds()
	h.Items = orEmpty(h.Items)
	writeJSON(w, http.StatusOK, h)
}
