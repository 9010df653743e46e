package spool

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/appliance/records"
)

// Why records went before every reader had them.
const (
	Full       = "the spool was full"
	Expired    = "they were older than their retention"
	Forgotten  = "their collector is not configured any more"
	Unwanted   = "no collector was configured when they were made"
	Absent     = "their collector was not configured when they were made, and is again"
	Unwritable = "the disk took nothing and the memory for them was full"
	Missing    = "they are not in the spool and nothing says why: a file was damaged or could not be read, or the process died while it made room"
)

// Loss is records that went before every reader had them.
type Loss struct {
	Why     string         // Full, Expired, Forgotten, Unwanted, Absent, Unwritable or Missing
	Numbers records.Ranges // of the records
	Doubt   records.Ranges // Forgotten: those before, which the collector's program may not have taken though they arrived: see Reader.Taken
	Readers []string       // who has not got all of them
}

// lose tells of records that went, as far as somebody had not got them; mu is held.
func (s *Spool) lose(gone records.Ranges, why string) {
	l, lost := s.loss(gone, why)
	if !lost {
		return
	}
	if s.looks {
		s.said = append(s.said, l.Numbers)
	}
	s.tell(l)
}

// loss is that of records that went, as far as somebody had not got them; mu is held.
func (s *Spool) loss(gone records.Ranges, why string) (l Loss, lost bool) {
	if len(gone) == 0 {
		return Loss{}, false
	}
	if gone = gone.Above(s.acknowledged()); len(gone) == 0 {
		return Loss{}, false
	}
	l = Loss{Why: why, Numbers: gone}
	for name, p := range s.positions {
		if len(gone.Above(p.seq)) > 0 {
			l.Readers = append(l.Readers, name)
		}
	}
	slices.Sort(l.Readers)
	return l, true
}

// Facts are the loss as HEALTH records, without their time.
func (l Loss) Facts() (all []records.HealthFacts) {
	f := records.HealthFacts{What: "record_loss", Target: "spool", Doubt: l.Doubt.String(), Collectors: strings.Join(l.Readers, " "), Detail: l.Why}
	if f.Doubt != "" {
		f.Detail += "; of " + f.Doubt + " some may be missing there, since it had not shown that it had read them"
	}
	if f.Detail += "; "; len(l.Numbers) > 0 {
		f.Detail += "not sent to "
	}
	f.Detail += f.Collectors
	for _, piece := range l.Numbers.Pieces() {
		if len(piece) > 0 {
			f.Count, f.FirstSeq, f.LastSeq, f.Seqs = piece.Count(), piece.First(), piece.Last(), piece.String()
		}
		all = append(all, f)
	}
	return all
}

// add makes one of two losses for the same reason, of which the second has the later numbers or those between.
func (l *Loss) add(m Loss) {
	l.Why, l.Numbers = m.Why, l.Numbers.With(m.Numbers)
	l.Readers = slices.Compact(slices.Sorted(slices.Values(append(l.Readers, m.Readers...))))
}

// went is lose for who does not hold mu.
func (s *Spool) went(gone records.Ranges, why string) {
	s.mu.Lock()
	defer s.unlock()
	s.lose(gone, why)
}

// tell counts a loss and has it told; mu is held.
func (s *Spool) tell(l Loss) {
	s.lost[l.Why] += l.Numbers.Count()
	s.told = append(s.told, func() { s.opt.OnLoss(l) })
}

// Whys are all that Loss.Why may be, with a word for each.
var Whys = map[string]string{Full: "full", Expired: "expired", Forgotten: "collector_removed", Unwanted: "no_collector", Absent: "collector_absent", Unwritable: "disk_fault", Missing: "missing"}

// spare is for the first and the last line of what is being rewritten, and by what a segment may be longer than it should.
const spare = 16 << 10

// fit makes room for so many bytes, 0 where only the limit became smaller. disk is held, and let go of in between.
func (s *Spool) fit(need int64) {
	for tries := 0; s.makeRoom(need) && tries < segmentsAtAll; tries++ {
		s.unlockDisk() // only what is on the disk can be dropped from it
		s.sync()
		s.lockDisk()
	}
}

// makeRoom drops from the disk until need more bytes are within the limit, with a segment to spare for what is being rewritten.
// It is true when there is more to drop, and it has to be on the disk first. disk is held.
func (s *Spool) makeRoom(need int64) (blocked bool) {
	failed := func(err error) bool {
		s.mu.Lock()
		defer s.unlock()
		s.failed(err)
		return false
	}
	for {
		s.goesOn(s.holder)
		s.mu.Lock()
		over := s.bytes() + need - (s.Limit() - s.segmentSize() - spare)
		s.mu.Unlock()
		if over <= 0 {
			return false
		}
		if i := slices.IndexFunc(s.aside, func(a Aside) bool { return !a.stuck }); i >= 0 {
			s.removeAside(i, asideFull)
			continue
		}
		victim, of := -1, class(0)
		for of = range class(classes) {
			victim = slices.IndexFunc(s.segments, func(g *segment) bool { return g.n[of] > 0 })
			if victim >= 0 {
				break
			}
		}
		if victim < 0 {
			return false
		}
		g := s.segments[victim]
		if g.dirty {
			return true
		}
		if g.file != nil { // the one that is written to: the spool is small, or holds one large batch
			if err := s.seal(g); err != nil {
				return failed(err)
			}
			return true
		}
		// All of the class at once, so that a segment is seldom written anew; but of a segment from before the limit became smaller only what is too much.
		enough, dropped := max(over, s.segmentSize()), int64(0)
		gone, err := s.rewrite(victim, func(it *Item) bool {
			if it.kind != of || dropped >= enough {
				return true
			}
			dropped += int64(len(it.Line)) + lineOverhead
			return false
		})
		s.went(gone, Full)
		if err != nil {
			return failed(fmt.Errorf("make room: %w", err))
		}
	}
}

// Expire drops what is older than its retention, whether somebody still waits for it or not.
func (s *Spool) Expire(now time.Time) {
	s.Sync()
	s.lockDisk()
	defer s.unlockDisk()
	s.mu.Lock()
	ofSessions, ofRecords := s.opt.Sessions, s.opt.Records
	s.mu.Unlock()
	s.expireAside(now, ofSessions, ofRecords)
	before := func(d time.Duration) int64 {
		if d <= 0 {
			return 0
		}
		return now.Add(-d).UnixMilli()
	}
	limits := [classes]int64{before(ofSessions), before(ofRecords), before(ofRecords)}
	for i := 0; i < len(s.segments); i++ {
		s.goesOn(s.holder)
		g := s.segments[i]
		old := false
		for c := range g.n {
			old = old || g.n[c] > 0 && g.oldest[c] < limits[c]
		}
		if !old || g.dirty {
			continue
		}
		if g.file != nil {
			if err := s.seal(g); err != nil {
				s.mu.Lock()
				s.failed(err)
				s.unlock()
				return
			}
			continue // a minute later
		}
		gone, err := s.rewrite(i, func(it *Item) bool { return it.at >= limits[it.kind] })
		s.went(gone, Expired)
		if err != nil {
			s.opt.Log.Error("records past their retention could not be removed from the spool", "file", g.path, "err", err)
		}
		if i >= len(s.segments) || s.segments[i] != g {
			i = max(i-2, -1)
		}
	}
}

// rewrite makes a segment anew of those of its records that are to be kept, and says which are gone. One that is empty then goes as a whole, unless it is the last; a small one
// is joined to a small one before it. A file goes when it is not in the list any more, so that who does not find it knows that he is to look again. disk is held.
func (s *Spool) rewrite(i int, keep func(*Item) bool) (gone records.Ranges, err error) {
	g := s.segments[i]
	into := &segment{path: g.path, after: g.after, afterHash: g.afterHash, sealed: true, version: g.version + 1}
	parts := []*segment{g}
	if i > 0 && s.segments[i-1].file == nil && !s.segments[i-1].dirty && s.segments[i-1].size+g.size < s.segmentSize() {
		before := s.segments[i-1]
		into.path, into.after, into.afterHash, into.version = before.path, before.after, before.afterHash, before.version+1
		parts = []*segment{before, g}
	}
	into.last, into.lastHash = into.after, into.afterHash
	b := appendSummed(nil, into.header())
	var written time.Time // when the youngest of its records was, at the latest
	for _, part := range parts {
		f, err := os.Open(part.path)
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err == nil && info.ModTime().After(written) {
			written = info.ModTime()
		}
		r := lines{file: f, to: part.size}
		for {
			line, ok := r.next()
			if line == nil {
				break
			}
			if !ok || line[0] == '#' {
				continue
			}
			l, err := records.ParseLine(line)
			if err != nil {
				continue
			}
			it := Item{Seq: l.Seq, Line: line, kind: classOf(l.Kind()), at: l.Time.UnixMilli(), hash: l.Hash()}
			if part == g && !keep(&it) {
				gone.Add(it.Seq)
				continue
			}
			b = appendSummed(b, line)
			into.add(&it)
		}
		f.Close()
		if r.err != nil {
			return nil, fmt.Errorf("read %s: %w", part.path, r.err)
		}
	}
	if into.count() == 0 && i < len(s.segments)-1 {
		if err := s.drop(i); err != nil {
			return nil, err
		}
		return gone, durable.SyncDir(s.opt.Dir)
	}
	if into.count() == 0 { // the last one: what is after it is all that is left to know
		into.after, into.afterHash = g.last, g.lastHash
		into.last, into.lastHash = g.last, g.lastHash
		b = appendSummed(nil, into.header())
	}
	b = appendSummed(b, into.trailer())
	into.size = int64(len(b))
	if err := durable.Replace(into.path, b); err != nil {
		return nil, err
	}
	if now := s.opt.Now(); written.After(now) { // by a clock that was ahead
		written = now
	}
	err = os.Chtimes(into.path, written, written) // once it cannot be read that is all there is to tell its time by
	s.list(func(all []*segment) []*segment {
		all[i] = into
		return slices.Delete(all, i-len(parts)+1, i)
	})
	if len(parts) > 1 {
		err = errors.Join(err, os.Remove(g.path))
	}
	return gone, errors.Join(err, durable.SyncDir(s.opt.Dir))
}

// drop removes a segment; disk is held.
func (s *Spool) drop(i int) error {
	g := s.segments[i]
	s.list(func(all []*segment) []*segment { return slices.Delete(all, i, i+1) })
	err := os.Remove(g.path)
	if err != nil {
		s.list(func(all []*segment) []*segment { return slices.Insert(all, i, g) })
	}
	return err
}

// trim deletes segments that every reader is past. The last one stays, since it knows what comes next.
func (s *Spool) trim() {
	s.lockDisk()
	s.mu.Lock()
	acked, read := s.acknowledged(), len(s.positions) > 0
	s.mu.Unlock()
	any := read && s.spent(acked)
	// One that all have is not kept for what comes: what follows begins another.
	if k := len(s.segments) - 1; k >= 0 && read {
		if g := s.segments[k]; g.file != nil && g.count() > 0 && g.last <= acked && s.opt.Now().Sub(g.began).Abs() >= rotateAfter {
			if _, err := s.active(); err != nil {
				s.mu.Lock()
				s.failed(err)
				s.unlock()
			}
		}
	}
	s.unlockDisk()
	if !any {
		return
	}
	if err := s.save(true); err != nil { // a position that a power cut took back must still find its records
		return
	}
	s.lockDisk()
	defer s.unlockDisk()
	for s.spent(acked) { // asked anew: others had the disk
		if err := s.drop(0); err != nil {
			s.opt.Log.Error("remove from the spool what every collector has", "err", err)
			return
		}
		s.goesOn(s.holder)
	}
}

// clear deletes everything when nobody is to get it any more, and leaves a note of what the last record was.
func (s *Spool) clear() {
	s.syncing.Lock() // no file is closed under it
	defer s.syncing.Unlock()
	s.lockDisk()
	defer s.unlockDisk()
	wanted := func() bool { return len(s.positions) > 0 || s.open > 0 || s.records() == 0 }
	s.mu.Lock()
	stays := wanted()
	s.mu.Unlock()
	if stays {
		return
	}
	for _, g := range s.segments {
		g.close()
	}
	last := s.segments[len(s.segments)-1]
	note := &segment{path: last.path, after: last.last, afterHash: last.lastHash, sealed: true, version: last.version + 1}
	note.last, note.lastHash = last.last, last.lastHash
	b := appendSummed(appendSummed(nil, note.header()), note.trailer())
	note.size = int64(len(b))
	err := durable.Replace(note.path, b)
	for _, g := range s.segments[:len(s.segments)-1] {
		err = errors.Join(err, os.Remove(g.path))
	}
	if err != nil {
		s.opt.Log.Error("what no collector is to get any more cannot be removed from the spool", "err", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments, s.tail = []*segment{note}, nil
	s.written, s.durable = s.last, s.last
}

// spent is whether the first segment, which is not the last, holds nothing after acked; disk is held.
func (s *Spool) spent(acked uint64) bool {
	if len(s.segments) < 2 {
		return false
	}
	g := s.segments[0]
	return g.last <= acked && !g.dirty && g.file == nil
}
