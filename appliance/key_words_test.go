package appliance

import (
	"reflect"
	"strings"
	"testing"

	"github.com/mailweir/mailweir/appliance/config"
	webadmin "github.com/mailweir/mailweir/web-admin"
)

// keysIn are the keys of a type of the configuration, as differences have them: with places in lists, and a list itself where it can be empty.
func keysIn(at string, t reflect.Type) (all []string) {
	for f := range t.Fields() {
		name, ok := f.Tag.Lookup("mapstructure")
		if !ok {
			continue
		}
		key := strings.TrimPrefix(at+"."+name, ".")
		list := f.Type.Kind() == reflect.Slice && f.Type.Elem().PkgPath() == t.PkgPath() && f.Type.Elem().Kind() == reflect.Struct
		switch {
		case list:
			all = append(append(all, key), keysIn(key+"[1]", f.Type.Elem())...)
		case f.Type.Kind() == reflect.Struct && f.Type.PkgPath() == t.PkgPath():
			all = append(all, keysIn(key, f.Type)...)
		default:
			all = append(all, key)
		}
	}
	return all
}

// Every key of the configuration has a word on the pages.
func TestEveryKeyHasAWord(t *testing.T) {
	t.Parallel()
	keys := keysIn("", reflect.TypeFor[config.Config]())
	words := map[string]string{}
	for _, key := range keys {
		text := webadmin.KeyText(key, nil)
		if text == key {
			t.Errorf("%s has no word in web-admin/key_words.go", key)
		}
		if other := words[text]; other != "" {
			t.Errorf("%s and %s are both called %q", key, other, text)
		}
		words[text] = key
	}
	if len(keys) < 80 {
		t.Errorf("only %d keys", len(keys))
	}
}
