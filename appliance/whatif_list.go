package appliance

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/config"
	"github.com/mailweir/mailweir/governor"
	"github.com/mailweir/mailweir/governor/subscriber"
)

// Where the list of a what-if is from, if not from the file that is named.
const (
	ListInForce  = "in_force" // the memory of the running box: the file is another one by now, or has an error
	ListRecorded = "recorded" // nowhere: the file cannot be read, and plans are those that the journal has
)

// InForce is what a running box goes by, which its configuration file need not say any more, or not yet.
type InForce struct {
	Policy   governor.Policy `json:"policy"`
	Unmapped string          `json:"unmapped_plan"`
	Servers  []string        `json:"mail_servers"`    // its plans of registered mail servers
	List     string          `json:"list"`            // the path of the list of subscribers, from the root; "": there is none
	Known    string          `json:"known,omitempty"` // a file with the list as the box has it, where that in List is not that one; "": it is
}

// readInForce reads one; nil where no file is named.
func readInForce(file string) (*InForce, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("what is in force: %w", err)
	}
	var f InForce
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("what is in force: %s: %w", file, err)
	}
	return &f, nil
}

// tryInForce tries the policy of a running box.
func tryInForce(l *lists) (*trial, error) {
	f, table := l.inForce, &subscriber.Table{}
	if l.from = ""; f.List != "" {
		plans := func(name string) bool {
			return slices.ContainsFunc(f.Policy.Plans, func(p governor.Plan) bool { return p.Name == name })
		}
		var err error
		if table, err = l.find(f.List, plans, func() (*subscriber.Table, error) {
			table, err := l.parse(f.List, plans)
			if errors.Is(err, fs.ErrNotExist) {
				return &subscriber.Table{}, nil // as it is for the box: see LoadConfig
			}
			return table, err
		}); err != nil {
			return nil, err
		}
	}
	r := tryPolicy(f.Policy, table, f.Unmapped, l.byList, f.Servers)
	r.inForce, r.list = true, l.from
	return r, nil
}

// lists finds the lists of subscribers for what is tried.
type lists struct {
	inForce  *InForce                     // nil: no running box asks
	byList   bool                         // plans are those of the list, so that it is needed
	unlisted func(file string, why error) // may be nil
	from     string                       // where the last one is from: see WhatIfRun.List

	file string            // that was read last, from the root,
	read *subscriber.Table // and what it says; nil: none was
}

// parse is [parseList]. A file whose plans are all known to planExists, too, is not read again: a long list takes a second, and much memory.
func (l *lists) parse(file string, planExists func(string) bool) (*subscriber.Table, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	if l.read != nil && l.file == path && hasAll(planExists, l.read.Plans()) {
		return l.read, nil
	}
	table, err := parseList(file, planExists)
	if err == nil {
		l.file, l.read = path, table
	}
	return table, err
}

func hasAll(planExists func(string) bool, plans []string) bool {
	return !slices.ContainsFunc(plans, func(plan string) bool { return !planExists(plan) })
}

// of is the list of a configuration.
func (l *lists) of(cfg *config.Config) (*subscriber.Table, error) {
	return l.find(cfg.SubscribersPath(), plansOf(cfg), func() (*subscriber.Table, error) { return listOf(cfg, l.parse) })
}

// find is the list that the running box has where the file is its own and another one by now; else what read gives. One that nobody could read, whatever
// plans there are, is not needed where plans are as recorded.
func (l *lists) find(file string, planExists func(string) bool, read func() (*subscriber.Table, error)) (*subscriber.Table, error) {
	if l.from = ""; l.inForce != nil && l.inForce.Known != "" {
		if path, err := filepath.Abs(file); err == nil && file != "" && path == l.inForce.List {
			l.from = ListInForce
			return l.parse(l.inForce.Known, planExists)
		}
	}
	table, err := read()
	if err == nil || l.byList {
		return table, err
	}
	if _, bad := parseList(file, nil); bad == nil {
		return nil, err // it names a plan that the configuration lacks
	}
	if l.unlisted != nil {
		l.unlisted(file, err)
	}
	l.from = ListRecorded
	return &subscriber.Table{}, nil
}

// inForce is what the box goes by now, and the list in force.
func (a *Appliance) inForce() (f InForce, table *subscriber.Table, err error) {
	cfg := a.cfg.Load()
	f = InForce{Policy: a.gov.Policy(), Unmapped: cfg.Identity.UnmappedPlan, Servers: cfg.MailServerPlans()}
	if path := cfg.SubscribersPath(); path != "" {
		if f.List, err = filepath.Abs(path); err != nil {
			return f, nil, err
		}
		if !a.listIsFile(path) {
			f.Known = "/proc/self/fd/4"
		}
	}
	return f, a.who.Table(), nil
}

// files are a file in memory that has what is in force, and, where the list on the disk is not the one in force, a second one that has that. The process that
// gets them has them as its numbers 3 and 4.
func (f InForce) files(table *subscriber.Table) (files []*os.File, err error) {
	data, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	facts, err := inMemoryFile("in-force", func(w io.Writer) error { _, err := w.Write(data); return err })
	if err != nil || f.Known == "" {
		return []*os.File{facts}, err
	}
	list, err := inMemoryFile("list", func(w io.Writer) error { return writeList(w, table) })
	return []*os.File{facts, list}, err
}

// listIsFile tells whether the list in force is what the file says now. While a reload is under way nobody knows.
func (a *Appliance) listIsFile(path string) bool {
	if !a.changing.TryLock() {
		return false
	}
	defer a.changing.Unlock()
	return a.listRefused.Load() == nil && fileState(path) == a.listSeen
}

// writeList writes who is under which plan and what they are called, as a list. The plan comes first: an id may begin as a comment does.
func writeList(w io.Writer, table *subscriber.Table) error {
	out := csv.NewWriter(w)
	_ = out.Write([]string{"plan", "subscriber", "name"}) // Error tells
	for s := range table.After("") {
		_ = out.Write([]string{s.Plan, s.ID, s.Name})
	}
	out.Flush()
	return out.Error()
}

// inMemoryFile makes a file that lies in memory alone.
func inMemoryFile(name string, write func(io.Writer) error) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	out := bufio.NewWriter(f)
	if err := errors.Join(write(out), out.Flush()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close() // nobody asks for it any more
		}
	}
}
