// Package store keeps what must outlive a restart on disk.
//
// # Budgets
//
// What the governor knows of its subscribers changes all the time and everywhere at once, so it goes to a log, in the
// directory budgets: Save appends what changed, in frames with checksums, and waits for the disk. When the log has become
// longer than the last snapshot, and at least 4 MiB, it is time for a new one (SnapshotDue): a new log is begun, all
// subscribers are written beside it, and then the older files are deleted. Load reads the newest snapshot and then the
// logs that are not older.
//
// A power cut costs at most what was changed since the last Save that had returned. Of a Save that had not, each
// subscriber is there as before or as after. The torn end of the last log is no damage. What is damaged elsewhere is left
// out and counted, the rest is used: a box goes on with a part of its history rather than not at all. Such a subscriber
// comes back as the newest record of it that is left, or new.
//
// # Shelves
//
// What changes seldom and in small pieces, such as bindings and changes by the operator, goes to shelves in a bbolt file,
// mailweir.db: a transaction is on the disk whole or not at all. A file that is damaged is set aside and a new one begun.
// Either of the two survives damage to the other.
//
// Nothing here is on the way of a packet, and nothing of it may be: every write waits for the disk.
package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/mailweir/mailweir/appliance/durable"
	"github.com/mailweir/mailweir/governor"
)

// Options of Open.
type Options struct {
	// Timeout bounds the wait for another process that has the data. 0 means one second.
	Timeout time.Duration
}

// Store is an open data directory. It is safe for concurrent use.
type Store struct {
	bolt    *bolt.DB
	aside   string
	why     error
	spoilt  atomic.Int64
	written atomic.Int64
	budgets *budgets
	lock    *os.File

	readers atomic.Int64  // of shelves, now
	unread  chan struct{} // has one after the last of them has gone

	writing sync.Mutex // guards the two below; held over the disk
	changes int64      // of shelves, one more than there were in this life
	doubt   bool       // the last one failed

	wiping sync.Mutex // guards the one below; held over the disk
	wiped  int64      // changes, when all was wiped that was free
}

// Open opens mailweir.db and budgets in the directory dir, or makes them. A damaged mailweir.db is renamed to
// mailweir.db.damaged-TIME, where TIME is when it was last written, and a fresh one is begun; Damaged tells. An error
// means that there is no store at all: no access, no space, or another process that has it.
func Open(dir string, o Options) (s *Store, err error) {
	if o.Timeout <= 0 {
		o.Timeout = time.Second
	}
	s = &Store{changes: 1, unread: make(chan struct{}, 1)} // a former life may have left something to wipe
	path := filepath.Join(dir, "mailweir.db")
	s.bolt, err = openBolt(path, o.Timeout)
	if errors.Is(err, errDamaged) {
		s.why = err
		if s.aside, err = setAside(path); err != nil {
			return nil, fmt.Errorf("open %s: %w; and it cannot be set aside: %w", path, s.why, err)
		}
		s.bolt, err = openBolt(path, o.Timeout)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	logs := filepath.Join(dir, "budgets")
	if err = os.Mkdir(logs, 0o700); err == nil {
		err = durable.SyncDir(dir)
	} else if errors.Is(err, os.ErrExist) {
		err = nil
	}
	if err != nil {
		return s, fmt.Errorf("make %s: %w", logs, err)
	}
	if s.lock, err = lock(logs); err != nil {
		return s, err
	}
	if s.budgets, err = openBudgets(directory(logs), &s.written); err != nil {
		return s, fmt.Errorf("open %s: %w", logs, err)
	}
	return s, nil
}

// Damaged tells where a damaged mailweir.db was put by Open and what was wrong with it; "" if it was sound.
func (s *Store) Damaged() (path string, why error) { return s.aside, s.why }

// Torn is how many bytes of a Save were left out that a power cut had torn; that Save had not returned.
func (s *Store) Torn() int64 { return s.budgets.torn }

// Spoilt is how many values on shelves were damaged and left out so far.
func (s *Store) Spoilt() int64 { return s.spoilt.Load() }

// WrittenBytes is how much was written since Open, to budgets and shelves, as the flash sees it: of mailweir.db whole
// pages. What the file system writes for itself is not in it.
func (s *Store) WrittenBytes() int64 { return s.written.Load() }

// Close waits for writes that run and closes the files. A Snapshot that is not over is of no use any more.
func (s *Store) Close() error {
	var err error
	if s.budgets != nil {
		err = s.budgets.close()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
		s.lock = nil
	}
	return errors.Join(err, guard(s.bolt.Close))
}

// Save appends subs to the log and waits for the disk. st is the governor's state that goes with them; without subs it
// is worth saving from time to time, so that a quiet week does not look like a clock that jumped. After an error part of
// subs may be on the disk all the same; saving all of them again is right, and is what the next Save must do.
func (s *Store) Save(subs []governor.Saved, st governor.SavedState) error {
	if err := s.budgets.save(subs, st); err != nil {
		return fmt.Errorf("save %d subscribers: %w", len(subs), err)
	}
	return nil
}

// State is the governor's state at the last Save that is on the disk, as Open found it; false if nothing was ever saved.
func (s *Store) State() (governor.SavedState, bool) { return s.budgets.state, s.budgets.any }

// Load gives everything that Open found to each, as Governor.Restore takes it: in the order in which it was saved, so
// that the last one of a subscriber counts. The value and what it points to are valid until each returns. It returns how
// many records were left out, because they are damaged or were written by a later version, and where the first one was.
func (s *Store) Load(each func(*governor.Saved)) (skipped uint64, first error) {
	return s.budgets.load(each)
}

// SnapshotDue tells whether it is time for a Snapshot.
func (s *Store) SnapshotDue() bool { return s.budgets.due() }

// Logged tells whether anything was saved since the last snapshot.
func (s *Store) Logged() bool { return s.budgets.logged() }

// Snapshot begins a snapshot. The caller gives everything that the governor has to Write, in pieces, meanwhile goes on
// with Save, and ends with Commit or Abort. What is saved from now on need not be in it.
func (s *Store) Snapshot() (*Snapshot, error) {
	w, err := s.budgets.begin()
	if err != nil {
		return nil, fmt.Errorf("begin a snapshot: %w", err)
	}
	return w, nil
}

// update runs one transaction and counts what it writes: the pages it allocated, and one of the two meta pages.
func (s *Store) update(do func(*bolt.Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.changes++
	err := guard(func() error {
		return s.bolt.Update(func(tx *bolt.Tx) error {
			tx.OnCommit(func() {
				stats := tx.Stats()
				s.written.Add(stats.GetPageAlloc() + int64(s.bolt.Info().PageSize))
			})
			return do(tx)
		})
	})
	s.doubt = err != nil
	return err
}
