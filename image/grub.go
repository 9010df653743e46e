package image

import (
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

//go:embed grub.cfg
var grubCfg []byte

// grubModules are built into GRUB; those of the firmware come on top.
var grubModules = strings.Fields("part_gpt fat tar normal linux loadenv test true echo sleep search configfile serial terminal reboot halt minicmd regexp hashsum gcry_sha256")

// grub is what starts a slot, for the ways in which firmware starts it.
type grub struct {
	boot, core []byte // legacy BIOS: the boot sector, and the rest for the BIOS boot partition; nil where there is no BIOS
	efi        []byte
}

// makeGRUB takes grub-mkimage and its modules out of the packages, and runs it.
func (b Board) makeGRUB(ctx context.Context, c *Cache, p parts) (g grub, err error) {
	dir, err := os.MkdirTemp("", "mailweir-grub-")
	if err != nil {
		return g, err
	}
	defer os.RemoveAll(dir)
	save := func(sub string) func(string, []byte) error {
		return func(name string, data []byte) error {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, sub, path.Base(name)), data, 0o755)
		}
	}
	if err := readDeb(ctx, c.path(p.tool), func(n string) bool { return n == "usr/bin/grub-mkimage" }, save(".")); err != nil {
		return g, err
	}
	run := func(format string, deb Package, modules ...string) ([]byte, error) {
		prefix := "usr/lib/grub/" + format + "/"
		if err := readDeb(ctx, c.path(deb), func(n string) bool { return strings.HasPrefix(n, prefix) }, save(format)); err != nil {
			return nil, err
		}
		out := filepath.Join(dir, format+".out")
		args := append([]string{"-d", filepath.Join(dir, format), "-O", format, "-o", out, "-p", "(,gpt2)/grub"}, grubModules...)
		said, err := exec.CommandContext(ctx, filepath.Join(dir, "grub-mkimage"), append(args, modules...)...).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("grub-mkimage for %s: %w: %s", format, err, strings.TrimSpace(string(said)))
		}
		return os.ReadFile(out)
	}
	more := []string{"probe"}
	if b.Arch == "amd64" {
		more = append(more, "efi_gop", "all_video")
	}
	if g.efi, err = run(b.efiFormat, p.efi, more...); err != nil {
		return g, err
	}
	if b.bios == "" {
		return g, nil
	}
	if g.core, err = run("i386-pc", p.bios, "biosdisk", "probe"); err != nil {
		return g, err
	}
	g.boot, err = os.ReadFile(filepath.Join(dir, "i386-pc", "boot.img"))
	return g, err
}

// Offsets in GRUB's boot.img (grub-core/boot/i386/pc/boot.S) and in the first sector of core.img (diskboot.S).
const (
	bootCodeLen      = 0x1b8 // behind it come the disk's signature and the table of partitions
	bootKernelSector = 0x5c  // u64: LBA of core.img
	bootDriveCheck   = 0x66  // two bytes, replaced by nop where the BIOS's drive number is to be believed
	coreBlocklist    = 512 - 12
)

// installBIOS does what grub-bios-setup does, but to bytes and not to a device: the first sector of the disk gets GRUB's boot code, and core.img, which it
// loads, is told where it lies. at is the LBA of the BIOS boot partition.
func installBIOS(mbr, boot, core []byte, at uint64) []byte {
	copy(mbr[:bootCodeLen], boot[:bootCodeLen])
	binary.LittleEndian.PutUint64(mbr[bootKernelSector:], at)
	mbr[bootDriveCheck], mbr[bootDriveCheck+1] = 0x90, 0x90
	core = append(core, make([]byte, -len(core)&511)...)
	binary.LittleEndian.PutUint64(core[coreBlocklist:], at+1)
	return core
}
