package image

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"time"

	diskfs "github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/mailweir/mailweir/image/layout"
)

const (
	sector = 512
	mib    = 1 << 20
)

// places says where on the disk each partition lies, in MiB. The ESP is FAT16: go-diskfs's FAT32 is off by one sector at some sizes. Room is
// left before the slots, and data is small, since it grows at the first boot.
var places = []struct {
	typ        gpt.Type
	start, end uint64
}{
	layout.BIOS:  {gpt.BIOSBoot, 1, 2},
	layout.ESP:   {gpt.EFISystemPartition, 2, 50},
	layout.SlotA: {gpt.LinuxFilesystem, 66, 130},
	layout.SlotB: {gpt.LinuxFilesystem, 130, 194},
	layout.Data:  {gpt.LinuxFilesystem, 194, 258},
}

const diskMiB = 260

// writeDisk makes the image file at path, which must not be there.
func writeDisk(path string, b Board, g grub, slotA []byte, when time.Time) (err error) {
	if len(slotA) > layout.SlotBytes {
		return fmt.Errorf("the slot has %d bytes, its partition %d", len(slotA), layout.SlotBytes)
	}
	d, err := diskfs.Create(path, diskMiB*mib, diskfs.SectorSize512)
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	open := true
	defer func() {
		if open {
			err = errors.Join(err, d.Close())
		}
	}()
	// The GUIDs are the same in each image, so that two builds are; the first boot gives the disk its own.
	table := &gpt.Table{ProtectiveMBR: true, GUID: "5B1A0000-0000-4000-8000-000000000001", LogicalSectorSize: sector, PhysicalSectorSize: sector}
	for n, p := range places {
		if n == 0 || p.typ == gpt.BIOSBoot && g.core == nil {
			continue
		}
		table.Partitions = append(table.Partitions, &gpt.Partition{
			Index: n, Start: p.start * mib / sector, End: p.end*mib/sector - 1, Type: p.typ, Name: layout.Names[n],
			GUID: fmt.Sprintf("5B1A0000-0000-4000-8000-0000000000%02X", 0x10+n),
		})
	}
	if err := d.Partition(table); err != nil {
		return fmt.Errorf("partition %s: %w", path, err)
	}
	if err := writeESP(d, b, g, when); err != nil {
		return fmt.Errorf("%s: EFI system partition: %w", path, err)
	}
	open = false
	if err := d.Close(); err != nil {
		return err
	}
	return writeRaw(path, g, slotA)
}

// writeESP makes the file system that firmware and GRUB read. The times in it are when: go-diskfs takes them from the environment and nowhere else
// (https://reproducible-builds.org/specs/source-date-epoch/).
func writeESP(d *disk.Disk, b Board, g grub, when time.Time) error {
	const epoch = "SOURCE_DATE_EPOCH"
	was, set := os.LookupEnv(epoch)
	if err := os.Setenv(epoch, strconv.FormatInt(when.Unix(), 10)); err != nil {
		return err
	}
	defer func() {
		if set {
			os.Setenv(epoch, was)
		} else {
			os.Unsetenv(epoch)
		}
	}()
	fs, err := d.CreateFilesystem(disk.FilesystemSpec{Partition: layout.ESP, FSType: filesystem.TypeFat16, VolumeLabel: "MAILWEIR", Reproducible: true})
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{"/EFI/BOOT/" + b.efiFile, g.efi}, {layout.GRUBConfig, grubCfg}, {layout.GRUBEnv, layout.Env{Active: "a"}.Block()}, {layout.KeptFile, make([]byte, layout.KeptSize)}} {
		if err := fs.Mkdir(path.Dir(f.name)); err != nil {
			return fmt.Errorf("%s: %w", path.Dir(f.name), err)
		}
		h, err := fs.OpenFile(f.name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if _, err := h.Write(f.data); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := h.Close(); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return fs.Close()
}

// writeRaw writes what no file system holds: the slot, the mark of the data partition, and GRUB for legacy BIOS.
func writeRaw(path string, g grub, slotA []byte) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	at := func(part int) int64 { return int64(places[part].start) * mib }
	if _, err := f.WriteAt(slotA, at(layout.SlotA)); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(layout.Blank), at(layout.Data)); err != nil {
		return err
	}
	if g.core == nil {
		return nil
	}
	mbr := make([]byte, sector)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, sector), mbr); err != nil {
		return err
	}
	core := installBIOS(mbr, g.boot, g.core, uint64(at(layout.BIOS))/sector)
	if room := int((places[layout.BIOS].end - places[layout.BIOS].start) * mib); len(core) > room {
		return fmt.Errorf("GRUB has %d bytes, its partition %d", len(core), room)
	}
	if _, err := f.WriteAt(core, at(layout.BIOS)); err != nil {
		return err
	}
	_, err = f.WriteAt(mbr, 0)
	return err
}
