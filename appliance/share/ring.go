package share

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
)

// maxPlaces bounds a ring's file to 67 MB.
const maxPlaces = 1 << 20

// ring is the file of one step. It is not safe for concurrent use.
type ring struct {
	f      *os.File
	step   Step
	places int64
}

// The first place of a file is its header.
const magic = "mailweir share 1"

func header(step Step, places int64) []byte {
	b := make([]byte, place)
	copy(b, magic)
	b[len(magic)] = byte(step)
	binary.LittleEndian.PutUint64(b[24:], uint64(places))
	return b
}

func placesFor(step Step, retention time.Duration) int64 {
	return min(max(int64((retention+step.Length()-1)/step.Length()), 1)+1, maxPlaces)
}

// openRing opens a file or makes it. One that had room for another number of steps is written anew, with the steps there is
// room for, the newest first; one that is none of ours is set aside, which aside tells.
func openRing(path string, step Step, retention time.Duration, now time.Time) (r *ring, aside string, err error) {
	places := placesFor(step, retention)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, "", err
	}
	r = &ring{f: f, step: step, places: places}
	head := make([]byte, place)
	n, err := f.ReadAt(head, 0)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		_, err = f.WriteAt(header(step, places), 0)
		return r, "", r.orClose(err)
	case err != nil && !errors.Is(err, io.EOF):
		return nil, "", r.orClose(err)
	case bytes.Equal(head, header(step, places)):
		return r, "", nil
	}
	old := int64(binary.LittleEndian.Uint64(head[24:]))
	if !bytes.Equal(head, header(step, old)) || old < 1 || old > maxPlaces {
		aside = path + ".damaged"
		if err := errors.Join(f.Close(), os.Rename(path, aside), durable.SyncDir(filepath.Dir(path))); err != nil {
			return nil, "", err
		}
		r, _, err = openRing(path, step, retention, now)
		return r, aside, err
	}
	r.places = old
	r, err = r.resized(path, places, now.Add(-retention).Unix())
	return r, "", err
}

func (r *ring) orClose(err error) error {
	if err != nil {
		r.f.Close()
	}
	return err
}

// resized is the ring with another number of places, without what began before oldest.
func (r *ring) resized(path string, places, oldest int64) (*ring, error) {
	defer r.f.Close()
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	next := &ring{f: f, step: r.step, places: places}
	_, err = f.WriteAt(header(r.step, places), 0)
	err = errors.Join(err, r.each(func(begin int64, c Count) error {
		if there, _, ok, err := next.at(begin); err != nil || ok && there > begin || begin < oldest {
			return err // the newer one stays
		}
		return next.put(begin, c)
	}))
	if err = errors.Join(err, f.Sync()); err == nil {
		err = errors.Join(os.Rename(path+".new", path), durable.SyncDir(filepath.Dir(path)))
	}
	if err != nil {
		return nil, next.orClose(fmt.Errorf("resize %s: %w", path, err))
	}
	return next, nil
}

// offset is where a step has its place.
func (r *ring) offset(begin int64) int64 {
	n := begin / int64(r.step.Length()/time.Second) % r.places
	return place * (1 + (n+r.places)%r.places)
}

// at reads the place of a step, whatever step it holds.
func (r *ring) at(begin int64) (there int64, c Count, ok bool, err error) {
	b := make([]byte, place)
	if _, err := r.f.ReadAt(b, r.offset(begin)); err != nil {
		if errors.Is(err, io.EOF) { // not written yet
			err = nil
		}
		return 0, c, false, err
	}
	there, c, ok = decode(b)
	return there, c, ok, nil
}

// get reads a step; nothing is no error.
func (r *ring) get(begin int64) (Count, error) {
	there, c, ok, err := r.at(begin)
	if !ok || there != begin {
		return Count{}, err
	}
	return c, nil
}

func (r *ring) put(begin int64, c Count) error {
	b := encode(begin, c)
	_, err := r.f.WriteAt(b[:], r.offset(begin))
	return err
}

// each gives every step that the file holds, in no order.
func (r *ring) each(f func(begin int64, c Count) error) error {
	b := make([]byte, 1024*place)
	for at := int64(place); ; at += int64(len(b)) {
		n, err := r.f.ReadAt(b, at)
		for i := 0; i+place <= n; i += place {
			if begin, c, ok := decode(b[i : i+place]); ok {
				if err := f(begin, c); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
