package webadmin

import (
	"net/http"
	"slices"
	"strings"

	"github.com/mailweir/mailweir/web-admin/users"
)

// Recovery is a box that governs nothing, in safe mode or in bypass. A server that has it in the place of a [Source] shows one page, and what can be done
// about it, behind the same login.
type Recovery interface {
	machine
	// Standstill is how it stands. It reads the disk a little.
	Standstill() Standstill
	// Govern has the box try to govern again, for which this server ends. It returns at once; its AUDIT record comes when the box governs.
	Govern(who string) error
	// PowerOff has the box go off. It returns at once.
	PowerOff(who string) error
}

// machine is what can be told of a box and done to it, whether it governs or not: a part of [Source], and of [Recovery].
type machine interface {
	Updater
	Status() Status
	Clock() Clock
	Holds() Holds
	Restore(file []byte, dry, sure bool, who string) (RestoreOutcome, error)
}

// What a box does, as [Standstill] has it.
const (
	StateGoverning = "governing"
	StateSafe      = "safe"   // safe mode: it cannot, or must not
	StateBypass    = "bypass" // somebody wants it so
)

// Standstill is whether the box governs, and if not, why: GET /api/v1/recovery.
type Standstill struct {
	State string   `json:"state"`
	Why   string   `json:"why"`   // a sentence; empty: it governs
	Since Time     `json:"since"` // null: it governs, or that is not known
	Until Time     `json:"until"` // when governing is tried again by itself; null: it is not
	Again bool     `json:"again"` // it can be tried now
	Lines []string `json:"lines"` // the last that the program said that governs, as it said them; for a viewer none
}

// word is the state in the banner.
func (s Standstill) word() string {
	if s.State == StateBypass {
		return "BYPASS"
	}
	return "SAFE MODE"
}

// alsoStopped are the routes that need nobody who governs.
var alsoStopped = []string{
	"GET /login", "POST /login", "GET /login/code", "POST /login/code", "GET /login/password", "POST /login/password", "GET /login/factor", "POST /login/factor",
	"POST /logout", "GET /static/{file}",
	"GET /settings/update", "POST /settings/update", "POST /settings/update/reboot", "GET /settings/reset", "POST /settings/reset", "GET /settings/backup", "POST /settings/restore",
	"GET " + recoveryPath, "POST " + recoveryPath + "/govern", "POST " + recoveryPath + "/off", "GET " + updatePath, "POST " + updatePath, "POST " + updatePath + "/reboot", "POST " + apiRoot + "/factory-reset", "POST " + apiRoot + "/restore",
	"GET " + apiRoot + "/users", "POST " + apiRoot + "/users", "PUT " + apiRoot + "/users/{name}", "DELETE " + apiRoot + "/users/{name}",
	"POST " + apiRoot + "/users/{name}/password", "DELETE " + apiRoot + "/users/{name}/sessions", "DELETE " + apiRoot + "/users/{name}/second-factor",
}

const recoveryPath = apiRoot + "/recovery"

// recoveryRoutes is everything that is answered while the box governs nothing.
func recoveryRoutes() []route {
	own := []route{
		{"GET", "/{$}", viewing, (*Server).recoveryPage, nil},
		{"POST", "/recovery/govern", administering, (*Server).governAgain, nil},
		{"POST", "/recovery/off", administering, (*Server).powerOff, nil},
		{"GET", "/setup", everybody, (*Server).unsetPage, nil},
	}
	return append(own, stillThere(routes())...)
}

// stillThere are those of some routes that are answered then, too.
func stillThere(all []route) (some []route) {
	for _, rt := range all {
		if slices.Contains(alsoStopped, rt.method+" "+rt.path) {
			some = append(some, rt)
		}
	}
	return some
}

// notNow answers for all other addresses.
func (s *Server) notNow(w http.ResponseWriter, r *http.Request) {
	now := s.opt.Recovery.Standstill()
	title := "The box is in safe mode"
	if now.State == StateBypass {
		title = "The box is in bypass"
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/api/") || r.URL.Path == "/metrics":
		problem(w, http.StatusServiceUnavailable, title, strings.TrimSpace(inertTo(now.Why, longestWhy)+" Mail passes unjudged. GET "+recoveryPath+" says more; this is answered again when the box governs."))
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		http.Redirect(w, r, "/", http.StatusSeeOther)
	default:
		s.refuse(w, r, http.StatusServiceUnavailable, title, "Nothing was changed. This is taken again when the box governs.")
	}
}

// stoppedView answers: what happens with mail, why, and what can I do?
type stoppedView struct {
	Title string
	Since moment
	Why   string
	Until moment
	Again string    // what can be tried; empty: nothing
	Waits *slotView // an update that goes on trial at the next start
	Lines []string
}

const (
	shownLines  = 40
	longestLine = 400
)

// standing is the page of how it stands now.
func (s *Server) standing() stoppedView {
	now, z := s.opt.Recovery.Standstill(), zone{s.opt.Now(), s.opt.Location}
	v := stoppedView{Title: "Safe mode", Since: z.lasting(now.Since.Time), Why: inertTo(now.Why, longestWhy), Until: z.clock(now.Until.Time)}
	if now.State == StateBypass {
		v.Title = "Bypass"
	}
	switch {
	case now.Again && now.State == StateBypass:
		v.Again = "End bypass"
	case now.Again:
		v.Again = "Try governing again"
	}
	for _, line := range now.Lines[max(0, len(now.Lines)-shownLines):] {
		v.Lines = append(v.Lines, inertTo(strings.ReplaceAll(line, "\t", "    "), longestLine))
	}
	return v
}

func (s *Server) recoveryPage(w http.ResponseWriter, r *http.Request) {
	v := s.standing()
	if actorOf(r).role.May(users.Admin) {
		var u updateView
		u.fill(s.box.Firmware(), zone{s.opt.Now(), s.opt.Location})
		v.Waits = u.Waits
	}
	s.render(w, r, http.StatusOK, "stopped", frame{Title: v.Title, Here: "/"}, v)
}

// unsetPage is for a box that nobody has set up: there is nobody who could log in, and what makes the first user goes on to the wizard.
func (s *Server) unsetPage(w http.ResponseWriter, r *http.Request) {
	if s.users.Any() {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	s.render(w, r, http.StatusOK, "unset", frame{Title: "Not set up yet"}, s.standing())
}

// returnSoon is when a browser without scripts looks whether the box governs.
const returnSoon = "20"

const (
	notAgain  = "Governing is not tried again"
	staysOn   = "The box stays on"
	itGoverns = "The box governs: this is for safe mode and bypass."
)

// tryAgain has the box leave safe mode, or bypass. It answers and returns false where it does not.
func (s *Server) tryAgain(w http.ResponseWriter, r *http.Request) bool {
	if now := s.opt.Recovery.Standstill(); !now.Again {
		s.refuse(w, r, http.StatusConflict, notAgain, "It cannot be as things are. "+inertTo(now.Why, longestWhy))
		return false
	}
	if err := s.opt.Recovery.Govern(actorOf(r).who); err != nil {
		s.broken(w, r, err, notAgain)
		return false
	}
	return true
}

// governs answers that the box does, if so.
func (s *Server) governs(w http.ResponseWriter, not string) bool {
	if s.opt.Recovery == nil {
		problem(w, http.StatusConflict, not, itGoverns)
	}
	return s.opt.Recovery == nil
}

func (s *Server) apiGovern(w http.ResponseWriter, r *http.Request) {
	if !s.governs(w, notAgain) && s.tryAgain(w, r) {
		s.apiRecovery(w, r)
	}
}

func (s *Server) apiPowerOff(w http.ResponseWriter, r *http.Request) {
	if s.governs(w, staysOn) {
		return
	}
	if err := s.opt.Recovery.PowerOff(actorOf(r).who); err != nil {
		s.broken(w, r, err, staysOn)
		return
	}
	writeJSON(w, http.StatusOK, offAnswer{true})
}

func (s *Server) governAgain(w http.ResponseWriter, r *http.Request) {
	if !s.tryAgain(w, r) {
		return
	}
	if r.PostFormValue("again") != "" { // there are no scripts
		w.Header().Set("Refresh", returnSoon+"; url=/")
	}
	s.render(w, r, http.StatusOK, "begins", frame{Title: "Governing begins", Here: "/"}, nil)
}

func (s *Server) powerOff(w http.ResponseWriter, r *http.Request) {
	if err := s.opt.Recovery.PowerOff(actorOf(r).who); err != nil {
		s.broken(w, r, err, staysOn)
		return
	}
	s.render(w, r, http.StatusOK, "off", frame{Title: "The box goes off", Here: "/"}, nil)
}

// apiRecovery answers whether the box governs, also where it does.
func (s *Server) apiRecovery(w http.ResponseWriter, r *http.Request) {
	now := Standstill{State: StateGoverning}
	if s.opt.Recovery != nil {
		now = s.opt.Recovery.Standstill()
	}
	if !actorOf(r).role.May(users.Operator) {
		now.Lines = nil // there may be names and addresses in them
	}
	now.Lines = orEmpty(now.Lines)
	writeJSON(w, http.StatusOK, now)
}

// stoppedMode is the banner of a box that governs nothing.
func stoppedMode(now Standstill, z zone) (modeView, healthView) {
	return modeView{Stopped: now.word(), Since: z.lasting(now.Since.Time), Line: "mail passes unjudged"}, healthView{Text: "governs nothing"}
}
