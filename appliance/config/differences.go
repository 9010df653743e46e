package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Difference is a key of which two configurations say different things, as far down as there are keys.
type Difference struct {
	Key           string // as in a file
	Before, After string // as YAML would have it; empty: the key is not there
}

// Differences are the keys in which two configurations differ, defaults counted in, in the order of the types.
func Differences(before, after *Config) []Difference {
	was, order := leaves(before)
	is, more := leaves(after)
	var all []Difference
	for _, key := range append(order, more...) {
		if was[key] != is[key] && !slices.ContainsFunc(all, func(d Difference) bool { return d.Key == key }) {
			all = append(all, Difference{key, was[key], is[key]})
		}
	}
	slices.SortStableFunc(all, func(a, b Difference) int { return cmp.Compare(rank(a.Key), rank(b.Key)) })
	return all
}

// rank is the place of a key's group.
func rank(key string) int { return slices.Index(keysOf(reflect.TypeFor[Config]()), topKey(key)) }

// leaves are the keys that have no keys below them, with their values.
func leaves(c *Config) (values map[string]string, order []string) {
	values = map[string]string{}
	var walk func(key string, v reflect.Value)
	say := func(key, value string) {
		values[key] = value
		order = append(order, key)
	}
	walk = func(key string, v reflect.Value) {
		switch {
		case v.Kind() == reflect.Struct && v.Type() != prefixType:
			for _, name := range keysOf(v.Type()) {
				if omitted(v.Interface(), name) {
					continue
				}
				f, _ := fieldOf(v.Type(), name)
				walk(strings.TrimPrefix(key+"."+name, "."), v.FieldByIndex(f.Index))
			}
		case v.Kind() == reflect.Slice && v.Len() > 0 && v.Type().Elem().Kind() == reflect.Struct && v.Type().Elem() != prefixType:
			for i := range v.Len() {
				walk(fmt.Sprintf("%s[%d]", key, i), v.Index(i))
			}
		case v.Kind() == reflect.Slice:
			var items []string
			for i := range v.Len() {
				items = append(items, node(v.Index(i)).Value)
			}
			say(key, "["+strings.Join(items, ", ")+"]")
		default:
			n := node(v)
			if n.Value == "" {
				n.Value = `""`
			}
			say(key, n.Value)
		}
	}
	walk("", reflect.ValueOf(*c))
	return values, order
}
