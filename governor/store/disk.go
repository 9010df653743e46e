package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/mailweir/mailweir/appliance/durable"
)

// disk is one directory of files, as the budgets need it. What was written is sure only after file.Sync, and a name
// that was made, changed or removed only after disk.sync: until then a power cut may keep it, lose it or keep a part.
type disk interface {
	names() ([]string, error)
	create(name string) (file, error)             // an error if there is one already
	open(name string, toWrite bool) (file, error) // an error if there is none
	rename(from, to string) error                 // at once: either the old one is there or the new one
	remove(name string) error
	sync() error
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error
}

// directory is a disk in the file system.
type directory string

func (d directory) names() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (d directory) create(name string) (file, error) {
	return d.get(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (d directory) open(name string, toWrite bool) (file, error) {
	if toWrite {
		return d.get(name, os.O_RDWR)
	}
	return d.get(name, os.O_RDONLY)
}

func (d directory) get(name string, flag int) (file, error) {
	f, err := os.OpenFile(filepath.Join(string(d), name), flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d directory) rename(from, to string) error {
	return os.Rename(filepath.Join(string(d), from), filepath.Join(string(d), to))
}

func (d directory) remove(name string) error { return os.Remove(filepath.Join(string(d), name)) }

func (d directory) sync() error { return durable.SyncDir(string(d)) }

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Sync leaves out what a reader does not need, as the time of the last change.
func (f osFile) Sync() error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("fdatasync "+f.Name(), err)
		}
	}
}

// lock takes the directory for this process alone, until the file is closed. Another process that has it is an error.
func lock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s, which another process may have: %w", dir, err), f.Close())
	}
	return f, nil
}
