package image

import (
	"fmt"
	"runtime"
)

// Board is a kind of machine that an image is made for.
type Board struct {
	Arch      string // Go's and Debian's name of the processor
	kernel    string // Debian's metapackage, which depends on the kernel of the day
	console   string // the serial console, as the kernel wants it named
	efi       string // package with GRUB's modules for UEFI
	efiFormat string // as grub-mkimage calls it
	efiFile   string // where firmware looks for a boot loader on a disk (UEFI 2.10, 3.5.1.1)
	bios      string // package with GRUB's modules for legacy BIOS; "": the processor has none
}

// Boards are those that images can be made for.
var Boards = map[string]Board{
	"amd64": {
		Arch: "amd64", kernel: "linux-image-amd64", console: "ttyS0,115200",
		efi: "grub-efi-amd64-bin", efiFormat: "x86_64-efi", efiFile: "BOOTX64.EFI", bios: "grub-pc-bin",
	},
	"arm64": {
		Arch: "arm64", kernel: "linux-image-arm64", console: "ttyAMA0,115200",
		efi: "grub-efi-arm64-bin", efiFormat: "arm64-efi", efiFile: "BOOTAA64.EFI",
	},
}

// The suites that packages come from. The kernel is the newer one, for the means that the fast lane needs; GRUB is the older one, whose grub-mkimage
// runs on machines of either.
const (
	kernelSuite = "trixie"
	grubSuite   = "bookworm"
)

// want is a package that the lock file has to have.
type want struct {
	name, arch, suite string
	meta              bool // what it depends on is wanted, not itself
}

// wants are the packages of all boards, and grub-mkimage for machines that build them.
func wants() []want {
	all := []want{
		{name: "grub-common", arch: "amd64", suite: grubSuite},
		{name: "grub-common", arch: "arm64", suite: grubSuite},
		{name: "ca-certificates", arch: "all", suite: grubSuite},
	}
	for _, arch := range []string{"amd64", "arm64"} {
		b := Boards[arch]
		all = append(all, want{name: b.kernel, arch: arch, suite: kernelSuite, meta: true}, want{name: b.efi, arch: arch, suite: grubSuite})
		if b.bios != "" {
			all = append(all, want{name: b.bios, arch: arch, suite: grubSuite})
		}
	}
	return all
}

// parts are the packages that one board's image is made of.
type parts struct{ kernel, tool, efi, bios, roots Package }

func (b Board) parts(l Lock) (p parts, err error) {
	for _, one := range []struct {
		to         *Package
		name, arch string
	}{
		{&p.kernel, "linux-image-*", b.Arch},
		{&p.tool, "grub-common", runtime.GOARCH},
		{&p.efi, b.efi, b.Arch},
		{&p.bios, b.bios, b.Arch},
		{&p.roots, "ca-certificates", "all"},
	} {
		if one.name == "" {
			continue
		}
		if *one.to, err = l.find(one.name, one.arch); err != nil {
			return p, fmt.Errorf("image for %s: %w", b.Arch, err)
		}
	}
	return p, nil
}

// Packages are what the image of this board is made of, from the lock file.
func (b Board) Packages(l Lock) ([]Package, error) {
	p, err := b.parts(l)
	if err != nil {
		return nil, err
	}
	all := []Package{p.kernel, p.tool, p.efi, p.roots}
	if b.bios != "" {
		all = append(all, p.bios)
	}
	return all, nil
}
