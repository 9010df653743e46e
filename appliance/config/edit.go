package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Change sets one key of a file, or takes it out.
type Change struct {
	Key   string          // as problems name it: network.limited_ports, plans[0].budgets; the place behind the end of a list appends
	Value json.RawMessage // JSON; nil takes out the key, of which then the default holds, or the item of a list
}

// Edit changes keys in the text of a configuration. Top-level groups that are not touched stay as they are, byte by byte; in the others comments,
// blank lines, order and what is equal stay. What a key shares with others by an anchor is written out for them first, so that nothing changes but what is asked for.
// The text must be good before, and is checked after: the error is a Problems, of the lines of the new text.
func Edit(path string, text []byte, changes []Change) ([]byte, error) {
	before, err := Parse(path, text)
	if err != nil {
		return nil, err
	}
	edited, err := Complete(path, text, changes)
	if err != nil {
		return nil, err
	}
	after, err := Parse(path, edited)
	if err != nil {
		return nil, err
	}
	for _, d := range Differences(before, after) {
		if !onPurpose(d.Key, changes) {
			return nil, Problems{{File: path, Key: d.Key, Message: "would change, too; change the file by hand"}}
		}
	}
	return edited, nil
}

// Complete is Edit for a text that need not be good without the changes, nor with them: who has it has to look.
func Complete(path string, text []byte, changes []Change) ([]byte, error) {
	before, _, root, problems := decoded(path, text)
	if problems != nil {
		return nil, problems
	}
	e := &editor{text: text, root: root, touched: map[string]bool{}}
	if root == nil {
		e.root = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	}
	for _, c := range changes {
		if err := e.change(c, reflect.ValueOf(*before)); err != nil {
			return nil, Problems{{File: path, Key: c.Key, Message: err.Error()}}
		}
	}
	edited, err := e.write(root == nil)
	if err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	return edited, nil
}

// editor changes the nodes of a file.
type editor struct {
	text    []byte
	root    *yaml.Node
	touched map[string]bool // top-level keys whose text is written anew
}

func onPurpose(key string, changes []Change) bool {
	return slices.ContainsFunc(changes, func(c Change) bool { return topKey(c.Key) == topKey(key) })
}

func topKey(key string) string {
	return key[:len(key)-len(strings.TrimLeft(key, "abcdefghijklmnopqrstuvwxyz_"))]
}

// steps splits a key: plans[0].name is plans, 0, name.
func steps(key string) []string {
	return strings.Split(strings.NewReplacer("[", ".", "]", "").Replace(key), ".")
}

// change does one of the changes. v is what the file says at this place, defaults filled in, as long as it is known.
func (e *editor) change(c Change, v reflect.Value) error {
	var value *yaml.Node
	if c.Value != nil {
		var doc yaml.Node
		if err := yaml.Unmarshal(c.Value, &doc); err != nil || len(doc.Content) != 1 {
			return fmt.Errorf("is set to what is no value")
		}
		value = doc.Content[0]
		plainStyle(value, strings.HasSuffix(c.Key, "]"))
	}
	path := steps(c.Key)
	e.touched[path[0]] = true
	n := e.root
	for i, name := range path {
		last := i == len(path)-1
		switch n.Kind {
		case yaml.MappingNode:
			field, known := reflect.StructField{}, false
			if v.IsValid() && v.Kind() == reflect.Struct {
				if field, known = fieldOf(v.Type(), name); known {
					v = v.FieldByIndex(field.Index)
				}
			}
			if !known {
				v = reflect.Value{}
			}
			at := keyIn(n, name)
			if last {
				e.setKey(n, at, name, value)
				return nil
			}
			if at < 0 {
				next := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
				if v.IsValid() && v.Kind() == reflect.Slice {
					next = node(v) // a list that is given replaces the default one, so it begins as that
				}
				n.Content = append(n.Content, scalar("!!str", name), next)
				at = len(n.Content) - 2
			}
			n = e.own(&n.Content[at+1])
		case yaml.SequenceNode:
			at, err := strconv.Atoi(name)
			if err != nil || at < 0 || at > len(n.Content) || at == len(n.Content) && (!last || value == nil) {
				return fmt.Errorf("there is no item %s", name)
			}
			if v.IsValid() && v.Kind() == reflect.Slice && at < v.Len() {
				v = v.Index(at)
			} else {
				v = reflect.Value{}
			}
			switch {
			case last && at == len(n.Content):
				n.Content = append(n.Content, value)
				return nil
			case last && value == nil:
				e.free(n.Content[at])
				n.Content = slices.Delete(n.Content, at, at+1)
				return nil
			case last:
				n.Content[at] = e.laidOver(e.own(&n.Content[at]), value)
				return nil
			}
			n = e.own(&n.Content[at])
		default:
			return fmt.Errorf("is within a value that has no keys")
		}
	}
	return nil
}

// setKey sets the key that stands at a place of a mapping, or is not there (-1); without a value it is taken out.
func (e *editor) setKey(n *yaml.Node, at int, name string, value *yaml.Node) {
	switch {
	case value == nil && at >= 0:
		e.free(n.Content[at+1])
		n.Content = slices.Delete(n.Content, at, at+2)
	case value == nil:
	case at < 0:
		n.Content = append(n.Content, scalar("!!str", name), value)
	default:
		n.Content[at+1] = e.laidOver(e.own(&n.Content[at+1]), value)
	}
}

func keyIn(n *yaml.Node, name string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name && n.Content[i].Kind == yaml.ScalarNode {
			return i
		}
	}
	return -1
}

// own makes what stands here nobody else's: an alias becomes a copy, and those of an anchor become copies of it.
func (e *editor) own(at **yaml.Node) *yaml.Node {
	if n := *at; n.Kind == yaml.AliasNode {
		c := copied(n.Alias)
		c.HeadComment, c.LineComment, c.FootComment = n.HeadComment, n.LineComment, n.FootComment
		*at = c
	}
	if (*at).Anchor != "" {
		e.unshare(*at)
	}
	return *at
}

// free unshares what is taken out.
func (e *editor) free(n *yaml.Node) {
	if n.Anchor != "" {
		e.unshare(n)
	}
	if n.Kind != yaml.AliasNode {
		for _, c := range n.Content {
			e.free(c)
		}
	}
}

// unshare gives all that refer to an anchor copies of their own.
func (e *editor) unshare(anchor *yaml.Node) {
	for i := 0; i+1 < len(e.root.Content); i += 2 {
		var walk func(n *yaml.Node)
		walk = func(n *yaml.Node) {
			for j, c := range n.Content {
				if c.Kind == yaml.AliasNode && c.Alias == anchor {
					n.Content[j] = copied(anchor)
					e.touched[e.root.Content[i].Value] = true
				} else if c.Kind != yaml.AliasNode {
					walk(c)
				}
			}
		}
		holder := &yaml.Node{Content: e.root.Content[i+1 : i+2]}
		walk(holder)
		e.root.Content[i+1] = holder.Content[0]
	}
	anchor.Anchor = ""
	// Where it stood is written anew, too: its text has the anchor.
	for i := 0; i+1 < len(e.root.Content); i += 2 {
		if within(e.root.Content[i+1], anchor) {
			e.touched[e.root.Content[i].Value] = true
		}
	}
}

func within(n, sought *yaml.Node) bool {
	return n == sought || n.Kind != yaml.AliasNode && slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return within(c, sought) })
}

// copied is n without its anchor; anchors within it stay where they are, and are aliases here.
func copied(n *yaml.Node) *yaml.Node {
	c := *n
	c.Anchor, c.Content = "", nil
	for _, inner := range n.Content {
		if inner.Anchor != "" {
			c.Content = append(c.Content, &yaml.Node{Kind: yaml.AliasNode, Value: inner.Anchor, Alias: inner})
			continue
		}
		c.Content = append(c.Content, copied(inner))
	}
	return &c
}

// laidOver is a new value in the place of an old one, of which comments, and all that is equal, stay.
func (e *editor) laidOver(old, value *yaml.Node) *yaml.Node {
	if same(old, value) {
		return old
	}
	e.free(old)
	switch {
	case old.Kind == yaml.MappingNode && value.Kind == yaml.MappingNode:
		kept := *old
		kept.Content = nil
		for i := 0; i+1 < len(old.Content); i += 2 { // in the old order
			if at := keyIn(value, old.Content[i].Value); at >= 0 {
				kept.Content = append(kept.Content, old.Content[i], e.laidOver(e.own(&old.Content[i+1]), value.Content[at+1]))
			}
		}
		for i := 0; i+1 < len(value.Content); i += 2 {
			if keyIn(old, value.Content[i].Value) < 0 {
				kept.Content = append(kept.Content, value.Content[i], value.Content[i+1])
			}
		}
		return &kept
	case old.Kind == yaml.SequenceNode && value.Kind == yaml.SequenceNode:
		return e.listOver(old, value)
	}
	value.HeadComment, value.LineComment, value.FootComment = old.HeadComment, old.LineComment, old.FootComment
	return value
}

// listOver finds the items of a new list among those of the old one: equal ones first, wherever they stand, then those at the same place.
func (e *editor) listOver(old, value *yaml.Node) *yaml.Node {
	kept := *old
	if len(old.Content) == 0 {
		kept.Style = value.Style
	}
	kept.Content = make([]*yaml.Node, len(value.Content))
	used := make([]bool, len(old.Content))
	for i, item := range value.Content {
		for j, was := range old.Content {
			if !used[j] && same(was, item) {
				kept.Content[i], used[j] = was, true
				break
			}
		}
	}
	for i, item := range value.Content {
		switch {
		case kept.Content[i] != nil:
		case i < len(old.Content) && !used[i]:
			used[i] = true
			kept.Content[i] = e.laidOver(e.own(&old.Content[i]), item)
		default:
			kept.Content[i] = item
		}
	}
	return &kept
}

// same tells whether two nodes say the same.
func same(a, b *yaml.Node) bool {
	say := func(n *yaml.Node) (string, bool) {
		var v any
		if n.Decode(&v) != nil {
			return "", false
		}
		text, err := json.Marshal(v)
		return string(text), err == nil
	}
	one, ok1 := say(a)
	two, ok2 := say(b)
	return ok1 && ok2 && one == two
}

// plainStyle writes what came as JSON as the reference is written: small things on one line, quotes where they are needed.
func plainStyle(n *yaml.Node, item bool) {
	simple := true
	for _, c := range n.Content {
		simple = simple && (c.Kind == yaml.ScalarNode || c.Kind == yaml.SequenceNode && len(c.Content) == 0)
	}
	n.Style = 0
	switch n.Kind {
	case yaml.MappingNode:
		if item && simple || len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			n.Content[i].Style = 0
			plainStyle(n.Content[i+1], false)
		}
	case yaml.SequenceNode:
		if simple {
			n.Style = yaml.FlowStyle
		}
		for _, c := range n.Content {
			plainStyle(c, true)
		}
	case yaml.ScalarNode:
		n.Tag = n.ShortTag()
		if n.Value == "" {
			n.Style = yaml.DoubleQuotedStyle
		}
	}
}

// write puts the touched groups into the text and leaves the rest of it.
func (e *editor) write(empty bool) ([]byte, error) {
	lines := bytes.SplitAfter(e.text, []byte("\n"))
	if n := len(lines); n > 0 && len(lines[n-1]) == 0 {
		lines = lines[:n-1]
	} else if n > 0 {
		lines[n-1] = append(slices.Clip(lines[n-1]), '\n')
	}
	starts, ok := topLines(lines)
	if !empty && !ok { // one mapping in braces, or indented: all of it
		return encoded(e.root, indentOf(nil))
	}
	var out bytes.Buffer
	first := len(lines)
	if len(starts) > 0 {
		first = starts[0].line
	}
	for _, l := range lines[:first] {
		out.Write(l)
	}
	for i, s := range starts {
		end := len(lines)
		if i+1 < len(starts) {
			end = starts[i+1].line
		}
		segment := lines[s.line:end]
		if !e.touched[s.key] {
			writeAll(&out, segment)
			continue
		}
		own := len(segment) // what follows it at the margin belongs to what comes then, or to nobody
		for own > 1 && (len(bytes.TrimSpace(segment[own-1])) == 0 || segment[own-1][0] == '#') {
			own--
		}
		if err := e.group(&out, s.key, segment[:own], segment[own:]); err != nil {
			return nil, err
		}
		writeAll(&out, segment[own:])
	}
	for i := 0; i+1 < len(e.root.Content); i += 2 {
		key := e.root.Content[i].Value
		if !slices.ContainsFunc(starts, func(s topLine) bool { return s.key == key }) {
			if err := e.group(&out, key, nil, nil); err != nil {
				return nil, err
			}
		}
	}
	return out.Bytes(), nil
}

func writeAll(out *bytes.Buffer, lines [][]byte) {
	for _, l := range lines {
		out.Write(l)
	}
}

// group writes one top-level key; of one that is gone, nothing. was are its lines of before, after those that follow it and are not its own.
func (e *editor) group(out *bytes.Buffer, key string, was, after [][]byte) error {
	at := keyIn(e.root, key)
	if at < 0 {
		return nil
	}
	k := *e.root.Content[at]
	k.HeadComment, k.FootComment = "", ""
	value := e.root.Content[at+1]
	kept := string(bytes.Join(after, nil))
	var strip func(n *yaml.Node)
	strip = func(n *yaml.Node) {
		if n.FootComment != "" && strings.Contains(kept, n.FootComment) {
			n.FootComment = ""
		}
		if n.Kind != yaml.AliasNode {
			for _, c := range n.Content {
				strip(c)
			}
		}
	}
	strip(value)
	text, err := encoded(&yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{&k, value}}, indentOf(was))
	out.Write(laidOutAs(was, text))
	return err
}

func encoded(n *yaml.Node, indent int) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(indent)
	if err := enc.Encode(n); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

// topLine is where a top-level key stands.
type topLine struct {
	key  string
	line int // from 0
}

// topLines are the top-level keys of a text in which each begins a line; false: they do not.
func topLines(lines [][]byte) (all []topLine, ok bool) {
	var doc yaml.Node
	if yaml.Unmarshal(bytes.Join(lines, nil), &doc) != nil || len(doc.Content) == 0 {
		return nil, true
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode || root.Style&yaml.FlowStyle != 0 {
		return nil, root.Kind == yaml.ScalarNode // nothing but comments
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		k := root.Content[i]
		if k.Column != 1 || len(all) > 0 && k.Line-1 <= all[len(all)-1].line || k.Anchor != "" || k.ShortTag() == "!!merge" {
			return nil, false
		}
		all = append(all, topLine{k.Value, k.Line - 1})
	}
	return all, true
}
