package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/mailweir/mailweir/appliance/durable"
)

// keepDamaged is how many damaged files are kept; older ones are deleted, since flash is small.
const keepDamaged = 3

// damagedAt is what follows the name of a file that was put aside, before the time at which it was last written.
const damagedAt = ".damaged-"

// errDamaged marks what is wrong with the file's content, as against what is wrong with the world around it.
var errDamaged = errors.New("the file is damaged")

// openBolt opens path and reads all of it once, so that damage shows now and not in the middle of work.
func openBolt(path string, timeout time.Duration) (*bolt.DB, error) {
	if err := lookAtPages(path, timeout); err != nil {
		return nil, err
	}
	db, err := guardedOpen(path, &bolt.Options{Timeout: timeout, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	if err = verify(db); err == nil {
		return db, nil
	}
	return nil, errors.Join(err, guard(db.Close))
}

// guardedOpen is bolt.Open for a file that may be damaged.
func guardedOpen(path string, o *bolt.Options) (db *bolt.DB, err error) {
	var file *os.File
	o.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, mode)
		file = f
		return f, err
	}
	err = guard(func() (err error) {
		db, err = bolt.Open(path, 0o600, o)
		return classify(err)
	})
	if err == nil {
		return db, nil
	}
	if file != nil { // a panic in bbolt leaves it open and locked
		if closeErr := file.Close(); closeErr != nil && !errors.Is(closeErr, os.ErrClosed) {
			err = errors.Join(err, closeErr)
		}
	}
	return nil, err
}

// classify tells damage from a world that has no access, no space or no lock for us.
func classify(err error) error {
	var pathErr *fs.PathError
	var errno syscall.Errno
	switch {
	case err == nil, errors.Is(err, berrors.ErrTimeout), errors.As(err, &pathErr), errors.As(err, &errno):
		return err
	}
	return fmt.Errorf("%w: %w", errDamaged, err)
}

// verify reads every page that is in use, in this goroutine, where a fault can be caught; only then bbolt's own check
// may run, which is thorough but in a goroutine of its own.
func verify(db *bolt.DB) error {
	return guard(func() error {
		if err := db.View(readAll); err != nil {
			return err
		}
		return db.View(func(tx *bolt.Tx) error {
			var first error
			for err := range tx.Check() {
				if first == nil {
					first = fmt.Errorf("%w: %w", errDamaged, err)
				}
			}
			return first
		})
	})
}

func readAll(tx *bolt.Tx) error {
	sum := crc32.New(castagnoli)
	return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			if v == nil {
				return fmt.Errorf("%w: bucket %q in bucket %q", errDamaged, k, name)
			}
			_, err := sum.Write(k) // every byte is read, so that a fault happens here
			if err == nil {
				_, err = sum.Write(v)
			}
			return err
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

// ForgetDamaged deletes damaged files that Open has put aside and that were last written before a time: they have addresses, too.
func (s *Store) ForgetDamaged(before time.Time) error {
	old, err := filepath.Glob(s.bolt.Path() + damagedAt + "*")
	for _, path := range old {
		info, e := os.Stat(path)
		if e == nil && info.ModTime().Before(before) {
			e = erase(path, info.Size())
		}
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("delete old damaged databases: %w", err)
	}
	return nil
}

// erase overwrites a file before it deletes it.
func erase(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	zero := make([]byte, syncEvery)
	for at := int64(0); at < size && err == nil; at += syncEvery {
		if _, err = f.WriteAt(zero[:min(syncEvery, size-at)], at); err == nil {
			err = f.Sync()
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

func setAside(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	base := path + damagedAt + info.ModTime().UTC().Format("20060102T150405.000Z")
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
	old, err := filepath.Glob(path + damagedAt + "*")
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
	return aside, durable.SyncDir(filepath.Dir(path))
}
