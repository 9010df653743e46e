package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// Effective is the whole configuration as YAML, defaults filled in and aliases written out. It loads back equal.
func (c *Config) Effective() ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(node(reflect.ValueOf(*c))); err != nil {
		return nil, fmt.Errorf("print the configuration: %w", err)
	}
	if err := e.Close(); err != nil {
		return nil, fmt.Errorf("print the configuration: %w", err)
	}
	return b.Bytes(), nil
}

// EffectiveJSON is Effective for programs: the same keys, durations and sizes as text with their unit.
func (c *Config) EffectiveJSON() ([]byte, error) {
	var tree any
	if err := node(reflect.ValueOf(*c)).Decode(&tree); err != nil {
		return nil, fmt.Errorf("print the configuration: %w", err)
	}
	return json.MarshalIndent(tree, "", "  ")
}

// node makes the YAML of a value; lists of small things go on one line, like in the reference.
func node(v reflect.Value) *yaml.Node {
	switch x := v.Interface().(type) {
	case time.Duration:
		return scalar("!!str", FormatDuration(x))
	case Size:
		return scalar("!!str", x.String())
	case Mask:
		return scalar("!!int", x.String())
	case netip.Prefix:
		return scalar("!!str", x.String())
	case Budget, Target, LeaseFile, TLS, Address, Route:
		n := structNode(v)
		n.Style = yaml.FlowStyle
		return n
	}
	switch v.Kind() {
	case reflect.Struct:
		return structNode(v)
	case reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		if v.Len() == 0 || v.Type().Elem().Kind() != reflect.Struct || v.Type().Elem() == prefixType {
			n.Style = yaml.FlowStyle
		}
		for i := range v.Len() {
			n.Content = append(n.Content, node(v.Index(i)))
		}
		return n
	case reflect.String:
		return scalar("!!str", v.String())
	case reflect.Bool:
		return scalar("!!bool", strconv.FormatBool(v.Bool()))
	default:
		return scalar("!!int", fmt.Sprint(v.Interface()))
	}
}

func structNode(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("mapstructure")
		if key == "" || omitted(v.Interface(), key) {
			continue
		}
		n.Content = append(n.Content, scalar("!!str", key), node(v.Field(i)))
	}
	return n
}

// omitted names the keys that a budget of concurrent sessions may not have, the preset of a plan that has none, and the interface of a route that needs none.
func omitted(of any, key string) bool {
	switch x := of.(type) {
	case Budget:
		return x.Of == "concurrent_sessions" && (key == "per" || key == "burst")
	case Plan:
		return x.Preset == "" && key == "preset"
	case Route:
		return x.Interface == "" && key == "interface"
	}
	return false
}

func scalar(tag, value string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
	if value == "" {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}
