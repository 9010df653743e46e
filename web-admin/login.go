package webadmin

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

const (
	sessionIdle = 15 * time.Minute
	sessionLife = 12 * time.Hour
	halfLife    = 10 * time.Minute // of a login that is not complete
	maxSessions = 256              // the longest unused one makes room
	maxCodes    = 5                // wrong ones, then the password is asked for again
)

// step is how far a login is. The zero value may nothing.
type step uint8

const (
	nowhere  step = iota
	byCode        // the password was right, the second factor is still asked for
	byChange      // a new password must be chosen
	byEnrol       // a second factor must be set up
	inside        // logged in
)

// logins are the sessions of people who logged in. Only digests of their cookies are kept, in memory. What a page that stays open asks for by
// itself is no use: a browser that its owner left is nobody's after sessionIdle. A wall display reads the API with a viewer's token.
type logins struct {
	now func() time.Time

	mu sync.Mutex
	by map[[sha256.Size]byte]*login
}

// login is one session. Its fields change under logins.mu only; who looks gets a copy.
type login struct {
	id          string // names it to its user; worth nothing as a cookie
	user        string
	as          users.User // what they were when they were let in
	at          step
	start, used time.Time
	from        netip.Addr
	agent       string // the browser, as it calls itself
	wrong       int    // codes
	secret      string // of the second factor that is being set up
}

func (l *login) over(now time.Time) bool {
	if l.at != inside && now.Sub(l.start) >= halfLife {
		return true
	}
	return now.Sub(l.used) >= sessionIdle || now.Sub(l.start) >= sessionLife
}

func randomText() string {
	var secret [32]byte
	rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(secret[:])
}

// begin makes a session and returns its cookie's value.
func (s *logins) begin(l login) string {
	cookie := randomText()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var oldest [sha256.Size]byte
	var used time.Time
	for key, l := range s.by {
		if l.over(now) {
			delete(s.by, key)
		} else if used.IsZero() || l.used.Before(used) {
			oldest, used = key, l.used
		}
	}
	if len(s.by) >= maxSessions {
		delete(s.by, oldest)
	}
	if s.by == nil {
		s.by = map[[sha256.Size]byte]*login{}
	}
	key := sha256.Sum256([]byte(cookie))
	again := sha256.Sum256(key[:])
	l.id, l.start, l.used = hex.EncodeToString(again[:6]), now, now
	s.by[key] = &l
	return cookie
}

// valid is the running session of cookie; use counts it as used now.
func (s *logins) valid(cookie string, use bool) (login, bool) {
	if cookie == "" {
		return login{}, false
	}
	key := sha256.Sum256([]byte(cookie))
	s.mu.Lock()
	defer s.mu.Unlock()
	l, now := s.by[key], s.now()
	if l == nil || l.over(now) {
		delete(s.by, key)
		return login{}, false
	}
	if use {
		l.used = now
	}
	return *l, true
}

// end forgets a session.
func (s *logins) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.by, sha256.Sum256([]byte(cookie)))
}

// endAll forgets the sessions of user but the one with the cookie except, and says how many there were.
func (s *logins) endAll(user, except string) (ended int) {
	keep := sha256.Sum256([]byte(except))
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.by {
		if l.user == user && key != keep {
			delete(s.by, key)
			ended++
		}
	}
	return ended
}

// endOne forgets the session of user that is called id.
func (s *logins) endOne(user, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.by {
		if l.user == user && l.id == id {
			delete(s.by, key)
			return true
		}
	}
	return false
}

// of lists the running sessions of user, the one used last first.
func (s *logins) of(user string) []login {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []login
	for _, l := range s.by {
		if l.user == user && l.at == inside && !l.over(s.now()) {
			all = append(all, *l)
		}
	}
	slices.SortFunc(all, func(a, b login) int { return cmp.Or(b.used.Compare(a.used), cmp.Compare(a.id, b.id)) })
	return all
}

// wrongCode counts a wrong code of a session and ends it when there were too many.
func (s *logins) wrongCode(cookie string) (ended bool) {
	key := sha256.Sum256([]byte(cookie))
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.by[key]
	if l == nil {
		return true
	}
	if l.wrong++; l.wrong >= maxCodes {
		delete(s.by, key)
		return true
	}
	return false
}

// enrol keeps the secret of the second factor that a session is setting up, if it has none yet, and returns the one it has.
func (s *logins) enrol(cookie, secret string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.by[sha256.Sum256([]byte(cookie))]
	if l == nil {
		return ""
	}
	if l.secret == "" {
		l.secret = secret
	}
	return l.secret
}

// enrolled forgets that secret.
func (s *logins) enrolled(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.by[sha256.Sum256([]byte(cookie))]; l != nil {
		l.secret = ""
	}
}
