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
	var looking sync.WaitGroup
	defer looking.Wait()
	looking.Go(func() { s.stateGaps(ctx) })
	ticks := time.NewTicker(saveEvery)
	defer ticks.Stop()
	rest := time.NewTimer(0)
	defer rest.Stop()
	expired := time.Time{}
	for {
		select {
		case <-ctx.Done():
			s.Sync()
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

// shrink drops what a smaller limit has no room for.
func (s *Spool) shrink() {
	s.mu.Lock()
	defer s.unlock()
	if s.fault == nil {
		s.fit(0)
	}
}

// retry writes what waits in memory, when the disk is due for another attempt.
func (s *Spool) retry() {
	s.mu.Lock()
	due := s.fault != nil && !s.opt.Now().Before(s.retryAt)
	if due {
		s.write()
		if s.fault != nil && s.written == s.last && !s.recovers { // everybody had all from memory
			if _, err := s.active(); err != nil {
				s.failed(err)
			} else {
				s.recovers = true
			}
		}
	}
	s.unlock()
	if due {
		s.Sync()
	}
}

// Sync puts everything that was appended on the disk, or notes why that is not possible.
func (s *Spool) Sync() {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	upTo := s.written
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
	s.mu.Unlock()

	for _, j := range jobs {
		if failure != nil {
			break
		}
		if failure = j.file.Sync(); failure != nil {
			break
		}
	}

	s.mu.Lock()
	defer s.unlock()
	if failure != nil {
		s.distrust()
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
// dropped it. All of it is in memory and is written anew, into a new segment. mu is held.
func (s *Spool) distrust() {
	kept := s.segments[:0]
	for _, g := range s.segments {
		if g.dirty {
			g.held, g.dirty, g.sealed = g.synced, false, false
			g.version++
			if g.file == nil { // closed, since it could not be cut
				kept = append(kept, g)
				continue
			}
			if err := g.cut(g.size); err != nil && !errors.Is(err, fs.ErrClosed) {
				s.opt.Log.Error("a segment could not be taken back to what is known to be on the disk", "file", g.path, "err", err)
			}
			g.close()
		}
		kept = append(kept, g)
	}
	s.segments = kept
	s.written = s.durable
}

// Close is called when nobody appends or reads any more, and after Run.
func (s *Spool) Close() error {
	s.Sync()
	s.save(true)
	s.mu.Lock()
	defer s.unlock()
	var errs []error
	for _, g := range s.segments {
		g.close()
	}
	for _, p := range s.positions {
		errs = append(errs, p.close())
	}
	s.positions = map[string]*position{}
	return errors.Join(append(errs, s.fault)...)
}
