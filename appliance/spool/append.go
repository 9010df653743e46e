package spool

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sort"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// Append keeps records, in the order of seq. It waits for the kernel to take them and not for the disk, unless room has to be made. A disk that is slow it waits for no longer than
// patience, and only while memory for records is half full as long as one may take that does not hang. While there is no reader nothing is kept.
func (s *Spool) Append(rs []records.Record) {
	if len(rs) == 0 {
		return
	}
	s.mu.Lock()
	for i := range rs {
		s.heard(&rs[i])
	}
	end := &rs[len(rs)-1]
	s.last, s.lastHash = end.Seq, end.HexHash()
	if len(s.positions) == 0 {
		s.durable, s.written = s.last, s.last
		s.unlock()
		return
	}
	for i := range rs {
		line := rs[i].AppendLine(make([]byte, 0, 1024), s.facility)
		s.tail = append(s.tail, Item{Seq: rs[i].Seq, Line: line, kind: classOf(rs[i].Kind), at: rs[i].Time.UnixMilli()})
	}
	s.tail[len(s.tail)-1].hash = s.lastHash
	for s.due() {
		if s.gives == nil {
			s.gives, s.givesSince = make(chan struct{}), time.Now()
			go s.give(s.gives)
		}
		most := s.opt.Hangs / 8
		if len(s.tail)-s.unwrittenFrom() <= MemoryRecords/2 {
			if most = min(most, s.opt.patience-time.Since(s.givesSince)); most <= 0 {
				break
			}
		}
		s.awaits(s.gives, most)
	}
	s.bound()
	s.unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// due tells whether something is to be given to the disk now; mu is held.
func (s *Spool) due() bool {
	return s.written < s.last && !s.stuck && (s.fault == nil || !s.opt.Now().Before(s.retryAt))
}

// give has the disk take what waits now. There is one such goroutine at a time; it ends when that is given, or with the first fault, and Close waits for it.
func (s *Spool) give(done chan struct{}) {
	s.lockDisk()
	s.write()
	s.unlockDisk()
	s.mu.Lock()
	many := len(s.tail) > unsyncedMax && s.fault == nil
	s.mu.Unlock()
	if many {
		s.sync()
	}
	s.mu.Lock()
	s.gives = nil
	close(done)
	s.unlock()
}

// unlock lets go of mu and calls what is due.
func (s *Spool) unlock() {
	told := s.told
	if s.told = nil; len(told) == 0 {
		s.mu.Unlock()
		return
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Unlock()
	for _, f := range told {
		f()
	}
}

// write gives the disk what it has not got yet, but for what comes while it does: on a slow disk that would have no end. disk is held, and let go of where room is to be made.
func (s *Spool) write() {
	s.mu.Lock()
	upTo := s.last
	s.mu.Unlock()
	for {
		_, size := s.unwritten()
		if size == 0 {
			return
		}
		s.fit(size)
		err := s.writeSome()
		s.mu.Lock()
		if err != nil {
			s.given = 0
			s.failed(err)
		}
		ends := err != nil || s.written >= upTo
		s.unlock()
		if ends {
			return
		}
		s.goesOn(s.holder)
	}
}

// unwritten is what waits, of which there is no more than a segment takes, and its size in a file.
func (s *Spool) unwritten() (items []Item, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.unwrittenFrom()
	to := from
	for most := s.segmentSize(); to < len(s.tail) && size < most; to++ {
		size += int64(len(s.tail[to].Line)) + lineOverhead
	}
	if to == from {
		s.written, s.given = max(s.written, s.last), 0 // also where the last ones were dropped from memory
		return nil, 0
	}
	s.given = s.tail[to-1].Seq
	return slices.Clone(s.tail[from:to]), size
}

// unwrittenFrom is the index in tail of the first that the disk has not got; mu is held.
func (s *Spool) unwrittenFrom() int {
	return sort.Search(len(s.tail), func(i int) bool { return s.tail[i].Seq > s.written })
}

// writeSome writes some of what waits; disk is held.
func (s *Spool) writeSome() error {
	g, err := s.active()
	if err != nil {
		return err
	}
	items, _ := s.unwritten()
	if len(items) == 0 {
		return nil
	}
	n, next, err := g.append(items, s.segmentSize())
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.held = next
	s.written, s.given = max(s.written, items[n-1].Seq), 0
	s.recovers = s.fault != nil
	return nil
}

// active is the segment to write to; disk is held.
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
			if err := s.seal(g); err != nil {
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
		s.list(func(all []*segment) []*segment { return slices.Delete(all, n-1, n) })
	}
	g, err := newSegment(s.opt, after, hash)
	if err != nil {
		return nil, err
	}
	s.list(func(all []*segment) []*segment { return append(all, g) })
	return g, nil
}

// list changes which segments there are; disk is held.
func (s *Spool) list(change func([]*segment) []*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments = change(s.segments)
}

// seal ends a segment; disk is held.
func (s *Spool) seal(g *segment) error {
	next, err := g.seal()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.held = next
	return nil
}

// before is the record before the next that is to be written, and its hash where it is known.
func (s *Spool) before() (uint64, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.segments); n > 0 && s.segments[n-1].last == s.written {
		return s.written, s.segments[n-1].lastHash
	}
	return s.written, ""
}

func (s *Spool) segmentSize() int64 { return min(s.Limit()/segmentsAtAll, maxSegment) }

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
		s.tellDropped()
		s.told = append(s.told, func() { s.opt.OnFault(nil) })
	}
}

// bound drops from memory what the disk did not take, when that is too much: as in a full spool SESSION records first, decisions last, and of each the oldest. What the disk
// took and has not synced yet stays, since it may have to be written again, and so does what it is being given. It tells of the first ones at once, and of what goes after them
// not more often than once in tellEvery: each time is a record, which has no room, either. mu is held.
func (s *Spool) bound() {
	if over := len(s.tail) - MemoryRecords; over > 0 && s.out() {
		s.drops(over)
	}
	s.tellDroppedAgain()
}

// drops drops so many from memory; mu is held.
func (s *Spool) drops(over int) {
	drop := make(map[uint64]bool, over)
	var gone records.Ranges
	for of := range class(classes) {
		for _, it := range s.tail {
			if len(drop) < over && it.kind == of && it.Seq > max(s.written, s.given) {
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
	if l, lost := s.loss(gone, Unwritable); lost {
		s.lost[l.Why] += l.Numbers.Count()
		s.dropped.add(l)
	}
}

// tellDroppedAgain is tellDropped, but not too often; mu is held.
func (s *Spool) tellDroppedAgain() {
	if s.opt.Now().Sub(s.toldDropped).Abs() >= tellEvery {
		s.tellDropped()
	}
}

// tellDropped tells of what bound dropped and nobody was told of yet; mu is held.
func (s *Spool) tellDropped() {
	if l := s.dropped; len(l.Numbers) > 0 {
		s.dropped, s.toldDropped = Loss{}, s.opt.Now()
		s.told = append(s.told, func() { s.opt.OnLoss(l) })
	}
}
