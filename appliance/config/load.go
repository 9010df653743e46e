package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// MaxSize is the largest file Load reads, in bytes.
const MaxSize = 4 << 20

// Load reads and checks a file. Its error is always a Problems: one line per problem, each FILE:LINE: KEY: MESSAGE with the
// file as path names it.
func Load(path string) (*Config, error) {
	data, err := read(path)
	if err != nil {
		return nil, Problems{{File: path, Message: err.Error()}}
	}
	return Parse(path, data)
}

func read(path string) ([]byte, error) {
	f, err := OpenFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("there is no such file; name an existing one with --config")
	}
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, plain(err)
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("is larger than %v", Size(MaxSize))
	}
	return data, nil
}

// OpenFile opens a plain file to read it. What is none is refused: whoever opens a pipe, or reads from a terminal, waits for
// as long as the other side likes.
func OpenFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("is a directory; name the file in it")}
	case !info.Mode().IsRegular():
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("is not a plain file")}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// plain drops the operation and the path of a file error: the message names the file already.
func plain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// Parse is Load for a file that has been read already. It touches nothing outside; path gives messages their file and
// relative paths in the file their directory.
func Parse(path string, data []byte) (*Config, error) {
	c, s, root, problems := decoded(path, data)
	if problems == nil {
		r := rules{schema: s, c: c}
		r.check()
		if len(s.problems) == 0 {
			if root == nil {
				r.warn("", "sets nothing: every key has its default")
			}
			c.warnings, c.lines = r.warnings, s.lines
			return c, nil
		}
		problems = s.problems
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	return nil, problems
}

// decoded is what a text says, whatever the rules say of that; root is nil where it says nothing.
func decoded(path string, data []byte) (c *Config, s *schema, root *yaml.Node, problems Problems) {
	if len(data) > MaxSize {
		return nil, nil, nil, Problems{{File: path, Message: fmt.Sprintf("is larger than %v", Size(MaxSize))}}
	}
	if line, message := unreadable(data); message != "" {
		return nil, nil, nil, Problems{{File: path, Line: line, Message: message}}
	}
	s = &schema{file: path, lines: make(map[string]int)}
	root, problem := nodes(path, data)
	if problem != nil {
		return nil, nil, nil, Problems{*problem}
	}
	c = Default()
	if root != nil {
		s.mapping(root, root.Line, "", reflect.TypeFor[Config]())
		if len(s.problems) == 0 {
			if err := decode(data, c); err != nil {
				line, message := yamlMessage(err)
				s.problem(line, "", "%s", message)
			}
		}
	}
	c.path = path
	return c, s, root, s.problems
}

// unreadable finds the first byte that no YAML file may have, since the parser would not say where it is.
func unreadable(data []byte) (line int, message string) {
	line = 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && n == 1:
			return line, "is not UTF-8 from here on; save it as UTF-8"
		case r == '\n':
			line++
		case unicode.IsControl(r) && r != '\t' && r != '\r' && r != '\u0085', r == '\ufffe', r == '\uffff':
			return line, fmt.Sprintf("contains the control character %U; remove it", r)
		}
		data = data[n:]
	}
	return 0, ""
}

// nodes parses the file. A nil node without a problem is a file that has nothing but comments.
func nodes(path string, data []byte) (*yaml.Node, *Problem) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := d.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		line, message := yamlMessage(err)
		switch {
		case strings.HasPrefix(strings.TrimLeft(lineOf(data, line), " "), "\t"):
			message = "begins with a tab; YAML indents with spaces only"
		case line == 0:
			line = lineOfAnchor(data, message)
		}
		line = min(line, 1+bytes.Count(bytes.TrimRight(data, " \t\r\n"), []byte("\n"))) // what is missing at the end is missed on the last line
		return nil, &Problem{File: path, Line: line, Message: message}
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		line, message := more.Line, "a second document (---) begins here; one file has one"
		if err != nil {
			line, message = yamlMessage(err)
		}
		return nil, &Problem{File: path, Line: line, Message: message}
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Value == "" && root.ShortTag() == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, &Problem{File: path, Line: root.Line, Message: "must be a group of keys such as mode: observe, not " + describe(root)}
	}
	return root, nil
}

// lineOf is the text of a line, counted from 1; empty beyond the file's ends.
func lineOf(data []byte, line int) string {
	for range line - 1 {
		_, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return ""
		}
		data = rest
	}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	return string(first)
}

// lineOfAnchor finds where an alias that leads nowhere stands. Other errors without a line concern the first one.
func lineOfAnchor(data []byte, message string) int {
	m := unknownAnchor.FindStringSubmatch(message)
	if m == nil {
		return 1
	}
	alias := regexp.MustCompile(`\*` + regexp.QuoteMeta(m[1]) + `([^\w-]|$)`)
	if at := alias.FindIndex(data); at != nil {
		return 1 + bytes.Count(data[:at[0]], []byte("\n"))
	}
	return 0
}

var (
	yamlLine      = regexp.MustCompile(`line (\d+): `)
	unknownAnchor = regexp.MustCompile(`unknown anchor '(.*)' referenced`)
	// countedFromZero are the errors of yaml's parser; those of its scanner count lines from 1 (yaml.v3, decode.go, parser.fail).
	countedFromZero = regexp.MustCompile(`^did not find expected (<document start>|node content|'-' indicator|key|',' or)`)
)

// yamlMessage takes the line out of an error of the YAML parser; 0 when it has none.
func yamlMessage(err error) (line int, message string) {
	message = strings.TrimPrefix(strings.Join(strings.Fields(err.Error()), " "), "yaml: ")
	message = strings.TrimPrefix(message, "unmarshal errors: ")
	if m := yamlLine.FindStringSubmatchIndex(message); m != nil {
		line, _ = strconv.Atoi(message[m[2]:m[3]])
		message = message[:m[0]] + message[m[1]:]
	}
	if countedFromZero.MatchString(message) {
		line++
	}
	return line, "is not valid YAML: " + message
}

// decode lets a viper of its own fill c, which holds the defaults. The file has passed the schema, so an error here
// means that the two disagree; it is still refused.
func decode(data []byte, c *Config) error {
	v := viper.NewWithOptions(viper.KeyDelimiter("|"))
	v.SetConfigType("yaml")
	if err := v.ReadConfig(bytes.NewReader(data)); err != nil {
		return err
	}
	return v.UnmarshalExact(c, func(d *mapstructure.DecoderConfig) {
		d.WeaklyTypedInput = false
		d.ZeroFields = true // a list replaces the default list; it is not laid over it
		d.DecodeHook = mapstructure.ComposeDecodeHookFunc(fillDefaults, parseUnits)
	})
}

// fillDefaults gives items of lists what they leave out, since there is no default item to lay them over.
func fillDefaults(from, to reflect.Type, data any) (any, error) {
	m, ok := data.(map[string]any)
	if !ok {
		return data, nil
	}
	switch to {
	case reflect.TypeFor[Plan]():
		return fillPlan(m), nil
	case reflect.TypeFor[Webhook]():
		return with(m, map[string]any{"of": noticeSubjects()}), nil
	case reflect.TypeFor[Budget]():
		return with(m, map[string]any{"burst": m["limit"]}), nil
	}
	return data, nil
}

// fillPlan takes from the plan's preset what the plan leaves out; of the ladder, key by key. A list of budgets replaces the
// preset's: budgets are not merged.
func fillPlan(m map[string]any) map[string]any {
	name, _ := m["preset"].(string)
	p, ok := preset(name)
	if !ok { // no preset: the schema has refused one that does not exist
		p = Plan{Budgets: []Budget{}, Ladder: DefaultLadder()}
	}
	l := p.Ladder
	own, _ := m["ladder"].(map[string]any)
	ladder := with(own, map[string]any{
		"warn_at": l.WarnAt, "pace_at": l.PaceAt, "defer_at": l.DeferAt, "cut_at": l.CutAt,
		"pace_max": l.PaceMax, "cut_for": l.CutFor, "release_after": l.ReleaseAfter,
	})
	full := with(m, map[string]any{"highest_stage": p.HighestStage, "budgets": p.Budgets})
	full["ladder"] = ladder
	return full
}

// with is m plus those of defaults that it lacks; m stays as it is, since aliases share it.
func with(m, defaults map[string]any) map[string]any {
	for k, v := range m {
		defaults[k] = v
	}
	return defaults
}

func parseUnits(from, to reflect.Type, data any) (any, error) {
	s, ok := data.(string)
	switch {
	case ok && to == durationType:
		return ParseDuration(s)
	case ok && to == sizeType:
		return ParseSize(s)
	case ok && to == prefixType:
		p, why := parsePrefix(s)
		if why != "" {
			return nil, errors.New(why)
		}
		return p, nil
	}
	return data, nil
}
