package sentences

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Every language that the program brings is whole: it says all that there is to say, in each form that its plural has, and uses what it may be filled with.
func TestWhatTheProgramBringsIsWhole(t *testing.T) {
	t.Parallel()
	for _, lang := range Languages {
		s, missing, wrong := Parse(File(lang))
		if len(missing) > 0 || len(wrong) > 0 || s.Lang() != lang || s.Dir() != "ltr" {
			t.Fatalf("%s: %+v %+v", lang, missing, wrong)
		}
		for _, one := range specs {
			text := s.texts[one.key]
			if slices.Equal(one.places, []string{"n"}) && len(text) != len(s.formsOf()) {
				t.Errorf("%s: %s has %d of the %d forms of the plural", lang, one.key, len(text), len(s.formsOf()))
			}
			for _, parts := range text {
				if len(parts) == 0 {
					t.Errorf("%s: %s says nothing", lang, one.key)
				}
			}
		}
	}
	if File("../en") != nil || File("xx") != nil || Builtin("xx").Lang() != "en" {
		t.Error("a language that there is not")
	}
}

// A file that is not good says what is wrong, and in which line; one that lacks something is filled up and says that.
func TestAFileSaysWhatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ why, file, want string }{
		{"empty", "", "0 : is empty"},
		{"no YAML", "language: en\n  x: [", "2 : cannot be read as YAML"},
		{"a list", "- a\n", "1 : must be keys and texts"},
		{"two documents", "language: en\n---\nlanguage: de\n", "second document"},
		{"no language", "thousands: \",\"\n", "0 language: is missing"},
		{"a language that is none", "language: 77\n", "1 language: \"77\" is no language"},
		{"a group that there is not", "language: en\nhelp: {me: x}\n", "2 help: is not a key we know; allowed here: language, thousands, months, moment"},
		{"a key that there is not", "language: en\ndoing:\n  wave: hello\n", "3 doing.wave: is not a key we know; allowed here: pace, defer, cut"},
		{"a key twice", "language: en\nother:\n  often: a\n  often: b\n", "4 other.often: is already there in line 3"},
		{"a group twice", "language: en\nother: {often: a}\nother: {often: b}\n", "3 other: is already there in line 2"},
		{"a place that there is not", "language: en\nother:\n  case: \"No. {number}\"\n", "3 other.case: there is no {number} here; it may have {case}"},
		{"a place where none is", "language: en\ndoing:\n  pace: \"{since}\"\n", "3 doing.pace: there is no {since} here; it has no place to fill"},
		{"half a place", "language: en\nother:\n  case: \"No. {case\"\n", "3 other.case: has a brace by itself"},
		{"the other half", "language: en\nother:\n  case: \"No. case}\"\n", "3 other.case: has a brace by itself"},
		{"a form that the language has not", "language: de\ncounted:\n  messages: {few: x, other: y}\n", "3 counted.messages.few: is no form that the plural has in de; it has one, other"},
		{"forms without the rest", "language: de\ncounted:\n  messages: {one: x}\n", "3 counted.messages: has no text for other"},
		{"forms of what is not counted", "language: de\ndoing:\n  cut: {one: x, other: y}\n", "3 doing.cut: counts nothing"},
		{"a number for a text", "language: en\ndoing:\n  cut: 7\n", "3 doing.cut: must be a text; put it in quotes"},
		{"a text for a group", "language: en\ndoing: stop\n", "2 doing: must be a group of keys"},
		{"an empty text", "language: en\ndoing:\n  cut: \" \"\n", "3 doing.cut: is empty"},
		{"a line break", "language: en\ndoing:\n  cut: \"a\\nb\"\n", "3 doing.cut: has a line break"},
		{"a turned direction", "language: en\ndoing:\n  cut: \"\u202egnp.exe\"\n", "3 doing.cut: has a line break, a control character or one that turns"},
		{"a novel", "language: en\ndoing:\n  cut: " + strings.Repeat("x", maxText+1) + "\n", "3 doing.cut: has more than 400 characters"},
		{"eleven months", "language: en\nmonths: [a, b, c, d, e, f, g, h, i, j, k]\n", "2 months: must be a list of the twelve months"},
		{"a digit between the thousands", "language: en\nthousands: \"0\"\n", "2 thousands: \"0\" is to be one character or none"},
		{"not UTF-8", "language: \xff\n", "0 : is not UTF-8"},
		{"very large", strings.Repeat("#\n", MaxFile), "0 : is larger than 65536 bytes"},
	} {
		s, missing, wrong := Parse([]byte(row.file))
		got := ""
		for _, p := range wrong {
			got += fmt.Sprintf("%d %s: %s\n", p.Line, p.Key, p.Message)
		}
		if s != nil || missing != nil || !strings.Contains(got, row.want) {
			t.Errorf("%s:\n%swant %s", row.why, got, row.want)
		}
	}
	s, missing, wrong := Parse([]byte("language: de-AT\nother:\n  often: \"Oft {{so}}.\"\n"))
	if len(wrong) > 0 || s.Lang() != "de-AT" || s.Say("other.often") != "Oft {so}." || s.Say("doing.pace") != Builtin("de").Say("doing.pace") || s.number(1000) != "1.000" {
		t.Errorf("%+v %v", s, wrong)
	}
	if n := len(specs) - 1 + 2; len(missing) != n || missing[0].Line != 0 || !strings.Contains(missing[0].Message, "as the program says it in de") ||
		!slices.ContainsFunc(missing, func(p Problem) bool { return p.Key == "other.case" && p.Line == 2 }) {
		t.Errorf("%d are missing, %+v", len(missing), missing[0])
	}
	if s, _, _ = Parse([]byte("language: fr\n")); s.Say("doing.pace") != Builtin("en").Say("doing.pace") {
		t.Error("a language that the program does not bring")
	}
}

// The plural has the forms that a language has: Russian three, Arabic six.
func TestEachLanguageCountsInItsWay(t *testing.T) {
	t.Parallel()
	s, _, wrong := Parse([]byte("language: ru\ncounted:\n  messages: {one: \"{n} сообщение\", few: \"{n} сообщения\", many: \"{n} сообщений\", other: \"{n} сообщения\"}\n"))
	if wrong != nil {
		t.Fatal(wrong)
	}
	for n, want := range map[int]string{1: "1 сообщение", 2: "2 сообщения", 5: "5 сообщений", 21: "21 сообщение", 1000: "1,000 сообщений"} {
		if got := s.Count("counted.messages", n); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1234567: "1,234,567", -1234: "-1,234", -123: "-123"} {
		if got := s.number(n); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if s, _, _ = Parse([]byte("language: ar\n")); s.Dir() != "rtl" || len(s.formsOf()) != 6 {
		t.Errorf("%s, %v", s.Dir(), s.formsOf())
	}
	if got := s.Say("other.case", s.Fact("case", "K7Q2X")); !strings.Contains(got, "\u2068K7Q2X\u2069") {
		t.Errorf("%q", got) // what is filled in does not turn the sentence around it
	}
}

func TestTimesAreSaidAsPeopleDo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 18, 12, 4, 0, 0, time.UTC)
	en, de := Builtin("en"), Builtin("de")
	for _, row := range []struct {
		at     time.Time
		en, de string
	}{
		{now, "at 12:04 / 12:04 / at about 12:04", "um 12:04 Uhr / 12:04 Uhr / gegen 12:04 Uhr"},
		{now.Add(-13 * time.Hour), "yesterday at 23:04 / yesterday 23:04 / yesterday at about 23:04", "gestern um 23:04 Uhr / gestern 23:04 Uhr / gestern gegen 23:04 Uhr"},
		{now.Add(14 * time.Hour), "tomorrow at 02:04 / tomorrow 02:04 / tomorrow at about 02:04", "morgen um 02:04 Uhr / morgen 02:04 Uhr / morgen gegen 02:04 Uhr"},
		{now.AddDate(0, 0, -3), "on 15 Nov at 12:04 / 15 Nov 12:04 / on 15 Nov at about 12:04", "am 15. November um 12:04 Uhr / 15. November, 12:04 Uhr / am 15. November gegen 12:04 Uhr"},
		{now.AddDate(-1, 4, 0), "on 18 Mar at 12:04 / 18 Mar 12:04 / on 18 Mar at about 12:04", "am 18. März um 12:04 Uhr / 18. März, 12:04 Uhr / am 18. März gegen 12:04 Uhr"},
		{now.AddDate(-1, 0, 0), "on 18 Nov 2025 at 12:04 / 18 Nov 2025 12:04 / on 18 Nov 2025 at about 12:04", "am 18. November 2025 um 12:04 Uhr / 18. November 2025, 12:04 Uhr / am 18. November 2025 gegen 12:04 Uhr"},
	} {
		for want, s := range map[string]*Set{row.en: en, row.de: de} {
			if got := s.At("x", row.at, now).value + " / " + s.Moment("x", row.at, now).value + " / " + s.About("x", row.at, now).value; got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
}

// Nothing that a file can hold ends the program.
func FuzzParse(f *testing.F) {
	f.Add(File("en"))
	f.Add(File("de"))
	f.Add([]byte("language: &a ar\nother: *a\n"))
	f.Add([]byte("language: en\nother: {<<: {often: x}}\n? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		s, _, wrong := Parse(file)
		if (s == nil) != (len(wrong) > 0) {
			t.Fatalf("%v, %v", s, wrong)
		}
		if s == nil {
			return
		}
		for _, one := range specs {
			s.Count(one.key, 3, s.Fact("case", "K"))
		}
		s.moment("at", time.Unix(0, 0), time.Unix(1e9, 0))
	})
}
