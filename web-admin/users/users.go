// Package users keeps who may log in at the web admin: names, roles, password hashes, second factors and API tokens, in one file
// that only its owner may read.
//
// Passwords are hashed with argon2id (RFC 9106), one at a time, so that a flood of logins costs one hash's memory. Second factors
// are TOTP (RFC 6238); their secrets must be known to check a code, and so stand in the file as they are. Recovery codes and API
// tokens are random with 125 bits and more, of which a plain SHA-256 is kept (NIST SP 800-63B-4 section 3.1.2.2).
//
// Every change is on the disk before it counts; one that cannot be written changes nothing.
package users

import (
	"cmp"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Role says what somebody may do. Each may all that the one before may.
type Role string

// The roles. The zero Role may nothing.
const (
	Viewer   Role = "viewer"   // sees, with names and addresses masked
	Operator Role = "operator" // sees all, and acts on lines
	Admin    Role = "admin"    // manages users and settings, too
)

// Roles are all of them, the least one first.
var Roles = []Role{Viewer, Operator, Admin}

// Known tells whether r is one of [Roles].
func (r Role) Known() bool { return slices.Contains(Roles, r) }

// May tells whether whoever has r may do what needs the role needed.
func (r Role) May(needed Role) bool {
	return r.Known() && needed.Known() && slices.Index(Roles, r) >= slices.Index(Roles, needed)
}

// Lesser is what somebody may who may only what both a and b may.
func Lesser(a, b Role) Role {
	if a.May(b) {
		return b
	}
	return a
}

// Bounds of a file.
const (
	MaxUsers  = 100
	MaxTokens = 20 // of one user
)

// User is what others may know of a user; it holds no secret.
type User struct {
	Name         string
	Role         Role
	Disabled     bool
	MustChange   bool // somebody else knows the password: a new one must be chosen at the next login
	NeedsFactor  bool // no login without a second factor; who has none sets it up at the next login
	HasFactor    bool
	RecoveryLeft int // recovery codes that were not used yet
	Created      time.Time
	Changed      time.Time // the password
	Tokens       []Token

	stamp string // tells one password from another
}

// SamePassword tells whether the password of the user is still the one of then.
func (u User) SamePassword(then User) bool { return u.stamp == then.stamp }

// Errors that callers tell apart.
var (
	ErrUnknown = errors.New("no such user")
	ErrBusy    = errors.New("too many logins at once")
	ErrChanged = errors.New("the password was changed meanwhile")
)

// Refused is a value that cannot be taken: which field, and what it must be.
type Refused struct{ Field, Message string }

func (r Refused) Error() string { return r.Field + ": " + r.Message }

// account is a user as the file has it.
type account struct {
	Name        string    `json:"name"`
	Role        Role      `json:"role"`
	Disabled    bool      `json:"disabled,omitempty"`
	Password    string    `json:"password"` // PHC string
	MustChange  bool      `json:"must_change,omitempty"`
	NeedsFactor bool      `json:"needs_factor,omitempty"`
	Factor      *factor   `json:"factor,omitempty"`
	Recovery    []string  `json:"recovery,omitempty"` // hex of SHA-256
	Tokens      []token   `json:"tokens,omitempty"`
	Created     time.Time `json:"created"`
	Changed     time.Time `json:"changed"`
}

func (a *account) view(by time.Time) User {
	u := User{Name: a.Name, Role: a.Role, Disabled: a.Disabled, MustChange: a.MustChange, NeedsFactor: a.NeedsFactor, HasFactor: a.Factor != nil,
		RecoveryLeft: len(a.Recovery), Created: a.Created, Changed: a.Changed, stamp: digest(a.Password)}
	for _, t := range a.Tokens {
		u.Tokens = append(u.Tokens, t.view(by))
	}
	return u
}

// Store is the file with all users. It is safe for concurrent use.
type Store struct {
	path string
	now  func() time.Time
	gate gate

	mu    sync.Mutex // held while the files are written; guards what follows
	state state
	clock clock
}

// Any tells whether there is a user at all; without one the first is made with a setup code.
func (s *Store) Any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.state.Users) > 0
}

// List is all users, by name.
func (s *Store) List() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]User, 0, len(s.state.Users))
	for i := range s.state.Users {
		all = append(all, s.state.Users[i].view(s.ends()))
	}
	return all
}

// Find is one user.
func (s *Store) Find(name string) (User, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.state.find(name)
	if a == nil {
		return User{}, false
	}
	return a.view(s.ends()), true
}

// names leave room for what actors in records look like otherwise: "local", "admin.token".
var names = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

var reserved = []string{"local", "mailweir"}

func nameWrong(name string) string {
	switch {
	case !names.MatchString(name):
		return "1 to 32 of a-z, 0-9, _ and -, and begins with a letter or a digit"
	case slices.Contains(reserved, name):
		return strings.Join(reserved, " and ") + " are not names of people"
	}
	return ""
}

// Add makes a user. mustChange says that somebody else chose the password.
func (s *Store) Add(name string, role Role, password string, mustChange bool) (User, error) {
	if message := nameWrong(name); message != "" {
		return User{}, Refused{"name", message}
	}
	if !role.Known() {
		return User{}, Refused{"role", roleWords()}
	}
	if message := PasswordWrong(name, password); message != "" {
		return User{}, Refused{"password", message}
	}
	hash := s.gate.hash(password)
	return s.change(name, func(st *state, a *account) error {
		switch {
		case a != nil:
			return Refused{"name", "there is a user " + name}
		case len(st.Users) >= MaxUsers:
			return Refused{"name", fmt.Sprintf("at most %d users", MaxUsers)}
		case len(st.Users) == 0 && role != Admin:
			return Refused{"role", "the first user is an admin"}
		}
		now := s.now()
		st.Users = append(st.Users, account{Name: name, Role: role, Password: hash, MustChange: mustChange, Created: now, Changed: now})
		slices.SortFunc(st.Users, func(a, b account) int { return cmp.Compare(a.Name, b.Name) })
		return nil
	})
}

func roleWords() string { return "one of viewer, operator, admin" }

// Settings are what an admin sets of a user.
type Settings struct {
	Role        Role
	Disabled    bool
	NeedsFactor bool
}

// Set changes a user's settings. There is always an admin who can log in.
func (s *Store) Set(name string, to Settings) (before, after User, err error) {
	if !to.Role.Known() {
		return before, after, Refused{"role", roleWords()}
	}
	after, err = s.change(name, func(st *state, a *account) error {
		if a == nil {
			return ErrUnknown
		}
		before = a.view(s.ends())
		a.Role, a.Disabled, a.NeedsFactor = to.Role, to.Disabled, to.NeedsFactor
		return st.lastAdmin()
	})
	return before, after, err
}

// Remove forgets a user with all that is theirs.
func (s *Store) Remove(name string) (User, error) {
	var gone User
	_, err := s.change(name, func(st *state, a *account) error {
		if a == nil {
			return ErrUnknown
		}
		gone = a.view(s.ends())
		st.Users = slices.DeleteFunc(st.Users, func(a account) bool { return a.Name == name })
		return st.lastAdmin()
	})
	return gone, err
}

// lastAdmin refuses a state in which nobody could manage the box.
func (st *state) lastAdmin() error {
	if !slices.ContainsFunc(st.Users, func(a account) bool { return a.Role == Admin && !a.Disabled }) {
		return Refused{"role", "this is the last admin who can log in; make another one first"}
	}
	return nil
}

// Generate is a random password or code for people to read and type: n groups of five characters, 25 bits each.
func Generate(groups int) string {
	b := make([]byte, (groups*25+7)/8)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	text := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
	var out []string
	for i := range groups {
		out = append(out, text[5*i:5*i+5])
	}
	return strings.Join(out, "-")
}

// Plain is a code of [Generate] without what people type between its characters.
func Plain(code string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, code))
}
