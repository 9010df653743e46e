package config

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// mostAligned bounds the memory that is spent on looks: 16 MB, groups of two thousand lines.
const mostAligned = 1 << 22

// laidOutAs gives the text of a group the looks that it had before: the blank lines, and, where the indentation is the same, each line that says the
// same as it was written. What was and is now say need not be the same; what comes out says what text says.
func laidOutAs(was [][]byte, text []byte) []byte {
	before, after := looksOf(was), looksOf(bytes.SplitAfter(text, []byte("\n")))
	if len(before)*len(after) > mostAligned {
		return text
	}
	pairs := aligned(before, after)
	verbatim := true
	for i, at := range pairs {
		if at >= 0 && before[at].says == after[i].says && before[at].indent != after[i].indent {
			verbatim = false // lines of both would not fit together
		}
	}
	var out bytes.Buffer
	for i, now := range after {
		old := now
		if at := pairs[i]; at >= 0 {
			old = before[at]
		}
		if i > 0 {
			out.WriteString(strings.Repeat("\n", old.blank))
		}
		if verbatim && old.says == now.says {
			out.WriteString(old.text)
		} else {
			out.WriteString(now.text)
		}
		out.WriteString("\n")
	}
	if !meanTheSame(text, out.Bytes()) { // such as a text in several lines, of which the blank ones are a part
		return text
	}
	return out.Bytes()
}

// look is a line that is not blank.
type look struct {
	text   string
	says   string // without what is only for the eye
	key    string // of a mapping, or as much of another line
	indent int
	blank  int // blank lines before it
}

// indentOf is by how much the keys of a group stand further right than it.
func indentOf(group [][]byte) int {
	for _, l := range looksOf(group) {
		if l.indent > 0 && !strings.HasPrefix(l.says, "#") {
			return min(max(l.indent, 2), 8)
		}
	}
	return 2
}

func looksOf(lines [][]byte) (all []look) {
	blank := 0
	for _, line := range lines {
		text := strings.TrimRight(string(line), " \t\r\n")
		if text == "" {
			blank++
			continue
		}
		says := strings.Join(strings.Fields(text), " ")
		says = strings.NewReplacer("[ ", "[", " ]", "]", "{ ", "{", " }", "}").Replace(says)
		key, _, found := strings.Cut(says, ": ")
		if !found {
			key = strings.TrimSuffix(says, ":")
		}
		all = append(all, look{text, says, key, len(text) - len(strings.TrimLeft(text, " ")), blank})
		blank = 0
	}
	return all
}

// aligned finds, for each line after, the one before that it was: -1 for none. They stay in order; as many as can be say the same, and then as many as
// can be have the same key.
func aligned(before, after []look) []int {
	likeness := func(a, b look) int {
		switch {
		case a.says == b.says:
			return 3
		case a.key == b.key:
			return 1
		}
		return 0
	}
	width := len(after) + 1
	best := make([]int32, (len(before)+1)*width) // of what follows from here on
	for i := len(before) - 1; i >= 0; i-- {
		for j := len(after) - 1; j >= 0; j-- {
			most := max(best[(i+1)*width+j], best[i*width+j+1])
			if like := likeness(before[i], after[j]); like > 0 {
				most = max(most, best[(i+1)*width+j+1]+int32(like))
			}
			best[i*width+j] = most
		}
	}
	pairs := make([]int, len(after))
	for j := range pairs {
		pairs[j] = -1
	}
	for i, j := 0, 0; i < len(before) && j < len(after); {
		like := likeness(before[i], after[j])
		switch at := best[i*width+j]; {
		case like > 0 && at == best[(i+1)*width+j+1]+int32(like):
			pairs[j] = i
			i, j = i+1, j+1
		case at == best[(i+1)*width+j]:
			i++
		default:
			j++
		}
	}
	return pairs
}

// meanTheSame tells whether two texts are the same but for their looks.
func meanTheSame(a, b []byte) bool {
	var one, two yaml.Node
	return yaml.Unmarshal(a, &one) == nil && yaml.Unmarshal(b, &two) == nil && same(&one, &two)
}
