package spool

import (
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/mailweir/mailweir/appliance/records"
)

// Append keeps records, in the order of seq. It waits for the kernel to take them and not for the disk, unless room has to be made.
// While there is no reader nothing is kept.
func (s *Spool) Append(rs []records.Record) {
	if len(rs) == 0 {
		return
	}
	s.mu.Lock()
	for i := range rs {
		s.heard(&rs[i])
	}
	end := &rs[len(rs)-1]
	if len(s.positions) == 0 {
		s.last, s.lastHash = end.Seq, end.HexHash()
		s.durable, s.written = s.last, s.last
		s.unlock()
		return
	}
	size := 0
	for i := range rs {
		line := rs[i].AppendLine(make([]byte, 0, 1024), s.facility)
		s.tail = append(s.tail, Item{Seq: rs[i].Seq, Line: line, kind: classOf(rs[i].Kind), at: rs[i].Time.UnixMilli()})
		size += len(line) + lineOverhead
	}
	s.last, s.lastHash = end.Seq, end.HexHash()
	s.tail[len(s.tail)-1].hash = s.lastHash
	if s.fault == nil || !s.opt.Now().Before(s.retryAt) {
		s.fit(int64(size))
		s.write()
	}
	s.bound()
	s.unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// unlock lets go of mu and calls what is due.
func (s *Spool) unlock() {
	told := s.told
	s.told = nil
	s.mu.Unlock()
	for _, f := range told {
		f()
	}
}

// write gives the disk what it has not got yet; mu is held.
func (s *Spool) write() {
	from := len(s.tail)
	for from > 0 && s.tail[from-1].Seq > s.written {
		from--
	}
	for from < len(s.tail) {
		g, err := s.active()
		if err != nil {
			s.failed(err)
			return
		}
		n, err := g.append(s.tail[from:], s.segmentSize())
		if n > 0 {
			s.written = s.tail[from+n-1].Seq
		}
		if err != nil {
			s.failed(err)
			return
		}
		from += n
		s.recovers = s.fault != nil
	}
	s.written = s.last // also where the last ones were dropped from memory
}

// active is the segment to write to; mu is held.
func (s *Spool) active() (*segment, error) {
	if n := len(s.segments); n > 0 {
		g := s.segments[n-1]
		if g.count() == 0 { // it is as good as a new one, which would have the same name
			g.began = s.opt.Now()
		}
		if g.file != nil && !g.sealed && g.size < s.segmentSize() && s.opt.Now().Sub(g.began).Abs() < rotateAfter {
			return g, nil
		}
		if g.file != nil {
			if err := g.seal(); err != nil {
				return nil, err
			}
		}
	}
	after, hash := s.before()
	// Those from there on hold nothing, or nothing that counts. They go first: the new one may have the name of one of them.
	path := segmentPath(s.opt.Dir, after)
	for n := len(s.segments); n > 0 && s.segments[n-1].path >= path; n-- {
		if err := os.Remove(s.segments[n-1].path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		s.segments = slices.Delete(s.segments, n-1, n)
	}
	g, err := newSegment(s.opt, after, hash)
	if err != nil {
		return nil, err
	}
	s.segments = append(s.segments, g)
	return g, nil
}

// before is the record before the next that is to be written, and its hash where it is known; mu is held.
func (s *Spool) before() (uint64, string) {
	if n := len(s.segments); n > 0 && s.segments[n-1].last == s.written {
		return s.written, s.segments[n-1].lastHash
	}
	return s.written, ""
}

func (s *Spool) segmentSize() int64 { return min(s.limit/segmentsAtAll, maxSegment) }

// failed notes that the disk took not all; mu is held.
func (s *Spool) failed(err error) {
	if s.fault == nil {
		s.faults++
		s.opt.Log.Error("the spool cannot be written; records wait in memory", "dir", s.opt.Dir, "err", err)
		s.told = append(s.told, func() { s.opt.OnFault(err) })
	}
	s.fault, s.retryAt, s.recovers = err, s.opt.Now().Add(retryEvery), false
	s.notify()
}

// healed notes that the disk has all again; mu is held.
func (s *Spool) healed() {
	if s.fault != nil && s.recovers && s.written == s.last {
		s.opt.Log.Info("the spool can be written again", "dir", s.opt.Dir)
		s.fault = nil
		s.told = append(s.told, func() { s.opt.OnFault(nil) })
	}
}

// bound drops from memory what the disk did not take, when that is too much: as in a full spool SESSION records first, decisions last, and of each the oldest. What the disk
// took and has not synced yet stays, since it may have to be written again. mu is held.
func (s *Spool) bound() {
	over := len(s.tail) - memoryRecords
	if over <= 0 || s.fault == nil {
		return
	}
	drop := make(map[uint64]bool, over)
	var gone records.Ranges
	for of := range class(classes) {
		for _, it := range s.tail {
			if len(drop) < over && it.kind == of && it.Seq > s.written {
				drop[it.Seq] = true
			}
		}
	}
	s.tail = slices.DeleteFunc(s.tail, func(it Item) bool {
		if drop[it.Seq] {
			gone.Add(it.Seq)
		}
		return drop[it.Seq]
	})
	s.lose(gone, Unwritable)
}
