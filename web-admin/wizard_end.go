package webadmin

import (
	"net/http"
	"time"
)

func (s *Server) showCollectors(v *wizardView, _ Configuration, now values) {
	if v.Collectors == nil {
		v.Collectors = &collectorsForm{Transport: "udp"}
	}
	v.Collectors.Targets, v.Collectors.Ask = s.collectors(now), ""
	if !s.settingUp(v.from) {
		v.Collectors.Ask = v.from.name
	}
}

// settingUpFor is how long after an account was made its owner adds a collector in the wizard without giving the password again, as long as that step was never done.
const settingUpFor = 30 * time.Minute

// settingUp tells whether somebody is at the set-up, and has just given their password.
func (s *Server) settingUp(a actor) bool {
	u, ok := s.users.Find(a.name)
	p := s.wizard.read()
	return ok && p.Begun && a.cookie != "" && s.opt.Now().Sub(u.Created).Abs() < settingUpFor && !p.Done["syslog"]
}

// takeCollectors adds a collector, takes one out, or tests those there are.
func (s *Server) takeCollectors(t *wizardTry) {
	f, keys, files, of := collectorChange(t.r, t.now)
	t.view.Collectors, t.of = f, of
	switch t.r.PostFormValue("do") {
	case "test":
		t.stay = true
		f.Results = s.tested(t.r)
	case "add", "remove":
		t.stay = true
		if len(f.Errors) > 0 {
			t.view.Errors = f.Errors
			return
		}
		sure := s.settingUp(actorOf(t.r))
		if len(keys) > 0 && t.r.PostFormValue("do") == "add" && !sure {
			if wrong := false; !s.passwordAgain(t.w, t.r, func() { wrong = true }) {
				if t.answered = !wrong; wrong {
					t.wrong("now-collector", yourPassword, wrongNow)
				}
				return
			}
			sure = true
		}
		if _, t.err = s.opt.Source.SetConfig(ConfigChange{Revision: t.r.PostFormValue("revision"), Keys: keys, Files: files, Sure: sure}, actorOf(t.r).who); t.err == nil {
			t.view.Collectors = nil // an empty form
		}
	}
}

// modeForm asks whether the box acts, and sums up.
type modeForm struct {
	Mode        string
	Subscribers string
	Governed    string
	Collectors  string
}

var modeLabels = keyLabels{{"mode", "mode", "Mode"}}

func (s *Server) showMode(v *wizardView, _ Configuration, now values) {
	if v.Mode == nil {
		v.Mode = &modeForm{Mode: now.Mode}
	}
	if o, err := s.opt.Source.TrySubscribers(nil); err == nil {
		v.Mode.Subscribers = count(o.Now, "subscriber", "subscribers")
	}
	v.Mode.Governed = portsText(now.Network.Limited)
	v.Mode.Collectors = count(len(now.Syslog.Targets), "collector", "collectors")
}

func (s *Server) takeMode(t *wizardTry) {
	mode := t.r.PostFormValue("mode")
	t.view.Mode, t.of = &modeForm{Mode: mode}, modeLabels
	if mode != t.now.Mode {
		t.keys = append(t.keys, set("mode", mode))
	}
}

// tested sends a test record and shows who has it.
func (s *Server) tested(r *http.Request) (rows []testedView) {
	for _, one := range s.testSyslog(r) {
		rows = append(rows, testedView{inert(one.URL), inert(one.Error), one.OK})
	}
	return rows
}
