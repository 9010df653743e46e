package verify

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mailweir/mailweir/appliance/journal"
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
	var skipped []Item // what is in directories of logs, and is passed over
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			logs = append(logs, path)
			continue
		}
		if theSpool, theJournal := partsOf(path); theSpool != "" || theJournal != "" {
			found, err := ofBox(theSpool, theJournal, o)
			if err != nil {
				return nil, err
			}
			parts = append(parts, found...)
			continue
		}
		files, passed, err := filesIn(path)
		if err != nil {
			return nil, err
		}
		logs, skipped = append(logs, files...), append(skipped, passed...)
	}
	if len(logs)+len(skipped) > 0 {
		r, err := logsAnd(logs, skipped, o)
		if err != nil {
			return nil, err
		}
		what := strings.Join(logs, " ")
		if what == "" {
			what = "no file"
		}
		parts = append(parts, Part{what, r})
	} else if len(o.Heads) > 0 {
		return nil, errors.New("a head (--head) is for a collector's log, and none was named; spool and journal are held against the state beside them")
	}
	slices.SortStableFunc(parts, func(a, b Part) int { return cmp.Compare(a.What, b.What) })
	return parts, nil
}

// filesIn are the files in a directory of logs, also those that a symbolic link names, each once; and what else is there and may be a log.
func filesIn(dir string) (files []string, skipped []Item, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	var infos []os.FileInfo
	for _, links := range []bool{false, true} { // a file under its own name rather than under that of a link
		for _, e := range entries {
			if links != (e.Type()&os.ModeSymlink != 0) {
				continue
			}
			path := filepath.Join(dir, e.Name())
			info, err := os.Stat(path)
			switch {
			case err != nil:
				skipped = append(skipped, Item{Where: path, Unread: fmt.Sprintf("it was passed over: %v", err)})
			case info.IsDir():
				skipped = append(skipped, Item{Where: path, Unread: "it is a directory and was passed over: if there are logs in it, name it, too"})
			case info.Mode()&os.ModeNamedPipe != 0:
				skipped = append(skipped, Item{Where: path, Unread: "it is a pipe and was passed over: if a log comes from it, name it, too"})
			case info.Mode().IsRegular() && !slices.ContainsFunc(infos, func(other os.FileInfo) bool { return os.SameFile(info, other) }):
				files, infos = append(files, path), append(infos, info)
			}
		}
	}
	return files, skipped, nil
}

// partsOf are the spool and the journal that a directory is, or must have where it is a data directory; "" for none.
func partsOf(path string) (theSpool, theJournal string) {
	there := func(patterns ...string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { found, _ := filepath.Glob(filepath.Join(path, p)); return len(found) > 0 })
	}
	base, part := filepath.Base(filepath.Clean(path)), there("../"+stateFile, "../"+boxFile)
	inJournal := filepath.Base(journal.Dir(path))
	switch {
	case there(stateFile, boxFile):
		return filepath.Join(path, "spool"), journal.Dir(path)
	case there("*.spool", "position-*") || part && base == "spool":
		return path, ""
	case there("records-*.seg") || part && base == inJournal:
		return "", path
	}
	// A copy without the state.
	if there("spool/*.spool", "spool/position-*") {
		theSpool = filepath.Join(path, "spool")
	}
	if there(inJournal + "/records-*.seg") {
		theJournal = journal.Dir(path)
	}
	return theSpool, theJournal
}
