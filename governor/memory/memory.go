// Package memory gives memory in huge pages, where the kernel has some to give.
//
// A table of a million subscribers is looked into at random. With pages of 4 KiB nearly every look then waits for the
// processor to find the page first, which in a virtual machine takes as long as the look itself. Transparent huge pages are
// given to Go's heap only where the kernel is set to give them to everybody (transparent_hugepage=always); where it is set
// to madvise, they have to be asked for, and that is what this package does.
package memory

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a huge page on the processors that have them in this size; on others the alignment does no harm.
const hugePage = 2 << 20

// Huge gives size bytes of zeroed memory that begin at a huge page, outside of Go's heap. They are never given back: it is
// for what lives as long as the process. nil: the kernel has none.
func Huge(size int) []byte {
	at, err := unix.MmapPtr(-1, 0, nil, uintptr(size+hugePage), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil
	}
	skip := -uintptr(at) & (hugePage - 1) // what is left over at both ends is never touched and takes no memory
	b := unsafe.Slice((*byte)(unsafe.Add(at, skip)), size)
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // without them it is slower, no more
	return b
}
