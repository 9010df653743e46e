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

// When a reader is forgotten, what it had not got is told, and nothing else shows it: its position goes. So a file keeps it until a record that says so is on the disk, and the next life
// tells it again where this one died before.

const (
	owedPrefix = "forgotten-"
	owedMagic  = "mailweir-forgotten-1"
)

// owed is what a reader that was forgotten had not got.
type owed struct {
	path     string
	name     string // of the reader
	from, to uint64
	said     uint64 // the record that says so; 0: none has yet
}

// owe writes down what a reader that is forgotten has not got; disk is held.
func (s *Spool) owe(name string, from, to uint64) {
	o := owed{path: filepath.Join(s.opt.Dir, owedPrefix+strings.TrimPrefix(filepath.Base(positionPath(s.opt.Dir, name)), positionPrefix)), name: name, from: from, to: to}
	content := fmt.Sprintf("%s %d %d %s", owedMagic, from, to, name)
	if err := durable.Replace(o.path, fmt.Appendf(nil, "%08x %s\n", crc32.Checksum([]byte(content), castagnoli), content)); err != nil {
		s.opt.Log.Error("write down what a collector that is not configured any more has not got", "target", name, "first", from, "last", to, "err", err)
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
		o := owed{path: path}
		data, err := os.ReadFile(path)
		line, sound := summed([]byte(strings.TrimSuffix(string(data), "\n")))
		if sound {
			var magic string
			if n, _ := fmt.Sscanf(string(line), "%s %d %d %s", &magic, &o.from, &o.to, &o.name); n != 4 || magic != owedMagic || o.from == 0 || o.from > o.to {
				sound = false
			}
		}
		if err != nil || !sound {
			s.opt.Log.Error("what a collector that is not configured any more has not got cannot be read", "file", path, "err", err)
			s.sweep(path)
			continue
		}
		s.owed = append(s.owed, o)
		s.tell(Loss{Why: Forgotten, Numbers: records.Ranges{o.from, o.to}, Readers: []string{o.name}})
	}
}

// heard notes when a record says what is owed; mu is held.
func (s *Spool) heard(r *records.Record) {
	if len(s.owed) == 0 || r.Kind != records.KindHealth {
		return
	}
	lost := records.Lost(r.Value)
	for i := range s.owed {
		if o := &s.owed[i]; o.said == 0 && lost.Covers(o.from, o.to) && strings.Contains(r.Value("detail"), Forgotten) && slices.Contains(strings.Fields(r.Value("detail")), o.name) {
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
