package webadmin

import (
	"net/http"
	"strings"
)

// ConfigRevision is a change of the configuration that was made through the web admin, its API or a restore, as its AUDIT record has it.
type ConfigRevision struct {
	At       Time   `json:"at"`
	Revision string `json:"revision"` // of the configuration after it
	Record   uint64 `json:"record"`   // the number of the record
	Who      string `json:"who"`
	What     string `json:"what"` // config or restore
	Before   string `json:"before"`
	After    string `json:"after"`
}

// ConfigRevisions is a page of them, the newest first: GET /api/v1/config/revisions. It may be empty and have a next one.
type ConfigRevisions struct {
	Items []ConfigRevision `json:"items"`
	Next  string           `json:"next"`
	Fault string           `json:"fault"` // why there may be more that were not found; empty: there are none
}

const revisionMark = "(revision "

// revisionOf reads the AUDIT record of a change of the configuration.
func revisionOf(r Record) (v ConfigRevision, ok bool) {
	v = ConfigRevision{At: r.At, Record: r.Seq, Who: r.value("who"), What: r.value("what"), Before: r.value("before"), After: r.value("after")}
	at := strings.LastIndex(v.After, revisionMark)
	if at < 0 || v.What != "config" && v.What != "restore" {
		return v, false
	}
	rest := v.After[at+len(revisionMark):]
	end := strings.IndexAny(rest, ",)")
	if end < 0 {
		return v, false
	}
	v.Revision, v.After = rest[:end], strings.TrimSpace(v.After[:at])
	return v, true
}

func (s *Server) apiRevisions(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	q := RecordQuery{Kind: "AUDIT", Text: revisionMark, Limit: in.limit(), Cursor: in.cursor()}
	if in.refused(w) {
		return
	}
	page, err := s.opt.Source.Records(r.Context(), q)
	if err != nil {
		return // nobody waits any more
	}
	v := ConfigRevisions{Items: []ConfigRevision{}, Next: page.Next, Fault: page.Fault}
	for _, one := range page.Items {
		if rev, ok := revisionOf(one); ok {
			v.Items = append(v.Items, rev)
		}
	}
	writeJSON(w, http.StatusOK, v)
}
