package verify

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/journal"
	"github.com/mailweir/mailweir/appliance/records"
)

// Part is what was checked as one chain, and what came of it.
type Part struct {
	What string `json:"what"` // spool DIR, journal DIR, or the files
	Report
}

// Paths checks whatever the paths are: data directories of a box, spools, journals, and files of lines or directories of such files, which all together count as
// one collector's log. A data directory must have a spool and a journal.
func Paths(paths []string, o Options) ([]Part, error) {
	var parts []Part
	var logs []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			logs = append(logs, path)
			continue
		}
		spools, journals := partsOf(path)
		for _, dir := range spools {
			r, err := beside(dir, theSpool)
			if err != nil {
				return nil, err
			}
			parts = append(parts, Part{"spool " + dir, r})
		}
		for _, dir := range journals {
			r, err := beside(dir, theJournal)
			if err != nil {
				return nil, err
			}
			parts = append(parts, Part{"journal " + dir, r})
		}
		if len(spools)+len(journals) > 0 {
			continue
		}
		files, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if f.Type().IsRegular() {
				logs = append(logs, filepath.Join(path, f.Name()))
			}
		}
	}
	if len(logs) > 0 {
		r, err := Logs(logs, o)
		if err != nil {
			return nil, err
		}
		parts = append(parts, Part{strings.Join(logs, " "), r})
	} else if len(o.Heads) > 0 {
		return nil, errors.New("a head (--head) is for a collector's log, and none was named; spool and journal are held against the state beside them")
	}
	slices.SortStableFunc(parts, func(a, b Part) int { return cmp.Compare(a.What, b.What) })
	return parts, nil
}

const (
	stateFile = "records.state"
	stateName = "the state of the chain"
)

// partsOf are the spools and journals that a directory is, or must have where it is a data directory.
func partsOf(path string) (spools, journals []string) {
	there := func(patterns ...string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { found, _ := filepath.Glob(filepath.Join(path, p)); return len(found) > 0 })
	}
	base, part := filepath.Base(filepath.Clean(path)), there("../"+stateFile)
	inJournal := filepath.Base(journal.Dir(path))
	switch {
	case there(stateFile):
		return []string{filepath.Join(path, "spool")}, []string{journal.Dir(path)}
	case there("*.spool", "position-*") || part && base == "spool":
		spools = []string{path}
	case there("records-*.seg") || part && base == inJournal:
		journals = []string{path}
	default: // a copy without the state
		if there("spool/*.spool", "spool/position-*") {
			spools = []string{filepath.Join(path, "spool")}
		}
		if there(inJournal + "/records-*.seg") {
			journals = []string{journal.Dir(path)}
		}
	}
	return spools, journals
}

// headBeside is the last record that the chain of a data directory knows, of which dir is a part; its Seq is 0 where there is no state, for instance since dir is a copy.
func headBeside(dir string) (Head, error) {
	data := filepath.Dir(filepath.Clean(dir))
	seq, hash, err := records.ReadState(filepath.Join(data, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Head{}, nil
	}
	id, missing := os.ReadFile(filepath.Join(data, "box.id"))
	if errors.Is(missing, fs.ErrNotExist) {
		missing = nil
	}
	return Head{strings.TrimSpace(string(id)), seq, hash}, errors.Join(err, missing)
}

// beside checks a part of a data directory with what the state beside it knew before. Where that cannot be read, the end of the chain is not known.
func beside(dir string, check func(dir string, head Head) (Report, error)) (Report, error) {
	head, unread := headBeside(dir)
	r, err := check(dir, head)
	if err == nil && unread != nil {
		r.Findings = append(r.Findings, Finding{Kind: Unread, Where: stateName, Text: fmt.Sprintf("it cannot be read, so that whether the end is missing is not known: %v", unread)})
	}
	return r, err
}

func theSpool(dir string, head Head) (Report, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return Report{Findings: []Finding{{Kind: Damaged, Where: dir, Box: head.Box, Text: fmt.Sprintf("there is no spool, which every box has that has run; this one made records up to %d", head.Seq)}}}, nil
	}
	return Spool(dir, head)
}

// theJournal is Journal of a box that may be writing to it.
func theJournal(dir string, head Head) (Report, error) {
	r, err := Journal(dir, head)
	if err == nil && len(r.Findings) == 1 && r.Findings[0].Where == stateName {
		time.Sleep(journalLag)
		r, err = Journal(dir, head)
	}
	return r, err
}

// journalLag is by how much a journal may be behind the chain of a box that runs: it is written four times a second.
const journalLag = time.Second
