package webadmin

import (
	"net/http"

	"github.com/mailweir/mailweir/web-admin/users"
)

// User is who may log in: GET /api/v1/users.
type User struct {
	Name         string `json:"name"`
	Role         string `json:"role"` // viewer | operator | admin
	Disabled     bool   `json:"disabled"`
	MustChange   bool   `json:"must_change_password"` // at the next login
	NeedsFactor  bool   `json:"second_factor_needed"`
	HasFactor    bool   `json:"second_factor"`
	RecoveryLeft int    `json:"recovery_codes_left"`
	Sessions     int    `json:"sessions"` // that run now
	Tokens       int    `json:"tokens"`
	Created      Time   `json:"created"`
	Changed      Time   `json:"password_changed"`
}

// UserMade is a user who was given a password: it is told once, and chosen anew at the first login.
type UserMade struct {
	User     User   `json:"user"`
	Password string `json:"password"` // empty: the one that was sent
}

// SetupCode is what makes the first admin at the first visit.
type SetupCode struct {
	Code string `json:"code"`
	URL  string `json:"url"` // where it is typed
}

type (
	userBody struct {
		Name     string `json:"name"`
		Role     string `json:"role"`
		Password string `json:"password"` // empty: one is made up
		againBody
	}
	settingsBody struct {
		Role        string `json:"role"`
		Disabled    bool   `json:"disabled"`
		NeedsFactor bool   `json:"second_factor_needed"`
		againBody
	}
	passwordBody struct {
		Password string `json:"password"` // empty: one is made up
		againBody
	}
	// againBody is asked of the session of a login only.
	againBody struct {
		Now string `json:"now,omitempty"` // the password of who asks
	}
)

// surelyToo asks who comes with the session of a login for their password: an open browser is not enough for what outlives it. It answers when that is not
// right, or something else of b is not.
func (s *Server) surelyToo(w http.ResponseWriter, r *http.Request, b *jsonBody) bool {
	if actorOf(r).cookie == "" {
		return !b.refused(w)
	}
	now := b.secret("now")
	return !b.refused(w) && s.passwordWas(w, r, now)
}

// surelyAlone is the same for what has no other body, and with a token none.
func (s *Server) surelyAlone(w http.ResponseWriter, r *http.Request) bool {
	if actorOf(r).cookie == "" {
		return true
	}
	b, ok := bodyOf(w, r)
	return ok && s.surelyToo(w, r, b)
}

func userRoutes() []route {
	const sure = "; the session of a login sends its own password in now, a token does not"
	return []route{
		{"GET", apiRoot + "/users", administering, (*Server).apiUsers, &operation{summary: "Who may log in", answer: list[User]{}}},
		{"POST", apiRoot + "/users", administering, (*Server).apiAddUser, &operation{summary: "Add a user; an empty password is made up and told once, and either is chosen anew at the first login" + sure,
			body: userBody{}, answer: UserMade{}}},
		{"PUT", apiRoot + "/users/{name}", administering, (*Server).apiSetUser, &operation{summary: "Set a user's role, whether they may log in, and whether only with a second factor; a change ends their sessions" + sure,
			body: settingsBody{}, answer: User{}}},
		{"DELETE", apiRoot + "/users/{name}", administering, (*Server).apiRemoveUser, &operation{summary: "Remove a user with their sessions and tokens" + sure, body: againBody{}, answer: User{}}},
		{"POST", apiRoot + "/users/{name}/password", administering, (*Server).apiResetPassword, &operation{summary: "Give a user a password for one login; an empty one is made up and told once" + sure,
			body: passwordBody{}, answer: UserMade{}}},
		{"DELETE", apiRoot + "/users/{name}/sessions", administering, (*Server).apiEndSessions, &operation{summary: "Log a user out everywhere", answer: User{}}},
		{"DELETE", apiRoot + "/users/{name}/second-factor", administering, (*Server).apiDropFactor, &operation{summary: "Take away the second factor of a user who lost it" + sure, body: againBody{}, answer: User{}}},
		{"GET", apiRoot + "/setup-code", owning, (*Server).apiSetupCode, &operation{summary: "The code for the first visit; only over the socket in the data directory, and only while there is no user", answer: SetupCode{}}},
	}
}

func (s *Server) userView(u users.User) User {
	return User{Name: u.Name, Role: string(u.Role), Disabled: u.Disabled, MustChange: u.MustChange, NeedsFactor: u.NeedsFactor, HasFactor: u.HasFactor,
		RecoveryLeft: u.RecoveryLeft, Sessions: len(s.logins.of(u.Name)), Tokens: len(u.Tokens), Created: At(u.Created), Changed: At(u.Changed)}
}

func (s *Server) apiUsers(w http.ResponseWriter, r *http.Request) {
	items := []User{}
	for _, u := range s.users.List() {
		items = append(items, s.userView(u))
	}
	writeJSON(w, http.StatusOK, list[User]{Items: items})
}

func (s *Server) apiAddUser(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	name, role, password := b.text("name", false), b.text("role", false), b.secret("password")
	if !s.surelyToo(w, r, b) {
		return
	}
	u, given, err := s.addUser(actorOf(r), name, users.Role(role), password)
	s.userDone(w, err, "The user was not added", UserMade{s.userView(u), given})
}

func (s *Server) apiSetUser(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	to := users.Settings{Role: users.Role(b.text("role", false)), Disabled: b.yes("disabled"), NeedsFactor: b.yes("second_factor_needed")}
	if !s.surelyToo(w, r, b) {
		return
	}
	u, err := s.setUser(actorOf(r), r.PathValue("name"), to)
	s.userDone(w, err, "The user was not changed", s.userView(u))
}

func (s *Server) apiRemoveUser(w http.ResponseWriter, r *http.Request) {
	if !s.surelyAlone(w, r) {
		return
	}
	u, err := s.removeUser(actorOf(r), r.PathValue("name"))
	s.userDone(w, err, "The user was not removed", s.userView(u))
}

func (s *Server) apiResetPassword(w http.ResponseWriter, r *http.Request) {
	b, ok := bodyOf(w, r)
	if !ok {
		return
	}
	password := b.secret("password")
	if !s.surelyToo(w, r, b) {
		return
	}
	u, given, err := s.resetPassword(actorOf(r), r.PathValue("name"), password)
	s.userDone(w, err, "The password was not changed", UserMade{s.userView(u), given})
}

func (s *Server) apiEndSessions(w http.ResponseWriter, r *http.Request) {
	_, err := s.endSessions(actorOf(r), r.PathValue("name"))
	u, _ := s.users.Find(r.PathValue("name"))
	s.userDone(w, err, "No session was ended", s.userView(u))
}

func (s *Server) apiDropFactor(w http.ResponseWriter, r *http.Request) {
	if !s.surelyAlone(w, r) {
		return
	}
	u, err := s.dropFactor(actorOf(r), r.PathValue("name"))
	s.userDone(w, err, "The second factor is still there", s.userView(u))
}

func (s *Server) apiSetupCode(w http.ResponseWriter, r *http.Request) {
	code := s.SetupCode()
	if code == "" {
		problem(w, http.StatusNotFound, "There is no setup code", "There are users already; an admin can add more, and so can mailweir users add.")
		return
	}
	writeJSON(w, http.StatusOK, SetupCode{code, s.URL() + "setup"})
}

// userDone answers with what was done, or with why it was not.
func (s *Server) userDone(w http.ResponseWriter, err error, not string, done any) {
	if err != nil {
		s.notDone(w, userRefused(err), not)
		return
	}
	writeJSON(w, http.StatusOK, done)
}
