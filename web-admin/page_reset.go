package webadmin

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// resetWords are typed by who wants a factory reset, here as at the console.
const resetWords = "erase everything"

// resetView answers: what is lost, and what stays?
type resetView struct {
	Errors     []formError
	Words      string // that have to be typed
	User       string
	Collectors []collectorView // with what waits for them
	Held       string          // cases that are held; empty: none are
	Anyway     bool
}

// erasingView answers: what happens now, and where do I find the box again?
type erasingView struct{ Told []testedView }

func (s *Server) resetPage(w http.ResponseWriter, r *http.Request) {
	s.showReset(w, r, http.StatusOK, resetView{})
}

func (s *Server) showReset(w http.ResponseWriter, r *http.Request, status int, v resetView) {
	v.Words, v.User = resetWords, actorOf(r).name
	for _, t := range s.box.Status().Syslog {
		one := collectorView{URL: inert(t.URL), Up: t.Up, Untried: t.untried()}
		if t.Behind > 0 {
			one.Behind = count(t.Behind, "record waits", "records wait")
		}
		v.Collectors = append(v.Collectors, one)
	}
	if h := s.box.Holds(); h.Unknown != "" || len(h.Items) > 0 {
		v.Held = count(int64(len(h.Items)), "held case", "held cases")
		if h.Unknown != "" {
			v.Held = "held cases (how many is not known)"
		}
	}
	s.render(w, r, status, "reset", frame{Title: "Factory reset", Here: "/settings"}, v)
}

// tellLimit is how long the collectors have to take the record of it.
const tellLimit = 15 * time.Second

// factoryReset does it for who has said all that is asked for.
func (s *Server) factoryReset(r *http.Request, anyway bool) (told []SyslogResult, missed []formError, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), tellLimit) // who hangs up has asked for it all the same
	defer cancel()
	if told, err = s.box.FactoryReset(ctx, anyway, actorOf(r).who); err != nil || anyway {
		return told, nil, err
	}
	for _, t := range told {
		if !t.OK {
			missed = append(missed, formError{"anyway", "Collector " + inert(t.URL), "does not have the record that says so: " + inert(t.Error)})
		}
	}
	return told, missed, nil
}

func (s *Server) reset(w http.ResponseWriter, r *http.Request) {
	v := resetView{Anyway: r.PostFormValue("anyway") != ""}
	wrong := func(all ...formError) {
		v.Errors = all
		s.showReset(w, r, http.StatusBadRequest, v)
	}
	if !sameWords(r.PostFormValue("confirm")) {
		wrong(formError{"confirm", "To confirm", "type " + resetWords})
		return
	}
	if !s.passwordAgain(w, r, func() { wrong(formError{"now", yourPassword, wrongNow}) }) {
		return
	}
	told, missed, err := s.factoryReset(r, v.Anyway)
	switch {
	case err != nil:
		s.broken(w, r, err, "Nothing is erased")
		return
	case len(missed) > 0:
		wrong(append(missed, formError{"", "", "Mend that and try again, or choose \"also if a collector cannot be told\"."})...)
		return
	}
	var e erasingView
	for _, t := range told {
		e.Told = append(e.Told, testedView{inert(t.URL), inert(t.Error), t.OK})
	}
	s.render(w, r, http.StatusOK, "erasing", frame{Title: "The box is being erased", Here: "/settings"}, e)
}

// sameWords tells whether somebody typed the words, in whatever case a phone makes of them.
func sameWords(typed string) bool { return strings.EqualFold(strings.TrimSpace(typed), resetWords) }

type resetBody struct {
	Now     string `json:"now"`     // the password of now
	Confirm string `json:"confirm"` // resetWords
	Anyway  bool   `json:"anyway"`  // also if a collector does not have the record
}

// resetAnswer says that the box is about to be erased, and which collectors have the record of it.
type resetAnswer struct {
	Erasing    bool           `json:"erasing"`
	Collectors []SyslogResult `json:"collectors"`
}

func (s *Server) apiReset(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	now, confirm, anyway := b.secret("now"), b.text("confirm", false), b.yes("anyway")
	if len(b.errors) == 0 && !sameWords(confirm) {
		b.wrong("confirm", "must be "+resetWords)
	}
	if b.refused(w) || !s.passwordWas(w, r, now) {
		return
	}
	told, missed, err := s.factoryReset(r, anyway)
	switch {
	case err != nil:
		s.notDone(w, err, "Nothing is erased")
	case len(missed) > 0:
		p := problemDetails{Title: "Nothing is erased", Status: http.StatusConflict, Detail: "A collector does not have the record that says so. Mend that, or send anyway as true."}
		for _, m := range missed {
			p.Errors = append(p.Errors, fieldError{Field: m.Field, Message: m.Label + " " + m.Message})
		}
		writeProblem(w, p)
	default:
		writeJSON(w, http.StatusOK, resetAnswer{true, orEmpty(told)})
	}
}
