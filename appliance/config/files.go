package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
)

// index is where in a list an item stands, as keys have it.
var index = regexp.MustCompile(`\[\d+\]`)

// Foreign are the files that c names and box does not name under the same key, in whatever item of a list: whoever may send a configuration but not
// write the box's own must not have files read by naming them. Paths are compared as text, and none is opened; defaults are nobody's choice and pass.
func (c *Config) Foreign(box *Config) Problems {
	known := map[[2]string]bool{}
	note := func(key, path string) {
		known[[2]string{index.ReplaceAllString(key, "[]"), filepath.Clean(path)}] = true
	}
	defaults := Default()
	defaults.path = c.path
	defaults.files(note)
	box.files(note)
	var foreign Problems
	c.files(func(key, path string) {
		if !known[[2]string{index.ReplaceAllString(key, "[]"), filepath.Clean(path)}] {
			foreign = append(foreign, c.ProblemAt(key, "names a file that the box's own configuration does not name at this key; write what that one has there, or leave it out"))
		}
	})
	return foreign
}

// NamedFile is a file that a key names.
type NamedFile struct{ Key, Path string }

// Files are the files that c names, resolved, in the order of the types.
func (c *Config) Files() (all []NamedFile) {
	c.files(func(key, path string) { all = append(all, NamedFile{key, path}) })
	return all
}

// files tells of each key that names a file, in the order of the types, and the file's path, resolved; not of empty ones.
func (c *Config) files(tell func(key, path string)) {
	var walk func(key string, v reflect.Value, tag reflect.StructTag)
	walk = func(key string, v reflect.Value, tag reflect.StructTag) {
		switch v.Kind() {
		case reflect.Struct:
			for _, name := range keysOf(v.Type()) {
				f, _ := fieldOf(v.Type(), name)
				at := name
				if key != "" {
					at = key + "." + name
				}
				walk(at, v.FieldByIndex(f.Index), f.Tag)
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(fmt.Sprintf("%s[%d]", key, i), v.Index(i), tag)
			}
		case reflect.String:
			if tag.Get("names") == "file" && v.String() != "" {
				tell(key, c.Resolve(v.String()))
			}
		}
	}
	walk("", reflect.ValueOf(*c), "")
}
