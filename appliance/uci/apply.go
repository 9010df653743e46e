package uci

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mailweir/mailweir/appliance/config"
)

// groups are the sections whose options are keys of mailweir.yaml, and the group that the keys are in. Plans and notices are not among them: they are
// lists within lists, which UCI cannot write down.
var groups = map[string]string{
	"mailweir":     "", // mode, and what only the init script reads
	"network":      "network",
	"queue":        "queue",
	"identity":     "identity",
	"radius":       "identity.radius",
	"defer":        "defer",
	"clusters":     "clusters",
	"destinations": "destinations",
	"share":        "share",
	"syslog":       "syslog",
	"evidence":     "evidence",
	"admin":        "admin",
	"admin_tls":    "admin.tls",
	"journal":      "journal",
	"retention":    "retention",
}

// items are the sections each of which is an item of a list. With one of them the list is what UCI says.
var items = map[string]string{
	"collector":  "syslog.targets",
	"lease_file": "identity.lease_files",
}

// scripts are the options that only the init script reads.
var scripts = []string{"enabled", "config", "data"}

// Apply puts into the text of a configuration what a file of UCI says, whose path is uciPath. What UCI leaves out stays as it is. The error is a
// config.Problems: of the file of UCI, if that is to blame, else of the configuration.
func Apply(uciPath string, sections []Section, path string, text []byte) ([]byte, error) {
	var changes []config.Change
	var bad config.Problems
	lines := map[string]int{} // of the keys that UCI sets
	set := func(key string, o Option) {
		c, err := config.Written(key, o.List, o.Values...)
		if err != nil {
			bad = append(bad, config.Problem{File: uciPath, Line: o.Line, Key: o.Name, Message: err.Error()})
			return
		}
		if first, twice := lines[key]; twice {
			bad = append(bad, config.Problem{File: uciPath, Line: o.Line, Key: o.Name, Message: fmt.Sprintf("is set in line %d, too", first)})
			return
		}
		lines[key] = o.Line
		changes = append(changes, c)
	}
	lists := map[string][]json.RawMessage{}
	for _, s := range sections {
		if list, is := items[s.Type]; is {
			item := map[string]json.RawMessage{}
			for _, o := range s.Options {
				c, err := config.Written(fmt.Sprintf("%s[0].%s", list, o.Name), o.List, o.Values...)
				if err != nil {
					bad = append(bad, config.Problem{File: uciPath, Line: o.Line, Key: o.Name, Message: err.Error()})
					continue
				}
				item[o.Name] = c.Value
			}
			b, err := json.Marshal(item)
			if err != nil {
				return nil, err
			}
			lines[fmt.Sprintf("%s[%d]", list, len(lists[list]))] = s.Line
			lists[list] = append(lists[list], b)
			continue
		}
		group, known := groups[s.Type]
		if !known {
			bad = append(bad, config.Problem{File: uciPath, Line: s.Line, Key: s.Type, Message: "is no section that we know; there are " + names()})
			continue
		}
		for _, o := range s.Options {
			switch {
			case s.Type == "mailweir" && slices.Contains(scripts, o.Name):
			case group == "" && o.Name != "mode":
				bad = append(bad, config.Problem{File: uciPath, Line: o.Line, Key: o.Name, Message: "is none of enabled, config, data, mode"})
			case group == "":
				set(o.Name, o)
			default:
				set(group+"."+o.Name, o)
			}
		}
	}
	for _, list := range slices.Sorted(maps.Keys(lists)) {
		b, err := json.Marshal(lists[list])
		if err != nil {
			return nil, err
		}
		changes = append(changes, config.Change{Key: list, Value: b})
	}
	if len(bad) > 0 {
		return nil, bad
	}
	edited, err := config.Edit(path, text, changes)
	if ps, is := errors.AsType[config.Problems](err); is {
		return nil, blame(ps, uciPath, lines)
	}
	return edited, err
}

// blame names the line of UCI that set what is wrong.
func blame(ps config.Problems, uciPath string, lines map[string]int) config.Problems {
	out := slices.Clone(ps)
	for i := range out {
		for key := out[i].Key; key != ""; key = within(key) {
			if line := lines[key]; line > 0 {
				out[i].File, out[i].Line = uciPath, line
				break
			}
		}
	}
	return out
}

// within is the key that another is in, "" for a top-level one.
func within(key string) string {
	return key[:max(0, strings.LastIndexAny(key, ".["))]
}

func names() string {
	all := slices.Sorted(maps.Keys(groups))
	return strings.Join(append(all, slices.Sorted(maps.Keys(items))...), ", ")
}
