package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/image/layout"
)

// A factory reset puts a mark at the start of the data partition, where ext4 keeps nothing, and starts the box again. The next start overwrites all
// behind the mark with zeros before it mounts anything, and last of all makes the mark that of a blank partition. So a power cut at any moment
// leaves a partition that is erased at the next start, or one that is erased.

// eraseStep is how much is overwritten, or read back, between two pets of the watchdog.
const eraseStep = 16 << 20

// markErase has the next start erase the data partition.
func markErase(part string) error { return writeHead(part, layout.Erase) }

// writeHead makes the first sector say so.
func writeHead(part, mark string) error {
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	head := make([]byte, sector)
	copy(head, mark)
	_, err = f.WriteAt(head, 0)
	return errors.Join(err, f.Sync(), f.Close())
}

// eraseData overwrites a data partition that is marked so, and makes it blank. also takes away what is kept elsewhere: whichever of the two fails, the other
// is done, and the next start does both again.
func eraseData(part string, pet func(), also func() error) error {
	elsewhere := also()
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(overwriteAll(f, pet), f.Close())
	}
	if err != nil {
		err = fmt.Errorf("erase %s: %w", part, err)
	}
	if err = errors.Join(elsewhere, err); err != nil {
		return err
	}
	return writeHead(part, layout.Blank)
}

// overwriteAll writes zeros behind the first sector, and reads them back.
func overwriteAll(f *os.File, pet func()) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	steps := func(do func(at, n int64) error) error {
		for at := int64(sector); at < size; {
			n := min(eraseStep-at%eraseStep, size-at)
			if err := do(at, n); err != nil {
				return err
			}
			at += n
			pet()
		}
		return nil
	}
	if err := steps(func(at, n int64) error { return zero(f, at, n) }); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil { // it is read from the medium
		return os.NewSyscallError("fadvise", err)
	}
	b := make([]byte, 1<<20)
	return steps(func(at, n int64) error {
		for n > 0 {
			some := b[:min(n, int64(len(b)))]
			if _, err := f.ReadAt(some, at); err != nil {
				return err
			}
			for _, one := range some {
				if one != 0 {
					return fmt.Errorf("what was overwritten with zeros at %d is read back otherwise: the disk is not to be trusted", at)
				}
			}
			at, n = at+int64(len(some)), n-int64(len(some))
		}
		return nil
	})
}

// zero has a disk write zeros, in the way that is the fastest for it; a file gets them written.
func zero(f *os.File, at, n int64) error {
	part := [2]uint64{uint64(at), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&part)))
	if errno != unix.ENOTTY {
		if errno != 0 {
			return os.NewSyscallError("BLKZEROOUT", errno)
		}
		return nil
	}
	_, err := io.Copy(io.NewOffsetWriter(f, at), io.LimitReader(zeros{}, n))
	return err
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
