// Package durable changes files so that a power cut leaves the old content or the new one, and nothing between.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Suffix is that of the file beside the one that is replaced, while it is written. A process that died may leave one behind, which counts for nothing.
const Suffix = ".tmp"

// Replace puts a file with new content in the place of another, whole or not at all, and has it on the disk when it returns.
// Only its owner may read it.
func Replace(path string, content []byte) error {
	return replace(path, content, func(*os.File) error { return nil })
}

// Rewrite is Replace for a file of the operator's: it keeps the owner and the mode that the file has, and a link to it. A new one is readable by
// its owner only.
func Rewrite(path string, content []byte) error {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Replace(path, content)
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(real)
	if err != nil {
		return err
	}
	return replace(real, content, func(f *os.File) error {
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
				return err
			}
		}
		return f.Chmod(info.Mode().Perm())
	})
}

func replace(path string, content []byte, dress func(*os.File) error) error {
	beside := path + Suffix
	f, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = dress(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(beside))
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir waits until what was made, renamed or removed in a directory is on the disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
