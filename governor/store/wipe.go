package store

import (
	"context"
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// bbolt never writes over a page in use: a change goes to another page, and the old one becomes free with what it held.
// It is written over when a change needs it, which may be never. So what was deleted is to be wiped.
//
// A free page may be written at any time under bbolt's lock for writers: the newest meta page, which is on the disk since
// the last change returned, leads to none of them, so that a power cut finds the database whole whatever became of them.
// That is how bbolt itself uses them again. Transactions that read may still see older pages, so there must be none.

// wipeAtOnce is how many pages are looked at under the lock for writers, so that a change waits for milliseconds.
const wipeAtOnce = 64

var (
	errReaders = errors.New("somebody reads")
	errDoubt   = errors.New("the last change of it failed, so nobody knows what is on the disk")
)

// WipeFree overwrites with zeros, in mailweir.db, everything that was deleted or replaced before it was called, and
// waits for the disk. It works in small steps, between which changes of shelves go on; where nothing changed since the
// last time it does nothing. It returns how many bytes it overwrote. After an error something may be left, and the next
// call looks at all again.
func (s *Store) WipeFree(ctx context.Context) (wiped int64, err error) {
	s.wiping.Lock()
	defer s.wiping.Unlock()
	s.writing.Lock()
	changes := s.changes
	s.writing.Unlock()
	if s.wiped == changes {
		return 0, nil
	}
	f, err := os.OpenFile(s.bolt.Path(), os.O_RDWR, 0)
	if err != nil {
		return 0, fmt.Errorf("wipe what was deleted: %w", err)
	}
	defer func() {
		if e := f.Close(); err == nil && e != nil {
			err = fmt.Errorf("wipe what was deleted: %w", e)
		}
		if err == nil {
			s.wiped = changes
		}
	}()
	w := wiper{f: f, page: int64(s.bolt.Info().PageSize)}
	w.buf = make([]byte, wipeAtOnce*w.page)
	w.zero = make([]byte, w.page)
	for !w.end && err == nil {
		err = s.wipeSome(&w)
		switch {
		case errors.Is(err, errReaders):
			select {
			case <-ctx.Done():
				err = ctx.Err()
			case <-s.unread:
				err = nil
			}
		case err == nil && (w.end || w.unsynced >= syncEvery):
			err = f.Sync()
			w.unsynced = 0
			fallthrough
		case err == nil && ctx.Err() != nil:
			err = errors.Join(err, ctx.Err())
		}
	}
	s.written.Add(w.wiped)
	if err != nil {
		return w.wiped, fmt.Errorf("wipe what was deleted from %s: %w", s.bolt.Path(), err)
	}
	return w.wiped, nil
}

// read ends one reading of a shelf.
func (s *Store) read() {
	if s.readers.Add(-1) == 0 {
		select {
		case s.unread <- struct{}{}:
		default: // it has one
		}
	}
}

// wipeSome wipes the free ones of the next pages.
func (s *Store) wipeSome(w *wiper) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.doubt {
		return errDoubt
	}
	return guard(func() (err error) {
		tx, err := s.bolt.Begin(true) // nothing is changed in it; it keeps others from changing anything
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, tx.Rollback()) }()
		if s.readers.Load() > 0 { // who begins to read from now on sees no page that is free
			return errReaders
		}
		return w.some(tx)
	})
}

// wiper goes through the pages of a file.
type wiper struct {
	f         *os.File
	page      int64 // bytes of one
	next      int64 // page to look at
	end       bool
	buf, zero []byte // of wipeAtOnce pages, and of one
	wiped     int64  // bytes
	unsynced  int64
}

// some looks at the next pages, in a transaction that writes.
func (w *wiper) some(tx *bolt.Tx) error {
	info, err := w.f.Stat()
	if err != nil {
		return err
	}
	from := max(w.next, 2) // meta pages come first
	to := min(from+wipeAtOnce, info.Size()/w.page)
	if from >= to {
		w.end = true
		return nil
	}
	buf := w.buf[:(to-from)*w.page]
	if _, err := w.f.ReadAt(buf, from*w.page); err != nil {
		return err
	}
	for id := from; id < to; id++ {
		p, err := tx.Page(int(id))
		if err != nil {
			return err
		}
		if p != nil && p.Type != "free" { // nil: behind the last one, where a change that a crash cut off may have written
			continue
		}
		if at := (id - from) * w.page; !zeros(buf[at : at+w.page]) {
			if _, err := w.f.WriteAt(w.zero, id*w.page); err != nil {
				return err
			}
			w.wiped += w.page
			w.unsynced += w.page
		}
	}
	w.next = to
	return nil
}

func zeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
