package webadmin

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"sync"
	"time"
)

const (
	sessionIdle = 15 * time.Minute
	sessionLife = 12 * time.Hour
	maxSessions = 256 // the longest unused one makes room
)

// logins are the sessions of people who logged in. Only digests of their cookies are kept, in memory. A page that stays open
// asks for itself every second and so counts as use: a wall display stays logged in until sessionLife.
type logins struct {
	now func() time.Time

	mu sync.Mutex
	by map[[sha256.Size]byte]*login
}

type login struct{ start, used time.Time }

func (l *login) over(now time.Time) bool {
	return now.Sub(l.used) >= sessionIdle || now.Sub(l.start) >= sessionLife
}

// begin makes a session and returns its cookie's value.
func (s *logins) begin() string {
	var secret [32]byte
	rand.Read(secret[:]) // never fails: crypto/rand ends the program instead
	cookie := base64.RawURLEncoding.EncodeToString(secret[:])
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
	s.by[sha256.Sum256([]byte(cookie))] = &login{start: now, used: now}
	return cookie
}

// valid says whether cookie belongs to a running session; use counts it as used now.
func (s *logins) valid(cookie string, use bool) bool {
	if cookie == "" {
		return false
	}
	key := sha256.Sum256([]byte(cookie))
	s.mu.Lock()
	defer s.mu.Unlock()
	l, now := s.by[key], s.now()
	if l == nil || l.over(now) {
		delete(s.by, key)
		return false
	}
	if use {
		l.used = now
	}
	return true
}

// end forgets a session.
func (s *logins) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.by, sha256.Sum256([]byte(cookie)))
}

const (
	triesAtOnce = 5
	tryEvery    = 30 * time.Second
	maxTriers   = 4096
)

// throttle bounds wrong tokens per source address (IPv6: per /64): five at once, then one every 30 s. Right tokens cost
// nothing, but wait like the others once the tries are used up.
type throttle struct {
	now func() time.Time

	mu sync.Mutex
	// fullAt is when a source has all its tries back (a GCRA arrival time). When the table is full of sources that still owe,
	// new sources share one entry: a flood slows itself down, and never a session that is logged in already.
	fullAt map[netip.Addr]time.Time
}

func (t *throttle) key(from netip.Addr) netip.Addr {
	from = from.Unmap().WithZone("")
	if from.Is6() {
		p, err := from.Prefix(64)
		if err == nil {
			from = p.Addr()
		}
	}
	if _, known := t.fullAt[from]; !known && len(t.fullAt) >= maxTriers {
		now := t.now()
		for a, full := range t.fullAt {
			if !full.After(now) {
				delete(t.fullAt, a)
			}
		}
		if len(t.fullAt) >= maxTriers {
			return netip.Addr{}
		}
	}
	return from
}

// admit is how long from must wait before a token of its is looked at again; 0: this one counts. A wrong one is charged. Asking and
// charging are one step, so that tries in parallel gain nothing.
func (t *throttle) admit(from netip.Addr, right bool) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key, now := t.key(from), t.now()
	full := t.fullAt[key]
	if full.Before(now) {
		full = now
	}
	if wait = full.Sub(now) - (triesAtOnce-1)*tryEvery; wait > 0 {
		return wait
	}
	if !right {
		if t.fullAt == nil {
			t.fullAt = map[netip.Addr]time.Time{}
		}
		t.fullAt[key] = full.Add(tryEvery)
	}
	return 0
}
