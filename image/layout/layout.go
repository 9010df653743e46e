// Package layout is what the builder of the image and process 1 have to agree on.
package layout

import "slices"

// Partitions of the disk, by their number in the GPT, with their names there.
const (
	BIOS = 1 + iota // GRUB's core.img for legacy BIOS
	ESP             // FAT16: GRUB for UEFI, grub.cfg, grubenv
	SlotA
	SlotB
	Data // Blank at its start; the first boot grows it and makes ext4
)

// Names of the partitions in the GPT.
var Names = map[int]string{BIOS: "mailweir-bios", ESP: "mailweir-esp", SlotA: "mailweir-a", SlotB: "mailweir-b", Data: "mailweir-data"}

// Blank stands at the very start of a data partition on which nothing was ever kept. Only where process 1 finds it, it makes a file system.
const Blank = "mailweir: blank data partition; the first boot makes a file system here\n"

// Erase stands there when all that is kept on it has to be overwritten before anything else is done: a factory reset.
const Erase = "mailweir: data partition that is to be erased; the next start does so\n"

// Paths in the initramfs, which is the root file system.
const (
	AboutFile = "/etc/mailweir-image.json"
	Modules   = "/lib/modules" // NAME.ko, without directories; modules.dep "NAME: NAME ..."; modules.alias "PATTERN NAME"
)

// Slots are the names of the slots, in the order of their partitions.
var Slots = []string{"a", "b"}

// SlotPartition is the number of a slot's partition in the GPT.
func SlotPartition(slot string) int { return SlotA + slices.Index(Slots, slot) }

// SlotManifest is the first file in a slot's tar: About, as JSON.
const SlotManifest = "manifest.json"

// SlotBytes is the size of a slot's partition.
const SlotBytes = 64 << 20

// GRUB's files in the EFI system partition.
const (
	GRUBConfig = "/grub/grub.cfg"
	GRUBEnv    = "/grub/grubenv"

	// KeptFile is of process 1, and beside them since it has to be read before anything else is mounted: Kept.
	KeptFile = "/grub/network"
)

// What GRUB adds to the kernel's command line.
const (
	OptionSlot = "mailweir.slot" // a or b
	OptionESP  = "mailweir.esp"  // GUID of the EFI system partition that GRUB came from
)
