package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// Written is a Change that sets a key to what somebody wrote where every value is text, as in OpenWrt's UCI: what the text means, the key's type
// says. With list, or for a key that is a list, values are its items. Whether the value may be taken Edit finds out.
func Written(key string, list bool, values ...string) (Change, error) {
	t := reflect.TypeFor[Config]()
	for _, name := range steps(key) {
		if t.Kind() == reflect.Slice {
			t = t.Elem() // name is a number
			continue
		}
		var f reflect.StructField
		known := false
		if t.Kind() == reflect.Struct {
			f, known = fieldOf(t, name)
		}
		if !known {
			return Change{}, fmt.Errorf("there is no key %s", key)
		}
		t = f.Type
	}
	switch isList := t.Kind() == reflect.Slice; {
	case t.Kind() == reflect.Struct && !isText(t), isList && t.Elem().Kind() == reflect.Struct && !isText(t.Elem()):
		return Change{}, fmt.Errorf("is a group of keys, which cannot be written as one value")
	case isList:
		all := []any{}
		for _, v := range values {
			one, err := meant(v, t.Elem())
			if err != nil {
				return Change{}, err
			}
			all = append(all, one)
		}
		b, err := json.Marshal(all)
		return Change{Key: key, Value: b}, err
	case list || len(values) != 1:
		return Change{}, fmt.Errorf("has one value, and is no list")
	}
	v, err := meant(values[0], t)
	if err != nil {
		return Change{}, err
	}
	b, err := json.Marshal(v)
	return Change{Key: key, Value: b}, err
}

// isText reports whether values of a struct's type are written as text, as netip.Prefix is.
func isText(t reflect.Type) bool {
	_, is := reflect.New(t).Interface().(interface{ UnmarshalText([]byte) error })
	return is
}

func meant(v string, t reflect.Type) (any, error) {
	switch {
	case t == reflect.TypeFor[time.Duration]() || t == reflect.TypeFor[Size]():
		return v, nil
	case t.Kind() == reflect.Bool:
		switch v {
		case "1", "on", "true", "yes", "enabled":
			return true, nil
		case "0", "off", "false", "no", "disabled":
			return false, nil
		}
		return nil, fmt.Errorf("is %q: it must be 1 or 0", v)
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		n, err := strconv.ParseInt(v, 0, 64)
		if err != nil {
			return nil, fmt.Errorf("is %q: it must be a number", v)
		}
		return n, nil
	}
	return v, nil
}
