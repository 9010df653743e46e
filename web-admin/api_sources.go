package webadmin

import (
	"encoding/json"
	"net/http"
)

type radiusBody struct {
	Listen           string   `json:"listen"`  // HOST:PORT; empty: RADIUS is not listened to
	Secret           string   `json:"secret"`  // empty: the one there is
	Clients          []string `json:"clients"` // addresses and prefixes of access servers
	RequireTimestamp bool     `json:"require_timestamp"`
}

func sourceRoutes() []route {
	return []route{
		{"GET", apiRoot + "/sources", administering, (*Server).apiSources, &operation{summary: "Who says whose an address is: the list of subscribers, RADIUS and lease files, and how they stand", answer: Sources{}}},
		{"PUT", apiRoot + "/sources/radius", administering, (*Server).apiSetRADIUS, &operation{summary: "Listen to RADIUS accounting as said, from now on; lease files are keys of the configuration", body: radiusBody{}, answer: Sources{}}},
	}
}

func (s *Server) apiSources(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, s.opt.Source.Sources().whole())
}

func (s *Server) apiSetRADIUS(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	f := radiusForm{Listen: b.text("listen", true), Secret: b.secret("secret"), Clients: b.texts("clients"), Dated: b.yes("require_timestamp")}
	if b.refused(w) {
		return
	}
	c, err := s.opt.Source.Config()
	var now values
	if err == nil {
		err = json.Unmarshal(c.Values, &now)
	}
	if err == nil {
		if change := f.change(now.Identity.RADIUS); len(change.Keys)+len(change.Files) > 0 {
			change.Revision = c.Revision
			_, err = s.opt.Source.SetConfig(change, actorOf(r).who)
		}
	}
	if err != nil {
		s.configNotDone(w, err, "Nothing was changed")
		return
	}
	s.apiSources(w, r)
}
