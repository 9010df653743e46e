package webadmin

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// accountView answers: who am I here, from where, and with what?
type accountView struct {
	Name, Role   string
	HasFactor    bool
	NeedsFactor  bool
	RecoveryLeft string
	Changed      moment // the password
	Sessions     []sessionView
	Tokens       []tokenView
	Roles        []roleChoice // of a new token
	Days         []string
	Min          int
	Label        string     // typed, as are the two below
	Chosen       users.Role // of a new token
	Day          string
	Clock        string // what the clock shows, while it is not set; empty: it is
	Open         string // the form that stays open
	Errors       []formError
}

type sessionView struct {
	ID, From, Agent string
	Start, Used     moment
	Here            bool
}

type tokenView struct {
	ID, Label, Role  string
	Created, Expires moment
	Over             bool
}

type roleChoice struct {
	Role, Text string
	Chosen     bool
}

// roleTexts say what a role may, in a line.
var roleTexts = map[users.Role]string{
	users.Viewer:   "viewer: sees, with names and addresses masked",
	users.Operator: "operator: sees all, and acts on lines",
	users.Admin:    "admin: manages users and settings, too",
}

// rolesUpTo are the roles that somebody with role most may give.
func rolesUpTo(most, chosen users.Role) (all []roleChoice) {
	for _, r := range users.Roles {
		if most.May(r) {
			all = append(all, roleChoice{string(r), roleTexts[r], r == chosen})
		}
	}
	return all
}

// tokenDays are how long a new API token may hold, on the page.
var tokenDays = []string{"30", "90", "365"}

func (s *Server) accountPage(w http.ResponseWriter, r *http.Request) {
	s.showAccount(w, r, http.StatusOK, accountView{})
}

func (s *Server) showAccount(w http.ResponseWriter, r *http.Request, status int, v accountView) {
	a := actorOf(r)
	u, ok := s.users.Find(a.name)
	if !ok {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	z := zone{s.opt.Now(), s.opt.Location}
	v.Name, v.Role, v.HasFactor, v.NeedsFactor, v.Changed, v.Min = u.Name, string(u.Role), u.HasFactor, u.NeedsFactor, z.clock(u.Changed), users.MinPassword
	v.RecoveryLeft = count(u.RecoveryLeft, "recovery code left", "recovery codes left")
	here, _ := s.logins.valid(a.cookie, false)
	for _, l := range s.logins.of(a.name) {
		v.Sessions = append(v.Sessions, sessionView{l.id, l.from.String(), l.agent, z.clock(l.start), z.second(l.used), l.id == here.id})
	}
	for _, t := range u.Tokens {
		v.Tokens = append(v.Tokens, tokenView{t.ID, inert(t.Label), string(t.Role), z.clock(t.Created), z.clock(t.Expires), t.Over})
	}
	v.Clock = s.unsetClock()
	v.Roles, v.Days = rolesUpTo(u.Role, cmp.Or(v.Chosen, users.Viewer)), tokenDays
	s.render(w, r, status, "account", frame{Title: "My account", Here: "/account"}, v)
}

// accountWrong shows the page again with what was wrong, and the form open in which it was.
func (s *Server) accountWrong(w http.ResponseWriter, r *http.Request, form string, wrong formError) {
	s.showAccount(w, r, http.StatusBadRequest, accountView{Open: form, Label: inert(r.PostFormValue("label")), Chosen: users.Role(r.PostFormValue("role")), Day: r.PostFormValue("days"),
		Errors: []formError{wrong}})
}

// nowFields are the fields for the password of now, by form.
var nowFields = map[string]string{"password": "now", "factor": "now-factor", "token": "now-token"}

// wrongNow is said of another password than that of who asks.
const wrongNow = "is wrong: type the one that you log in with"

// mine asks for the password again, and shows the account's page when that is not given.
func (s *Server) mine(w http.ResponseWriter, r *http.Request, form string) bool {
	return s.passwordAgain(w, r, func() { s.accountWrong(w, r, form, formError{nowFields[form], "Password of now", wrongNow}) })
}

// passwordAgain asks for the password again, before something is done that whoever finds an open browser must not do. It answers when that is not
// given, by wrong if it is another one.
func (s *Server) passwordAgain(w http.ResponseWriter, r *http.Request, wrong func()) bool {
	a := actorOf(r)
	_, right, wait, err := s.tryPassword(r, a.name, r.PostFormValue("now"))
	switch {
	case wait > 0:
		s.tooManyTries(w, r, wait)
	case err != nil:
		s.broken(w, r, err, "The password could not be checked")
	case !right:
		wrong()
	default:
		return true
	}
	return false
}

func (s *Server) setMyPassword(w http.ResponseWriter, r *http.Request) {
	if !s.mine(w, r, "password") {
		return
	}
	u, wrong, err := s.changePassword(r.Context(), actorOf(r), r.PostFormValue("password"), r.PostFormValue("again"))
	switch {
	case err != nil:
		s.broken(w, r, err, "The password was not changed")
	case wrong != "":
		s.accountWrong(w, r, "password", formError{"password", "New password", wrong})
	default:
		s.goOn(w, r, u, inside, "/account")
	}
}

func (s *Server) myFactorPage(w http.ResponseWriter, r *http.Request) {
	s.showMyFactor(w, r, http.StatusOK, "")
}

func (s *Server) showMyFactor(w http.ResponseWriter, r *http.Request, status int, wrong string) {
	s.showEnrol(w, r, status, enrolView{Action: "/account/factor", Next: "/account", Error: wrong, Password: true, Name: actorOf(r).name})
}

func (s *Server) setMyFactor(w http.ResponseWriter, r *http.Request) {
	if !s.passwordAgain(w, r, func() { s.showMyFactor(w, r, http.StatusBadRequest, "The password is wrong.") }) {
		return
	}
	codes, err := s.setFactor(actorOf(r), r.PostFormValue("code"))
	if refused, ok := errors.AsType[users.Refused](err); ok {
		s.showMyFactor(w, r, http.StatusBadRequest, "The code "+refused.Message+" ("+s.clockShows()+").")
		return
	}
	if err != nil {
		s.broken(w, r, err, "The second factor was not set up")
		return
	}
	s.render(w, r, http.StatusOK, "recovery", frame{Title: "Recovery codes", Here: "/account"}, recoveryView{codes, "/account"})
}

func (s *Server) dropMyFactor(w http.ResponseWriter, r *http.Request) {
	a := actorOf(r)
	if u, _ := s.users.Find(a.name); u.NeedsFactor {
		s.accountWrong(w, r, "factor", formError{"", "Second factor", "is needed for this account; an admin can take that need away (Settings, Users)"})
		return
	}
	if !s.mine(w, r, "factor") {
		return
	}
	u, err := s.dropFactor(a, a.name)
	if err != nil {
		s.broken(w, r, err, "The second factor is still there")
		return
	}
	s.goOn(w, r, u, inside, "/account")
}

// givenView shows something once: a password or a token.
type givenView struct {
	What, Secret, Means, Next, NextText string
}

func (s *Server) addMyToken(w http.ResponseWriter, r *http.Request) {
	days, err := strconv.Atoi(r.PostFormValue("days"))
	if err != nil {
		s.accountWrong(w, r, "token", formError{"days", "Holds for", "30, 90 or 365 days"})
		return
	}
	if !s.mine(w, r, "token") {
		return
	}
	secret, t, err := s.addToken(actorOf(r), r.PostFormValue("label"), users.Role(r.PostFormValue("role")), s.opt.Now().AddDate(0, 0, days))
	if refused, ok := errors.AsType[users.Refused](err); ok {
		s.accountWrong(w, r, "token", formError{tokenFields[refused.Field], tokenLabels[refused.Field], refused.Message})
		return
	}
	if err != nil {
		s.broken(w, r, err, "The token was not made")
		return
	}
	means := "Send it as Authorization: Bearer. It is shown now and never again."
	if shows := s.unsetClock(); shows != "" {
		means += " " + tokensByClock(shows)
	}
	s.render(w, r, http.StatusOK, "given", frame{Title: "API token", Here: "/account"}, givenView{What: "API token for " + inert(t.Label), Secret: secret,
		Means: means, Next: "/account", NextText: "I have kept it: go on"})
}

// tokensByClock says what a clock that is not set means for a token.
func tokensByClock(shows string) string {
	return "The box's clock is not set: it says " + shows + ", and tokens hold by it. Once it is right, a token may end sooner or later than it says here."
}

var (
	tokenLabels = map[string]string{"label": "What for", "role": "Role", "expires": "Holds for"}
	tokenFields = map[string]string{"label": "label", "role": "role", "expires": "days"}
)

func (s *Server) endMyToken(w http.ResponseWriter, r *http.Request) {
	if err := s.dropToken(actorOf(r), r.PathValue("id")); err != nil && !errors.Is(err, users.ErrUnknown) {
		s.broken(w, r, err, "The token still holds")
		return
	}
	http.Redirect(w, r, "/account", http.StatusSeeOther) // one that is gone already is gone
}

func (s *Server) endMySession(w http.ResponseWriter, r *http.Request) {
	s.endSession(actorOf(r), r.PathValue("id"))
	http.Redirect(w, r, "/account", http.StatusSeeOther)
}

func (s *Server) endMyOthers(w http.ResponseWriter, r *http.Request) {
	a := actorOf(r)
	if n := s.logins.endAll(a.name, a.cookie); n > 0 {
		s.tell(a, "sessions_ended", a.name, strconv.Itoa(n), "0")
	}
	http.Redirect(w, r, "/account", http.StatusSeeOther)
}

// What somebody does to their own account, told.

func (s *Server) addToken(a actor, label string, role users.Role, expires time.Time) (string, users.Token, error) {
	secret, t, err := s.users.AddToken(a.name, label, role, expires)
	if err == nil {
		s.tell(a, "token_added", a.name, "", strings.Join([]string{t.Label, string(t.Role), "until " + t.Expires.UTC().Format(time.RFC3339)}, ", "))
	}
	return secret, t, err
}

func (s *Server) dropToken(a actor, id string) error {
	t, err := s.users.DropToken(a.name, id)
	if err == nil {
		s.tell(a, "token_ended", a.name, t.Label+", "+string(t.Role), "")
	}
	return err
}

func (s *Server) endSession(a actor, id string) bool {
	ended := s.logins.endOne(a.name, id)
	if ended {
		s.tell(a, "sessions_ended", a.name, "1", "0")
	}
	return ended
}
