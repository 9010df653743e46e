package users

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
)

// state is what the file holds.
type state struct {
	Version int       `json:"version"`
	Key     []byte    `json:"key"` // random; others derive from it what they sign
	Users   []account `json:"users"`
}

func (st *state) find(name string) *account {
	i := slices.IndexFunc(st.Users, func(a account) bool { return a.Name == name })
	if i < 0 {
		return nil
	}
	return &st.Users[i]
}

// Open reads the file at path; without one there are no users yet. One that cannot be understood is set aside, and damaged says
// so: then there are no users, and the owner makes the first one again.
func Open(path string, now func() time.Time) (s *Store, damaged error, err error) {
	s = &Store{path: path, now: now}
	s.gate.init()
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, nil, fmt.Errorf("users: %w", err)
	default:
		if err := s.state.read(b); err != nil {
			aside := path + ".damaged-" + now().UTC().Format("20060102T150405Z")
			if err := os.Rename(path, aside); err != nil {
				return nil, nil, fmt.Errorf("users: put the damaged file aside: %w", err)
			}
			damaged = fmt.Errorf("%s cannot be read and is now %s: %w", path, filepath.Base(aside), err)
			s.state = state{}
		}
	}
	if s.clock, err = openClock(strings.TrimSuffix(path, filepath.Ext(path)) + ".clock"); err != nil {
		return nil, nil, err
	}
	if len(s.state.Key) == 0 {
		s.state.Version, s.state.Key = 1, make([]byte, 32)
		rand.Read(s.state.Key)
	}
	return s, damaged, nil
}

func (st *state) read(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(st); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	if st.Version != 1 || len(st.Key) != 32 {
		return fmt.Errorf("version %d with a key of %d bytes; version 1 with 32 is known", st.Version, len(st.Key))
	}
	seen := map[string]bool{}
	for _, a := range st.Users {
		if message := nameWrong(a.Name); message != "" || seen[a.Name] || !a.Role.Known() {
			return fmt.Errorf("user %q with role %q: a name that can be, once, and a role that is known", a.Name, a.Role)
		}
		if _, err := parsePHC(a.Password); err != nil {
			return fmt.Errorf("password of %s: %w", a.Name, err)
		}
		seen[a.Name] = true
	}
	return nil
}

// Key is a random key that stays as long as the file does. Whoever uses it derives a key of his own from it.
func (s *Store) Key() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.state.Key)
}

// change does something to a copy of the state, of which a is the user name (nil: none of that name), and puts it in force once it is
// on the disk. It returns the user as they are then.
func (s *Store) change(name string, do func(st *state, a *account) error) (User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := s.state.copy()
	if err != nil {
		return User{}, err
	}
	if err := do(next, next.find(name)); err != nil {
		return User{}, err
	}
	b, err := json.MarshalIndent(next, "", " ")
	if err != nil {
		return User{}, fmt.Errorf("users: %w", err)
	}
	if err := durable.Replace(s.path, append(b, '\n')); err != nil {
		return User{}, fmt.Errorf("users: %w", err)
	}
	s.state = *next
	if a := s.state.find(name); a != nil {
		return a.view(s.ends()), nil
	}
	return User{}, nil
}

func (st *state) copy() (*state, error) {
	b, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	next := &state{}
	return next, json.Unmarshal(b, next)
}
