package users

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// Parameters of argon2id: OWASP's Password Storage Cheat Sheet, "19 MiB of memory, an iteration count of 2, and 1 degree of
// parallelism". RFC 9106's second choice (64 MiB) is too much for a box of 256 MB that judges packets.
const (
	hashTime    = 2
	hashMemory  = 19 << 10 // KiB
	hashThreads = 1
	hashBytes   = 32
	saltBytes   = 16 // RFC 9106 section 3.1
)

// What a hash from the file may ask for, so that a file cannot take the box's memory.
const (
	maxHashTime   = 10
	maxHashMemory = 64 << 10
)

// Bounds of a password: NIST SP 800-63B-4 section 3.1.1.2 asks for 15 characters where a password is all there is, for no rules
// about what they are, and that long ones are taken.
const (
	MinPassword = 15
	maxPassword = 256 // bytes
)

const (
	minDistinct = 5 // different characters
	minOwn      = 8 // characters that are not the user's name or ours
)

// PasswordWrong says why name cannot have this password; empty: they can.
func PasswordWrong(name, password string) string {
	n := utf8.RuneCountInString(password)
	switch {
	case !utf8.ValidString(password):
		return "is not UTF-8"
	case n < MinPassword:
		return fmt.Sprintf("at least %d characters; several words are easy to remember", MinPassword)
	case len(password) > maxPassword:
		return fmt.Sprintf("at most %d bytes", maxPassword)
	}
	distinct := map[rune]bool{}
	for _, r := range password {
		distinct[r] = true
	}
	if len(distinct) < minDistinct {
		return fmt.Sprintf("at least %d different characters", minDistinct)
	}
	own := strings.ToLower(password)
	for _, known := range []string{name, "mailweir", "password"} {
		if len(known) > 2 {
			own = strings.ReplaceAll(own, known, "")
		}
	}
	if utf8.RuneCountInString(own) < minOwn {
		return "is little more than the name, which is guessed first"
	}
	return ""
}

// prepared is what is hashed: the same characters are the same bytes, however the keyboard composed them (NIST SP 800-63B-4).
func prepared(password string) []byte { return norm.NFC.Bytes([]byte(password)) }

// phc is a hash as the file has it: $argon2id$v=19$m=…,t=…,p=…$salt$hash.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, sum    []byte
}

func (p phc) String() string {
	e := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads, e.EncodeToString(p.salt), e.EncodeToString(p.sum))
}

func parsePHC(s string) (phc, error) {
	var p phc
	var version int
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return p, errors.New("is no argon2id hash")
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return p, fmt.Errorf("argon2id %s is not known", parts[2])
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil {
		return p, fmt.Errorf("parameters %s: %w", parts[3], err)
	}
	if p.memory > maxHashMemory || p.time < 1 || p.time > maxHashTime || p.threads != hashThreads {
		return p, fmt.Errorf("parameters %s are out of bounds", parts[3])
	}
	var err1, err2 error
	p.salt, err1 = base64.RawStdEncoding.DecodeString(parts[4])
	p.sum, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(p.sum) != hashBytes || len(p.salt) < 8 {
		return p, errors.New("its salt or hash is damaged")
	}
	return p, nil
}

func (p phc) question(password string) Sum {
	return Sum{Password: prepared(password), Salt: p.salt, Time: p.time, Memory: p.memory, Threads: p.threads}
}

// Who may wait for the hash at once: strangers, and beside them whoever logged in from the same browser before, so that a flood of
// strangers does not keep the owner out. More get [ErrBusy].
const (
	maxStrangers = 4
	maxKnown     = 4
)

// restAfter bounds what a flood of strangers takes from the packets' judgement: behind the hash of one the next stranger waits so many times
// as long as it took with the wait for its turn. Nobody waits for that who comes alone, nor behind strangers whoever was here before.
const restAfter = 3

// gate lets one password be hashed at a time.
type gate struct {
	turn             chan struct{} // holds one while nobody hashes
	calm             chan struct{} // holds one while no stranger hashes or rests
	sum              func(Sum) []byte
	strangers, known chan struct{} // a slot for each who waits or hashes
	nobody           phc           // is checked for names that are not there, so that they take as long
}

func (g *gate) init() {
	g.turn = make(chan struct{}, 1)
	g.turn <- struct{}{}
	g.calm = make(chan struct{}, 1)
	g.calm <- struct{}{}
	g.sum = here
	g.strangers, g.known = make(chan struct{}, maxStrangers), make(chan struct{}, maxKnown)
	g.nobody = phc{memory: hashMemory, time: hashTime, threads: hashThreads, salt: make([]byte, saltBytes), sum: make([]byte, hashBytes)}
	rand.Read(g.nobody.salt)
	rand.Read(g.nobody.sum)
}

func (g *gate) pass() { g.turn <- struct{}{} }

// hash makes the hash of a new password. It waits for its turn: only who is logged in gets here.
func (g *gate) hash(password string) string {
	p := phc{memory: hashMemory, time: hashTime, threads: hashThreads, salt: make([]byte, saltBytes)}
	rand.Read(p.salt)
	<-g.turn
	defer g.pass()
	p.sum = g.sum(p.question(password))
	return p.String()
}

// rest begins now with a stranger's hash; what it returns lets the next stranger in after the rest behind it.
func (g *gate) rest() func() {
	begun := time.Now()
	return func() { time.AfterFunc(restAfter*time.Since(begun), func() { g.calm <- struct{}{} }) }
}

// is tells whether password is what p was made of.
func (g *gate) is(ctx context.Context, p phc, password string, known bool) (bool, error) {
	room := g.strangers
	if known {
		room = g.known
	}
	select {
	case room <- struct{}{}:
		defer func() { <-room }()
	default:
		return false, ErrBusy
	}
	if !known {
		select {
		case <-g.calm:
			defer g.rest()()
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	select {
	case <-g.turn:
		defer g.pass()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return subtle.ConstantTimeCompare(g.sum(p.question(password)), p.sum) == 1, nil
}

// Check tells whether somebody may log in as name with password. An unknown or disabled user takes as long as a known one. known says
// that the caller's browser logged in before. The error is [ErrBusy], or that ctx ended.
func (s *Store) Check(ctx context.Context, name, password string, known bool) (User, bool, error) {
	if len(password) > maxPassword {
		password = "" // no password is so long, nor empty
	}
	s.mu.Lock()
	a, hash := s.state.find(name), s.gate.nobody
	var u User
	there := a != nil && !a.Disabled
	if there {
		u = a.view(s.ends())
		hash, _ = parsePHC(a.Password) // it was looked at when it was read
	}
	s.mu.Unlock()
	right, err := s.gate.is(ctx, hash, password, known)
	if err != nil || !right || !there {
		return User{}, false, err
	}
	// The hash took its time, and its turn: what counts is what holds now.
	now, there := s.Find(name)
	return now, there && !now.Disabled && now.SamePassword(u), nil
}

// SetPassword gives name another password. mustChange says that somebody else chose it.
func (s *Store) SetPassword(name, password string, mustChange bool) (User, error) {
	return s.setPassword(name, password, mustChange, func(User) bool { return true })
}

// ChangePassword gives whoever was let in as was another password of their own choice, unless somebody else changed it since.
func (s *Store) ChangePassword(was User, password string) (User, error) {
	return s.setPassword(was.Name, password, false, was.SamePassword)
}

func (s *Store) setPassword(name, password string, mustChange bool, may func(User) bool) (User, error) {
	if message := PasswordWrong(name, password); message != "" {
		return User{}, Refused{"password", message}
	}
	hash := s.gate.hash(password)
	return s.change(name, func(_ *state, a *account) error {
		if a == nil {
			return ErrUnknown
		}
		if !may(a.view(s.ends())) {
			return ErrChanged
		}
		a.Password, a.MustChange, a.Changed = hash, mustChange, s.now()
		return nil
	})
}
