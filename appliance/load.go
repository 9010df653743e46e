package appliance

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/governor/subscriber"
)

// LoadConfig reads a configuration and the subscribers file it names; both must
// be good, or the error is a config.Problems with every problem of both.
//
// A subscribers file that was not asked for by name is allowed to be missing:
// everybody is unmapped then.
func LoadConfig(path string) (*config.Config, *subscriber.Table, error) {
	cfg, table, _, err := loadConfig(path)
	return cfg, table, err
}

// standardInput is what stands for it in the place of a configuration's path; relative
// paths in it are then relative to where we are.
const standardInput = "-"

// configsOf loads the configurations that are named, each with its list as list finds that.
func configsOf(files []string, list func(*config.Config) (*subscriber.Table, error), use func(*config.Config, *subscriber.Table) error) error {
	for _, file := range files {
		if file == "" {
			continue
		}
		cfg, err := readConfig(file)
		if err != nil {
			return err
		}
		table, err := list(cfg)
		if err != nil {
			return err
		}
		if err := use(cfg, table); err != nil {
			return err
		}
	}
	return nil
}

// loadConfig is LoadConfig, with the state that the subscribers file had before it
// was read: one that changes meanwhile is seen to have changed.
func loadConfig(path string) (cfg *config.Config, table *subscriber.Table, seen string, err error) {
	if cfg, err = readConfig(path); err != nil {
		return nil, nil, "", err
	}
	seen = fileState(cfg.SubscribersPath())
	if table, err = loadSubscribers(cfg); err != nil {
		return nil, nil, "", err
	}
	return cfg, table, seen, nil
}

// readConfig reads a configuration alone.
func readConfig(path string) (*config.Config, error) {
	if path != standardInput {
		return config.Load(path)
	}
	data, err := io.ReadAll(io.LimitReader(os.Stdin, config.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the standard input: %w", err)
	}
	return config.Parse("standard input", data)
}

// list is the subscribers file as it is read beside something else.
type list struct {
	done  chan struct{}
	table *subscriber.Table
	seen  string // as of loadConfig
	err   error
}

// readList begins to read the list that cfg names.
func readList(cfg *config.Config) *list {
	l := &list{done: make(chan struct{}), seen: fileState(cfg.SubscribersPath())}
	go func() {
		defer close(l.done)
		l.table, l.err = loadSubscribers(cfg)
	}()
	return l
}

// wait is for the end of it; whoever began it calls it.
func (l *list) wait() (*subscriber.Table, error) {
	<-l.done
	return l.table, l.err
}

func loadSubscribers(cfg *config.Config) (*subscriber.Table, error) { return listOf(cfg, parseList) }

// listOf is the list of a configuration, as parse reads it.
func listOf(cfg *config.Config, parse func(file string, planExists func(string) bool) (*subscriber.Table, error)) (*subscriber.Table, error) {
	file := cfg.SubscribersPath()
	if file == "" {
		return &subscriber.Table{}, nil
	}
	table, err := parse(file, plansOf(cfg))
	if _, bad := errors.AsType[config.Problems](err); err == nil || bad {
		return table, err
	}
	if errors.Is(err, fs.ErrNotExist) && cfg.Identity.SubscribersFile == config.Default().Identity.SubscribersFile {
		return &subscriber.Table{}, nil
	}
	return nil, config.Problems{{File: cfg.Path(), Key: "identity.subscribers_file", Message: err.Error()}}
}

func plansOf(cfg *config.Config) func(plan string) bool {
	return func(plan string) bool { return slices.Contains(cfg.PlanNames(), plan) }
}

// parseList reads a list of subscribers; the error is a config.Problems where it could be opened.
func parseList(file string, planExists func(plan string) bool) (*subscriber.Table, error) {
	shown := file
	if rel, err := filepath.Rel(".", file); err == nil && len(rel) < len(file) {
		shown = rel
	}
	f, err := config.OpenFile(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	table, err := subscriber.Parse(shown, f, planExists)
	if err != nil {
		return nil, problems(shown, err)
	}
	return table, nil
}

// problems says what is wrong with a subscribers file in the way in which
// everything wrong with a configuration is said.
func problems(file string, err error) config.Problems {
	errs, ok := errors.AsType[*subscriber.Errors](err)
	if !ok {
		return config.Problems{{File: file, Message: err.Error()}}
	}
	var ps config.Problems
	for _, e := range errs.List {
		ps = append(ps, config.Problem{File: e.File, Line: e.Line, Message: e.Message})
	}
	if errs.More > 0 {
		ps = append(ps, config.Problem{File: file, Message: fmt.Sprintf("%d more problems are not listed", errs.More)})
	}
	return ps
}

// SubscribersMissing tells whether the list that cfg names is not there.
func SubscribersMissing(cfg *config.Config) bool {
	file := cfg.SubscribersPath()
	if file == "" {
		return false
	}
	_, err := os.Stat(file)
	return errors.Is(err, fs.ErrNotExist)
}

// ListWarnings are lines of the list that are taken, but may not be meant.
func ListWarnings(table *subscriber.Table) []string {
	list, more := table.Warnings()
	var lines []string
	for _, w := range list {
		lines = append(lines, w.Error())
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more like these", more))
	}
	return lines
}
