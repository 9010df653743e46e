// Package store keeps what the governor knows on disk, in a bbolt file: one value per subscriber, each with a version
// and a checksum, saved in transactions of a bounded size off the packet path.
//
// A power cut costs at most what was changed since the last Save; a transaction is on the disk whole or not at all. A
// file that is damaged is set aside and a new one begun: a box goes on without its history rather than not at all.
package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/mailweir/mailweir/governor"
)

// MaxKeys is how many subscribers are saved in one transaction at most.
const MaxKeys = 1000

// keepDamaged is how many damaged files are kept; older ones are deleted, since flash is small.
const keepDamaged = 3

var (
	subscribersBucket = []byte("subscribers") // id -> value
	stateBucket       = []byte("state")       // what belongs to all of them
	metaBucket        = []byte("meta")        // small things of others, see PutMeta

	buckets = [][]byte{subscribersBucket, stateBucket, metaBucket}

	savedAtKey = []byte("saved_at") // wall clock of the last Save, Unix nanoseconds
	clockKey   = []byte("clock")    // the governor's clock at the last Save, nanoseconds
	casesKey   = []byte("cases")    // case numbers given out
)

// Options of Open.
type Options struct {
	// Timeout bounds the wait for the file's lock, which another process may hold. 0 means one second.
	Timeout time.Duration
}

// Store is an open file. It is safe for concurrent use.
type Store struct {
	db      *bolt.DB
	damaged string
	why     error
	skipped atomic.Int64
	written atomic.Int64
}

// Open opens path or creates it. A damaged file is renamed to path.damaged-TIME, where TIME is when it was last
// written, and a fresh one is begun; Damaged tells. An error means that there is no store at all: no access, no space,
// or another process that has it.
func Open(path string, o Options) (*Store, error) {
	if o.Timeout <= 0 {
		o.Timeout = time.Second
	}
	db, err := open(path, o)
	if err == nil {
		return &Store{db: db}, nil
	}
	if !errors.Is(err, errDamaged) {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	aside, asideErr := setAside(path)
	if asideErr != nil {
		return nil, fmt.Errorf("open %s: %w; and it cannot be set aside: %w", path, err, asideErr)
	}
	if db, errAgain := open(path, o); errAgain == nil {
		return &Store{db: db, damaged: aside, why: err}, nil
	} else {
		return nil, fmt.Errorf("open %s anew: %w", path, errAgain)
	}
}

// Damaged tells where a damaged file was put by Open and what was wrong with it; "" if it was sound.
func (s *Store) Damaged() (path string, why error) { return s.damaged, s.why }

// Skipped is how many values Load could not read and left out.
func (s *Store) Skipped() int64 { return s.skipped.Load() }

// WrittenBytes is how much was written to the file since Open: whole pages, as the flash sees it.
func (s *Store) WrittenBytes() int64 { return s.written.Load() }

// Close waits for running transactions and closes the file.
func (s *Store) Close() error { return guard(s.db.Close) }

// Save writes subs, and deletes those that are gone, in transactions of at most MaxKeys, each with st. After an error part of subs may have been saved; saving all of them again is right.
func (s *Store) Save(subs []governor.Saved, st governor.SavedState) error {
	if len(subs) == 0 {
		return s.save(nil, st)
	}
	for part := range slices.Chunk(subs, MaxKeys) {
		if err := s.save(part, st); err != nil {
			return fmt.Errorf("save %d subscribers: %w", len(part), err)
		}
	}
	return nil
}

func (s *Store) save(subs []governor.Saved, st governor.SavedState) error {
	subs = slices.Clone(subs)
	slices.SortStableFunc(subs, func(a, b governor.Saved) int { return cmp.Compare(a.Subscriber, b.Subscriber) })
	return s.update(func(tx *bolt.Tx) error {
		b, state := tx.Bucket(subscribersBucket), tx.Bucket(stateBucket)
		last, clock, cases := number(state.Get(clockKey)), int64(st.Clock), max(number(state.Get(casesKey)), int64(st.Cases))
		for i := range subs {
			v := &subs[i]
			var err error
			switch {
			case v.Subscriber == "":
			case v.Gone:
				err = b.Delete([]byte(v.Subscriber))
			default:
				err = b.Put([]byte(v.Subscriber), encode(make([]byte, 0, 192), v))
			}
			if err != nil {
				return fmt.Errorf("subscriber %q: %w", v.Subscriber, err)
			}
		}
		if err := putNumber(state, casesKey, cases); err != nil || clock < last || clock == 0 {
			return err // the wall clock is kept only with the clock that belongs to it
		}
		if err := putNumber(state, clockKey, clock); err != nil {
			return err
		}
		return putNumber(state, savedAtKey, st.Wall.UnixNano())
	})
}

func putNumber(b *bolt.Bucket, key []byte, n int64) error {
	return b.Put(key, binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func number(b []byte) int64 {
	if len(b) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

// Load gives everything saved and the state of the last Save, as Governor.Restore takes it. Nothing was ever saved:
// nothing is given. A value that cannot be read is left out and counted in Skipped.
func (s *Store) Load() (subs []governor.Saved, st governor.SavedState, err error) {
	err = guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			state := tx.Bucket(stateBucket)
			if state.Get(savedAtKey) == nil {
				return nil
			}
			st = governor.SavedState{Wall: time.Unix(0, number(state.Get(savedAtKey))),
				Clock: time.Duration(number(state.Get(clockKey))), Cases: uint64(number(state.Get(casesKey)))}
			subs = make([]governor.Saved, 0, tx.Bucket(subscribersBucket).Inspect().KeyN)
			return tx.Bucket(subscribersBucket).ForEach(func(k, v []byte) error {
				one, ok := decode(v)
				if !ok || v == nil {
					s.skipped.Add(1)
					return nil
				}
				one.Subscriber = string(k)
				subs = append(subs, one)
				return nil
			})
		})
	})
	if err != nil {
		return nil, governor.SavedState{}, fmt.Errorf("load subscribers: %w", err)
	}
	return subs, st, nil
}

// PutMeta keeps a small value of somebody else, such as the box's id, under a name of their own.
func (s *Store) PutMeta(name string, value []byte) error {
	err := s.update(func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put([]byte(name), value) })
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

// Meta is what PutMeta kept; nil if nothing.
func (s *Store) Meta(name string) (value []byte, err error) {
	err = guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			value = slices.Clone(tx.Bucket(metaBucket).Get([]byte(name)))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	return value, nil
}

// update runs one transaction and counts what it writes: the pages it allocated, and one of the two meta pages.
func (s *Store) update(do func(*bolt.Tx) error) error {
	return guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			tx.OnCommit(func() {
				stats := tx.Stats()
				s.written.Add(stats.GetPageAlloc() + int64(s.db.Info().PageSize))
			})
			return do(tx)
		})
	})
}

// guard turns a panic of bbolt into an error: it panics on pages that make no sense, and reading beyond the end of a
// file that was cut short is a fault.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	return do()
}

func setAside(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	base := path + ".damaged-" + info.ModTime().UTC().Format("20060102T150405.000Z")
	aside := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s-%d", base, n)
	}
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	old, err := filepath.Glob(path + ".damaged-*")
	if err != nil {
		return "", err
	}
	slices.Sort(old)
	for _, o := range old[:max(0, len(old)-keepDamaged)] {
		if o != aside {
			if err := os.Remove(o); err != nil {
				return "", err
			}
		}
	}
	return aside, syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
