package config

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// keysOf lists the keys of a struct type in their order.
func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if k := t.Field(i).Tag.Get("mapstructure"); k != "" {
			keys = append(keys, k)
		}
	}
	return keys
}

// fieldOf finds a key as it is written: MODE is not mode, though viper would fold them.
func fieldOf(t reflect.Type, key string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); key != "" && f.Tag.Get("mapstructure") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// describe says what a node is, as a person would: the number 150, a list, the text "abc".
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a group of keys"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	v := n.Value
	if len(v) > 60 {
		v = strings.ToValidUTF8(v[:60], "") + "..."
	}
	switch tag := n.ShortTag(); tag {
	case "!!int", "!!float":
		return "the number " + v
	case "!!bool":
		return v
	case "!!null":
		return "nothing"
	case "!!timestamp":
		return "the date " + v
	case "!!str":
		return fmt.Sprintf("the text %q", v)
	default:
		return "a value tagged " + tag
	}
}

// noun names the kind of value that a type wants.
func noun(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration such as 15m"
	case t == sizeType:
		return "a size such as 64MiB"
	case t == prefixType:
		return "an address or prefix such as 192.0.2.0/24"
	case t.Kind() == reflect.String:
		return "a word or text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	default:
		return "a whole number"
	}
}

// example is what an item of a list of t may look like.
func example(t reflect.Type) string {
	if t == prefixType {
		return "192.0.2.0/24, 2001:db8::1"
	}
	switch t.Kind() {
	case reflect.Struct:
		return "{" + strings.Join(keysOf(t), ": ..., ") + ": ...}"
	case reflect.String:
		return "a, b"
	default:
		return "25, 587"
	}
}

// nearest finds the word that a mistyped one was most likely meant to be, or "".
func nearest(typed string, words []string) string {
	if len(typed) > 64 {
		return ""
	}
	folded := strings.ToLower(strings.ReplaceAll(typed, "-", "_"))
	best, least := "", 3
	for _, w := range words {
		if d := distance(folded, w); d < least && d < len(w) && d*3 <= len(w) {
			best, least = w, d
		}
	}
	return best
}

// distance is how many letters must be added, removed or changed to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
