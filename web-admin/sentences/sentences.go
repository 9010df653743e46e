// Package sentences has what the box says to a customer, by somebody on the telephone, in the operator's language: texts with places that are filled
// with facts, in a file that an operator can edit.
package sentences

import (
	"embed"
	"iter"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

//go:embed en.yaml de.yaml
var files embed.FS

// Languages are those that the program brings, the one that lends what a file lacks first.
var Languages = []string{"en", "de"}

// File is the text of a language that the program brings; nil for another one.
func File(lang string) []byte {
	text, err := files.ReadFile(lang + ".yaml")
	if err != nil {
		return nil
	}
	return text
}

// Set is all that there is to say, in one language. It does not change.
type Set struct {
	lang      language.Tag
	thousands string
	months    [12]string
	texts     map[string]text
	file      []byte
}

// Builtin is the set of a language that the program brings; English for another one.
func Builtin(lang string) *Set {
	b := File(lang)
	if b == nil {
		b = File(Languages[0])
	}
	s, _, wrong := parse(b, nil)
	if len(wrong) > 0 {
		panic("sentences: " + lang + ": " + wrong[0].Message) // a test reads them all
	}
	return s
}

// File is the text of the file that the set was read from.
func (s *Set) File() []byte { return s.file }

// Keys are those that have a text, in the order of the file.
func (s *Set) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, one := range specs {
			if !yield(one.key) {
				return
			}
		}
	}
}

// Lang is the language as HTML's lang has it: de, pt-BR.
func (s *Set) Lang() string { return s.lang.String() }

// Dir is the way in which the language is written, as HTML's dir has it: ltr or rtl.
func (s *Set) Dir() string {
	script, _ := s.lang.Script()
	switch script.String() {
	case "Arab", "Hebr", "Syrc", "Thaa", "Nkoo", "Adlm", "Rohg", "Mand", "Samr":
		return "rtl"
	}
	return "ltr"
}

// Fact is what a place of a text is filled with.
type Fact struct{ name, value string }

// Fact fills the place of that name.
func (s *Set) Fact(name, value string) Fact {
	if s.Dir() == "rtl" { // a case number does not turn the sentence around it
		value = "\u2068" + value + "\u2069"
	}
	return Fact{name, value}
}

// Filled fills the place of that name with words of the set's own.
func (s *Set) Filled(name, words string) Fact { return Fact{name, words} }

// Say is a text, with its places filled; a place without its fact stays empty. There must be such a key.
func (s *Set) Say(key string, facts ...Fact) string { return s.say(key, plural.Other, facts) }

// Count is a text in the form that n of something has, with the place n.
func (s *Set) Count(key string, n int, facts ...Fact) string {
	return s.say(key, s.form(n), append(facts, s.Number("n", n)))
}

// Number fills a place with a number, its thousands separated.
func (s *Set) Number(name string, n int) Fact { return s.Fact(name, s.number(n)) }

func (s *Set) number(n int) string {
	digits := strconv.Itoa(n)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteString(s.thousands)
		}
		b.WriteRune(d)
	}
	return b.String()
}

func (s *Set) form(n int) plural.Form { return plural.Cardinal.MatchPlural(s.lang, n, 0, 0, 0, 0) }

func (s *Set) say(key string, form plural.Form, facts []Fact) string {
	t, ok := s.texts[key]
	if !ok {
		panic("sentences: there is no " + key)
	}
	parts, ok := t[form]
	if !ok {
		parts = t[plural.Other]
	}
	var b strings.Builder
	for _, p := range parts {
		if p.place == "" {
			b.WriteString(p.words)
			continue
		}
		for _, f := range facts {
			if f.name == p.place {
				b.WriteString(f.value)
			}
		}
	}
	return b.String()
}

// Moment, At and About fill a place with a time: as it stands behind "since", when something was, and when it will be at about. now says which day today is.
func (s *Set) Moment(name string, t, now time.Time) Fact {
	return Fact{name, s.moment("moment", t, now)}
}

// At is Moment for when something was or will be.
func (s *Set) At(name string, t, now time.Time) Fact { return Fact{name, s.moment("at", t, now)} }

// About is Moment for when something will be as far as can be told.
func (s *Set) About(name string, t, now time.Time) Fact { return Fact{name, s.moment("about", t, now)} }

func (s *Set) moment(group string, t, now time.Time) string {
	date := func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC) }
	which := "other_year"
	switch days := int(date(now).Sub(date(t)) / (24 * time.Hour)); {
	case days == 0:
		which = "today"
	case days == 1:
		which = "yesterday"
	case days == -1:
		which = "tomorrow"
	case t.Year() == now.Year():
		which = "this_year"
	}
	return s.Say(group+"."+which, s.Fact("time", t.Format("15:04")), Fact{"day", strconv.Itoa(t.Day())}, Fact{"month", s.months[t.Month()-1]}, Fact{"year", strconv.Itoa(t.Year())})
}
