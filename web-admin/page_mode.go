package webadmin

import "net/http"

// modePageView answers: what happens when the box begins to act, or stops?
type modePageView struct {
	Revision      string
	Enforce       bool // now
	Since         moment
	Would, Of     string // decisions that would have been carried out, of all
	Deferred, Cut string // subscribers that are so now
	Paced         string
	Nobody        bool // it would act on nobody now
	Errors        []formError
}

func (s *Server) modePage(w http.ResponseWriter, r *http.Request) {
	s.askMode(w, r, http.StatusOK, nil)
}

func (s *Server) askMode(w http.ResponseWriter, r *http.Request, status int, wrong []formError) {
	c, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	st := s.opt.Source.Status()
	a := st.Actions
	v := modePageView{Revision: c.Revision, Enforce: now.Mode == "enforce", Since: zone{s.opt.Now(), s.opt.Location}.lasting(st.Since.Time), Would: number(st.WouldHaveActed), Of: count(a.Passed+a.Paced+a.Deferred+a.Cut, "decision", "decisions"),
		Paced: count(st.Stages.Pace, "subscriber", "subscribers"), Deferred: count(st.Stages.Defer, "subscriber", "subscribers"), Cut: count(st.Stages.Cut, "subscriber", "subscribers"),
		Nobody: st.Stages.Pace+st.Stages.Defer+st.Stages.Cut == 0, Errors: wrong}
	title := "Start enforcing"
	if v.Enforce {
		title = "Back to observing"
	}
	s.render(w, r, status, "mode", frame{Title: title, Here: "/"}, v)
}

// setMode has the configuration say the other mode, and leads to the overview.
func (s *Server) setMode(w http.ResponseWriter, r *http.Request) {
	c := ConfigChange{Revision: r.PostFormValue("revision"), Keys: []ConfigKey{set("mode", r.PostFormValue("mode"))}}
	_, err := s.opt.Source.SetConfig(c, actorOf(r).who)
	wrong, known := whatWasWrong(err, keyLabels{{"mode", "", "Mode"}})
	switch {
	case known:
		s.askMode(w, r, http.StatusBadRequest, wrong)
	case err != nil:
		s.broken(w, r, err, "The mode stays as it is")
	default:
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}
