package sentences

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

// Bounds of a file.
const (
	MaxFile = 64 << 10 // bytes
	maxText = 400      // characters of one text: it is said on the telephone
)

// Problem is something in a file that is wrong, or lacks. Line is 0 where it is of the whole file.
type Problem struct {
	Line    int
	Key     string // held.over_since, months[3]; empty where it is of no key
	Message string
}

// text is one of a file, in each form that it has; one that has only one has other.
type text map[plural.Form][]part

// part is some words, or a place that is filled.
type part struct{ words, place string }

// spec is a key of a file: the places that its text may have.
type spec struct {
	key    string
	places []string
}

// specs are all keys that have a text, in the order of the file. One with the place n may have a text for each form of the plural.
var specs = func() (all []spec) {
	add := func(group, keys string, places ...string) {
		for _, key := range strings.Fields(keys) {
			all = append(all, spec{group + "." + key, places})
		}
	}
	for _, group := range []string{"moment", "at", "about"} {
		add(group, "today yesterday tomorrow", "time")
		add(group, "this_year other_year", "time", "day", "month", "year")
	}
	add("counted", "sessions tls_handshakes tls_failures concurrent_sessions destinations messages recipients rejected", "n")
	add("window", "days hours minutes seconds", "n")
	add("limit", "plain window burst", "n", "window", "burst")
	add("free", "within")
	add("free", "exempt", "until")
	add("last", "pace defer cut", "at", "counted", "limit")
	add("last_only", "pace defer cut", "at")
	add("held", "over over_since close close_since near near_since", "since", "counted", "limit")
	add("doing", "pace defer cut")
	add("ends", "calm", "about")
	add("ends", "cut", "at")
	add("watching", "now since before", "since")
	add("other", "ports often")
	add("other", "case", "case")
	return all
}()

// forms are the words for them.
var forms = map[string]plural.Form{"zero": plural.Zero, "one": plural.One, "two": plural.Two, "few": plural.Few, "many": plural.Many, "other": plural.Other}

// Parse reads a file. What it lacks is said as the program says it in the same language, or in English: warnings has each. What is wrong with it is
// in the file's order, and then there is no set.
func Parse(file []byte) (s *Set, warnings, wrong []Problem) {
	s, missing, wrong := parse(file, Builtin)
	if len(wrong) > 0 {
		return nil, nil, wrong
	}
	return s, missing, nil
}

// parser reads one file.
type parser struct {
	set   *Set
	wrong []Problem
	lines map[string]int
}

func (p *parser) bad(line int, key, format string, args ...any) {
	p.wrong = append(p.wrong, Problem{line, key, fmt.Sprintf(format, args...)})
}

// parse is Parse, with what a file lacks from base; nil: it may lack nothing.
func parse(file []byte, base func(string) *Set) (s *Set, missing, wrong []Problem) {
	p := &parser{set: &Set{texts: map[string]text{}, file: file}, lines: map[string]int{}}
	root, ok := p.root(file)
	if !ok {
		return nil, nil, p.wrong
	}
	p.head(root)
	p.groups(root)
	lacks := func(key string) {
		line := p.lines[group(key)]
		missing = append(missing, Problem{line, key, "is missing; it is said as the program says it in " + p.lent(base).lang.String()})
	}
	for _, one := range specs {
		if _, there := p.set.texts[one.key]; there || p.lines[one.key] > 0 {
			continue
		}
		if base == nil {
			p.bad(0, one.key, "is missing")
			continue
		}
		p.set.texts[one.key] = p.lent(base).texts[one.key]
		lacks(one.key)
	}
	if p.lines["months"] == 0 && base != nil {
		p.set.months = p.lent(base).months
		lacks("months")
	}
	if p.lines["thousands"] == 0 && base != nil {
		p.set.thousands = p.lent(base).thousands
		lacks("thousands")
	}
	slices.SortStableFunc(p.wrong, func(a, b Problem) int { return a.Line - b.Line })
	return p.set, missing, p.wrong
}

// lent is the set that lends what the file lacks.
func (p *parser) lent(base func(string) *Set) *Set {
	lang, _ := p.set.lang.Base()
	return base(lang.String())
}

func group(key string) string {
	g, _, _ := strings.Cut(key, ".")
	return g
}

// root is the mapping that a file is.
func (p *parser) root(file []byte) (*yaml.Node, bool) {
	switch {
	case len(file) > MaxFile:
		p.bad(0, "", "is larger than %d bytes", MaxFile)
		return nil, false
	case !utf8.Valid(file):
		p.bad(0, "", "is not UTF-8")
		return nil, false
	}
	var doc, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(file))
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		p.bad(0, "", "is empty; `mailweir sentences` prints one to begin with")
		return nil, false
	} else if err != nil {
		line := 0
		_, _ = fmt.Sscanf(err.Error(), "yaml: line %d:", &line)
		p.bad(line, "", "cannot be read as YAML: %s", strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), fmt.Sprintf("line %d: ", line)))
		return nil, false
	}
	if d.Decode(&more) == nil {
		p.bad(more.Line, "", "holds a second document; one is all that is read")
		return nil, false
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		p.bad(doc.Line, "", "must be keys and texts, as `mailweir sentences` prints them")
		return nil, false
	}
	return doc.Content[0], true
}

// each gives the keys of a mapping; one that is there twice is wrong.
func (p *parser) each(n *yaml.Node, at string, give func(key string, k, v *yaml.Node)) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := k.Value
		if at != "" {
			key = at + "." + key
		}
		switch {
		case k.Kind != yaml.ScalarNode || k.ShortTag() == "!!merge":
			p.bad(k.Line, at, "a key must be a word")
		case p.lines[key] > 0:
			p.bad(k.Line, key, "is already there in line %d", p.lines[key])
		default:
			p.lines[key] = k.Line
			give(key, k, v)
		}
	}
}

// head reads what is no text.
func (p *parser) head(root *yaml.Node) {
	p.set.lang = language.English
	for i := 0; i+1 < len(root.Content); i += 2 {
		if v := root.Content[i+1]; root.Content[i].Value == "language" {
			tag, err := language.Parse(v.Value)
			if err != nil || v.Kind != yaml.ScalarNode || tag == language.Und {
				p.bad(root.Content[i].Line, "language", "%q is no language as BCP 47 writes them: en, de, pt-BR", v.Value)
				continue
			}
			p.set.lang = tag
			return
		}
	}
	if len(p.wrong) == 0 {
		p.bad(0, "language", "is missing; write en, de, pt-BR or another one")
	}
}

func (p *parser) groups(root *yaml.Node) {
	known := []string{"language", "thousands", "months"}
	for _, one := range specs {
		if g := group(one.key); !slices.Contains(known, g) {
			known = append(known, g)
		}
	}
	p.each(root, "", func(key string, k, v *yaml.Node) {
		switch {
		case key == "language":
		case key == "thousands":
			if words, ok := p.words(k.Line, key, v); ok {
				if p.set.thousands = words; utf8.RuneCountInString(words) > 1 || strings.ContainsAny(words, "0123456789") {
					p.bad(k.Line, key, "%q is to be one character or none, and no digit", words)
				}
			}
		case key == "months":
			if v.Kind != yaml.SequenceNode || len(v.Content) != len(p.set.months) {
				p.bad(k.Line, key, "must be a list of the twelve months")
				return
			}
			for i, one := range v.Content {
				p.set.months[i], _ = p.words(one.Line, fmt.Sprintf("months[%d]", i), one)
			}
		case !slices.Contains(known, key):
			p.bad(k.Line, key, "is not a key we know; allowed here: %s", strings.Join(known, ", "))
		case v.Kind != yaml.MappingNode:
			p.bad(k.Line, key, "must be a group of keys")
		default:
			p.group(key, v)
		}
	})
}

func (p *parser) group(name string, n *yaml.Node) {
	p.each(n, name, func(key string, k, v *yaml.Node) {
		i := slices.IndexFunc(specs, func(s spec) bool { return s.key == key })
		if i < 0 {
			var known []string
			for _, s := range specs {
				if group(s.key) == name {
					known = append(known, strings.TrimPrefix(s.key, name+"."))
				}
			}
			p.bad(k.Line, key, "is not a key we know; allowed here: %s", strings.Join(known, ", "))
			return
		}
		p.set.texts[key] = p.text(k.Line, specs[i], v)
	})
}

// text reads the text of a key, or one for each form.
func (p *parser) text(line int, s spec, v *yaml.Node) text {
	if v.Kind != yaml.MappingNode {
		return text{plural.Other: p.parts(line, s.key, s.places, v)}
	}
	if len(s.places) != 1 || s.places[0] != "n" {
		p.bad(line, s.key, "counts nothing, so it has one text and no forms of the plural")
		return nil
	}
	t, of := text{}, p.set.formsOf()
	p.each(v, s.key, func(key string, k, v *yaml.Node) {
		word := strings.TrimPrefix(key, s.key+".")
		form, known := forms[word]
		if !known || !slices.Contains(of, word) {
			p.bad(k.Line, key, "is no form that the plural has in %s; it has %s", p.set.lang, strings.Join(of, ", "))
			return
		}
		t[form] = p.parts(k.Line, key, s.places, v)
	})
	if _, there := t[plural.Other]; !there {
		p.bad(line, s.key, "has no text for other, which stands for all that has none of its own")
	}
	return t
}

// formsOf are the forms that the plural has of whole numbers.
func (s *Set) formsOf() (all []string) {
	seen := map[plural.Form]bool{plural.Other: true}
	for n := range 1000 {
		seen[s.form(n)] = true
	}
	for _, word := range []string{"zero", "one", "two", "few", "many", "other"} {
		if seen[forms[word]] {
			all = append(all, word)
		}
	}
	return all
}

// words are those of a node that is one line of text.
func (p *parser) words(line int, key string, v *yaml.Node) (string, bool) {
	if v.Kind != yaml.ScalarNode || v.ShortTag() != "!!str" {
		p.bad(line, key, "must be a text; put it in quotes")
		return "", false
	}
	switch {
	case utf8.RuneCountInString(v.Value) > maxText:
		p.bad(line, key, "has more than %d characters: it is said on the telephone", maxText)
	case strings.ContainsFunc(v.Value, turns):
		p.bad(line, key, "has a line break, a control character or one that turns the direction of writing in it")
	default:
		return v.Value, true
	}
	return "", false
}

// turns tells whether r would change how what is around it is read. Those that join letters, or keep them apart, are part of some languages.
func turns(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
}

// parts takes a text apart.
func (p *parser) parts(line int, key string, places []string, v *yaml.Node) (all []part) {
	rest, ok := p.words(line, key, v)
	if ok && strings.TrimSpace(rest) == "" {
		p.bad(line, key, "is empty")
	}
	words := ""
	flush := func() {
		if words != "" {
			all = append(all, part{words: words})
			words = ""
		}
	}
	for rest != "" {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			words += rest
			break
		}
		words += rest[:i]
		brace := rest[i]
		rest = rest[i+1:]
		if rest != "" && rest[0] == brace {
			words += string(brace)
			rest = rest[1:]
			continue
		}
		place, behind, closed := strings.Cut(rest, "}")
		switch {
		case brace == '}' || !closed:
			p.bad(line, key, "has a brace by itself; write it twice if it is meant as one")
			return nil
		case !slices.Contains(places, place):
			allowed := "it has no place to fill"
			if len(places) > 0 {
				allowed = "it may have {" + strings.Join(places, "}, {") + "}"
			}
			p.bad(line, key, "there is no {%s} here; %s", place, allowed)
			return nil
		}
		flush()
		all = append(all, part{place: place})
		rest = behind
	}
	flush()
	return all
}
