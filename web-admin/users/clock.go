package users

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
)

// savedEvery is how much further the clock has to be before it is written down again.
const savedEvery = time.Hour

// clock is the newest time that a clock showed which was right, over restarts: a token that has ended does not live again when the clock goes back.
type clock struct {
	path   string
	newest time.Time
	saved  time.Time
}

// openClock reads the file. Of one that cannot be understood nothing is known: the next hour writes it anew.
func openClock(path string) (clock, error) {
	c := clock{path: path}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	} else if err != nil {
		return c, fmt.Errorf("users: %w", err)
	}
	if t, err := time.Parse(time.RFC3339, strings.TrimSpace(string(b))); err == nil {
		c.newest, c.saved = t, t
	}
	return c, nil
}

// save writes it down as it is.
func (c *clock) save() error {
	if err := durable.Replace(c.path, []byte(c.newest.UTC().Format(time.RFC3339)+"\n")); err != nil {
		return fmt.Errorf("users: %w", err)
	}
	c.saved = c.newest
	return nil
}

// ends is the time by which tokens end: that of the clock, or the newest that it showed. The caller holds mu.
func (s *Store) ends() time.Time {
	if now := s.now(); now.After(s.clock.newest) {
		return now
	}
	return s.clock.newest
}

// Saw notes what a clock shows that is right. It is to be called now and then.
func (s *Store) Saw(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !now.After(s.clock.newest) {
		return nil
	}
	if s.clock.newest = now.Round(0); now.Sub(s.clock.saved) < savedEvery {
		return nil
	}
	return s.clock.save()
}

// set has the clock of now count, if it has been further before.
func (s *Store) set(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.clock.newest.After(now) {
		return nil
	}
	s.clock.newest = now.Round(0)
	return s.clock.save()
}

// over takes out, of all accounts, the tokens that have ended by a time.
func (st *state) over(by time.Time) {
	for i := range st.Users {
		a := &st.Users[i]
		var left []token
		for _, t := range a.Tokens {
			if t.Expires.After(by) {
				left = append(left, t)
			}
		}
		a.Tokens = left
	}
}
