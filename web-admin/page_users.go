package webadmin

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/mailweir/mailweir/web-admin/users"
)

// usersView answers: who may log in here, and as what?
type usersView struct {
	Users  []userRow
	Open   bool // the form for a new one
	Name   string
	Roles  []roleChoice
	Factor bool
	Admin  string // who asks, whose password is asked for
	Errors []formError
}

type userRow struct {
	Name, Link, Role string
	Disabled, Self   bool
	Factor, Password string
	Sessions         string
	Changed          moment
}

// userPageView is one user, and what can be done to them.
type userPageView struct {
	userRow
	NeedsFactor, HasFactor bool
	Roles                  []roleChoice
	Wanted                 users.Settings // what the form says
	Tokens                 []tokenView
	Logins                 []sessionView
	Admin                  string // who asks, whose password is asked for
	Open                   string // the form in which something was wrong: set, reset, factor, remove
	Errors                 []formError
}

func userLink(name string) string { return "/settings/users/" + url.PathEscape(name) }

func (s *Server) rowOf(u users.User, a actor, z zone) userRow {
	row := userRow{Name: u.Name, Link: userLink(u.Name), Role: string(u.Role), Disabled: u.Disabled, Self: u.Name == a.name, Changed: z.clock(u.Changed),
		Sessions: number(len(s.logins.of(u.Name)))}
	switch {
	case u.HasFactor:
		row.Factor = "yes, " + count(u.RecoveryLeft, "recovery code left", "recovery codes left")
	case u.NeedsFactor:
		row.Factor = "set up at the next login"
	default:
		row.Factor = "no"
	}
	if u.MustChange {
		row.Password = "chosen at the next login"
	}
	return row
}

func (s *Server) usersPage(w http.ResponseWriter, r *http.Request) {
	s.showUsers(w, r, http.StatusOK, usersView{Roles: rolesUpTo(users.Admin, users.Operator)})
}

func (s *Server) showUsers(w http.ResponseWriter, r *http.Request, status int, v usersView) {
	z := zone{s.opt.Now(), s.opt.Location}
	for _, u := range s.users.List() {
		v.Users = append(v.Users, s.rowOf(u, actorOf(r), z))
	}
	v.Admin = actorOf(r).name
	s.render(w, r, status, "users", frame{Title: "Users", Here: "/settings"}, v)
}

func (s *Server) addUserPage(w http.ResponseWriter, r *http.Request) {
	a := actorOf(r)
	role := users.Role(r.PostFormValue("role"))
	v := usersView{Open: true, Name: inert(strings.ToLower(strings.TrimSpace(r.PostFormValue("name")))), Roles: rolesUpTo(users.Admin, role), Factor: r.PostFormValue("factor") != ""}
	if !s.passwordAgain(w, r, func() {
		v.Errors = []formError{{"now", yourPassword, wrongNow}}
		s.showUsers(w, r, http.StatusBadRequest, v)
	}) {
		return
	}
	u, given, err := s.addUser(a, v.Name, role, "")
	if err == nil && v.Factor {
		_, err = s.setUser(a, u.Name, users.Settings{Role: role, NeedsFactor: true})
	}
	if refused, ok := errors.AsType[users.Refused](err); ok {
		v.Errors = []formError{{refused.Field, userLabels[refused.Field], refused.Message}}
		s.showUsers(w, r, http.StatusBadRequest, v)
		return
	}
	if err != nil {
		s.broken(w, r, err, "The user was not added")
		return
	}
	s.given(w, r, u.Name, given)
}

// What is asked of an admin before somebody else may log in as more, or by another password: who finds a browser open has none of it.
const yourPassword = "Your password"

var userLabels = map[string]string{"name": "Name", "role": "Role", "password": "Password"}

// given shows a password that the box made up.
func (s *Server) given(w http.ResponseWriter, r *http.Request, name, password string) {
	s.render(w, r, http.StatusOK, "given", frame{Title: "Password for " + name, Here: "/settings"}, givenView{What: "Password for " + name, Secret: password,
		Means: "It is for the next login only, at which " + name + " chooses another. It is shown now and never again.", Next: userLink(name), NextText: "I have told it: go on"})
}

func (s *Server) userPage(w http.ResponseWriter, r *http.Request) {
	s.showUser(w, r, http.StatusOK, userPageView{})
}

// showUser fills what v does not have.
func (s *Server) showUser(w http.ResponseWriter, r *http.Request, status int, v userPageView) {
	u, ok := s.users.Find(r.PathValue("name"))
	if !ok {
		s.refuse(w, r, http.StatusNotFound, "No such user", "Nobody has this name; the list of users has who there is.")
		return
	}
	z := zone{s.opt.Now(), s.opt.Location}
	v.userRow, v.NeedsFactor, v.HasFactor, v.Admin = s.rowOf(u, actorOf(r), z), u.NeedsFactor, u.HasFactor, actorOf(r).name
	if v.Open != "set" {
		v.Wanted = users.Settings{Role: u.Role, Disabled: u.Disabled, NeedsFactor: u.NeedsFactor}
	}
	v.Roles = rolesUpTo(users.Admin, v.Wanted.Role)
	for _, t := range u.Tokens {
		v.Tokens = append(v.Tokens, tokenView{t.ID, inert(t.Label), string(t.Role), z.clock(t.Created), z.clock(t.Expires), !t.Expires.After(z.now)})
	}
	for _, l := range s.logins.of(u.Name) {
		v.Logins = append(v.Logins, sessionView{ID: l.id, From: l.from.String(), Agent: l.agent, Start: z.clock(l.start), Used: z.second(l.used)})
	}
	s.render(w, r, status, "user", frame{Title: u.Name, Here: "/settings"}, v)
}

// surely asks the admin for their password, and shows the page again when that is not given.
func (s *Server) surely(w http.ResponseWriter, r *http.Request, form string) bool {
	return s.passwordAgain(w, r, func() { s.userWrong(w, r, form, formError{"now-" + form, yourPassword, wrongNow}) })
}

// userWrong shows a user's page with what was wrong, and the form open in which it was.
func (s *Server) userWrong(w http.ResponseWriter, r *http.Request, form string, wrong formError) {
	s.showUser(w, r, http.StatusBadRequest, userPageView{Open: form, Wanted: wantedOf(r), Errors: []formError{wrong}})
}

func wantedOf(r *http.Request) users.Settings {
	return users.Settings{Role: users.Role(r.PostFormValue("role")), Disabled: r.PostFormValue("disabled") != "", NeedsFactor: r.PostFormValue("factor") != ""}
}

// userChanged leads back to the user's page, or shows why nothing was changed.
func (s *Server) userChanged(w http.ResponseWriter, r *http.Request, form string, err error, not string) {
	refused, ok := errors.AsType[users.Refused](err)
	switch {
	case ok:
		s.userWrong(w, r, form, formError{refused.Field, userLabels[refused.Field], refused.Message})
	case errors.Is(err, users.ErrUnknown):
		s.showUser(w, r, http.StatusNotFound, userPageView{})
	case err != nil:
		s.broken(w, r, err, not)
	default:
		http.Redirect(w, r, userLink(r.PathValue("name")), http.StatusSeeOther)
	}
}

func (s *Server) setUserPage(w http.ResponseWriter, r *http.Request) {
	if !s.surely(w, r, "set") {
		return
	}
	_, err := s.setUser(actorOf(r), r.PathValue("name"), wantedOf(r))
	s.userChanged(w, r, "set", err, "The user was not changed")
}

func (s *Server) resetPasswordPage(w http.ResponseWriter, r *http.Request) {
	if !s.surely(w, r, "reset") {
		return
	}
	u, given, err := s.resetPassword(actorOf(r), r.PathValue("name"), "")
	if err != nil {
		s.userChanged(w, r, "reset", err, "The password was not changed")
		return
	}
	s.given(w, r, u.Name, given)
}

func (s *Server) dropFactorPage(w http.ResponseWriter, r *http.Request) {
	if !s.surely(w, r, "factor") {
		return
	}
	_, err := s.dropFactor(actorOf(r), r.PathValue("name"))
	s.userChanged(w, r, "factor", err, "The second factor is still there")
}

func (s *Server) endSessionsPage(w http.ResponseWriter, r *http.Request) {
	_, err := s.endSessions(actorOf(r), r.PathValue("name"))
	s.userChanged(w, r, "", err, "No session was ended")
}

func (s *Server) removeUserPage(w http.ResponseWriter, r *http.Request) {
	if !s.surely(w, r, "remove") {
		return
	}
	if _, err := s.removeUser(actorOf(r), r.PathValue("name")); err != nil {
		s.userChanged(w, r, "remove", err, "The user was not removed")
		return
	}
	http.Redirect(w, r, "/settings/users", http.StatusSeeOther)
}
