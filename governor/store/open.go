package store

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"syscall"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// errDamaged marks what is wrong with the file's content, as against what is wrong with the world around it.
var errDamaged = errors.New("the file is damaged")

// open opens path and reads all of it once, so that damage shows now and not in the middle of work.
func open(path string, o Options) (*bolt.DB, error) {
	var file *os.File
	var db *bolt.DB
	err := guard(func() (err error) {
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout:      o.Timeout,
			FreelistType: bolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag, mode)
				file = f
				return f, err
			},
		})
		return classify(err)
	})
	if err == nil {
		if err = verify(db); err == nil {
			return db, nil
		}
		if closeErr := guard(db.Close); closeErr != nil {
			err = errors.Join(err, closeErr)
		}
		return nil, err
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
// may run, which is thorough but in a goroutine of its own. Then it makes the buckets that are not there.
func verify(db *bolt.DB) error {
	return guard(func() error {
		info, err := os.Stat(db.Path())
		if err != nil {
			return err
		}
		if err := db.View(func(tx *bolt.Tx) error {
			if tx.Size() > info.Size() {
				return fmt.Errorf("%w: only %d bytes of %d are there", errDamaged, info.Size(), tx.Size())
			}
			return readAll(tx)
		}); err != nil {
			return err
		}
		missing := false
		if err := db.View(func(tx *bolt.Tx) error {
			var first error
			for err := range tx.Check() {
				if first == nil {
					first = fmt.Errorf("%w: %w", errDamaged, err)
				}
			}
			for _, name := range buckets {
				missing = missing || tx.Bucket(name) == nil
			}
			return first
		}); err != nil || !missing {
			return err
		}
		return db.Update(func(tx *bolt.Tx) error {
			for _, name := range buckets {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			return nil
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
			_, err := sum.Write(v) // every byte is read, so that a fault happens here
			return err
		})
	})
}
