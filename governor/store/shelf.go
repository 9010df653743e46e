package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Shelf keeps small things of somebody else, each under a key. It is for what changes seldom and must not be lost: every
// call that changes it waits for the disk, and its changes are on the disk all together or not at all. It is safe for
// concurrent use.
type Shelf struct {
	s    *Store
	name []byte
}

// Change is one change of a shelf: to put a value under a key, or to delete what is there.
type Change struct {
	Key, Value []byte
	Delete     bool // Value does not count; that there is nothing is no error
}

// Shelf is the shelf with a name, which is made with the first thing that is put there.
func (s *Store) Shelf(name string) *Shelf { return &Shelf{s, []byte(name)} }

// Put keeps a value. A key may have 1 to 32,768 bytes.
func (f *Shelf) Put(key, value []byte) error { return f.Apply([]Change{{Key: key, Value: value}}) }

// Delete forgets a value.
func (f *Shelf) Delete(key []byte) error { return f.Apply([]Change{{Key: key, Delete: true}}) }

// Apply makes several changes, in their order. The time it takes and the memory grow with their number; some thousands
// are well.
func (f *Shelf) Apply(changes []Change) error {
	if len(changes) == 0 {
		return nil
	}
	err := f.s.update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(f.name)
		if err != nil {
			return err
		}
		for _, c := range changes {
			if c.Delete {
				err = b.Delete(c.Key)
			} else {
				err = b.Put(c.Key, withSum(c.Key, c.Value))
			}
			if err != nil {
				return fmt.Errorf("key %q: %w", c.Key, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("shelf %s: %w", f.name, err)
	}
	return nil
}

// Range gives everything on the shelf to each, in the order of the keys, until it returns an error. Key and value are
// valid until each returns, and each must not change this shelf. What is damaged is left out and counted in Spoilt.
func (f *Shelf) Range(each func(key, value []byte) error) error {
	f.s.readers.Add(1)
	defer f.s.read()
	err := guard(func() error {
		return f.s.bolt.View(func(tx *bolt.Tx) error {
			b := tx.Bucket(f.name)
			if b == nil {
				return nil
			}
			return b.ForEach(func(k, v []byte) error {
				value, ok := checkSum(k, v)
				if !ok {
					f.s.spoilt.Add(1)
					return nil
				}
				return each(k, value)
			})
		})
	})
	if err != nil {
		return fmt.Errorf("shelf %s: %w", f.name, err)
	}
	return nil
}

// withSum is the value with a CRC-32C of key and value behind it: bbolt has none for what it keeps.
func withSum(key, value []byte) []byte {
	b := slices.Grow(slices.Clip(slices.Clone(value)), 4)
	return binary.BigEndian.AppendUint32(b, sumOf(key, value))
}

func checkSum(key, b []byte) (value []byte, ok bool) {
	n := len(b) - 4
	if n < 0 || sumOf(key, b[:n]) != binary.BigEndian.Uint32(b[n:]) {
		return nil, false
	}
	return b[:n:n], true
}

func sumOf(key, value []byte) uint32 {
	return crc32.Update(crc32.Update(uint32(len(key)), castagnoli, key), castagnoli, value)
}
