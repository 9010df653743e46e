package webadmin

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/mailweir/mailweir/web-admin/users"
)

// setupGroups is the length of the setup code: 75 bits, typed once, and tries are throttled.
const setupGroups = 3

// setup is the code with which the first admin is made. It is made at each start anew while there is no user, and only whoever may open
// the socket in the data directory sees it: the console, or `mailweir users setup-code`.
type setup struct {
	mu   sync.Mutex
	code string
}

// SetupCode is the code for the first visit; empty once there is a user.
func (s *Server) SetupCode() string {
	s.setup.mu.Lock()
	defer s.setup.mu.Unlock()
	if s.users.Any() {
		return ""
	}
	if s.setup.code == "" {
		s.setup.code = users.Generate(setupGroups)
	}
	return s.setup.code
}

func (s *Server) setupPage(w http.ResponseWriter, r *http.Request) {
	if s.users.Any() {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	s.render(w, r, http.StatusOK, "setup", frame{Title: "First visit"}, loginView{Name: "admin", Min: users.MinPassword})
}

// firstAdmin makes the first user, an admin, for whoever has the code.
func (s *Server) firstAdmin(w http.ResponseWriter, r *http.Request) {
	v := loginView{Name: strings.ToLower(strings.TrimSpace(r.PostFormValue("name"))), Min: users.MinPassword}
	from := peer(r)
	code := s.SetupCode()
	if code == "" {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	right := subtle.ConstantTimeCompare([]byte(users.Plain(r.PostFormValue("code"))), []byte(users.Plain(code))) == 1
	if wait := s.doors.admit(source64(from), right); wait > 0 {
		s.tooManyTries(w, r, wait)
		return
	}
	a := actor{who: "setup " + from.String(), from: from.String()}
	status := http.StatusBadRequest
	switch {
	case !right:
		s.refusals.add(refusal{a, "setup", "wrong setup code"})
		status, v.Error = http.StatusUnauthorized, "This is not the setup code."
	case r.PostFormValue("password") != r.PostFormValue("again"):
		v.Error = "The two passwords are not the same."
	default:
		s.setup.mu.Lock() // one of two at once
		if s.users.Any() {
			s.setup.mu.Unlock()
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		u, err := s.users.Add(v.Name, users.Admin, r.PostFormValue("password"), false)
		s.setup.mu.Unlock()
		refused, ok := errors.AsType[users.Refused](err)
		switch {
		case ok:
			v.Error = strings.ToUpper(refused.Field[:1]) + refused.Field[1:] + ": " + refused.Message + "."
		case err != nil:
			s.broken(w, r, err, "The user was not made")
			return
		default:
			s.tell(a, "user_added", u.Name, "", string(u.Role))
			if err := s.wizard.mark(""); err != nil {
				s.opt.Log.Error("web admin: that the set-up has begun could not be kept", "err", err)
			}
			s.goOn(w, r, u, inside, "/wizard")
			return
		}
	}
	s.render(w, r, status, "setup", frame{Title: "First visit"}, v)
}
