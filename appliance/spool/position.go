package spool

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mailweir/mailweir/appliance/records"
)

// position is how far a reader got, and the file that knows it. Spool.mu guards it, and Spool.disk saved and file.
type position struct {
	seq     uint64
	arrived uint64 // up to here records may have arrived, though they are to be sent again: see Reader.Arrived
	taken   uint64 // records after this one, up to seq, may not have been taken, though they are not sent again: see Reader.Taken
	begun   bool   // somebody has read from it, now or in a life before
	users   int    // readers that are open
	gone    bool   // forgotten; what its last user leaves behind is lost

	saved marks
	file  *os.File // nil: it could not be opened yet
}

// marks are what a position's file has of it.
type marks struct{ seq, arrived, taken uint64 }

func (p *position) marks() marks { return marks{p.seq, p.arrived, p.taken} }

const (
	positionMagic  = "mailweir-position-1"
	positionPrefix = "position-"
	takenWord      = "taken"
	arrivedWord    = "arrived"
	positionSize   = 512 // one write, within one sector
)

func positionPath(dir, name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(dir, positionPrefix+hex.EncodeToString(sum[:8]))
}

// unkept tells a collector that comes after a time without any, in which nothing was kept, which numbers it will never get. The first one of all has nothing coming. mu is held.
// It gives the last number that it does not tell.
func (s *Spool) unkept(name string) (upTo uint64) {
	n := len(s.segments)
	if n == 0 || len(s.positions) > 0 || s.waited || s.segments[n-1].last >= s.last {
		return s.last
	}
	l := Loss{Why: Unwanted, Numbers: records.Ranges{s.segments[n-1].last + 1, s.last}, Readers: []string{name}}
	s.tell(l)
	return s.segments[n-1].last
}

// put writes a position to its file; disk is held.
func (s *Spool) put(name string, p *position) (err error) {
	s.mu.Lock()
	m := p.marks()
	s.mu.Unlock()
	if p.file == nil {
		if p.file, err = os.OpenFile(positionPath(s.opt.Dir, name), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			p.file = nil
			return err
		}
	} else if p.saved == m {
		return nil
	}
	if err = p.write(name, m); err != nil {
		return errors.Join(err, p.close())
	}
	return nil
}

func (p *position) close() error {
	if p.file == nil {
		return nil
	}
	f := p.file
	p.file = nil
	return f.Close()
}

// saving notes whether the disk takes the positions, and tells when that changes; mu is held.
func (s *Spool) saving(err error) {
	if (err == nil) == (s.unsaved == nil) {
		return
	}
	s.unsaved = err
	if err != nil {
		s.opt.Log.Error("the collectors' positions could not be saved; after a crash they get records again", "err", err)
	} else {
		s.opt.Log.Info("the collectors' positions can be saved again")
	}
	s.told = append(s.told, func() { s.opt.OnUnsaved(err) })
}

// oldest is the first number in the spool, or the next one that will be; mu is held.
func (s *Spool) oldest() uint64 {
	for _, g := range s.segments {
		if g.count() > 0 {
			return g.first
		}
	}
	return s.last + 1
}

func (p *position) write(name string, m marks) error {
	b := fmt.Appendf(nil, "%s %d ", positionMagic, m.seq)
	b = fmt.Appendf(b, "%08x %.300s", crc32.Checksum(b, castagnoli), name)
	b = fmt.Appendf(b, " %s %d %s %d ", takenWord, m.taken, arrivedWord, m.arrived)
	b = fmt.Appendf(b, "%08x", crc32.Checksum(b, castagnoli))
	for len(b) < positionSize-1 {
		b = append(b, ' ')
	}
	if _, err := p.file.WriteAt(append(b, '\n'), 0); err != nil {
		return err
	}
	p.saved = m
	return nil
}

// parseArrived is what a position file says of what may have arrived, 0 where it does not say it, and of what was taken: all up to seq where it does not say that, as that of an
// earlier version.
func parseArrived(s string, seq uint64) (arrived, taken uint64) {
	s = strings.TrimRight(s, " \n")
	content, sum := s[:strings.LastIndexByte(s, ' ')+1], s[strings.LastIndexByte(s, ' ')+1:]
	f := strings.Fields(content)
	n := len(f)
	if n < 5 || f[n-2] != arrivedWord || fmt.Sprintf("%08x", crc32.Checksum([]byte(content), castagnoli)) != sum {
		return 0, seq
	}
	arrived, _ = strconv.ParseUint(f[n-1], 10, 64) // which the checksum vouches for
	if taken = seq; n > 5 && f[n-4] == takenWord {
		taken, _ = strconv.ParseUint(f[n-3], 10, 64)
	}
	return arrived, taken
}

func parsePosition(s string) (uint64, bool) {
	f := strings.Fields(s)
	if len(f) < 3 || f[0] != positionMagic || len(s) != positionSize {
		return 0, false
	}
	seq, err := strconv.ParseUint(f[1], 10, 64)
	return seq, err == nil && fmt.Sprintf("%08x", crc32.Checksum([]byte(f[0]+" "+f[1]+" "), castagnoli)) == f[2]
}

// Only forgets the positions of all readers but those named. What only they waited for can go, and Options.OnLoss tells of what each has not got, once
// its reader is closed. One from which nobody ever read had nothing coming.
func (s *Spool) Only(names []string) error {
	s.mu.Lock()
	s.wanted = slices.Clone(names)
	s.mu.Unlock()
	s.lockDisk()
	defer s.unlockDisk()
	keep := make(map[string]bool)
	var errs []error
	s.mu.Lock()
	for _, name := range s.wanted {
		keep[positionPath(s.opt.Dir, name)] = true
	}
	left := make(map[string]*position)
	for name, p := range s.positions {
		if !keep[positionPath(s.opt.Dir, name)] {
			delete(s.positions, name)
			p.gone = true
			s.leaving[name], left[name] = p, p
		}
	}
	s.waited = s.waited && len(s.positions) > 0
	s.mu.Unlock()
	for name, p := range left {
		keep[positionPath(s.opt.Dir, name)] = true // until its last user has left
		errs = append(errs, p.close(), s.forget(name, p))
	}
	files, _ := filepath.Glob(filepath.Join(s.opt.Dir, positionPrefix+"*"))
	for _, path := range files {
		if keep[path] || s.isLeaving(path) {
			continue
		}
		p, name := &position{begun: true, gone: true}, path // where the file does not say it
		data, err := os.ReadFile(path)
		if seq, ok := parsePosition(string(data)); err == nil && ok { // of a life before
			p.seq = seq
			p.arrived, p.taken = parseArrived(string(data), seq)
			if f := strings.Fields(string(data)); len(f) > 3 {
				name = f[3]
			}
		} else {
			s.opt.Log.Error("how far a collector that is not configured any more got cannot be read; it may have nothing", "file", path, "err", err)
		}
		s.owes(name, p)
		s.leaves(path)
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}

// isLeaving tells whether somebody still uses a reader that is forgotten, whose file that is.
func (s *Spool) isLeaving(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.leaving {
		if positionPath(s.opt.Dir, name) == path {
			return true
		}
	}
	return false
}

// forget ends a position that nobody uses any more, and tells of what its reader has not got; disk is held.
func (s *Spool) forget(name string, p *position) error {
	s.mu.Lock()
	used := !p.gone || p.users > 0
	s.mu.Unlock()
	if used {
		return nil
	}
	s.owes(name, p)
	s.mu.Lock()
	if s.leaving[name] == p {
		delete(s.leaving, name)
	}
	again := s.positions[name] != nil
	s.mu.Unlock()
	if again {
		return nil // it was configured again meanwhile, and the file is that one's
	}
	if p.begun {
		s.leaves(positionPath(s.opt.Dir, name))
	}
	if err := os.Remove(positionPath(s.opt.Dir, name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// owes tells of what a reader that is gone has not got, and writes it down first; disk is held.
func (s *Spool) owes(name string, p *position) {
	s.mu.Lock()
	sent := min(max(p.seq, p.arrived), s.last)
	from := max(sent+1, s.oldest()) // what is not there was told when it went
	o := owed{name: name, why: Forgotten}
	if p.begun && from <= s.last {
		o.lost = records.Ranges{from, s.last}
	}
	if p.begun && p.taken < sent {
		o.may = records.Ranges{p.taken + 1, sent}
	}
	s.mu.Unlock()
	if len(o.lost)+len(o.may) == 0 {
		return
	}
	s.owe(o)
	s.mu.Lock()
	defer s.unlock()
	s.tell(o.loss())
}

// acknowledged is up to where every reader has everything; mu is held.
func (s *Spool) acknowledged() uint64 {
	low := s.last
	for _, p := range s.positions {
		low = min(low, p.seq)
	}
	return low
}

// save writes the positions that moved, and with sync waits for the disk.
func (s *Spool) save(sync bool) error {
	s.lockDisk()
	s.mu.Lock()
	all := maps.Clone(s.positions)
	s.mu.Unlock()
	var errs []error
	var files []*os.File
	for name, p := range all {
		errs = append(errs, s.put(name, p))
		if p.file != nil {
			files = append(files, p.file)
		}
		s.goesOn(s.holder)
	}
	s.unlockDisk()
	if sync {
		w := s.begins(false)
		for _, f := range files {
			if err := f.Sync(); !errors.Is(err, fs.ErrClosed) { // of a reader that was forgotten meanwhile
				errs = append(errs, err)
			}
			s.goesOn(w)
		}
		s.ends(w)
	}
	err := errors.Join(errs...)
	s.mu.Lock()
	defer s.unlock()
	if sync {
		s.unsynced = err != nil
	}
	if err != nil || !s.unsynced { // what an fsync said, a write does not take back
		s.saving(err)
	}
	return err
}
