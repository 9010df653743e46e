package leases

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// errMoved is a file that was changed or replaced while it was read: the next look will do better.
var errMoved = errors.New("changes while it is read")

// file is one file as a look found it.
type file struct {
	name string
	info os.FileInfo
}

func (f file) same(o file) bool {
	return f.name == o.name && os.SameFile(f.info, o.info) && f.info.Size() == o.info.Size() && f.info.ModTime().Equal(o.info.ModTime())
}

// grew reports whether f may be o with more behind it.
func (f file) grew(o file) bool {
	return f.name == o.name && os.SameFile(f.info, o.info) && f.info.Size() >= o.info.Size()
}

func same(a, b []file) bool { return slices.EqualFunc(a, b, file.same) }

// grown reports whether a is b, but for the last file, which may have grown.
func grown(a, b []file) bool {
	last := len(a) - 1
	return len(a) == len(b) && last >= 0 && same(a[:last], b[:last]) && a[last].grew(b[last])
}

// find looks for the files that make up what path holds, in the order in which they are read. The last is path itself, and
// without it there is an error.
//
// Kea's server renames path to .1 and goes on in a new one. kea-lfc then writes what .2 and .1 come to into .completed, which
// takes the place of both until it is renamed to .2. So Kea reads .completed, or else .2 and .1, and then path.
func find(format Format, path string) ([]file, error) {
	names := []string{path}
	if format == KeaCSV {
		names = []string{path + ".completed", path + ".2", path + ".1", path}
	}
	var all []file
	for _, name := range names {
		info, err := os.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && name != path:
			continue
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%s: there is no such file", path)
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, cause(err))
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s: is not a plain file", name)
		case info.Size() > MaxSize:
			return nil, fmt.Errorf("%s: has %d bytes; at most %d are read", name, info.Size(), MaxSize)
		}
		all = append(all, file{name, info})
	}
	if format == KeaCSV && all[0].name == path+".completed" {
		all = []file{all[0], all[len(all)-1]}
	}
	return all, nil
}

// cause drops the operation and the path of a file error: whoever tells it names the file.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// source is a file that was read, and how far.
type source struct {
	reading
	guard []byte // the last bytes that were read, to know them again
}

const guardSize = 64

// open begins at the front of a file.
func open(format Format, f file) *source {
	return &source{reading: reading{parser: newParser(format), file: f.name}}
}

// more reads on to the end of the file. errMoved: f is another file than before.
func (s *source) more(f file, into *table) error {
	in, err := os.OpenFile(f.name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe that took the file's place would block
	if err != nil {
		return cause(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return cause(err)
	}
	if !os.SameFile(info, f.info) || info.Size() < s.offset {
		return errMoved
	}
	was := make([]byte, len(s.guard))
	if _, err := in.ReadAt(was, s.offset-int64(len(was))); err != nil || !bytes.Equal(was, s.guard) {
		return errMoved
	}
	if _, err := in.Seek(s.offset, io.SeekStart); err != nil {
		return cause(err)
	}
	if err := s.read(io.LimitReader(in, MaxSize), into); err != nil {
		return cause(err)
	}
	s.guard = make([]byte, min(guardSize, s.offset))
	if _, err := in.ReadAt(s.guard, s.offset-int64(len(s.guard))); err != nil {
		return errMoved
	}
	return nil
}
