package spool

import (
	"cmp"
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

// When a reader is forgotten, what it had not got is told, and nothing else shows it: its position goes. So a file keeps it until a record that says so is on the disk, and the next life
// tells it again where this one died before. The same for what was made while it was forgotten, when it comes back.

const (
	owedPrefix = "forgotten-"
	owedMagic  = "mailweir-forgotten-2"
	noNumbers  = "-"
	owedAbsent = "-absent" // ends the name of the file where Why is Absent
)

// owed is what a reader that was forgotten has not got.
type owed struct {
	path string
	name string // of the reader
	why  string // Forgotten or Absent
	lost records.Ranges
	may  records.Ranges // what it may not have got: see Loss.Doubt
	said uint64         // the record that says so; 0: none has yet
}

func (o *owed) loss() Loss {
	return Loss{Why: o.why, Numbers: o.lost, Doubt: o.may, Readers: []string{o.name}}
}

// String is what the file has of it.
func (o *owed) String() string {
	words := func(r records.Ranges) string { return cmp.Or(r.String(), noNumbers) }
	return fmt.Sprintf("%s %s %s %s", owedMagic, words(o.lost), words(o.may), o.name)
}

// parse reads what String wrote.
func (o *owed) parse(text string) bool {
	f := strings.Fields(text)
	if len(f) != 4 || f[0] != owedMagic {
		return false
	}
	o.lost, o.may, o.name = records.ParseRanges(f[1]), records.ParseRanges(f[2]), f[3]
	return len(o.lost)+len(o.may) > 0
}

// owe writes down what a reader that is forgotten has not got; disk is held.
func (s *Spool) owe(o owed) {
	o.path = filepath.Join(s.opt.Dir, owedPrefix+strings.TrimPrefix(filepath.Base(positionPath(s.opt.Dir, o.name)), positionPrefix))
	if o.why == Absent {
		o.path += owedAbsent
	}
	content := o.String()
	if err := durable.Replace(o.path, fmt.Appendf(nil, "%08x %s\n", crc32.Checksum([]byte(content), castagnoli), content)); err != nil {
		s.opt.Log.Error("write down what a collector that is not configured any more has not got", "target", o.name, "numbers", o.lost.String(), "doubt", o.may.String(), "err", err)
		return // it is told all the same
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owed = append(slices.DeleteFunc(s.owed, func(b owed) bool { return b.path == o.path }), o)
}

// owedBefore tells again what a life before this one told and may not have said.
func (s *Spool) owedBefore() {
	files, _ := filepath.Glob(filepath.Join(s.opt.Dir, owedPrefix+"*"))
	for _, path := range files {
		o := owed{path: path, why: Forgotten}
		if strings.HasSuffix(path, owedAbsent) {
			o.why = Absent
		}
		data, err := os.ReadFile(path)
		line, sound := summed([]byte(strings.TrimSuffix(string(data), "\n")))
		if err != nil || !sound || !o.parse(string(line)) {
			s.opt.Log.Error("what a collector that is not configured any more has not got cannot be read", "file", path, "err", err)
			s.sweep(path)
			continue
		}
		s.owed = append(s.owed, o)
		s.tell(o.loss())
	}
}

// heard notes when a record says what is owed; mu is held.
func (s *Spool) heard(r *records.Record) {
	if len(s.owed) == 0 || r.Kind != records.KindHealth {
		return
	}
	lost, may, detail := records.Lost(r.Value), records.ParseRanges(r.Value("doubt")), r.Value("detail")
	for i := range s.owed {
		o := &s.owed[i]
		if o.said == 0 && len(o.lost.Without(lost)) == 0 && len(o.may.Without(may)) == 0 && strings.Contains(detail, o.why) && slices.Contains(strings.Fields(detail), o.name) {
			o.said = r.Seq
		}
	}
}

// settle forgets what was said, once that is on the disk; where nobody reads the spool does not keep it.
func (s *Spool) settle() {
	s.lockDisk()
	defer s.unlockDisk()
	settled := func(o owed) bool { return o.said > 0 && o.said <= s.durable }
	s.mu.Lock()
	all := slices.Clone(s.owed)
	s.owed = slices.DeleteFunc(s.owed, settled)
	all = slices.DeleteFunc(all, func(o owed) bool { return !settled(o) })
	s.mu.Unlock()
	for _, o := range all {
		if err := os.Remove(o.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.opt.Log.Error("what a collector that is not configured any more had not got was said, and its file cannot be removed", "err", err)
		}
	}
}
