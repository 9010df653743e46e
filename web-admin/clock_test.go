package webadmin

import (
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/users"
)

// Clocks, as a box may have them.
var (
	unset     = Clock{Known: true, Kept: true, Why: "no server is known"}         // of the image, before it was told the time
	told      = Clock{Known: true, Kept: true, Synced: true, Heard: At(noon)}     // and after
	lost      = Clock{Known: true, Kept: true, Heard: At(noon), Why: "no answer"} // its servers do not answer any more
	kept      = Clock{Known: true, Synced: true}                                  // of another Linux
	unkept    = Clock{Known: true}                                                // which nobody keeps
	in2036    = time.Date(2036, 2, 7, 6, 0, 0, 0, time.UTC)                       // what a battery that is flat makes of it
	epoch     = time.Date(1970, 1, 1, 0, 2, 0, 0, time.UTC)                       // or no battery
	lastMonth = selfSignedFor - 20*24*time.Hour                                   // of a pair
)

// A self-signed pair of a wrong time is made anew when the time is known, once, and otherwise stays what browsers know.
func TestAPairOfAWrongTimeIsMadeAnew(t *testing.T) {
	t.Parallel()
	type moment struct {
		why     string
		now     time.Time
		clock   Clock
		restart bool
		anew    bool // it is another pair than a moment before
		guessed bool // and one of a clock that nobody had set
	}
	for what, story := range map[string][]moment{
		"ahead by years, and then set": {
			{"the first start", in2036, unset, false, true, true},
			{"on", in2036.Add(time.Hour), unset, false, false, true},
			{"set back", noon, told, false, true, false},
			{"on", noon.Add(time.Hour), told, false, false, false},
			{"no answer for a while", noon.Add(2 * time.Hour), lost, false, false, false},
		},
		"in 1970, and then set": {
			{"the first start", epoch, unset, false, true, true},
			{"set", noon, told, false, true, false},
		},
		"set while the box was off": {
			{"the first start", noon.Add(-60 * 24 * time.Hour), unset, false, true, true}, // such a pair holds now
			{"started again", noon, told, true, true, false},
			{"and again", noon.Add(time.Hour), told, true, false, false},
		},
		"not set, and right all the same": {
			{"the first start", noon, unset, false, true, true},
			{"set by a little", noon.Add(10 * time.Second), told, false, false, false},
			{"started again", noon.Add(time.Hour), told, true, false, false},
		},
		"off by a day": {
			{"the first start", noon.Add(-24 * time.Hour), unset, false, true, true},
			{"set", noon.Add(10 * time.Second), told, false, true, false},
		},
		"a good pair, and a start with a flat battery": {
			{"the first start", noon, told, false, true, false},
			{"years ahead", in2036, unset, true, false, false},
			{"set", noon.Add(time.Minute), told, false, false, false},
			{"in 1970", epoch, unset, true, false, false},
			{"set", noon.Add(2 * time.Minute), told, false, false, false},
		},
		"made ahead by an older version, which noted nothing": {
			{"the first start", in2036, told, false, true, false},
			{"the time is known", noon, told, true, true, false},
		},
		"another Linux": {
			{"the first start", noon, kept, false, true, false},
			{"nobody keeps it, and it is behind", epoch, unkept, true, false, false},
			{"kept again", noon.Add(time.Minute), kept, false, false, false},
			{"in its last month, and nobody keeps it", noon.Add(lastMonth), unkept, false, true, true},
			{"somebody does, and it was right", noon.Add(lastMonth + time.Minute), kept, false, false, false},
		},
		"a box that nobody tells the time": {
			{"the first start", noon, unset, false, true, true},
			{"over: browsers have clocks of their own", noon.Add(2 * lastMonth), unset, true, false, true},
		},
	} {
		dir := filepath.Join(shortDir(t), "tls")
		var now time.Time
		var clock Clock
		var went time.Duration
		start := func() *keeper {
			k := newKeeper(dir, func() time.Time { return now }, func() Clock { return clock }, slog.New(slog.DiscardHandler))
			k.up = func() time.Duration { return went }
			if err := k.show(Pair{}); err != nil {
				t.Fatal(err)
			}
			return k
		}
		var k *keeper
		before := ""
		for _, m := range story {
			now, clock = m.now, m.clock
			went += 10 * time.Second
			if k == nil || m.restart {
				k = start()
			}
			is := k.fingerprint()
			if anew := is != before; anew != m.anew {
				t.Errorf("%s: %s: another pair: %v", what, m.why, anew)
			}
			if _, err := os.Stat(filepath.Join(dir, guessedFile)); (err == nil) != m.guessed || k.guessed != m.guessed {
				t.Errorf("%s: %s: made by guess: %v on the disk, %v in memory", what, m.why, err == nil, k.guessed)
			}
			before = is
		}
	}
}

// The page of the certificate says what there is to know of its dates; the operator's own stays whatever the clock says, and page, API and health tell.
func TestWhatIsWrongWithACertificateIsSaid(t *testing.T) {
	t.Parallel()
	cert, key := ownPair(t, nil) // holds for 90 days around noon
	dir := shortDir(t)
	files := [2]string{filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")}
	for i, content := range [][]byte{cert, key} {
		if err := os.WriteFile(files[i], content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		why         string
		own         bool
		now         time.Time
		clock       Clock
		page, not   string
		problem, do string
	}{
		{"all is well", true, noon, kept, "Holds", "id=\"fault\"", "", ""},
		{"over", true, noon.Add(100 * 24 * time.Hour), kept, "has been over since 2027-02-16 11:04 UTC; the box&#39;s clock says 2027-02-26 11:04 UTC", "if it is not the clock", "has ended", "Put another one"},
		{"not yet", true, epoch, unset, "holds only from 2026-11-18 10:04 UTC on; the box&#39;s clock says 1970-01-01 00:02 UTC", "made anew", "does not hold yet", "Look at the box's clock first"},
		{"ends soon", true, noon.Add(80 * 24 * time.Hour), kept, "ends soon", "id=\"fault\"", "ends within 30 days", "Put another one"},
		{"its own, and the clock is not set", false, in2036, unset, "Once it is set this certificate is made anew", "id=\"fault\"", "", ""},
	} {
		o := Options{Source: busyBox(), Now: func() time.Time { return c.now }}
		o.Source.(*fakeBox).status.Clock = c.clock
		if c.own {
			o.CertFile, o.KeyFile = files[0], files[1]
		}
		s := startServer(t, o)
		page := body(t, get(t, s, "/settings/certificate", "Cookie", enter(t, s)))
		if !strings.Contains(page, c.page) || strings.Contains(page, c.not) {
			t.Errorf("%s: the page lacks %q or has %q: %s", c.why, c.page, c.not, page)
		}
		var v Certificate
		if err := json.NewDecoder(get(t, s, "/api/v1/certificate", "Authorization", "Bearer "+tokenOf(t, s)).Body).Decode(&v); err != nil {
			t.Fatal(err)
		}
		leaf, err := s.keeper.current()
		if err != nil || v.Fault != faultOf(leaf.Leaf, c.now) || (v.Fault != "") != strings.Contains(page, `id="fault"`) {
			t.Errorf("%s: the API says %q, %v", c.why, v.Fault, err)
		}
		_, found := s.CertificateEnd()
		if (found != nil) != (c.problem != "") || found != nil && (!strings.Contains(found.What, c.problem) || !strings.HasPrefix(found.Do, c.do)) {
			t.Errorf("%s: health says %+v", c.why, found)
		}
		if c.own && v.SHA256 != fingerprintOf(mustBlock(t, cert)) {
			t.Errorf("%s: another one is shown", c.why)
		}
	}
	// What the box did by itself stands on the page.
	box := busyBox()
	box.status.Clock = unset
	now := in2036
	s := startServer(t, Options{Source: box, Now: func() time.Time { box.mu.Lock(); defer box.mu.Unlock(); return now }})
	cookie := enter(t, s)
	box.mu.Lock()
	now, box.status.Clock = noon, told
	box.mu.Unlock()
	if page := body(t, get(t, s, "/settings/certificate", "Cookie", cookie)); !strings.Contains(page, "made when the clock was not set") || strings.Contains(page, "clock-unset") {
		t.Errorf("the page does not say that the pair is another one: %s", page)
	}
}

func mustBlock(t *testing.T, certPEM []byte) []byte {
	t.Helper()
	leaf, err := x509.ParseCertificate(blockOf(certPEM, "CERTIFICATE").Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf.Raw
}

// Codes go by the time. While the box does not know it the pages of a login say so, and what helps; nobody sets up what nobody could use; and nobody is
// locked out for want of it.
func TestSecondFactorsWaitForTheClock(t *testing.T) {
	t.Parallel()
	box, audit := busyBox(), &ears{}
	now := noon
	s := startServer(t, Options{Source: box, Audit: audit.hear, Now: func() time.Time { box.mu.Lock(); defer box.mu.Unlock(); return now }})
	becomes := func(to Clock, at time.Time) {
		box.mu.Lock()
		defer box.mu.Unlock()
		box.status.Clock, now = to, at
		forgiven(s) // a real clock has a part that nobody sets, by which wrong tries are counted
	}
	person(t, s, boss, users.Admin)
	person(t, s, "olga", users.Operator)
	person(t, s, "new", users.Operator)
	const secret = "JBSWY3DPEHPK3PXP"
	recovery, err := s.users.SetFactor("olga", secret, codeAt(t, secret, noon))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.users.Set("new", users.Settings{Role: users.Operator, NeedsFactor: true}); err != nil {
		t.Fatal(err)
	}
	const note = `id="clock-unset"`
	if page := body(t, get(t, s, "/login")); strings.Contains(page, note) {
		t.Error("the clock is right, and the login complains")
	}
	becomes(unset, in2036)
	if page := body(t, get(t, s, "/login")); !strings.Contains(page, note) || !strings.Contains(page, "2036-02-07") || !strings.Contains(page, "recovery code") || !strings.Contains(page, "item 4") {
		t.Errorf("the login does not say that the clock is not set: %s", page)
	}
	half := cookieFrom(postLogin(t, s, "olga", password))
	if page := body(t, get(t, s, "/login/code", "Cookie", half)); !strings.Contains(page, note) || !strings.Contains(page, "Recovery code</label>") {
		t.Errorf("the page of the code: %s", page)
	}
	if a := post(t, s, "/login/code", url.Values{"code": {codeAt(t, secret, noon.Add(time.Minute))}}, "Cookie", half); a.StatusCode != http.StatusUnauthorized || !strings.Contains(body(t, a), "none of your recovery codes") {
		t.Errorf("a code of the right time: %s", a.Status)
	}
	if a := post(t, s, "/login/code", url.Values{"code": {recovery[0]}}, "Cookie", half); a.Header.Get("Location") != "/" {
		t.Errorf("a recovery code: %s", a.Status)
	}
	// Nobody begins with one, and what is needed and cannot be had locks nobody out.
	audit.words()
	anna := enter(t, s)
	if page := body(t, get(t, s, "/account/factor", "Cookie", anna)); !strings.Contains(page, "cannot be set up while the box's clock is not set") || strings.Contains(page, "class=\"qr\"") {
		t.Errorf("the page on which one is set up: %s", page)
	}
	if a := post(t, s, "/account/factor", url.Values{"now": {password}, "code": {codeAt(t, secret, in2036)}}, "Cookie", anna); a.StatusCode != 400 || !strings.Contains(body(t, a), note) {
		t.Errorf("set up all the same: %s", a.Status)
	}
	own := []string{"Content-Type", "application/json", "Cookie", anna, "Sec-Fetch-Site", "same-origin"}
	for _, method := range []string{"POST", "PUT"} {
		a := ask(t, s, method, "/api/v1/account/second-factor", map[string]string{"POST": "", "PUT": `{"now":"` + password + `","code":"123456"}`}[method], own...)
		if text := body(t, a); a.StatusCode != 400 || !strings.Contains(text, "clock is not set") || !strings.Contains(text, "NTP") {
			t.Errorf("%s by the API: %s %s", method, a.Status, text)
		}
	}
	if a := postLogin(t, s, "new", password); a.Header.Get("Location") != "/records" {
		t.Errorf("who needs one and has none is led to %q", a.Header.Get("Location"))
	}
	if u, _ := s.users.Find(boss); u.HasFactor {
		t.Error("there is one")
	}
	audit.mustHear(t, "admin 127.0.0.1 login admin > admin", "new 127.0.0.1 login new > operator, without the second factor that is needed: the clock is not set")
	// The time is known: all is as ever.
	becomes(told, noon.Add(time.Hour))
	if a := postLogin(t, s, "new", password); a.Header.Get("Location") != "/login/factor?next=%2Frecords" {
		t.Errorf("who needs one and has none is led to %q", a.Header.Get("Location"))
	}
	if page := body(t, get(t, s, "/account/factor", "Cookie", anna)); strings.Contains(page, note) || !strings.Contains(page, `class="qr"`) {
		t.Errorf("the page on which one is set up: %s", page)
	}
	half = cookieFrom(postLogin(t, s, "olga", password))
	a := post(t, s, "/login/code", url.Values{"code": {"000000"}}, "Cookie", half)
	if page := body(t, a); !strings.Contains(page, "the box&#39;s says 2026-11-18") || strings.Contains(page, note) {
		t.Errorf("a wrong code does not say what the box's clock says: %s", page)
	}
}

// While the clock is not set, the page of tokens and a token's answer say what that means for how long it holds; and what the clock shows counts only once it is set.
func TestTokensHoldByAClockThatIsNotSet(t *testing.T) {
	t.Parallel()
	for clock, says := range map[*Clock]bool{&unset: true, &told: false, &unkept: false} {
		box := busyBox()
		box.status.Clock = *clock
		dir := shortDir(t)
		s := startServer(t, Options{Source: box, DataDir: dir, Now: func() time.Time { return noon }})
		cookie := enter(t, s)
		page := body(t, get(t, s, "/account", "Cookie", cookie))
		given := body(t, send(t, s, cookie, "/account/tokens", url.Values{"label": {"lists"}, "role": {"viewer"}, "days": {"30"}, "now": {password}}))
		answer := body(t, ask(t, s, "POST", "/api/v1/account/tokens", `{"now": "`+password+`", "label": "more", "role": "viewer", "expires": "2026-12-01T00:00:00Z"}`, "Cookie", cookie))
		account := body(t, get(t, s, "/api/v1/account", "Cookie", cookie))
		for what, said := range map[string]string{"the page": page, "the new one": given, "the API": answer, "the account": account} {
			if strings.Contains(said, "clock is not set: it says 2026-11-18 12:04:40 CET") != says {
				t.Errorf("%+v: %s says %s", *clock, what, said)
			}
		}
		if !strings.Contains(answer, `"secret":"mwt_`) || !strings.Contains(answer, `"over":false`) {
			t.Errorf("%s", answer)
		}
		for until := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			_, err := os.Stat(filepath.Join(dir, "users.clock"))
			if (err == nil) == !says {
				break
			}
			if time.Now().After(until) {
				t.Errorf("%+v: noted: %v", *clock, err)
				break
			}
		}
	}
}
