package config

import (
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestReferenceIsTheDefault(t *testing.T) {
	t.Parallel()
	c, err := Parse("reference.yaml", Reference)
	if err != nil {
		t.Fatal(err)
	}
	sameValues(t, c, Default())
}

// TestReferenceHasEveryKey walks the types: a key that is added must be explained.
func TestReferenceHasEveryKey(t *testing.T) {
	t.Parallel()
	var doc yaml.Node
	if err := yaml.Unmarshal(Reference, &doc); err != nil {
		t.Fatal(err)
	}
	s := &schema{lines: make(map[string]int)}
	s.mapping(doc.Content[0], 1, "", reflect.TypeFor[Config]())
	var walk func(key string, typ reflect.Type)
	walk = func(key string, typ reflect.Type) {
		for _, k := range keysOf(typ) {
			f, _ := fieldOf(typ, k)
			path := strings.TrimPrefix(key+"."+k, ".")
			if !s.has(path) {
				t.Errorf("the reference does not set %s", path)
			}
			switch {
			case f.Type.Kind() == reflect.Struct:
				walk(path, f.Type)
			case k == "plans" || k == "budgets":
				walk(path+"[0]", f.Type.Elem())
			}
		}
	}
	walk("", reflect.TypeFor[Config]())
}
