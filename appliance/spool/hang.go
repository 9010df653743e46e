package spool

import (
	"fmt"
	"time"
)

// hangs is how long the disk may take for one thing before it is said to hang.
const hangs = 5 * time.Second

// wait is somebody who waits for the disk. Spool.mu guards it.
type wait struct {
	began time.Time // of the one thing that the disk does for him now
	reads bool      // it holds up nobody but him
}

// begins notes that somebody will wait for the disk, and goes on says that it has done a thing for him, and does the next; ends, that he waits no more.
func (s *Spool) begins(reads bool) *wait {
	w := &wait{began: time.Now(), reads: reads}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits[w] = true
	return w
}

func (s *Spool) goesOn(w *wait) {
	s.mu.Lock()
	defer s.unlock()
	w.began = time.Now()
	s.look()
}

func (s *Spool) ends(w *wait) {
	s.mu.Lock()
	defer s.unlock()
	delete(s.waits, w)
	s.look()
}

// lockDisk is for who changes files.
func (s *Spool) lockDisk() {
	s.disk.Lock()
	s.holder = s.begins(false)
}

func (s *Spool) unlockDisk() {
	s.ends(s.holder)
	s.disk.Unlock()
}

// look tells when the disk begins to hang, and when it answers again; mu is held.
func (s *Spool) look() {
	now := time.Now()
	hung, since := false, time.Time{}
	s.stuck = false
	for w := range s.waits {
		if now.Sub(w.began) < s.opt.Hangs {
			continue
		}
		if hung = true; since.IsZero() || w.began.Before(since) {
			since = w.began
		}
		s.stuck = s.stuck || !w.reads
	}
	switch {
	case hung && s.hung.IsZero():
		s.hung = since
		s.faults++
		s.opt.Log.Error("the spool's disk does not answer; records wait in memory", "dir", s.opt.Dir)
		s.told = append(s.told, func() { s.opt.OnHang(now.Sub(since), false) })
		s.notify()
	case !hung && !s.hung.IsZero():
		took := now.Sub(s.hung)
		s.hung = time.Time{}
		s.tellDropped()
		s.opt.Log.Info("the spool's disk answers again", "dir", s.opt.Dir, "after", took)
		s.told = append(s.told, func() { s.opt.OnHang(took, true) })
		s.notify()
	}
}

// hanging is for how long the disk has not answered, 0 while it does; mu is held.
func (s *Spool) hanging() time.Duration {
	if s.look(); s.hung.IsZero() {
		return 0
	}
	return time.Since(s.hung)
}

// out tells whether the disk takes nothing at present, since it fails or hangs; mu is held.
func (s *Spool) out() bool { return s.fault != nil || s.stuck }

// within has f done, which may wait for the disk, and returns when it is, or once the disk hangs: f goes on by itself then, and Close waits for it.
func (s *Spool) within(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	s.mu.Lock()
	defer s.unlock()
	for s.awaits(done, s.opt.Hangs/8) {
	}
}

// awaits waits for something that waits for the disk, not longer than so long; false when it is done, or the disk hangs. mu is held, and let go of in between.
func (s *Spool) awaits(done <-chan struct{}, most time.Duration) bool {
	s.unlock()
	again := time.NewTimer(most)
	defer again.Stop()
	select {
	case <-done:
		s.mu.Lock()
		return false
	case <-again.C:
	}
	s.mu.Lock()
	s.look()
	return !s.stuck
}

// hangError says that the disk does not answer.
func hangError(took time.Duration) error {
	return fmt.Errorf("the disk has not answered for %v", took.Round(time.Second))
}
