package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/update"
	"github.com/mailweir/mailweir/image/layout"
)

// ErrNoImage: this machine was not started from an image.
var ErrNoImage = errors.New("this machine was not started from an image of mailweir, so it has no slots; update the program in the way it was installed")

// Supervised tells whether this process is a child of the image's process 1.
func Supervised() bool {
	_, err := os.Stat(layout.AboutFile)
	return err == nil && os.Getppid() == 1
}

// Machine is the box that this process runs on. The error is ErrNoImage where there is none.
func Machine() (*update.Box, error) {
	var a layout.About
	switch text, err := os.ReadFile(layout.AboutFile); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrNoImage
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(text, &a); err != nil {
			return nil, fmt.Errorf("%s: %w", layout.AboutFile, err)
		}
	}
	return machine(a, commandLine(readString("/proc/cmdline")))
}

// StateDir is the data directory in the image, where also the outcome of the last update lies.
const StateDir = stateDir

// diskFile has the disk that the box was started from. The first start gives the disk another GUID than GRUB knows, so it cannot be looked for again.
const diskFile = runDir + "/disk"

func keepDisk(disk string) error {
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(diskFile, []byte(disk), 0o600)
}

func machine(a layout.About, options map[string]string) (*update.Box, error) {
	disk := readString(diskFile)
	if disk == "" {
		return nil, errors.New("it is not known which disk this box was started from")
	}
	esp, err := partition("/sys", "/dev", disk, layout.ESP)
	if err != nil {
		return nil, err
	}
	b := &update.Box{About: a, Running: options[layout.OptionSlot], Env: envFile{esp}, Open: func(slot string) (update.Partition, error) {
		dev, err := partition("/sys", "/dev", disk, layout.SlotPartition(slot))
		if err != nil {
			return nil, err
		}
		f, err := os.OpenFile(dev, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		return device{f}, nil
	}}
	last, err := update.Load(stateDir)
	if err != nil {
		return nil, err
	}
	if last != nil {
		b.Floor = last.Floor
	}
	return b, nil
}

// partition is the device of the disk's partition with this number.
func partition(sys, dev, disk string, number int) (string, error) {
	all, err := filepath.Glob(filepath.Join(sys, "class/block", filepath.Base(disk), "*", "partition"))
	if err != nil {
		return "", err
	}
	for _, f := range all {
		if readString(f) == strconv.Itoa(number) {
			return filepath.Join(dev, filepath.Base(filepath.Dir(f))), nil
		}
	}
	return "", fmt.Errorf("%s has no partition %d (%s)", disk, number, layout.Names[number])
}

// device is a slot's partition.
type device struct{ *os.File }

// Settle also drops what the kernel has in memory of it, so that it is read from the medium.
func (d device) Settle() error {
	if err := d.Sync(); err != nil {
		return err
	}
	return os.NewSyscallError("fadvise", unix.Fadvise(int(d.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// envFile is GRUB's environment block in the EFI system partition, which is mounted only while it is read or written.
type envFile struct{ esp string }

func (e envFile) Read() (env layout.Env, err error) {
	err = e.mounted(unix.MS_RDONLY, func(file string) error {
		b, err := os.ReadFile(file)
		if err == nil {
			env, err = layout.ParseEnv(b)
		}
		return err
	})
	return env, err
}

// Write changes the file's bytes and nothing else of it: GRUB wants it where it is.
func (e envFile) Write(env layout.Env) error {
	return e.mounted(0, func(file string) error { return overwrite(file, env.Block()) })
}

func overwrite(file string, b []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if s, err := f.Stat(); err != nil || s.Size() != int64(len(b)) {
		return errors.Join(err, fmt.Errorf("%s has not the %d bytes that GRUB wants", file, len(b)), f.Close())
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// espType is the file system of an EFI system partition.
var espType = "vfat"

// mounted does something to the file; how is unix.MS_RDONLY or 0. A FAT that is mounted to be written is marked as not whole meanwhile.
func (e envFile) mounted(how uintptr, do func(file string) error) (err error) {
	dir, err := os.MkdirTemp("/run", "esp-")
	if err != nil {
		return err
	}
	if err := unix.Mount(e.esp, dir, espType, how|unix.MS_NOATIME|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return errors.Join(fmt.Errorf("mount %s: %w", e.esp, err), os.Remove(dir))
	}
	defer func() {
		if out := unix.Unmount(dir, 0); out != nil {
			err = errors.Join(err, fmt.Errorf("unmount %s: %w", e.esp, out))
		} else {
			err = errors.Join(err, os.Remove(dir))
		}
	}()
	return do(filepath.Join(dir, layout.GRUBEnv))
}
