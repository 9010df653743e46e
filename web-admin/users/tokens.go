package users

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// LongestToken is how long an API token can hold.
const LongestToken = 366 * 24 * time.Hour

const maxLabel = 64 // bytes

// prefix of every API token's text, so that secret scanners and people know one.
const prefix = "mwt_"

// Token is what may be known of an API token; the token itself is shown once.
type Token struct {
	ID      string
	Label   string // what it is for
	Role    Role
	Created time.Time
	Expires time.Time
	Over    bool // it has ended
}

type token struct {
	ID      string    `json:"id"`
	Label   string    `json:"label"`
	Role    Role      `json:"role"`
	Digest  string    `json:"digest"` // hex of SHA-256 of its 256 random bits' text
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

func (t token) view(by time.Time) Token {
	return Token{t.ID, t.Label, t.Role, t.Created, t.Expires, !t.Expires.After(by)}
}

// AddToken makes an API token of name with at most their own role. Somebody who makes one sees what the clock shows: where that has been further before, it counts from now on, and what had ended
// by then is gone for good.
func (s *Store) AddToken(name, label string, role Role, expires time.Time) (secret string, made Token, err error) {
	label = strings.TrimSpace(label)
	switch {
	case label == "" || len(label) > maxLabel || !utf8.ValidString(label) || strings.ContainsFunc(label, unicode.IsControl):
		return "", made, Refused{"label", fmt.Sprintf("what it is for, 1 to %d bytes", maxLabel)}
	case !role.Known():
		return "", made, Refused{"role", roleWords()}
	case !expires.After(s.now()) || expires.Sub(s.now()) > LongestToken:
		return "", made, Refused{"expires", "in the future, and at most 366 days ahead"}
	}
	var b [32]byte
	rand.Read(b[:])
	secret = prefix + base64.RawURLEncoding.EncodeToString(b[:])
	sum := digest(secret)
	t := token{ID: sum[:12], Label: label, Role: role, Digest: sum, Created: s.now(), Expires: expires}
	_, err = s.change(name, func(st *state, a *account) error {
		switch {
		case a == nil:
			return ErrUnknown
		case !a.Role.May(role):
			return Refused{"role", "at most your own, " + string(a.Role)}
		}
		if by := s.ends(); by.After(t.Created) {
			st.over(by)
		}
		a.Tokens = slices.DeleteFunc(a.Tokens, func(t token) bool { return !t.Expires.After(s.now()) })
		if len(a.Tokens) >= MaxTokens {
			return Refused{"label", fmt.Sprintf("at most %d tokens; end one first", MaxTokens)}
		}
		a.Tokens = append(a.Tokens, t)
		return nil
	})
	if err != nil {
		return "", Token{}, err
	}
	return secret, t.view(t.Created), s.set(t.Created)
}

// DropToken ends an API token of name.
func (s *Store) DropToken(name, id string) (gone Token, err error) {
	_, err = s.change(name, func(_ *state, a *account) error {
		if a == nil {
			return ErrUnknown
		}
		i := slices.IndexFunc(a.Tokens, func(t token) bool { return t.ID == id })
		if i < 0 {
			return ErrUnknown
		}
		gone = a.Tokens[i].view(s.ends())
		a.Tokens = slices.Delete(a.Tokens, i, i+1)
		return nil
	})
	return gone, err
}

// ByToken is whose API token this is, and what it may: the lesser of its role and its user's.
func (s *Store) ByToken(secret string) (u User, t Token, role Role, ok bool) {
	if !strings.HasPrefix(secret, prefix) {
		return u, t, "", false
	}
	sum := digest(secret) // of 256 random bits: how long the comparison takes tells nothing
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.state.Users {
		a := &s.state.Users[i]
		if a.Disabled {
			continue
		}
		for _, t := range a.Tokens {
			if by := s.ends(); t.Digest == sum && t.Expires.After(by) {
				return a.view(by), t.view(by), Lesser(a.Role, t.Role), true
			}
		}
	}
	return u, t, "", false
}
