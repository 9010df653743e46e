package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// maxVisits bounds the work that aliases of aliases can ask for. The most plans with the most budgets need fewer.
const maxVisits = 200_000

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
	maskType     = reflect.TypeFor[Mask]()
	prefixType   = reflect.TypeFor[netip.Prefix]()
)

// schema holds YAML nodes against the types of Config and remembers on which line each key stands.
type schema struct {
	file     string
	lines    map[string]int
	problems Problems
	visits   int
}

func (s *schema) problem(line int, key, format string, args ...any) {
	s.problems = append(s.problems, Problem{File: s.file, Line: line, Key: key, Message: fmt.Sprintf(format, args...)})
}

// line is where key stands, or else the nearest thing around it; 0 when the file has nothing of it.
func (s *schema) line(key string) int { return nearestLine(s.lines, key) }

func nearestLine(lines map[string]int, key string) int {
	for key != "" {
		if n, ok := lines[key]; ok {
			return n
		}
		key = key[:max(strings.LastIndexByte(key, '.'), strings.LastIndexByte(key, '['), 0)]
	}
	return 0
}

// has reports whether the file itself sets key.
func (s *schema) has(key string) bool { _, ok := s.lines[key]; return ok }

// value checks one node. line is that of its key, or of its list item; tag is the struct tag with the bounds.
func (s *schema) value(n *yaml.Node, line int, key string, t reflect.Type, tag reflect.StructTag) {
	if s.visits++; s.visits > maxVisits {
		if s.visits == maxVisits+1 {
			s.problem(line, key, "the file's aliases multiply to more than %d values; write fewer", maxVisits)
		}
		return
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	s.lines[key] = line
	if n.ShortTag() == "!!null" {
		s.problem(line, key, "has no value; write one, or remove the key to have its default")
		return
	}
	switch {
	case t.Kind() == reflect.Struct && t != prefixType:
		s.mapping(n, line, key, t)
	case t.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			s.problem(line, key, "must be a list, not %s; write it in brackets: [%s]", describe(n), example(t.Elem()))
			return
		}
		for i, item := range n.Content {
			s.value(item, item.Line, fmt.Sprintf("%s[%d]", key, i), t.Elem(), tag)
		}
	default:
		if n.Kind != yaml.ScalarNode {
			s.problem(line, key, "must be %s, not %s", noun(t), describe(n))
			return
		}
		s.scalar(n, line, key, t, tag)
	}
}

func (s *schema) mapping(n *yaml.Node, line int, key string, t reflect.Type) {
	if n.Kind != yaml.MappingNode {
		s.problem(line, key, "must be a group of keys (%s), not %s", strings.Join(keysOf(t), ", "), describe(n))
		return
	}
	seen := make(map[string]int)
	s.entries(n, key, t, seen, 0)
}

// entries checks the keys of one mapping, then those it merges in with <<, of which explicit ones take precedence.
func (s *schema) entries(n *yaml.Node, key string, t reflect.Type, seen map[string]int, depth int) {
	var merged []*yaml.Node
	own := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.ShortTag() == "!!merge" {
			merged = append(merged, v)
			continue
		}
		name := k.Value
		path := name
		if key != "" {
			path = key + "." + name
		}
		if first, twice := own[name]; twice {
			s.problem(k.Line, path, "is already set on line %d; remove one of the two", first)
			continue
		}
		own[name] = k.Line
		if _, overridden := seen[name]; overridden {
			continue
		}
		seen[name] = k.Line
		field, ok := fieldOf(t, name)
		if k.Kind != yaml.ScalarNode || !ok {
			s.unknown(k, path, t)
			continue
		}
		s.value(v, k.Line, path, field.Type, field.Tag)
	}
	for _, m := range merged {
		s.merge(m, key, t, seen, depth)
	}
}

func (s *schema) merge(m *yaml.Node, key string, t reflect.Type, seen map[string]int, depth int) {
	line := m.Line
	if m.Kind == yaml.AliasNode {
		m = m.Alias
	}
	if s.visits++; depth > 20 || s.visits > maxVisits {
		s.problem(line, key, "merges (<<) too deep, or itself; write the keys out")
		return
	}
	switch m.Kind {
	case yaml.MappingNode:
		s.entries(m, key, t, seen, depth+1)
	case yaml.SequenceNode:
		for _, item := range m.Content {
			s.merge(item, key, t, seen, depth+1)
		}
	default:
		s.problem(line, key, "<< merges only a group of keys, not %s", describe(m))
	}
}

func (s *schema) unknown(k *yaml.Node, path string, t reflect.Type) {
	known := keysOf(t)
	if k.Kind != yaml.ScalarNode {
		s.problem(k.Line, "", "a key must be a word; allowed here: %s", strings.Join(known, ", "))
		return
	}
	if near := nearest(k.Value, known); near != "" {
		s.problem(k.Line, path, "is not a key we know; did you mean %s?", near)
		return
	}
	s.problem(k.Line, path, "is not a key we know; allowed here: %s", strings.Join(known, ", "))
}

func (s *schema) scalar(n *yaml.Node, line int, key string, t reflect.Type, tag reflect.StructTag) {
	typ := n.ShortTag()
	switch t {
	case durationType:
		bounded(s, n, line, key, tag, ParseDuration, FormatDuration, "a number and a unit: 90s, 15m, 1h, 7d")
		return
	case prefixType:
		s.prefix(n, line, key)
		return
	case sizeType:
		bounded(s, n, line, key, tag, ParseSize, Size.String, "a number and a unit: 512KiB, 64MiB, 1GiB")
		return
	}
	switch t.Kind() {
	case reflect.String:
		if typ != "!!str" {
			s.problem(line, key, "must be a word or text, not %s; put it in quotes if it is meant so", describe(n))
			return
		}
		if i := strings.IndexFunc(n.Value, unicode.IsControl); i >= 0 {
			s.problem(line, key, "contains a line break or another control character; write it on one line")
			return
		}
		if n.Value == "" && tag.Get("empty") == "allowed" {
			return
		}
		if words := strings.Fields(tag.Get("allowed")); len(words) > 0 && !slices.Contains(words, n.Value) {
			hint := ""
			if near := nearest(n.Value, words); near != "" {
				hint = fmt.Sprintf(" (did you mean %s?)", near)
			}
			s.problem(line, key, "%q is not known%s; allowed: %s", n.Value, hint, strings.Join(words, ", "))
		}
	case reflect.Bool:
		var b bool
		if typ != "!!bool" || n.Decode(&b) != nil {
			s.problem(line, key, "must be true or false, not %s", describe(n))
		}
	default:
		s.integer(n, line, key, t, tag)
	}
}

func (s *schema) prefix(n *yaml.Node, line int, key string) {
	if n.ShortTag() != "!!str" { // 10 is a number, and 2001:10 was one in YAML 1.1
		s.problem(line, key, "must be %s, not %s", noun(prefixType), describe(n))
		return
	}
	if _, why := parsePrefix(n.Value); why != "" {
		s.problem(line, key, "%q %s", n.Value, why)
	}
}

func (s *schema) integer(n *yaml.Node, line int, key string, t reflect.Type, tag reflect.StructTag) {
	if n.ShortTag() != "!!int" {
		s.problem(line, key, "must be a whole number, not %s", describe(n))
		return
	}
	low, high := int64(0), int64(math.MaxUint32)
	if bounds := tag.Get("range"); bounds != "" {
		a, b, _ := strings.Cut(bounds, "..")
		low, _ = strconv.ParseInt(a, 10, 64)
		high, _ = strconv.ParseInt(b, 10, 64)
	}
	var v int64
	if err := n.Decode(&v); err != nil || v < low || v > high {
		if t == maskType {
			s.problem(line, key, "%s is out of range; allowed: 0x0000000f to 0xffffffff", n.Value)
			return
		}
		s.problem(line, key, "%s is out of range; allowed: %d to %d", n.Value, low, high)
	}
}

// bounded checks a duration or a size: its unit first, then the bounds of its tag.
func bounded[T time.Duration | Size](s *schema, n *yaml.Node, line int, key string, tag reflect.StructTag, parse func(string) (T, error), format func(T) string, write string) {
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float":
	default:
		s.problem(line, key, "must be %s, not %s", write, describe(n))
		return
	}
	v, err := parse(n.Value)
	if err != nil {
		if errors.Is(err, errTooBig) {
			s.problem(line, key, "%q %v", n.Value, err)
			return
		}
		s.problem(line, key, "%q %v; write %s", n.Value, err, write)
		return
	}
	a, b, ok := strings.Cut(tag.Get("range"), "..")
	low, _ := parse(a)
	high, _ := parse(b)
	if ok && (v < low || v > high) {
		s.problem(line, key, "%q is out of range; allowed: %s to %s", n.Value, a, b)
	}
}
