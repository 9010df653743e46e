// Package frozentest makes file systems that hang, for tests: an ext4 of its own in a file, on a loop device, which the kernel freezes (FIFREEZE, as fsfreeze(8) does):
// whoever writes to it waits until it is thawed, and cannot be killed meanwhile. It needs root.
package frozentest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Disk is a file system. It is thawed and unmounted when the test ends.
type Disk struct {
	Dir string // where it is mounted

	t      testing.TB
	dir    *os.File
	frozen bool
}

// From linux/fs.h.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// New makes one of some MiB.
func New(t testing.TB, mib int) *Disk {
	t.Helper()
	base := t.TempDir()
	image, dir := filepath.Join(base, "image"), filepath.Join(base, "disk")
	err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, int64(mib)<<20), os.Mkdir(dir, 0o700))
	for _, argv := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, dir}} {
		if err == nil {
			var out []byte
			if out, err = exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
				err = fmt.Errorf("%v (it needs root, e2fsprogs and loop devices): %w: %s", argv, err, out)
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	d := &Disk{t: t, Dir: dir}
	if d.dir, err = os.Open(dir); err != nil {
		t.Error(err)
	}
	t.Cleanup(func() {
		d.Thaw()
		if err := errors.Join(d.dir.Close(), unix.Unmount(dir, unix.MNT_DETACH)); err != nil {
			t.Error(err)
		}
	})
	return d
}

// Freeze has everybody wait who writes; what was written is on the disk.
func (d *Disk) Freeze() {
	d.t.Helper()
	if err := d.control(fiFreeze); err != nil {
		d.t.Fatalf("freeze: %v", err)
	}
	d.frozen = true
}

// Thaw ends that.
func (d *Disk) Thaw() {
	d.t.Helper()
	if !d.frozen {
		return
	}
	if err := d.control(fiThaw); err != nil {
		d.t.Errorf("thaw: %v", err)
	}
	d.frozen = false
}

func (d *Disk) control(what uint) error {
	return unix.IoctlSetInt(int(d.dir.Fd()), what, 0)
}
