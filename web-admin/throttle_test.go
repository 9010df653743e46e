package webadmin

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/mailweir/mailweir/web-admin/users"
)

func TestWrongPasswordsAreThrottled(t *testing.T) {
	t.Parallel()
	now, mu := noon, sync.Mutex{}
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	person(t, s, boss, users.Admin)
	known := postLogin(t, s, boss, password).Cookies()[1]
	if known.Name != knownName {
		t.Fatalf("the second cookie is %s", known.Name)
	}
	for i := range triesAtOnce {
		if a := postLogin(t, s, boss, "a guess of mine, wrong"); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("wrong password %d: %s", i+1, a.Status)
		}
	}
	for _, c := range [][2]string{{boss, "a guess of mine, wrong"}, {boss, password}, {"nobody-here", "wrong"}} {
		a := postLogin(t, s, c[0], c[1])
		if a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
			t.Errorf("%q right after: %s, Retry-After %q", c, a.Status, a.Header.Get("Retry-After"))
		}
	}
	// The owner's own browser goes by its own count, and so does a program with its token.
	if a := postLogin(t, s, boss, password, "Cookie", known.Name+"="+known.Value); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the owner from a browser that was here before: %s", a.Status)
	}
	for range triesAtOnce {
		postLogin(t, s, boss, "a guess of mine, wrong", "Cookie", known.Name+"="+known.Value)
	}
	if a := postLogin(t, s, boss, password, "Cookie", known.Name+"="+known.Value); a.StatusCode != http.StatusTooManyRequests {
		t.Errorf("guesses from a browser that was here before: %s", a.Status)
	}
	if a := get(t, s, "/api/v1/status", "Authorization", "Bearer "+tokenOf(t, s)); a.StatusCode != 200 {
		t.Errorf("the API meanwhile: %s", a.Status)
	}
	// It opens nothing by itself, nor for another name, nor once the password is another.
	if a := get(t, s, "/", "Cookie", known.Name+"="+known.Value); a.StatusCode != http.StatusSeeOther {
		t.Errorf("that cookie alone: %s", a.Status)
	}
	r, _ := http.NewRequest("POST", "/login", nil)
	r.AddCookie(known)
	if s.knownBrowser(r, boss) == "" || s.knownBrowser(r, "olga") != "" {
		t.Error("the cookie is for another name")
	}
	mu.Lock()
	now = now.Add(time.Second)
	mu.Unlock()
	if _, err := s.users.SetPassword(boss, "another four words here", false); err != nil {
		t.Fatal(err)
	}
	if s.knownBrowser(r, boss) != "" {
		t.Error("the cookie outlives the password")
	}
}

// Who has the password begins a login anew as often as they like, and has no more tries for the code by that.
func TestWrongCodesAreThrottled(t *testing.T) {
	t.Parallel()
	now, mu := noon, sync.Mutex{}
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pass := func(d time.Duration) { mu.Lock(); now = now.Add(d); mu.Unlock() }
	audit := &ears{}
	s := startServer(t, Options{Source: busyBox(), Now: clock, Audit: audit.hear})
	person(t, s, boss, users.Admin)
	secret, err := users.NewFactor()
	if err != nil {
		t.Fatal(err)
	}
	codeNow := func() string {
		c, err := totp.GenerateCode(secret, clock())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if _, err := s.users.SetFactor(boss, secret, codeNow()); err != nil {
		t.Fatal(err)
	}
	pass(time.Minute)
	// Each is tried in a login of its own, which is where the right password leads.
	try := func(code string, cookies ...string) *http.Response {
		t.Helper()
		u, _ := s.users.Find(boss)
		half := cookieName + "=" + s.logins.begin(login{user: boss, as: u, at: byCode})
		return post(t, s, "/login/code", url.Values{"code": {code}}, "Cookie", strings.Join(append(cookies, half), "; "))
	}
	a := try(codeNow())
	if a.StatusCode != http.StatusSeeOther || len(a.Cookies()) != 2 {
		t.Fatalf("the right code: %s", a.Status)
	}
	owner := a.Cookies()[1]
	pass(time.Minute)
	audit.words()
	for i := range triesAtOnce {
		if a := try("000000"); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("wrong code %d: %s", i+1, a.Status)
		}
	}
	// The address has no try left for anything; half a minute later it has one for the password, and the name none for a code.
	if a := postLogin(t, s, boss, password); a.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a login from this address right after: %s", a.Status)
	}
	pass(tryEvery)
	audit.words()
	for _, code := range []string{"000000", codeNow()} {
		if a := try(code); a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" {
			t.Errorf("code %s in the sixth login: %s, Retry-After %q", code, a.Status, a.Header.Get("Retry-After"))
		}
	}
	audit.mustHear(t, "admin 127.0.0.1 login_refused admin > too many tries", "admin 127.0.0.1 login_refused admin > too many tries")
	r, _ := http.NewRequestWithContext(t.Context(), "POST", "/login/code", nil)
	r.RemoteAddr = "192.0.2.77:1000"
	if _, right, wait, err := s.tryCode(r, boss, codeNow()); right || wait != codeTryEvery-tryEvery || err != nil {
		t.Errorf("from another address: %v, waits %v, want %v; %v", right, wait, codeTryEvery-tryEvery, err)
	}
	// The owner's own browser goes by its own count.
	if a := try(codeNow(), owner.Name+"="+owner.Value); a.StatusCode != http.StatusSeeOther || cookieFrom(a) == "" {
		t.Errorf("the owner from a browser that was here before: %s", a.Status)
	}
	pass(codeTryEvery - tryEvery)
	if a := try("000000"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong code when its time has come: %s", a.Status)
	}
	if a := try(codeNow()); a.StatusCode != http.StatusTooManyRequests {
		t.Errorf("and one more: %s", a.Status)
	}
	pass(codeTryEvery)
	if a := try(codeNow()); a.StatusCode != http.StatusSeeOther || cookieFrom(a) == "" {
		t.Errorf("the right code, later: %s", a.Status)
	}
}

// Whoever guesses at one name from everywhere is slowed for that name, whether somebody has it or not.
func TestANameIsThrottledFromEverywhere(t *testing.T) {
	t.Parallel()
	s := startServer(t, Options{Source: busyBox(), Now: func() time.Time { return noon }})
	person(t, s, boss, users.Admin)
	for _, name := range []string{boss, "nobody-here"} {
		var waits []time.Duration
		for i := range triesAtOnce + 2 {
			r, _ := http.NewRequestWithContext(t.Context(), "POST", "/login", nil)
			r.RemoteAddr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 1000).String()
			_, right, wait, err := s.tryPassword(r, name, "a guess of mine, wrong")
			if right || err != nil {
				t.Fatal(right, err)
			}
			waits = append(waits, wait)
		}
		if want := append(make([]time.Duration, triesAtOnce), tryEvery, tryEvery); !slices.Equal(waits, want) {
			t.Errorf("%s waits %v, want %v", name, waits, want)
		}
	}
}

func TestThrottleStory(t *testing.T) {
	t.Parallel()
	now := noon
	th := &throttle[netip.Addr]{now: func() time.Time { return now }, every: tryEvery}
	a := func(text string) netip.Addr { return source64(netip.MustParseAddr(text)) }
	for _, c := range []struct {
		why   string
		at    time.Duration
		from  string
		right bool
		wait  time.Duration
	}{
		{"a wrong one", 0, "192.0.2.1", false, 0},
		{"the second", 0, "192.0.2.1", false, 0},
		{"the third", 0, "192.0.2.1", false, 0},
		{"the fourth", 0, "192.0.2.1", false, 0},
		{"the fifth", 0, "192.0.2.1", false, 0},
		{"the sixth waits", 0, "192.0.2.1", false, tryEvery},
		{"also as a mapped address", 0, "::ffff:192.0.2.1", false, tryEvery},
		{"also when right", 0, "192.0.2.1", true, tryEvery},
		{"waiting does not make it longer", 20 * time.Second, "192.0.2.1", false, 10 * time.Second},
		{"a neighbour is not meant", 20 * time.Second, "192.0.2.2", false, 0},
		{"one more after 30 s", 30 * time.Second, "192.0.2.1", false, 0},
		{"and only one", 30 * time.Second, "192.0.2.1", false, tryEvery},
		{"right ones cost nothing", 60 * time.Second, "192.0.2.1", true, 0},
		{"so this one counts", 60 * time.Second, "192.0.2.1", false, 0},
		{"a /64 is one source", 70 * time.Second, "2001:db8::1", false, 0},
		{"2", 70 * time.Second, "2001:db8::2", false, 0},
		{"3", 70 * time.Second, "2001:db8::3", false, 0},
		{"4", 70 * time.Second, "2001:db8::4", false, 0},
		{"5", 70 * time.Second, "2001:db8::5", false, 0},
		{"6", 70 * time.Second, "2001:db8::6", false, tryEvery},
		{"the next /64 is another", 70 * time.Second, "2001:db8:0:1::1", false, 0},
		{"all is forgotten in time", 10 * time.Minute, "192.0.2.1", false, 0},
	} {
		now = noon.Add(c.at)
		if got := th.admit(a(c.from), c.right); got != c.wait {
			t.Errorf("%s: waits %v, want %v", c.why, got, c.wait)
		}
	}
	for i := range 3 * maxTriers {
		th.admit(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), false)
	}
	if len(th.fullAt) > maxTriers+1 {
		t.Errorf("a flood fills the table: %d", len(th.fullAt))
	}
}
