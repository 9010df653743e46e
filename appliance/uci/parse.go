// Package uci lets OpenWrt's way of configuration (UCI, the files in /etc/config) set keys of mailweir.yaml.
package uci

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/mailweir/mailweir/appliance/config"
)

// Section is a `config TYPE 'NAME'` with what stands below it.
type Section struct {
	Type, Name string // Name is empty where it has none
	Line       int
	Options    []Option
}

// Option is an `option NAME VALUE`, or all `list NAME VALUE` of one name.
type Option struct {
	Name   string
	List   bool
	Values []string // one, if it is no list
	Line   int      // of the first
}

// Parse reads a file of UCI as libuci does (file.c, uci_parse_line): words that are quoted or not, comments, statements that end with a line or a
// semicolon. The error is a config.Problems with one item.
func Parse(path, text string) ([]Section, error) {
	p := &parser{text: text, line: 1}
	var sections []Section
	for {
		line, words, err := p.statement()
		if err == nil && len(words) == 0 {
			return sections, nil
		}
		if err == nil {
			sections, err = add(sections, line, words)
		}
		if err != nil {
			return nil, config.Problems{{File: path, Line: line, Message: err.Error()}}
		}
	}
}

// add takes one statement.
func add(sections []Section, line int, words []string) ([]Section, error) {
	kind, args := words[0], words[1:]
	switch kind {
	case "package":
		return sections, nil // of an export; a file has one
	case "config":
		if len(args) == 0 || len(args) > 2 {
			return nil, fmt.Errorf("config needs a type, and perhaps a name: config network")
		}
		s := Section{Type: args[0], Line: line}
		if len(args) == 2 {
			s.Name = args[1]
		}
		return append(sections, s), nil
	case "option", "list":
		if len(args) != 2 {
			return nil, fmt.Errorf("%s needs a name and one value: %s NAME 'VALUE'", kind, kind)
		}
		if len(sections) == 0 {
			return nil, fmt.Errorf("%s %s stands before the first config line", kind, args[0])
		}
		return sections, sections[len(sections)-1].add(line, kind == "list", args[0], args[1])
	}
	return nil, fmt.Errorf("%q is none of config, option, list", kind)
}

func (s *Section) add(line int, list bool, name, value string) error {
	for i := range s.Options {
		o := &s.Options[i]
		switch {
		case o.Name != name:
		case o.List && list:
			o.Values = append(o.Values, value)
			return nil
		default:
			return fmt.Errorf("%s is there a second time, first in line %d", name, o.Line)
		}
	}
	s.Options = append(s.Options, Option{Name: name, List: list, Values: []string{value}, Line: line})
	return nil
}

type parser struct {
	text string
	at   int
	line int
}

// statement gives the words up to the end of a line that has some, or a semicolon; none at the end of the text.
func (p *parser) statement() (line int, words []string, err error) {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '\n' || c == ';':
			p.skip()
			if len(words) > 0 {
				return line, words, nil
			}
		case c == '#':
			for p.at < len(p.text) && p.text[p.at] != '\n' {
				p.at++
			}
		case unicode.IsSpace(rune(c)):
			p.at++
		case c == 0:
			return p.line, nil, fmt.Errorf("there is a NUL byte in it")
		default:
			if len(words) == 0 {
				line = p.line
			}
			word, err := p.word()
			if err != nil {
				return line, nil, err
			}
			words = append(words, word)
		}
	}
	return line, words, nil
}

// skip goes on by a byte.
func (p *parser) skip() {
	if p.text[p.at] == '\n' {
		p.line++
	}
	p.at++
}

// word reads one, whose parts may be quoted: it's is 'it'"'"'s'.
func (p *parser) word() (string, error) {
	var out strings.Builder
	quote, opened := byte(0), 0
	for p.at < len(p.text) {
		c := p.text[p.at]
		switch {
		case quote == 0 && (unicode.IsSpace(rune(c)) || c == ';' || c == '#'):
			return out.String(), nil
		case c == 0:
			return "", fmt.Errorf("there is a NUL byte in it")
		case quote == 0 && (c == '\'' || c == '"'):
			quote, opened = c, p.line
			p.at++
		case quote != 0 && c == quote:
			quote = 0
			p.at++
		case c == '\\' && quote != '\'' && p.at+1 < len(p.text):
			p.at++
			if p.text[p.at] != '\n' { // that would go on in the next line
				out.WriteByte(p.text[p.at])
			}
			p.skip()
		default:
			out.WriteByte(c)
			p.skip()
		}
	}
	if quote != 0 {
		return "", fmt.Errorf("the quote %c of line %d has no end", quote, opened)
	}
	return out.String(), nil
}
