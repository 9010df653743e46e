package spool

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/mailweir/mailweir/appliance/records"
)

// position is how far a reader got, and the file that knows it. Spool.mu guards it.
type position struct {
	seq     uint64
	arrived uint64    // up to here records may have arrived, though they are to be sent again: see Reader.Arrived
	saved   [2]uint64 // seq and arrived in the file
	file    *os.File  // nil: it could not be opened yet
	begun   bool      // somebody has read from it, now or in a life before
	users   int       // readers that are open
	gone    bool      // forgotten; what its last user leaves behind is lost
}

const (
	positionMagic  = "mailweir-position-1"
	positionPrefix = "position-"
	arrivedWord    = "arrived"
	positionSize   = 512 // one write, within one sector
)

func positionPath(dir, name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(dir, positionPrefix+hex.EncodeToString(sum[:8]))
}

// Reader gives a collector its records. It has one user at a time.
type Reader struct {
	s    *Spool
	name string
	p    *position
	open bool   // counted in p.users
	at   uint64 // the last record given out

	segment *segment
	version int
	file    *os.File
	lines   lines
}

// Reader is the reader of that name, where it stopped. A new one begins with what is appended from now on; one whose position is beyond what
// was ever appended, since the spool is another one, or cannot be read, begins with the oldest record there is. Where the disk does not take
// the position it is kept in memory until it does, and Options.OnUnsaved tells.
func (s *Spool) Reader(name string) *Reader {
	s.mu.Lock()
	defer s.unlock()
	p := s.positions[name]
	if p == nil {
		path := positionPath(s.opt.Dir, name)
		data, err := os.ReadFile(path)
		missing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) // then there is no spool, either
		seq, known := parsePosition(string(data))
		switch {
		case err != nil && !missing:
			s.opt.Log.Error("a collector's position in the spool cannot be read; it gets everything that is there", "target", name, "err", err)
			seq = s.oldest() - 1
		case !known && len(data) > 0:
			s.opt.Log.Error("a collector's position in the spool is damaged; it gets everything that is there", "target", name, "file", path)
			seq = s.oldest() - 1
		case !known:
			seq = s.last
		case seq > s.last:
			s.opt.Log.Error("a collector's position is beyond the spool; it gets everything that is there", "target", name, "position", seq, "last", s.last)
			seq = s.oldest() - 1
		}
		p = &position{seq: seq, begun: len(data) > 0 || seq < s.last}
		if arrived := parseArrived(string(data)); known && arrived <= s.last {
			p.arrived = arrived
		}
		if err := s.put(name, p); err != nil {
			s.saving(err)
		}
		s.positions[name] = p
	}
	return &Reader{s: s, name: name, p: p, at: p.seq}
}

// put writes a position to its file; mu is held.
func (s *Spool) put(name string, p *position) (err error) {
	if p.file == nil {
		if p.file, err = os.OpenFile(positionPath(s.opt.Dir, name), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			p.file = nil
			return err
		}
	}
	if err = p.write(name); err != nil {
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

func (p *position) write(name string) error {
	b := fmt.Appendf(nil, "%s %d ", positionMagic, p.seq)
	b = fmt.Appendf(b, "%08x %.300s", crc32.Checksum(b, castagnoli), name)
	b = fmt.Appendf(b, " %s %d ", arrivedWord, p.arrived)
	b = fmt.Appendf(b, "%08x", crc32.Checksum(b, castagnoli))
	for len(b) < positionSize-1 {
		b = append(b, ' ')
	}
	if _, err := p.file.WriteAt(append(b, '\n'), 0); err != nil {
		return err
	}
	p.saved = [2]uint64{p.seq, p.arrived}
	return nil
}

// parseArrived is what a position file says of what may have arrived; 0 where it does not say it, as that of an earlier version.
func parseArrived(s string) uint64 {
	s = strings.TrimRight(s, " \n")
	content, sum := s[:strings.LastIndexByte(s, ' ')+1], s[strings.LastIndexByte(s, ' ')+1:]
	f := strings.Fields(content)
	if len(f) < 5 || f[len(f)-2] != arrivedWord || fmt.Sprintf("%08x", crc32.Checksum([]byte(content), castagnoli)) != sum {
		return 0
	}
	seq, _ := strconv.ParseUint(f[len(f)-1], 10, 64) // which the checksum vouches for
	return seq
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
	defer s.unlock()
	keep, known := make(map[string]bool), make(map[string]bool)
	for _, name := range names {
		keep[positionPath(s.opt.Dir, name)] = true
	}
	var errs []error
	for name, p := range s.positions {
		if !keep[positionPath(s.opt.Dir, name)] {
			errs = append(errs, p.close())
			delete(s.positions, name)
			p.gone = true
			s.forget(name, p)
			known[positionPath(s.opt.Dir, name)] = true
		}
	}
	files, _ := filepath.Glob(filepath.Join(s.opt.Dir, positionPrefix+"*"))
	for _, path := range files {
		if !keep[path] {
			if data, err := os.ReadFile(path); err == nil && !known[path] { // of a life before
				if seq, ok := parsePosition(string(data)); ok {
					name := path // where the file does not say it
					if f := strings.Fields(string(data)); len(f) > 3 {
						name = f[3]
					}
					s.forget(name, &position{seq: seq, arrived: parseArrived(string(data)), begun: true, gone: true})
				}
			}
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}

// forget tells of what a reader that is gone has not got, when nobody uses it any more; mu is held.
func (s *Spool) forget(name string, p *position) {
	from := max(p.seq+1, p.arrived+1, s.oldest()) // what is not there was told when it went
	if !p.gone || p.users > 0 || !p.begun || from > s.last {
		return
	}
	l := Loss{Why: Forgotten, Numbers: records.Ranges{from, s.last}, Readers: []string{name}}
	s.told = append(s.told, func() { s.opt.OnLoss(l) })
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
	s.mu.Lock()
	var errs []error
	var files []*os.File
	for name, p := range s.positions {
		if p.saved != [2]uint64{p.seq, p.arrived} || p.file == nil {
			errs = append(errs, s.put(name, p))
		}
		if p.file != nil {
			files = append(files, p.file)
		}
	}
	s.unlock()
	if sync {
		for _, f := range files {
			if err := f.Sync(); !errors.Is(err, fs.ErrClosed) { // of a reader that was forgotten meanwhile
				errs = append(errs, err)
			}
		}
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

// Changed is closed when there may be more to read.
func (r *Reader) Changed() <-chan struct{} {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.s.changed
}

// Next gives the next records, at most n; none when there are none that are on the disk. It does not wait.
func (r *Reader) Next(n int) (items []Item, err error) {
	s := r.s
	for len(items) < n {
		s.mu.Lock()
		upTo, fault := s.durable, s.fault
		g := s.holding(r.at, upTo)
		if g == nil {
			if fault != nil { // the disk takes nothing: what waits in memory goes out without it
				for _, it := range s.tail {
					if it.Seq > r.at && len(items) < n {
						items, r.at = append(items, it), it.Seq
					}
				}
			}
			s.mu.Unlock()
			return items, nil
		}
		last := min(upTo, g.last)
		if g != r.segment || g.version != r.version || r.file == nil {
			r.release()
			if r.file, err = os.Open(g.path); err != nil {
				s.mu.Unlock()
				return items, fmt.Errorf("read the spool: %w", err)
			}
			r.segment, r.version, r.lines = g, g.version, lines{file: r.file}
		}
		r.lines.to = g.size
		s.mu.Unlock()
		for len(items) < n && r.at < last {
			line, ok := r.lines.next()
			if line == nil {
				if r.lines.err != nil {
					return items, fmt.Errorf("read the spool: %s: %w", g.path, r.lines.err)
				}
				r.at = last // what is missing there was damaged
				break
			}
			if !ok || line[0] == '#' {
				continue
			}
			l, err := records.ParseLine(line)
			if err != nil || l.Seq <= r.at {
				continue
			}
			items = append(items, Item{Seq: l.Seq, Line: append([]byte(nil), line...)})
			r.at = l.Seq
		}
	}
	return items, nil
}

// holding is the segment with the first record after seq, nil where there is none up to and with upTo; mu is held.
func (s *Spool) holding(seq, upTo uint64) *segment {
	if seq >= upTo {
		return nil
	}
	for _, g := range s.segments {
		if g.last > seq && g.count() > 0 {
			if g.first > upTo {
				return nil
			}
			return g
		}
	}
	return nil
}

// Seek goes on with the record after seq.
func (r *Reader) Seek(seq uint64) {
	r.release()
	r.at = seq
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if !r.open {
		r.open, r.p.begun = true, true
		r.p.users++
	}
}

// Position is up to where nothing needs to be sent again.
func (r *Reader) Position() uint64 {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.p.seq
}

// Ack moves the position to seq, never back. It is saved within a second.
func (r *Reader) Ack(seq uint64) {
	s := r.s
	s.mu.Lock()
	defer s.unlock()
	if seq <= r.p.seq {
		return
	}
	r.p.seq = seq
	if s.fault != nil { // what everybody has need not be kept in memory
		low := s.acknowledged()
		n := 0
		for n < len(s.tail) && s.tail[n].Seq <= low {
			n++
		}
		s.tail = s.tail[n:]
		s.written = max(s.written, min(low, s.last))
		s.durable = max(s.durable, min(low, s.last))
	}
}

// Arrived notes that records up to seq may have arrived, though the position is before them, and gives the highest number so noted, in this life or, as far
// as it was saved, in one before.
func (r *Reader) Arrived(seq uint64) uint64 {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.p.arrived = max(r.p.arrived, seq)
	return r.p.arrived
}

// Behind is how many records there are after seq.
func (s *Spool) Behind(seq uint64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, g := range s.segments {
		switch {
		case g.last <= seq || g.count() == 0:
		case g.first > seq:
			n += g.count()
		default: // at most what the numbers leave room for
			n += min(g.count(), int(g.last-seq))
		}
	}
	for i := len(s.tail) - 1; i >= 0 && s.tail[i].Seq > max(s.written, seq); i-- {
		n++
	}
	return n
}

func (r *Reader) release() {
	if r.file != nil {
		r.file.Close() // it was read only
		r.file = nil
	}
}

// Close gives back the open file. The position stays, unless it was forgotten.
func (r *Reader) Close() {
	r.release()
	r.s.mu.Lock()
	defer r.s.unlock()
	if r.open {
		r.open = false
		r.p.users--
		r.s.forget(r.name, r.p)
	}
}
