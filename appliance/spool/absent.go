package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/records"
)

// A reader that is forgotten leaves a mark of the last number that there was. What is made until it is configured again it never gets, however many others do, and that is told when it
// comes back: nothing else explains the gap in its log.

const (
	absentPrefix = "absent-"
	absentMagic  = "mailweir-absent-1"
	mostAbsent   = 64 // marks that are kept; of more the oldest go
)

// absentPath is where the mark of the reader is whose position is at a path.
func absentPath(position string) string {
	return filepath.Join(filepath.Dir(position), absentPrefix+strings.TrimPrefix(filepath.Base(position), positionPrefix))
}

// leaves writes the mark of a reader whose position is at a path; disk is held.
func (s *Spool) leaves(position string) {
	s.mu.Lock()
	content := fmt.Sprintf("%s %d", absentMagic, s.last)
	s.mu.Unlock()
	if err := durable.Replace(absentPath(position), fmt.Appendf(nil, "%08x %s\n", crc32.Checksum([]byte(content), castagnoli), content)); err != nil {
		s.opt.Log.Error("note that a collector is not configured any more; if it is again one day, nothing says what it has not got until then", "err", err)
		return
	}
	files, _ := filepath.Glob(filepath.Join(s.opt.Dir, absentPrefix+"*"))
	if len(files) <= mostAbsent {
		return
	}
	age := func(path string) int64 {
		if about, err := os.Stat(path); err == nil {
			return about.ModTime().UnixNano()
		}
		return 0
	}
	slices.SortFunc(files, func(a, b string) int { return int(min(max(age(a)-age(b), -1), 1)) })
	for _, path := range files[:len(files)-mostAbsent] {
		_ = os.Remove(path) // the next one tries again
	}
}

// left is the last number that there was when the reader was forgotten whose position was at a path; 0: it was not, or nobody knows. disk is held.
func (s *Spool) left(position string) (seq uint64) {
	path := absentPath(position)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	line, sound := summed([]byte(strings.TrimSuffix(string(data), "\n")))
	if n, e := fmt.Sscanf(string(line), absentMagic+" %d", &seq); err != nil || !sound || n != 1 || e != nil {
		s.opt.Log.Error("since when a collector was not configured cannot be read; nothing says what it has not got since", "file", path, "err", err)
		return 0
	}
	return seq
}

// returns tells what was made while a reader was forgotten, since is the last number before that, and writes that down first; disk is held.
func (s *Spool) returns(name string, since, upTo uint64) {
	if since > 0 && since < upTo {
		o := owed{name: name, why: Absent, lost: records.Ranges{since + 1, upTo}}
		s.owe(o)
		s.mu.Lock()
		s.tell(o.loss())
		s.unlock()
	}
	if err := os.Remove(absentPath(positionPath(s.opt.Dir, name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.opt.Log.Error("a collector is configured again, and the mark that it was not cannot be removed", "target", name, "err", err)
	}
}
