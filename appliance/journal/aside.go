package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A file that cannot be read is set aside under another name, for somebody to look at: the journal goes on without it. It may hold addresses, and nobody can take a part of it out:
// it goes as a whole when the time of the first thing in it is over, that of sessions unless it is known to have none, though it may have records whose time is longer. What tells its
// time is when it was last written, which is its newest moment (segment.dated). It goes before, too, when its room is needed; but not while a hold may be about it, or it is not
// known what is held. A list of holds that was set aside names subscribers: it goes when the retention of records is over since then and it is known what is held.

// asideMark begins what is behind the name of such a file; the time at which it was found follows.
const asideMark = ".unreadable-"

// withoutSessions ends it where the file is known to have none.
const withoutSessions = ".without-sessions"

const asideTime = "20060102T150405.000000000Z"

// unreadable is that a file of the journal cannot be read.
type unreadable struct{ error }

func (e unreadable) Unwrap() error { return e.error }

// cannotRead is the error of reading a file, which is unreadable where it is the file's, and not of a process that has too little.
func cannotRead(err error) error {
	if err == nil || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM) {
		return err
	}
	return unreadable{err}
}

// setAside gives file i of a family another name where it cannot be read, and gives what that costs. Where something else is wrong it gives that back. The caller holds j.disk.
func (j *Journal) setAside(of *[]*segment, i int, why error) (Damage, error) {
	if !errors.As(why, new(unreadable)) {
		return Damage{}, why
	}
	s := (*of)[i]
	d := Damage{File: s.path, Bytes: s.size, What: why.Error(), Inputs: s.family == inputsFamily, Aside: s.path + asideMark + time.Now().UTC().Format(asideTime)}
	if s.family == recordsFamily && s.sum.Others > 0 && s.sum.Sessions+s.sum.Held == 0 {
		d.Aside += withoutSessions
	}
	if errors.Is(why, fs.ErrNotExist) {
		d.Aside, d.Gone = "", true
	} else if err := errors.Join(s.dated(), os.Rename(s.path, d.Aside)); err != nil {
		return Damage{}, fmt.Errorf("%w; it could not be set aside: %w", why, err)
	}
	if s.f != nil {
		s.f.Close() // complete as far as it is known
		s.f = nil
	}
	if !d.Inputs {
		d.After, d.Before = j.numbersAt(i)
	}
	*of = slices.Delete(*of, i, i+1)
	return d, j.lookAside()
}

// without goes on without file i of a family where it cannot be read, which Damaged tells.
func (j *Journal) without(of *[]*segment, i int, why error) error {
	d, err := j.setAside(of, i, why)
	if err == nil {
		j.noteDamage([]Damage{d})
	}
	return err
}

// numbersAt are the numbers of the records before and behind what file i has; before: 0 where there is nothing behind it.
func (j *Journal) numbersAt(i int) (after, before uint64) {
	if sum := &j.records[i].sum; sum.LastSeq > 0 {
		return sum.FirstSeq - 1, sum.LastSeq + 1
	}
	if b, err := BeginOf(j.opt.Dir); err == nil {
		after = b.After
	}
	for _, s := range j.records[:i] {
		after = max(after, s.sum.LastSeq)
	}
	for _, s := range slices.Backward(j.records[i+1:]) {
		if s.sum.FirstSeq > 0 {
			before = s.sum.FirstSeq
		}
	}
	return after, before
}

// lookAside lists what was set aside, in this life or an earlier one, with when it was last written as its newest. It has sessions unless its name says that it has none.
func (j *Journal) lookAside() error {
	names, err := os.ReadDir(j.opt.Dir)
	if err != nil {
		return err
	}
	j.aside = nil
	for _, e := range names {
		family, _, _ := strings.Cut(e.Name(), "-")
		switch {
		case strings.HasPrefix(e.Name(), holdsAside):
			family = holdsFile
		case !strings.Contains(e.Name(), asideMark):
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		sum := summary{Newest: info.ModTime().UnixMilli()}
		if family != holdsFile && !strings.HasSuffix(e.Name(), withoutSessions) {
			sum.Sessions = 1
		}
		j.aside = append(j.aside, &segment{family: family, path: filepath.Join(j.opt.Dir, e.Name()), size: info.Size(), sum: sum})
	}
	return nil
}

// mayHold tells whether what was set aside may be held.
func (h *held) mayHold(aside *segment) bool {
	switch aside.family {
	case inputsFamily: // which no hold keeps
		return false
	case holdsFile: // which says what they were
		return h.unknown != ""
	}
	return h.unknown != "" || slices.ContainsFunc(h.all, func(h Hold) bool { return h.From.UnixMilli() <= aside.sum.Newest })
}

// expireAside removes what was set aside, and its time is over.
func (j *Journal) expireAside(now time.Time, b Bounds) error {
	err := j.lookAside()
	holds := j.holdsNow()
	lists := now.Add(ahead - b.Records).UnixMilli()
	others := lists + b.span().Milliseconds() // what a file has may be older than its end by a span
	all := max(others, others+(b.Records-b.Sessions).Milliseconds())
	for i := 0; i < len(j.aside); {
		s, before := j.aside[i], all
		switch {
		case s.family == holdsFile:
			before = lists
		case s.sum.Sessions == 0:
			before = others
		}
		switch {
		case s.sum.Newest > now.UnixMilli(): // by a clock that was ahead
			err = errors.Join(err, os.Chtimes(s.path, now, now))
			i++
		case s.sum.Newest >= before, holds.mayHold(s):
			i++
		default:
			if e := j.remove(&j.aside, i); e != nil {
				err = errors.Join(err, e)
				i++
			}
		}
	}
	return err
}
