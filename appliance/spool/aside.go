package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Aside is a file that could not be read when the spool was opened, and that was set aside.
type Aside struct {
	Path  string
	Bytes int64
	Time  time.Time // when it was last written: no record in it is younger

	stuck bool // it cannot be removed, which was told
}

// Why a file that was set aside went.
const (
	asideFull    = "the spool needed its room"
	asideExpired = "its records are older than their retention"
)

// setAside gives a segment that cannot be read another name, so that no new one takes its place. Each reader that had not got its records misses their numbers, which stateGaps tells.
func (s *Spool) setAside(name string, why error) {
	err := fmt.Errorf("%w; set aside as %s", why, name+unreadable)
	if e := os.Rename(name, name+unreadable); e != nil {
		err = errors.Join(why, e)
	}
	s.opt.Log.Error("a file of the spool cannot be read; its records are missing", "file", name, "err", err)
	s.told = append(s.told, func() { s.opt.OnDamage(err) })
}

// setAsideBefore finds what was set aside, in this life or an earlier one.
func (s *Spool) setAsideBefore() {
	names, _ := Unreadable(s.opt.Dir)
	for _, name := range names {
		info, err := os.Lstat(name)
		if err != nil {
			s.opt.Log.Error("a file that was set aside cannot be looked at", "file", name, "err", err)
			continue
		}
		s.aside = append(s.aside, Aside{Path: name, Bytes: info.Size(), Time: info.ModTime()})
	}
	slices.SortStableFunc(s.aside, func(a, b Aside) int { return a.Time.Compare(b.Time) })
}

// removeAside removes one that was set aside; false where that is not possible. disk is held.
func (s *Spool) removeAside(i int, why string) bool {
	gone := s.aside[i]
	if gone.stuck {
		return false
	}
	if err := os.Remove(gone.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		gone.stuck, why = true, fmt.Sprintf("it is to go, since %s, and cannot be removed: %v", why, err)
	}
	s.opt.Log.Warn("a file of the spool that could not be read", "file", gone.Path, "removed", !gone.stuck, "why", why)
	s.mu.Lock()
	defer s.unlock()
	s.told = append(s.told, func() { s.opt.OnRemoved(gone, why) })
	if s.aside[i] = gone; gone.stuck {
		return false
	}
	s.aside = slices.Delete(s.aside, i, i+1)
	return true
}

// expireAside removes what was set aside and is older than the shorter retention; a segment takes records for rotateAfter. disk is held.
func (s *Spool) expireAside(now time.Time, sessions, records time.Duration) {
	keep := sessions
	if records > 0 && (keep <= 0 || records < keep) {
		keep = records
	}
	for i := 0; keep > 0 && i < len(s.aside); {
		if now.Sub(s.aside[i].Time) <= keep-rotateAfter || !s.removeAside(i, asideExpired) {
			i++
		}
	}
}
