package webadmin

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/web-admin/sentences"
	"github.com/mailweir/mailweir/web-admin/users"
)

var (
	english = sentences.Builtin("en")
	update  = flag.Bool("update", false, "write the golden files anew")
)

// situations are lines about whom something different is to be said each.
func situations() []struct {
	why string
	sub Subscriber
	st  Status
} {
	enforce := Status{Mode: "enforce", Since: ago(100 * time.Hour), Ports: []int{25}}
	watches := Status{Mode: "observe", Since: ago(2 * time.Hour), Ports: []int{25}}
	budget := func(of string, value, limit, burst int, window time.Duration) Budget {
		return Budget{Of: of, Window: Seconds(window), Limit: limit, Burst: burst, Value: value, Ratio: float64(value) / float64(burst)}
	}
	held := func(stage string, b Budget, since, until Time, number string) Subscriber {
		return Subscriber{Stage: stage, Since: since, Until: until, Case: number, Budgets: []Budget{b}}
	}
	acted := func(action string, d time.Duration, b Budget) []Decision {
		return []Decision{{At: ago(d), Action: action, Acted: true, Of: b.Of, Window: b.Window, Limit: b.Limit, Burst: b.Burst, Value: b.Value, Case: "K7Q2X"}}
	}
	hour := time.Hour
	return []struct {
		why string
		sub Subscriber
		st  Status
	}{
		{"nothing", Subscriber{Stage: "observe"}, enforce},
		{"exempt", Subscriber{Stage: "cut", Exemption: &Exemption{Until: At(noon.AddDate(0, 0, 8))}}, enforce},
		{"paced before", Subscriber{Stage: "observe", Decisions: acted("pace", 2*hour, budget("messages", 49, 60, 60, hour))}, enforce},
		{"deferred yesterday", Subscriber{Stage: "warn", Decisions: acted("defer", 26*hour, budget("recipients", 1, 1, 1, 24*hour))}, enforce},
		{"cut the year before", Subscriber{Stage: "observe", Decisions: acted("cut", 400*24*hour, budget("rejected", 1, 50, 50, 2*hour))}, enforce},
		{"paced, of an earlier version's budget", Subscriber{Stage: "observe", Decisions: acted("pace", hour, Budget{Of: "moons"})}, enforce},
		{"deferred, the same", Subscriber{Stage: "observe", Decisions: acted("defer", hour, Budget{})}, enforce},
		{"cut, the same", Subscriber{Stage: "observe", Decisions: acted("cut", 3*24*hour, Budget{})}, enforce},
		{"paced, close to it", held("pace", budget("messages", 54, 60, 60, hour), ago(hour), At(noon.Add(hour)), ""), enforce},
		{"paced, since when is not known", held("pace", budget("destinations", 1, 1, 1, 10*time.Minute), Time{}, Time{}, ""), enforce},
		{"deferred", held("defer", budget("tls_handshakes", 412, 20, 20, hour), ago(10*hour), At(noon.Add(50*time.Minute)), "K7Q2X"), enforce},
		{"deferred, all at once", held("defer", budget("sessions", 9, 20, 5, 24*hour), ago(36*hour), At(noon.Add(14*hour)), "K7Q2X"), enforce},
		{"deferred, at the same time", held("defer", budget("concurrent_sessions", 4, 3, 3, 0), Time{}, Time{}, "K7Q2X"), enforce},
		{"cut", held("cut", budget("tls_failures", 1305, 1000, 1000, time.Minute), ago(20*time.Minute), At(noon.Add(40*time.Minute)), "K7Q2X"), enforce},
		{"cut for some seconds", held("cut", budget("sessions", 2, 1, 1, time.Second), ago(time.Second), At(noon.Add(time.Second)), "K7Q2X"), enforce},
		{"held, and nobody knows for what", Subscriber{Stage: "pace"}, enforce},
		{"the same, since then", Subscriber{Stage: "defer", Since: ago(hour)}, enforce},
		{"watched", held("cut", budget("sessions", 61, 20, 5, 7*24*hour), ago(hour), At(noon.Add(hour)), "K7Q2X"), watches},
		{"watched by now, held before", func() Subscriber {
			s := held("cut", budget("sessions", 61, 20, 20, 30*time.Second), ago(3*hour), Time{}, "K7Q2X")
			s.Decisions = acted("cut", 150*time.Minute, s.Budgets[0])
			return s
		}(), watches},
		{"watched by now, and forgotten what was before", held("defer", budget("sessions", 61, 20, 20, hour), ago(3*hour), Time{}, "K7Q2X"), watches},
	}
}

// What is said in every situation, in every language that the program brings, is as it was when somebody read it last:
// testdata/sentences-en.txt and -de.txt, made with -update.
func TestTheSentenceInEveryLanguage(t *testing.T) {
	t.Parallel()
	for _, lang := range sentences.Languages {
		var said bytes.Buffer
		for _, s := range situations() {
			said.WriteString(s.why + ":\n    " + sentence(sentences.Builtin(lang), s.sub, s.st, noon, vienna) + "\n")
		}
		file := filepath.Join("testdata", "sentences-"+lang+".txt")
		if *update {
			if err := os.WriteFile(file, said.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := said.String(); got != string(want) {
			t.Errorf("%s says\n%s\nwant\n%s", lang, got, want)
		}
	}
}

// Every text of the file is said in some situation: those that no line comes to would go unread.
func TestEverySentenceIsReached(t *testing.T) {
	t.Parallel()
	never := map[string]bool{"moment.tomorrow": true, "at.tomorrow": true, "about.yesterday": true, "about.other_year": true, "about.this_year": true, "moment.other_year": true}
	for key := range english.Keys() {
		marked, _, wrong := sentences.Parse([]byte("language: en\n" + strings.Replace(key, ".", ": {", 1) + ": \"§§§\"}\n"))
		if wrong != nil {
			t.Fatalf("%s: %+v", key, wrong)
		}
		said := false
		for _, s := range situations() {
			said = said || strings.Contains(sentence(marked, s.sub, s.st, noon, vienna), "§§§")
		}
		if said == never[key] {
			t.Errorf("%s is said: %v", key, said)
		}
	}
}

// The page of a line has its sentence in the operator's language and says which that is; what is filled in stays text.
func TestThePageSpeaksTheLanguage(t *testing.T) {
	t.Parallel()
	box := busyBox()
	hostile := "<b>\u202e\"K"
	box.subs[0].Case = hostile
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }, Sentences: sentences.Builtin("de")})
	cookie := enter(t, s)
	page := body(t, get(t, s, "/subscribers/S-1044", "Cookie", cookie))
	for _, want := range []string{`<blockquote id="sentence" aria-labelledby="h-say" lang="de" dir="ltr">Dieser Anschluss`, "Die Fallnummer ist &lt;b&gt;\ufffd&#34;K."} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if one := read[Subscriber](t, s, "/api/v1/subscribers/S-1044"); one.Language != "de" || !strings.HasPrefix(one.Sentence, "Dieser Anschluss") {
		t.Errorf("%+v", one)
	}
	rtl, _, wrong := sentences.Parse([]byte("language: he\nother:\n  case: \"מספר הפנייה הוא {case}.\"\n"))
	if wrong != nil {
		t.Fatal(wrong)
	}
	s.UseSentences(rtl)
	if page := body(t, get(t, s, "/subscribers/S-1044", "Cookie", cookie)); !strings.Contains(page, `lang="he" dir="rtl"`) || !strings.Contains(page, "\u2068&lt;b&gt;\ufffd&#34;K\u2069.") {
		t.Error("what is filled in can turn a sentence that runs from the right")
	}
}

// Settings have the language chosen, or a file of the operator's taken; one that is not good is told with its lines, and changes nothing.
func TestALanguageIsChosen(t *testing.T) {
	t.Parallel()
	box := busyBox()
	s := startServer(t, Options{Source: box, Now: func() time.Time { return noon }})
	cookie := enter(t, s)
	revision := []string{fakeRevision(fakeConfig)}
	page := body(t, get(t, s, "/settings/language", "Cookie", cookie))
	for _, want := range []string{`<option value="en" lang="en" selected>English`, `lang="de">Deutsch`, `lang="en" dir="ltr">This line has been over`, `href="/api/v1/sentences?language=de"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, c := range []struct {
		why    string
		form   map[string][]string
		status int
		done   string
	}{
		{"a language that there is not", map[string][]string{"do": {"choose"}, "language": {"xx"}}, 400, ""},
		{"no button", map[string][]string{"do": {"dance"}}, 400, ""},
		{"no file", map[string][]string{"do": {"take"}}, 400, ""},
		{"German", map[string][]string{"do": {"choose"}, "language": {"de"}, "revision": revision}, 303, "admin 127.0.0.1 config admin.language"},
	} {
		a := send(t, s, cookie, "/settings/language", c.form)
		if a.StatusCode != c.status || box.done() != c.done {
			t.Errorf("%s: %s, done %q", c.why, a.Status, box.done())
		}
	}
	if a := upload(t, s, cookie, "/settings/language", sentences.File("de"), map[string]string{"do": "take"}); a.StatusCode != 303 || box.done() != "admin 127.0.0.1 config +sentences" {
		t.Errorf("a file: %s", a.Status)
	}
	if a := upload(t, s, cookie, "/settings/language", bytes.Repeat([]byte("#"), sentences.MaxFile+1), map[string]string{"do": "take"}); a.StatusCode != 400 || box.done() != "" {
		t.Errorf("a large file: %s", a.Status)
	}
	for path, want := range map[string]string{"/api/v1/sentences": "language: en", "/api/v1/sentences?language=de": "language: de"} {
		if a := get(t, s, path, "Cookie", enterAs(t, s, "vera", users.Viewer)); a.StatusCode != 200 || !strings.Contains(body(t, a), want) {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
	if a := get(t, s, "/api/v1/sentences?language=xx", "Cookie", cookie); a.StatusCode != 404 {
		t.Error(a.Status)
	}
}
