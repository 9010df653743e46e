package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"
)

// Run syncs what was appended, saves positions, deletes what every reader has and what is too old, until ctx ends; then it syncs
// and saves once more, and returns nil. Whoever calls it waits for it.
func (s *Spool) Run(ctx context.Context) error {
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { s.stateGaps(ctx) })
	beside.Go(func() { s.watch(ctx) })
	ticks := time.NewTicker(saveEvery)
	defer ticks.Stop()
	rest := time.NewTimer(0)
	defer rest.Stop()
	expired := time.Time{}
	for {
		select {
		case <-ctx.Done():
			s.flush(true)
			s.save(false)
			return nil
		case <-ticks.C:
			s.save(false)
			s.trim()
			s.clear()
			s.shrink()
			s.retry()
			s.settle()
			if now := s.opt.Now(); now.Sub(expired).Abs() >= expireEvery && s.opt.Sound(now) {
				expired = now
				s.Expire(now)
			}
			continue
		case <-s.wake:
		}
		select { // not more often than once in SyncEvery, and the first one at once
		case <-rest.C:
		case <-ctx.Done():
		}
		s.Sync()
		rest.Reset(s.opt.SyncEvery)
	}
}

// watch looks whether the disk hangs, and tells of what memory had no room for, until ctx ends: what waits for the disk does not.
func (s *Spool) watch(ctx context.Context) {
	t := time.NewTicker(s.opt.Hangs / 2)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		s.mu.Lock()
		s.look()
		s.tellDroppedAgain()
		s.unlock()
	}
}

// shrink drops what a smaller limit has no room for.
func (s *Spool) shrink() {
	s.lockDisk()
	defer s.unlockDisk()
	if s.trouble() == nil {
		s.fit(0)
	}
}

// trouble is why the disk takes nothing; nil while it does.
func (s *Spool) trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// retry writes what waits in memory, when the disk is due for another attempt, or has answered after it hung.
func (s *Spool) retry() {
	s.mu.Lock()
	due := s.due() || s.fault != nil && !s.opt.Now().Before(s.retryAt)
	s.mu.Unlock()
	if !due {
		return
	}
	s.lockDisk()
	s.write()
	s.mu.Lock()
	unproven := s.fault != nil && s.written == s.last && !s.recovers // everybody had all from memory
	s.mu.Unlock()
	if unproven {
		_, err := s.active()
		s.mu.Lock()
		if s.recovers = true; err != nil {
			s.failed(err)
		}
		s.unlock()
	}
	s.unlockDisk()
	s.Sync()
}

// Sync puts everything that was appended before on the disk, or notes why that is not possible. A disk that failed is not asked again before its time.
func (s *Spool) Sync() { s.flush(false) }

// flush is Sync; at the end of all a disk that failed is asked once more.
func (s *Spool) flush(last bool) {
	s.mu.Lock()
	gives := s.gives
	s.mu.Unlock()
	if gives != nil {
		<-gives
	}
	s.lockDisk()
	s.mu.Lock()
	due := s.written < s.last && (last || s.fault == nil || !s.opt.Now().Before(s.retryAt))
	s.mu.Unlock()
	if due {
		s.write()
	}
	s.unlockDisk()
	s.sync()
}

// sync is Sync of what the disk was given.
func (s *Spool) sync() {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.lockDisk()
	s.mu.Lock()
	upTo := s.written
	s.mu.Unlock()
	type job struct {
		*segment
		file file
		held held
	}
	var jobs []job
	var failure error
	for _, g := range s.segments {
		if g.dirty && g.file == nil {
			failure = fmt.Errorf("%s could neither be written nor be taken back to what is known to be on the disk", g.path)
		}
		if g.dirty && g.file != nil {
			jobs = append(jobs, job{g, g.file, g.held})
		}
	}
	s.unlockDisk()

	w := s.begins(false)
	for _, j := range jobs {
		if failure != nil {
			break
		}
		if failure = j.file.Sync(); failure != nil {
			break
		}
		s.goesOn(w)
	}
	s.ends(w)

	s.lockDisk()
	defer s.unlockDisk()
	if failure != nil {
		s.distrust()
		s.mu.Lock()
		defer s.unlock()
		s.failed(failure)
		return
	}
	for _, j := range jobs {
		j.synced = j.held
		if j.held.size == j.segment.held.size {
			j.dirty = false
		}
		if j.sealed && !j.dirty {
			j.close()
		}
	}
	s.mu.Lock()
	defer s.unlock()
	if upTo > s.durable {
		s.durable = upTo
		s.notify()
	}
	if from := slices.IndexFunc(s.tail, func(it Item) bool { return it.Seq > s.durable }); from > 0 {
		s.tail = slices.Delete(s.tail, 0, from)
	} else if from < 0 {
		s.tail = nil
	}
	s.healed()
}

// distrust takes back what was written since the last good sync: after a failed one the kernel holds it for clean and may have
// dropped it. All of it is in memory and is written anew, into a new segment. disk is held.
func (s *Spool) distrust() {
	var cut []*segment
	s.mu.Lock()
	for _, g := range s.segments {
		if g.dirty {
			g.held = g.synced
			g.version++
			cut = append(cut, g)
		}
	}
	s.written = s.durable
	s.mu.Unlock()
	for _, g := range cut {
		if g.dirty, g.sealed = false, false; g.file == nil { // closed, since it could not be cut
			continue
		}
		if err := g.cut(g.size); err != nil && !errors.Is(err, fs.ErrClosed) {
			s.opt.Log.Error("a segment could not be taken back to what is known to be on the disk", "file", g.path, "err", err)
		}
		g.close()
	}
}

// Close is called when nobody appends or reads any more, and after Run.
func (s *Spool) Close() error {
	s.flush(true)
	s.save(true)
	s.lockDisk()
	defer s.unlockDisk()
	var errs []error
	for _, g := range s.segments {
		g.close()
	}
	s.mu.Lock()
	all := s.positions
	s.positions = map[string]*position{}
	s.unlock()
	for _, p := range all {
		errs = append(errs, p.close())
	}
	return errors.Join(append(errs, s.trouble())...)
}
