package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Problem is one thing wrong with a file. Line is 0 when it concerns the whole file.
type Problem struct {
	File    string
	Line    int
	Key     string // as in the file: plans[0].budgets[2].per; empty when it concerns no key
	Message string // what is wrong and what to write instead
}

// Error is one line: FILE:LINE: KEY: MESSAGE, without the parts that are not known. What the file may have smuggled into a
// key or a value to move the terminal's cursor is shown as U+FFFD.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, b.String())
}

// Problems are all things wrong with a file, in the file's order. Load returns them as its error.
type Problems []Problem

// Error has one line per problem. Whoever must be brief prints the first and says how many more there are.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Few are the first n of them, for where there is no room for all, and one that says that there are more.
func (ps Problems) Few(n int) Problems {
	if len(ps) <= n {
		return ps
	}
	return append(slices.Clip(ps[:n]), Problem{File: ps[n].File, Message: "and more; mailweir check lists them"})
}

// First is the first problem on one line, with the number of further ones.
func (ps Problems) First() string {
	switch len(ps) {
	case 0:
		return ""
	case 1:
		return ps[0].Error()
	}
	return fmt.Sprintf("%s (and %d more)", ps[0].Error(), len(ps)-1)
}
