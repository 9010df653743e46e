package webadmin

import (
	"fmt"
	"mime/multipart"
	"net/http"
	"slices"
)

// updateView answers: what does this box run, and what will it run?
type updateView struct {
	Running string
	Slots   []slotView
	Last    *lastUpdate
	Waits   *slotView // an update that goes on trial at the next start
	Trial   *slotView // the one that runs, and has to show that it is well
	Closed  string    // why no update is taken now; empty: one is
	Fault   string
	Failed  *failedView
	State   string // of all of it: a page that waits looks whether it is another one
}

type slotView struct {
	Name, Holds, Is, Tries string
	Empty                  bool
}

type lastUpdate struct {
	Good     bool
	Text, Do string
	At       moment
}

// failedView is what became of the file that was just sent.
type failedView struct{ Title, Text string }

// afterUpdate says what an outcome means, and what there is to do.
var afterUpdate = map[string]string{
	UpdateRolledBack: "The box governs with the version it had, with all its settings. Look at the reason; the same update can be tried once more.",
	UpdateStopped:    "The version that runs goes on. The other slot holds nothing that could be started, until an update is written whole.",
	UpdateFellBack:   "There is no slot left to fall back to. Install the newest update; it is written into the damaged slot.",
}

func (f Release) words() string {
	if f.Version == "" {
		return "an unknown version"
	}
	return fmt.Sprintf("version %s (build %d)", inert(f.Version), f.Build)
}

func (v *updateView) fill(f Firmware, z zone) {
	v.Running, v.Fault = f.Running.words(), inertTo(f.Fault, longestWhy)
	for _, s := range f.Slots {
		one := slotView{Name: s.Name, Holds: s.Holds.words(), Empty: s.Fault != "", Tries: count(s.Tries, "start", "starts")}
		switch {
		case s.Fault != "":
			one.Holds, one.Is = inert(s.Fault), "nothing to start"
		case s.Runs && s.OnTrial:
			one.Is, v.Trial = "runs on trial", &one
		case s.Runs:
			one.Is = "runs"
		case s.OnTrial:
			one.Is, v.Waits = "goes on trial at the next start", &one
		default:
			one.Is = "to fall back to"
		}
		v.Slots = append(v.Slots, one)
	}
	switch {
	case f.Keys == 0:
		v.Closed = "This image was built without keys, so it can trust no update. Flash a new one."
	case v.Trial != nil:
		v.Closed = "The version that runs is on trial. Another one can be installed when that is over."
	}
	if l := f.Last; l != nil {
		v.Last = &lastUpdate{Good: slices.Contains([]string{UpdateWaits, UpdateCommitted}, l.State), Text: capital(inertTo(l.Text, longestWhy)), Do: afterUpdate[l.State], At: z.clock(l.At.Time)}
		v.State = l.State + " " + l.At.UTC().Format("20060102T150405.000")
	}
}

func (s *Server) updatePage(w http.ResponseWriter, r *http.Request) {
	s.showUpdate(w, r, http.StatusOK, updateView{})
}

// Without scripts a browser comes back by itself: in returnAfter to a box that starts again, which is there by then as a rule, and every lookAgain
// while the page waits for the end of a trial.
const (
	returnAfter = "120"
	lookAgain   = "15"
)

func (s *Server) showUpdate(w http.ResponseWriter, r *http.Request, status int, v updateView) {
	v.fill(s.box.Firmware(), zone{s.opt.Now(), s.opt.Location})
	if v.Trial != nil && r.URL.Query().Has("again") {
		w.Header().Set("Refresh", lookAgain)
	}
	s.render(w, r, status, "update", frame{Title: "Update", Here: "/settings"}, v)
}

// installUpdate passes the file of a form on while it comes. Nothing but the form's reader looks at the body: what parses a form whole would keep it all.
func (s *Server) installUpdate(w http.ResponseWriter, r *http.Request) {
	body := arrive(w, r)
	file, err := fileOf(r)
	if err != nil {
		body.rest()
		s.showUpdate(w, r, http.StatusBadRequest, updateView{Failed: &failedView{"Nothing was changed", "Choose an update: a file NAME.mwu."}})
		return
	}
	o, err := s.box.Install(file, actorOf(r).who)
	if err != nil {
		body.rest()
		status, title, detail := s.notInstalled(o, err)
		s.showUpdate(w, r, status, updateView{Failed: &failedView{title, detail}})
		return
	}
	http.Redirect(w, r, "/settings/update", http.StatusSeeOther)
}

// fileOf is the file of a form, as it comes.
func fileOf(r *http.Request) (*multipart.Part, error) {
	form, err := r.MultipartReader()
	if err != nil {
		return nil, err
	}
	for {
		part, err := form.NextPart()
		if err != nil {
			return nil, err
		}
		if part.FormName() == "file" && part.FileName() != "" {
			return part, nil
		}
	}
}

// rebootView answers: what happens now, and where do I find the box again?
type rebootView struct {
	Running string
	Waits   *slotView
}

func (s *Server) reboot(w http.ResponseWriter, r *http.Request) {
	var now updateView
	now.fill(s.box.Firmware(), zone{s.opt.Now(), s.opt.Location})
	if err := s.box.Reboot(actorOf(r).who); err != nil {
		s.broken(w, r, err, "The box does not start again")
		return
	}
	if r.PostFormValue("again") != "" { // there are no scripts
		w.Header().Set("Refresh", returnAfter+"; url=/settings/update?again=1")
	}
	s.render(w, r, http.StatusOK, "rebooting", frame{Title: "The box starts again", Here: "/settings"}, rebootView{now.Running, now.Waits})
}
