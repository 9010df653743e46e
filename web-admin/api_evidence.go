package webadmin

import (
	"net/http"
	"strconv"
)

func (s *Server) apiEvidence(w http.ResponseWriter, r *http.Request) {
	id := caseNumber(r.PathValue("id"))
	pack, ok, err := s.opt.Source.Evidence(id, actorOf(r).who)
	switch {
	case err != nil:
		problem(w, http.StatusInternalServerError, "The pack was not made", err.Error())
	case !ok:
		problem(w, http.StatusNotFound, "No such case", "No case has this number, or it is so old that the box has forgotten it.")
	default: // and so id is a number that the box gave out
		w.Header().Set("Content-Type", "application/zip")
		w.Header().Set("Content-Disposition", "attachment; filename="+strconv.Quote("case-"+id+".zip"))
		w.Write(pack)
	}
}
