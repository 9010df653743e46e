package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

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
	s.want(name)
	s.lockDisk()
	defer s.unlockDisk()
	s.mu.Lock()
	p, left := s.positions[name], s.leaving[name] != nil
	s.mu.Unlock()
	if p == nil {
		path := positionPath(s.opt.Dir, name)
		var data []byte
		err := fs.ErrNotExist
		if !left { // otherwise the file is of one that was forgotten and is still used
			data, err = os.ReadFile(path)
		}
		since := uint64(0)
		if !left && errors.Is(err, fs.ErrNotExist) {
			since = s.left(path)
		}
		s.mu.Lock()
		var upTo uint64
		p, upTo = s.begin(name, path, data, err)
		s.unlock()
		if err := s.put(name, p); err != nil {
			s.mu.Lock()
			s.saving(err)
			s.unlock()
		}
		s.returns(name, since, upTo)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Reader{s: s, name: name, p: p, at: p.seq}
}

// want has an Only that waits for the disk leave a reader alone.
func (s *Spool) want(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.wanted, name) {
		s.wanted = append(s.wanted, name)
	}
}

// begin makes the position of a reader from what its file has. Up to upTo it does not tell what a new one does not get. mu is held.
func (s *Spool) begin(name, path string, data []byte, err error) (p *position, upTo uint64) {
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
	upTo = s.unkept(name)
	p = &position{seq: seq, taken: seq, begun: len(data) > 0 || seq < s.last}
	if arrived, taken := parseArrived(string(data), seq); known && arrived <= s.last {
		p.arrived, p.taken = arrived, min(taken, seq)
	}
	s.positions[name] = p
	return p, upTo
}

// Changed is closed when there may be more to read.
func (r *Reader) Changed() <-chan struct{} {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.s.changed
}

// Next gives the next records, at most n; none when there are none that are on the disk. It waits only for the disk where it reads from it.
func (r *Reader) Next(n int) (items []Item, err error) {
	s := r.s
	for len(items) < n {
		s.mu.Lock()
		upTo, out := s.durable, s.out()
		g := s.holding(r.at, upTo)
		if g == nil {
			if out { // the disk takes nothing: what waits in memory goes out without it
				for _, it := range s.tail {
					if it.Seq > r.at && len(items) < n {
						items, r.at = append(items, it), it.Seq
					}
				}
			}
			s.mu.Unlock()
			return items, nil
		}
		last, version, size := min(upTo, g.last), g.version, g.size
		s.mu.Unlock()
		w := s.begins(true)
		items, err = r.from(g, version, size, last, n, items)
		s.ends(w)
		if err != nil {
			return items, err
		}
	}
	return items, nil
}

// from reads records up to last from a segment of that version and size, as long as there are less than n.
func (r *Reader) from(g *segment, version int, size int64, last uint64, n int, items []Item) ([]Item, error) {
	if g != r.segment || version != r.version || r.file == nil {
		r.release()
		file, err := os.Open(g.path)
		if errors.Is(err, fs.ErrNotExist) && !r.s.has(g, version) {
			return items, nil // it was rewritten or removed meanwhile
		}
		if err != nil {
			return items, fmt.Errorf("read the spool: %w", err)
		}
		r.segment, r.version, r.file, r.lines = g, version, file, lines{file: file}
	}
	r.lines.to = size
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
	return items, nil
}

// has tells whether a segment is there, as it was in a version.
func (s *Spool) has(g *segment, version int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.segments, g) && g.version == version
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
		r.s.open++
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
	if s.out() { // what everybody has need not be kept in memory
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

// Taken notes that the reader's collector has taken all records up to seq, which may be before the position: those between may be missing there though nobody sends them again. It
// gives the highest number so noted, in this life or, as far as it was saved, in one before.
func (r *Reader) Taken(seq uint64) uint64 {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.p.taken = max(r.p.taken, seq)
	return r.p.taken
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

// Oldest is the time of the first record after seq; zero where there is none. It reads the segment that has it.
func (s *Spool) Oldest(seq uint64) time.Time {
	s.mu.Lock()
	g := s.holding(seq, s.durable)
	if g == nil {
		defer s.mu.Unlock()
		for _, it := range s.tail {
			if it.Seq > seq {
				return time.UnixMilli(it.at).UTC()
			}
		}
		return time.Time{}
	}
	size := g.size
	s.mu.Unlock()
	w := s.begins(true)
	defer s.ends(w)
	f, err := os.Open(g.path)
	if err != nil {
		return time.Time{} // reading it says so
	}
	defer f.Close()
	r := lines{file: f, to: size}
	for {
		line, ok := r.next()
		if line == nil {
			return time.Time{}
		}
		if l, err := records.ParseLine(line); ok && err == nil && l.Seq > seq {
			return l.Time
		}
	}
}

func (r *Reader) release() {
	if r.file != nil {
		r.file.Close() // it was read only
		r.file = nil
	}
}

// Close gives back the open file. The position stays, unless it was forgotten. It does not wait for a disk that hangs.
func (r *Reader) Close() {
	r.release()
	s := r.s
	s.mu.Lock()
	left := r.open
	if r.open = false; left {
		r.p.users--
		s.open--
		left = r.p.gone
	}
	s.mu.Unlock()
	if !left {
		return
	}
	s.within(func() {
		s.lockDisk()
		defer s.unlockDisk()
		if err := s.forget(r.name, r.p); err != nil {
			s.opt.Log.Error("remove the position of a collector that is not configured any more", "target", r.name, "err", err)
		}
	})
}
