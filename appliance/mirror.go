package appliance

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// mirrorPath is where the chain's state is kept in memory, beside the disk's; "" where there is no memory for it, which the log says. It is of this box and this data directory: several may
// run on one machine.
func (a *Appliance) mirrorPath() string {
	if len(a.opt.RunDirs) == 0 {
		return ""
	}
	data, err := filepath.Abs(a.opt.DataDir)
	var errs []error
	for _, dir := range a.opt.RunDirs {
		if err = errors.Join(err, inMemory(dir)); err == nil {
			sum := sha256.Sum256([]byte(data))
			return filepath.Join(dir, "records-"+a.box+"-"+hex.EncodeToString(sum[:4])+".state")
		}
		errs, err = append(errs, err), nil
	}
	a.log.Warn("the number of the last record is kept on the disk only; one that hangs may have it given twice after a crash", "err", errors.Join(errs...))
	return ""
}

// inMemory makes a directory, unless it is there, and says why it does not lie in memory or is not ours alone.
func inMemory(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; !info.IsDir() || int(owner) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is %v of user %d: it must be a directory that only this one can write to", dir, info.Mode(), owner)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if kind := uint32(fs.Type); kind != unix.TMPFS_MAGIC && kind != unix.RAMFS_MAGIC {
		return fmt.Errorf("%s is not in memory: its file system is of type %#x, not tmpfs", dir, kind)
	}
	return nil
}
