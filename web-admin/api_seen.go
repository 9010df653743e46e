package webadmin

import (
	"net/http"
	"strings"
	"time"
)

func (s *Server) apiClusters(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	p := Page{Limit: in.limit(), Cursor: in.cursor()}
	if in.refused(w) {
		return
	}
	items, next := s.see(r).Clusters(p)
	for i := range items {
		items[i] = items[i].whole()
	}
	writeJSON(w, http.StatusOK, list[Cluster]{orEmpty(items), next})
}

// whole is a cluster with lists instead of nulls.
func (c Cluster) whole() Cluster {
	c.JA3, c.Weights, c.MayBeWrong, c.Members = orEmpty(c.JA3), orEmpty(c.Weights), orEmpty(c.MayBeWrong), orEmpty(c.Members)
	return c
}

func (s *Server) apiCluster(w http.ResponseWriter, r *http.Request) {
	c, ok := s.see(r).Cluster(r.PathValue("id"))
	if !ok {
		problem(w, http.StatusNotFound, "No such cluster", "None has this id, or it ended so long ago that the box has forgotten it. CLUSTER records tell of it.")
		return
	}
	writeJSON(w, http.StatusOK, c.whole())
}

func (s *Server) apiOffersGone(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	p := Page{Limit: in.limit(), Cursor: in.cursor()}
	if in.refused(w) {
		return
	}
	items, next := s.see(r).OffersGone(p)
	writeJSON(w, http.StatusOK, list[OfferGone]{orEmpty(items), next})
}

func (s *Server) apiDestinations(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	window, p := in.length("window", "1h", windows), Page{Limit: in.limit(), Cursor: in.cursor()}
	if in.refused(w) {
		return
	}
	d := s.see(r).Destinations(window, p)
	d.Items = orEmpty(d.Items)
	writeJSON(w, http.StatusOK, d)
}

func (s *Server) apiShare(w http.ResponseWriter, r *http.Request) {
	in := input{q: r.URL.Query()}
	q := ShareQuery{Step: in.length("step", stepsOfShare[usualStep], stepsOfShare), From: in.time("from"), To: in.time("to"), Limit: in.limit()}
	if at := in.cursor(); at != "" {
		from, err := time.Parse(time.RFC3339, at)
		if err != nil {
			in.wrong("cursor", "the next of the page before")
		}
		q.From = from
	}
	if q.To.IsZero() {
		q.To = s.opt.Now()
	}
	if q.From.IsZero() {
		q.From = q.To.Add(-60 * q.Step)
	}
	if q.To.Before(q.From) {
		in.wrong("to", "a time after from")
	}
	if in.refused(w) {
		return
	}
	items, next, err := s.see(r).Share(q)
	if err != nil {
		problem(w, http.StatusInternalServerError, "The series could not be read", err.Error())
		return
	}
	answer := list[SharePoint]{Items: orEmpty(items)}
	if !next.IsZero() {
		answer.Next = next.UTC().Format(time.RFC3339)
	}
	writeJSON(w, http.StatusOK, answer)
}

// What the parameters window and step may say.
var (
	windows      = []string{"5m", "1h", "24h"}
	stepsOfShare = []string{"1m", "1h", "24h"}
)

// usualStep is the place of the step that is meant where none is said.
const usualStep = 1

// length reads one of a few durations; left out, it is usual.
func (in *input) length(name, usual string, allowed []string) time.Duration {
	text := in.q.Get(name)
	if text == "" {
		text = usual
	}
	for _, one := range allowed {
		if text == one {
			d, _ := time.ParseDuration(text) // all that are allowed are durations
			return d
		}
	}
	in.wrong(name, "one of "+strings.Join(allowed, ", "))
	return 0
}
