package users

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp/totp"
)

const good = "four words are easier"

var noon = time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, damaged, err := Open(path, func() time.Time { return noon })
	if err != nil || damaged != nil {
		t.Fatal(err, damaged)
	}
	return s
}

func made(t *testing.T) (*Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.json")
	s := open(t, path)
	for name, role := range map[string]Role{"anna": Admin} {
		if _, err := s.Add(name, role, good, false); err != nil {
			t.Fatal(err)
		}
	}
	return s, path
}

func right(t *testing.T, s *Store, name, password string) bool {
	t.Helper()
	_, ok, err := s.Check(t.Context(), name, password, false)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestUsersAreThereAfterARestart(t *testing.T) {
	t.Parallel()
	s, path := made(t)
	if _, err := s.Add("olga", Operator, "another four words", true); err != nil {
		t.Fatal(err)
	}
	secret, _, err := s.AddToken("olga", "backup", Viewer, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{good, "another four words", secret, strings.TrimPrefix(secret, prefix)} {
		if strings.Contains(string(b), hidden) {
			t.Errorf("the file tells %q", hidden)
		}
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	again := open(t, path)
	if !right(t, again, "anna", good) || right(t, again, "anna", "another four words") || !right(t, again, "olga", "another four words") || right(t, again, "nobody", good) {
		t.Error("the passwords are not those of before")
	}
	u, tk, role, ok := again.ByToken(secret)
	if !ok || u.Name != "olga" || tk.Label != "backup" || role != Viewer || !u.MustChange {
		t.Errorf("%+v %+v %v %v", u, tk, role, ok)
	}
	if string(again.Key()) != string(s.Key()) {
		t.Error("the key is another")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestADamagedFileIsSetAside(t *testing.T) {
	t.Parallel()
	_, path := made(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for why, text := range map[string]string{
		"cut off": string(whole[:len(whole)/2]), "nothing": "", "another role": strings.Replace(string(whole), `"admin"`, `"owner"`, 1), "no hash": strings.Replace(string(whole), "argon2id", "md5", 1),
		"a hash that takes all memory": strings.Replace(string(whole), "m=19456", "m=4194304", 1), "unknown": strings.Replace(string(whole), `"users"`, `"people"`, 1), "two": string(whole) + string(whole),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, damaged, err := Open(path, func() time.Time { return noon })
		if err != nil || damaged == nil || s.Any() {
			t.Errorf("%s: %v, damaged %v, users %v", why, err, damaged, s.List())
			continue
		}
		kept, err := os.ReadFile(path + ".damaged-20261118T120000Z")
		if err != nil || string(kept) != text {
			t.Errorf("%s: what was there is not kept: %v", why, err)
		}
	}
}

func TestPasswordsAreLongAndNotTheName(t *testing.T) {
	t.Parallel()
	for password, ok := range map[string]bool{
		good: true, "fourteen chars": false, "fifteen chars..": true, "             x1": false, strings.Repeat("ab", 20): false, "anna-anna-anna-anna": false, "mailweir mailweir 1": false,
		"anna has a long cat": true, "пятнадцать букв": true, strings.Repeat("0123456789", 26): false, "bad \xff utf-8 in here": false, "password password1": false,
	} {
		if message := PasswordWrong("anna", password); (message == "") != ok {
			t.Errorf("%q: %q", password, message)
		}
	}
}

// The same characters typed on two keyboards are one password.
func TestAPasswordIsTheSameOnEveryKeyboard(t *testing.T) {
	t.Parallel()
	s, _ := made(t)
	if _, err := s.SetPassword("anna", "ein schöner langer Satz", false); err != nil {
		t.Fatal(err)
	}
	if !right(t, s, "anna", "ein scho\u0308ner langer Satz") {
		t.Error("composed and decomposed characters differ")
	}
}

func TestThereIsAlwaysAnAdmin(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "users.json"))
	var refused Refused
	if _, err := s.Add("vera", Viewer, good, false); !errors.As(err, &refused) || refused.Field != "role" {
		t.Errorf("the first user is a viewer: %v", err)
	}
	s, _ = made(t)
	for why, do := range map[string]func() error{
		"demoted":  func() error { _, _, err := s.Set("anna", Settings{Role: Operator}); return err },
		"disabled": func() error { _, _, err := s.Set("anna", Settings{Role: Admin, Disabled: true}); return err },
		"removed":  func() error { _, err := s.Remove("anna"); return err },
	} {
		if err := do(); !errors.As(err, &refused) {
			t.Errorf("the last admin is %s: %v", why, err)
		}
	}
	if u, ok := s.Find("anna"); !ok || u.Role != Admin || u.Disabled {
		t.Errorf("%+v", u)
	}
}

func TestWhatCannotBeWrittenDoesNotHold(t *testing.T) {
	t.Parallel()
	s, path := made(t)
	if err := os.Rename(filepath.Dir(path), filepath.Dir(path)+"-away"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Add("olga", Operator, good, false); err == nil {
		t.Error("added without a disk")
	}
	if _, err := s.SetPassword("anna", "another four words", false); err == nil || !right(t, s, "anna", good) {
		t.Errorf("changed without a disk: %v", err)
	}
	if len(s.List()) != 1 {
		t.Errorf("%v", s.List())
	}
}

func TestACodeCountsOnce(t *testing.T) {
	t.Parallel()
	s, _ := made(t)
	now := noon
	s.now = func() time.Time { return now }
	secret, err := NewFactor()
	if err != nil {
		t.Fatal(err)
	}
	code := func(at time.Time) string {
		c, err := totp.GenerateCode(secret, at)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if _, err := s.SetFactor("anna", secret, code(now.Add(5*time.Minute))); err == nil {
		t.Error("a code of five minutes ahead")
	}
	recovery, err := s.SetFactor("anna", secret, code(now))
	if err != nil || len(recovery) != recoveries {
		t.Fatal(err)
	}
	for _, c := range []struct {
		why, code string
		at        time.Duration
		recovered bool
		ok        bool
	}{
		{"that of the setting up", code(noon), 0, false, false},
		{"the next one, from a clock that goes ahead", code(noon.Add(30 * time.Second)), 0, false, true},
		{"the same again", code(noon.Add(30 * time.Second)), 30 * time.Second, false, false},
		{"a later one, with a blank", code(noon.Add(90 * time.Second))[:3] + " " + code(noon.Add(90 * time.Second))[3:], 2 * time.Minute, false, true},
		{"an earlier one", code(noon.Add(60 * time.Second)), 2 * time.Minute, false, false},
		{"a recovery code", recovery[3], 2 * time.Minute, true, true},
		{"it again", recovery[3], 2 * time.Minute, false, false},
		{"nothing", "", 2 * time.Minute, false, false},
	} {
		now = noon.Add(c.at)
		if recovered, ok, err := s.CheckFactor("anna", c.code); err != nil || ok != c.ok || recovered != c.recovered {
			t.Errorf("%s: %v, recovered %v, %v", c.why, ok, recovered, err)
		}
	}
	if u, _ := s.Find("anna"); u.RecoveryLeft != recoveries-1 || !u.HasFactor {
		t.Errorf("%+v", u)
	}
}

// A token that has ended does not live again because the clock goes back, over a restart either. Who makes another one by such a clock has the clock count, and what had ended is gone for good.
func TestAClockThatGoesBackRevivesNoToken(t *testing.T) {
	t.Parallel()
	s, path := made(t)
	now := noon
	s.now = func() time.Time { return now }
	secret, _, err := s.AddToken("anna", "backup", Viewer, noon.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	holds := func(why, secret string, want bool) {
		t.Helper()
		u, _ := s.Find("anna")
		_, _, _, ok := s.ByToken(secret)
		if ok != want || len(u.Tokens) > 0 && u.Tokens[len(u.Tokens)-1].Over == want {
			t.Errorf("%s: holds: %v; %+v", why, ok, u.Tokens)
		}
	}
	for _, at := range []time.Duration{0, 20 * time.Minute, 25 * time.Hour} {
		now = noon.Add(at)
		if err := s.Saw(now); err != nil {
			t.Fatal(err)
		}
	}
	holds("a day later", secret, false)
	now = noon.Add(time.Hour)
	holds("the clock went back", secret, false)
	s = open(t, path)
	s.now = func() time.Time { return now }
	holds("after a restart", secret, false)
	again, _, err := s.AddToken("anna", "lists", Viewer, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	holds("one that is made by this clock", again, true)
	s = open(t, path)
	s.now = func() time.Time { return now }
	holds("after another restart", again, true)
	if u, _ := s.Find("anna"); len(u.Tokens) != 1 {
		t.Errorf("what had ended: %+v", u.Tokens)
	}
	if _, _, _, ok := s.ByToken(secret); ok {
		t.Error("the first one lives again")
	}
	if err := os.WriteFile(strings.TrimSuffix(path, ".json")+".clock", []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	s.now = func() time.Time { return now }
	holds("with a damaged file", again, true)
}

func TestTokensEnd(t *testing.T) {
	t.Parallel()
	s, _ := made(t)
	now := noon
	s.now = func() time.Time { return now }
	if _, err := s.Add("olga", Operator, good, false); err != nil {
		t.Fatal(err)
	}
	secret, tk, err := s.AddToken("olga", "backup", Operator, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	role := func() Role { _, _, r, _ := s.ByToken(secret); return r }
	if role() != Operator {
		t.Errorf("may %q", role())
	}
	for _, c := range []struct {
		to   Settings
		want Role
	}{{Settings{Role: Viewer}, Viewer}, {Settings{Role: Operator, Disabled: true}, ""}, {Settings{Role: Admin}, Operator}} {
		if _, _, err := s.Set("olga", c.to); err != nil || role() != c.want {
			t.Errorf("%+v: may %q, want %q, %v", c.to, role(), c.want, err)
		}
	}
	now = noon.Add(time.Hour)
	if role() != "" {
		t.Error("holds beyond its end")
	}
	now = noon
	if _, err := s.DropToken("olga", tk.ID); err != nil || role() != "" {
		t.Errorf("holds after its end: %v", err)
	}
	for why, err := range map[string]error{
		"more than the user": func() error { _, _, err := s.AddToken("anna", "x", "owner", noon.Add(time.Hour)); return err }(),
		"for ever": func() error {
			_, _, err := s.AddToken("anna", "x", Viewer, noon.Add(LongestToken+time.Second))
			return err
		}(),
		"over before it ends": func() error { _, _, err := s.AddToken("anna", "x", Viewer, noon); return err }(),
		"for nothing":         func() error { _, _, err := s.AddToken("anna", " ", Viewer, noon.Add(time.Hour)); return err }(),
	} {
		if !errors.As(err, new(Refused)) {
			t.Errorf("%s: %v", why, err)
		}
	}
}

// One hash at a time, a few who wait, and a place for who was here before.
func TestAFloodWaitsForNobody(t *testing.T) {
	t.Parallel()
	s, _ := made(t)
	<-s.gate.turn // somebody hashes, and goes on
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 2*maxStrangers)
	for range maxStrangers {
		wg.Go(func() { _, _, err := s.Check(ctx, "nobody", "x", false); waiting <- err })
	}
	for len(s.gate.strangers) < maxStrangers { // each has taken its slot
		time.Sleep(time.Millisecond)
	}
	if _, _, err := s.Check(ctx, "anna", good, false); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	done := make(chan bool)
	go func() { _, ok, _ := s.Check(t.Context(), "anna", good, true); done <- ok }()
	for len(s.gate.known) < 1 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wg.Wait()
	s.gate.turn <- struct{}{}
	if !<-done {
		t.Error("who was here before does not get in")
	}
	for range maxStrangers {
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("who waits ends with %v", err)
		}
	}
}

// Strangers have their passwords hashed for a quarter of the time at most; who was here before waits for no rest.
func TestAFloodLeavesTheProcessorToThePackets(t *testing.T) {
	t.Parallel()
	s, _ := made(t)
	synctest.Test(t, func(t *testing.T) {
		const took = 50 * time.Millisecond
		s.gate.init() // its channels are this bubble's
		s.gate.sum = func(Sum) []byte { time.Sleep(took); return nil }
		begun := time.Now()
		login := func(known bool) time.Duration {
			_, _, err := s.Check(t.Context(), "nobody", "x", known)
			if err != nil {
				t.Error(err)
			}
			return time.Since(begun)
		}
		if at := login(false); at != took {
			t.Errorf("who comes alone waits %v", at)
		}
		if at := login(true); at != 2*took {
			t.Errorf("who was here before waits until %v", at)
		}
		for n := range time.Duration(4) {
			if at := login(false); at != (n+1)*(1+restAfter)*took+took {
				t.Errorf("stranger %d is done at %v", n+2, at)
			}
		}
		time.Sleep(time.Minute)
		begun = time.Now()
		if at := login(false); at != took {
			t.Errorf("who comes alone again waits %v", at)
		}
		time.Sleep(time.Minute) // the rest is over
	})
}

// While a password is being hashed, another may take its place, or the user be changed: what is told is what holds when the hash is there.
func TestACheckHoldsForNow(t *testing.T) {
	t.Parallel()
	s, _ := made(t)
	change := func(name string, do func(a *account)) {
		if _, err := s.change(name, func(_ *state, a *account) error { do(a); return nil }); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct {
		name string
		does func()
		ok   bool
	}{
		{"nothing", func() {}, true},
		{"reset", func() { change("reset", func(a *account) { a.Password, a.MustChange = a.Password+"A", true }) }, false},
		{"disabled", func() { change("disabled", func(a *account) { a.Disabled = true }) }, false},
		{"removed", func() {
			if _, err := s.Remove("removed"); err != nil {
				t.Error(err)
			}
		}, false},
		{"needs-factor", func() { change("needs-factor", func(a *account) { a.NeedsFactor = true }) }, true},
	} {
		s.gate.sum = func(Sum) []byte { return make([]byte, hashBytes) }
		if _, err := s.Add(c.name, Viewer, good, false); err != nil {
			t.Fatal(err)
		}
		s.gate.sum = func(Sum) []byte { c.does(); return make([]byte, hashBytes) }
		u, ok, err := s.Check(t.Context(), c.name, good, true)
		if err != nil || ok != c.ok || ok && u.NeedsFactor != (c.name == "needs-factor") {
			t.Errorf("%s meanwhile: %+v, %v, %v", c.name, u, ok, err)
		}
	}
}

// Who is in may choose another password, but not in place of one that somebody gave them since.
func TestAnOwnPasswordTakesTheOldOnesPlace(t *testing.T) {
	t.Parallel()
	s, _ := made(t)
	s.gate.sum = func(Sum) []byte { return make([]byte, hashBytes) } // salts still differ
	then, _ := s.Find("anna")
	if _, err := s.SetPassword("anna", "what the admin says", true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ChangePassword(then, "what I want instead"); !errors.Is(err, ErrChanged) {
		t.Errorf("in place of another one: %v", err)
	}
	now, _ := s.Find("anna")
	if u, err := s.ChangePassword(now, "what I want instead"); err != nil || u.MustChange || u.SamePassword(now) {
		t.Errorf("%+v, %v", u, err)
	}
}

// Nothing but a hash has garbage collected for a login.
func TestNothingIsCollectedForALogin(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the collector does not come by itself
	s, _ := made(t)
	s.gate.sum = func(Sum) []byte { return make([]byte, hashBytes) }
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 1 << 10 {
		sink = make([]byte, 1<<16)
	}
	right(t, s, "anna", good)
	runtime.ReadMemStats(&after)
	if n := after.NumGC - before.NumGC; n != 0 {
		t.Errorf("collected %d times", n)
	}
}

var sink []byte
