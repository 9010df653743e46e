package webadmin

import (
	"net/http"
	"time"
)

// stepsOfHistory are what the parameter step of a history may say.
var stepsOfHistory = []string{"1m", "10m", "1h"}

// HistoryReach is how far back a history of steps of that length goes, in time: as much as fits the width of a page.
var HistoryReach = map[time.Duration]time.Duration{time.Minute: time.Hour, 10 * time.Minute: 48 * time.Hour, time.Hour: 14 * 24 * time.Hour}

func (s *Server) apiHistory(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	step := in.length("step", stepsOfHistory[usualStep], stepsOfHistory)
	if in.refused(w) {
		return
	}
	h, ok, err := s.see(r).History(r.Context(), r.PathValue("id"), step)
	switch {
	case err != nil: // nobody waits any more
	case !ok:
		problem(w, http.StatusNotFound, "No such subscriber", "Nobody has this id, and no session of it was seen.")
	default:
		h.Points, h.Stages, h.Sessions = orEmpty(h.Points), orEmpty(h.Stages), orEmpty(h.Sessions)
		h.Networks, h.Prints = orEmpty(h.Networks), orEmpty(h.Prints)
		writeJSON(w, http.StatusOK, h)
	}
}
