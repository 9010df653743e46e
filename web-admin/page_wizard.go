package webadmin

import (
	"net/http"
	"slices"
)

// wizardView is a page of the wizard: what is asked, and what was typed.
type wizardView struct {
	Name, Title string
	Revision    string
	Steps       []stepView
	Next        string // where it goes without an answer
	Errors      []formError
	Warnings    []ConfigProblem
	Waiting     []string
	from        actor // who asks

	Network    *networkForm
	Management *managementForm
	Time       *timeForm
	Presets    *presetsForm
	List       *listForm
	Collectors *collectorsForm
	Mode       *modeForm
}

type stepView struct {
	Name, Title string
	Done, Here  bool
}

// wizardTry is one answer to a page of the wizard.
type wizardTry struct {
	w        http.ResponseWriter
	r        *http.Request
	now      values
	view     *wizardView
	keys     []ConfigKey
	of       keyLabels
	stay     bool // shows the page again: it was a test, or a preview
	err      error
	answered bool
}

// wrong notes what is wrong with an answer before anything is tried.
func (t *wizardTry) wrong(field, label, message string) {
	t.view.Errors = append(t.view.Errors, formError{field, label, message})
}

func (s *Server) wizardSteps(here string) (all []stepView) {
	done := s.wizard.read().Done
	for _, step := range wizardSteps() {
		all = append(all, stepView{step.name, step.title, done[step.name], step.name == here})
	}
	return all
}

// wizardIndex is where the wizard begins, is resumed, and ends.
func (s *Server) wizardIndex(w http.ResponseWriter, r *http.Request) {
	c, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	v := wizardView{Title: "Set-up", Steps: s.wizardSteps(""), Waiting: c.Waiting, Warnings: c.Warnings}
	if next := s.nextStep(""); next != "/wizard" {
		v.Next = next
	}
	s.showMode(&v, c, now)
	s.render(w, r, http.StatusOK, "wizard", frame{Title: "Set-up", Here: "/settings"}, v)
}

func findStep(name string) (wizardStep, bool) {
	all := wizardSteps()
	i := slices.IndexFunc(all, func(s wizardStep) bool { return s.name == name })
	if i < 0 {
		return wizardStep{}, false
	}
	return all[i], true
}

func (s *Server) wizardPage(w http.ResponseWriter, r *http.Request) {
	step, ok := findStep(r.PathValue("name"))
	if !ok {
		s.refuse(w, r, http.StatusNotFound, "The set-up has no such step", "The list of its steps is at /wizard.")
		return
	}
	s.showStep(w, r, http.StatusOK, step, &wizardView{})
}

// showStep fills what v does not have yet.
func (s *Server) showStep(w http.ResponseWriter, r *http.Request, status int, step wizardStep, v *wizardView) {
	c, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	v.Name, v.Title, v.Revision, v.Steps, v.Next, v.Waiting = step.name, step.title, c.Revision, s.wizardSteps(step.name), s.nextStep(step.name), c.Waiting
	if v.Next == "/wizard/"+step.name {
		v.Next = "/wizard"
	}
	v.from = actorOf(r)
	step.show(s, v, c, now)
	s.render(w, r, status, "wizard", frame{Title: step.title, Here: "/settings"}, v)
}

// takeStep has an answer checked, on the disk and in force, and goes on.
func (s *Server) takeStep(w http.ResponseWriter, r *http.Request) {
	step, ok := findStep(r.PathValue("name"))
	if !ok {
		s.refuse(w, r, http.StatusNotFound, "The set-up has no such step", "The list of its steps is at /wizard.")
		return
	}
	_, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	t := &wizardTry{w: w, r: r, now: now, view: &wizardView{}}
	if step.take != nil {
		step.take(s, t)
	}
	s.change(t)
	switch {
	case t.answered:
	case t.err != nil:
		s.broken(w, r, t.err, "Nothing was changed")
	case len(t.view.Errors) > 0:
		s.showStep(w, r, http.StatusBadRequest, step, t.view)
	case t.stay:
		s.showStep(w, r, http.StatusOK, step, t.view)
	default:
		if err := s.wizard.mark(step.name); err != nil {
			s.broken(w, r, err, "That this step is done could not be kept")
			return
		}
		http.Redirect(w, r, s.nextStep(step.name), http.StatusSeeOther)
	}
}

// change has what was typed checked, on the disk and in force, unless something is wrong with it already.
func (s *Server) change(t *wizardTry) {
	if len(t.keys) > 0 && len(t.view.Errors) == 0 && t.err == nil {
		_, t.err = s.opt.Source.SetConfig(ConfigChange{Revision: t.r.PostFormValue("revision"), Keys: t.keys}, actorOf(t.r).who)
	}
	if wrong, known := whatWasWrong(t.err, t.of); known {
		t.view.Errors = append(t.view.Errors, wrong...)
		t.err = nil
	}
}

// restart begins the program anew and says how to come back.
func (s *Server) restart(w http.ResponseWriter, r *http.Request) {
	_, now, ok := s.configured(w, r)
	if !ok {
		return
	}
	s.opt.Source.Restart(actorOf(r).who)
	w.Header().Set("Refresh", "6; url=/login")
	s.render(w, r, http.StatusOK, "restarting", frame{Title: "Restarting", Here: "/settings"}, inert(now.Admin.Listen))
}
