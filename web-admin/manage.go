package webadmin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/mailweir/mailweir/web-admin/users"
)

// see is the source as whoever asks may see it.
func (s *Server) see(r *http.Request) Reader { return s.seeAs(actorOf(r).role) }

func (s *Server) seeAs(role users.Role) Reader {
	if role.May(users.Operator) {
		return s.opt.Source
	}
	return s.veil
}

// tell has an AUDIT record made of what a person did to the web admin itself.
func (s *Server) tell(a actor, what, object, before, after string) {
	s.opt.Audit(AuditEvent{Who: a.who, From: a.from, What: what, Object: object, Before: before, After: after})
}

// What an admin does to users. Each ends the sessions that must not go on, and tells who did it.

// givenGroups is the length of a password that the box makes up: 100 bits.
const givenGroups = 4

// fromSocket is where an actor is from who opened the socket in the data directory.
const fromSocket = "socket"

// addUser makes a user. Without a password one is made up, and returned. The user chooses another at the first login.
func (s *Server) addUser(a actor, name string, role users.Role, password string) (u users.User, given string, err error) {
	if password == "" {
		given = users.Generate(givenGroups)
		password = given
	}
	// Who makes the first user on the box itself chose their own password.
	own := given == "" && a.from == fromSocket && !s.users.Any()
	if u, err = s.users.Add(name, role, password, !own); err != nil {
		return u, "", err
	}
	s.tell(a, "user_added", u.Name, "", settingsText(u))
	return u, given, nil
}

// setUser changes what an admin sets of a user.
func (s *Server) setUser(a actor, name string, to users.Settings) (users.User, error) {
	before, after, err := s.users.Set(name, to)
	if err != nil {
		return after, err
	}
	if was, is := settingsText(before), settingsText(after); was != is {
		s.logins.endAll(name, "")
		s.tell(a, "user_changed", name, was, is)
	}
	return after, nil
}

func settingsText(u users.User) string {
	text := string(u.Role)
	if u.NeedsFactor {
		text += ", second factor needed"
	}
	if u.Disabled {
		text += ", disabled"
	}
	return text
}

// resetPassword gives a user a password that the admin knows, for one login.
func (s *Server) resetPassword(a actor, name, password string) (u users.User, given string, err error) {
	if password == "" {
		given = users.Generate(givenGroups)
		password = given
	}
	if u, err = s.users.SetPassword(name, password, true); err != nil {
		return u, "", err
	}
	s.logins.endAll(name, "")
	s.tell(a, "password_reset", name, "", "")
	return u, given, nil
}

// dropFactor takes the second factor of a user away, who lost it.
func (s *Server) dropFactor(a actor, name string) (users.User, error) {
	before, _ := s.users.Find(name)
	u, err := s.users.DropFactor(name)
	if err == nil && before.HasFactor {
		s.logins.endAll(name, "")
		s.tell(a, "factor_removed", name, "second factor", "none")
	}
	return u, err
}

// endSessions logs a user out everywhere.
func (s *Server) endSessions(a actor, name string) (ended int, err error) {
	if _, ok := s.users.Find(name); !ok {
		return 0, users.ErrUnknown
	}
	ended = s.logins.endAll(name, "")
	s.tell(a, "sessions_ended", name, fmt.Sprint(ended), "0")
	return ended, nil
}

func (s *Server) removeUser(a actor, name string) (users.User, error) {
	u, err := s.users.Remove(name)
	if err == nil {
		s.logins.endAll(name, "")
		s.tell(a, "user_removed", name, settingsText(u), "")
	}
	return u, err
}

// userRefused turns an error of package users into what the API and the pages know.
func userRefused(err error) error {
	if errors.Is(err, users.ErrUnknown) {
		return errNoUser
	}
	if refused, ok := errors.AsType[users.Refused](err); ok {
		return Refused{Field: refused.Field, Message: refused.Message}
	}
	return err
}

var errNoUser = errors.New("no such user")
