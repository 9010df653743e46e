package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/ext4"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/image/layout"
)

const (
	sector = 512
	// mostData bounds the data partition: go-diskfs writes every inode table, which takes half a minute for 120 GB.
	mostData = 4 << 30
)

// openData mounts the data partition of the disk that the box was started from. A blank one (and it says so itself) is grown and
// gets a file system first; one that is neither blank nor can be mounted is left as it is, and that is an error. forget takes away what is kept of the settings elsewhere.
func openData(dir, esp string, c *console, pet func(), forget func(disk string) error) error {
	disk, part, err := findData("/sys", "/dev", esp)
	if err != nil {
		return err
	}
	if err := keepDisk(disk); err != nil {
		c.say("updates are not possible: %v", err)
	}
	if err := prepare(disk, part, c, pet, func() error { return forget(disk) }, func() error { return errors.Join(grow(disk), reread(disk)) }); err != nil {
		return err
	}
	if err := mountExt4(part, dir); err != nil {
		return fmt.Errorf("mount %s: %w; it was not touched", part, err)
	}
	return nil
}

// prepare has the data partition be one that can be mounted. larger makes it as large as the disk lets it.
func prepare(disk, part string, c *console, pet func(), forget, larger func() error) error {
	state, err := look(part)
	if err != nil {
		return err
	}
	if state == erasing {
		c.say("factory reset: erasing settings and history on %s", part)
		if err := eraseData(part, pet, forget); err != nil {
			return err
		}
		c.say("factory reset: they are erased")
		state = blank
	}
	switch state {
	case blank:
		c.say("first start: making a file system for settings and history on %s", part)
		if err := forget(); err != nil { // a version that knew of no other place may have erased the rest
			c.say("what the ports were for whoever had the box before may come back: %v", err)
		}
		if err := larger(); err != nil {
			return fmt.Errorf("grow the data partition of %s: %w", disk, err)
		}
		if err := makeFS(part); err != nil {
			return fmt.Errorf("make a file system on %s: %w", part, err)
		}
	case unknown:
		return fmt.Errorf("%s is neither blank nor has it a file system of ours; it was not touched", part)
	}
	return nil
}

// findData finds the disk whose EFI system partition has this GUID, and its data partition. Without a GUID there may only be one disk
// with our partitions.
func findData(sys, dev, esp string) (disk, part string, err error) {
	all, err := filepath.Glob(filepath.Join(sys, "class/block/*/uevent"))
	if err != nil {
		return "", "", err
	}
	found := 0
	for _, u := range all {
		if !strings.Contains("\n"+readString(u)+"\n", "\nPARTNAME="+layout.Names[layout.Data]+"\n") {
			continue
		}
		where, err := filepath.EvalSymlinks(filepath.Dir(u))
		if err != nil {
			continue // it was pulled out
		}
		d := filepath.Join(dev, filepath.Base(filepath.Dir(where)))
		if ok, err := startedFrom(d, esp); err != nil {
			return "", "", fmt.Errorf("%s: %w", d, err)
		} else if ok {
			disk, part = d, filepath.Join(dev, filepath.Base(where))
			found++
		}
	}
	switch found {
	case 0:
		return "", "", errors.New("no disk has the partition " + layout.Names[layout.Data])
	case 1:
		return disk, part, nil
	}
	return "", "", fmt.Errorf("%d disks carry this image, and which of them the box was started from cannot be told; take the other out", found)
}

// startedFrom tells whether the disk has the EFI system partition with this GUID; "": any will do.
func startedFrom(disk, esp string) (bool, error) {
	if esp == "" {
		return true, nil
	}
	f, err := os.Open(disk)
	if err != nil {
		return false, err
	}
	defer f.Close()
	t, err := gpt.Read(file.New(f, true), sector, sector)
	if err != nil {
		return false, err
	}
	for _, p := range t.Partitions {
		if p.Index == layout.ESP && strings.EqualFold(p.GUID, esp) {
			return true, nil
		}
	}
	return false, nil
}

// state of a data partition.
type state int

const (
	unknown state = iota
	blank
	erasing // it was to be erased, and is not yet, or not all of it
	formatted
)

// look reads what a data partition says of itself. The mark of a blank one goes last when a file system is made, so a power cut meanwhile leaves it blank.
func look(part string) (state, error) {
	f, err := os.Open(part)
	if err != nil {
		return unknown, err
	}
	defer f.Close()
	head := make([]byte, 2048)
	if _, err := io.ReadFull(f, head); err != nil {
		return unknown, fmt.Errorf("read %s: %w", part, err)
	}
	if bytes.HasPrefix(head, []byte(layout.Blank)) {
		return blank, nil
	}
	if bytes.HasPrefix(head, []byte(layout.Erase)) {
		return erasing, nil
	}
	if binary.LittleEndian.Uint16(head[1024+0x38:]) == 0xef53 { // s_magic of ext4's superblock
		return formatted, nil
	}
	return unknown, nil
}

// grow makes the data partition as large as the disk lets it, and gives the disk GUIDs of its own, so that another with the same image is told from it.
// The first sector, with GRUB's boot code, is as before: go-diskfs writes the backup first, then the primary, and of the first sector only the table.
func grow(disk string) error {
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	w := file.New(f, false)
	t, err := gpt.Read(w, sector, sector)
	if err != nil {
		return err
	}
	if err := t.Repair(uint64(size)); err != nil {
		return err
	}
	t.GUID = strings.ToUpper(uuid.NewString())
	for _, p := range t.Partitions {
		p.GUID = strings.ToUpper(uuid.NewString())
		if p.Index != layout.Data {
			continue
		}
		end := min(t.LastDataSector(), p.Start+mostData/sector-1)
		end -= (end + 1) % 2048
		if end > p.End {
			p.End, p.Size = end, (end-p.Start+1)*sector
		}
	}
	writable, err := w.Writable()
	if err != nil {
		return err
	}
	if err := t.Write(writable, size); err != nil {
		return err
	}
	return f.Sync()
}

// reread has the kernel read the table of partitions again, and waits for it.
func reread(disk string) error {
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := unix.IoctlRetInt(int(f.Fd()), unix.BLKRRPART)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("read the partitions of %s again: %w", disk, err)
		}
	}
}

// mountExt4 mounts a file system of makeFS, which wrote all tables of inodes: there is nothing for the kernel to do about them.
func mountExt4(part, dir string) error {
	return unix.Mount(part, dir, "ext4", unix.MS_NOATIME|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "errors=remount-ro,noinit_itable")
}

// makeFS makes ext4 on a blank partition, and takes the mark of blankness away when all of it is on the disk.
func makeFS(part string) (err error) {
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if err := formatExt4(f, size); err != nil {
		return err
	}
	if _, err := f.WriteAt(make([]byte, len(layout.Blank)), 0); err != nil {
		return err
	}
	return f.Sync()
}

// The shape of the file system. With other figures go-diskfs makes inode tables that end within a block, and the kernel takes
// that for damage: https://docs.kernel.org/filesystems/ext4/ has s_inodes_per_group in whole blocks of the table.
const (
	block          = 4096
	inodesPerGroup = 8192 // in a group of 128 MiB, one for 16 KiB as mke2fs has it
	groupBytes     = 8 * block * block
	// A group at the end has to hold its own table of inodes, 2 MiB; less than so much is left over.
	leastGroup = 16 << 20
)

func formatExt4(f *os.File, size int64) error {
	if rest := size % groupBytes; rest < leastGroup {
		size -= rest
	}
	if size == 0 {
		return fmt.Errorf("there is no room for a file system: at least %d MiB are needed", leastGroup>>20)
	}
	groups := (size + groupBytes - 1) / groupBytes
	fs, err := ext4.Create(file.New(f, false), size, 0, sector, &ext4.Params{VolumeName: "mailweir", SectorsPerBlock: block / sector,
		InodeCount: uint32(inodesPerGroup * groups), Features: []ext4.FeatureOpt{ext4.WithFeatureReservedGDTBlocksForExpansion(false)}})
	if err != nil {
		return err
	}
	if err := fs.Close(); err != nil {
		return err
	}
	return f.Sync()
}
