package appliance

import (
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memoryHere is how much the box may use: what the machine has, or less where a control group
// bounds it. 0: nobody knows.
func memoryHere() uint64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	all := uint64(info.Totalram) * uint64(info.Unit)
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return all
	}
	return min(all, groupMemory("/sys/fs/cgroup", string(groups), all))
}

// groupMemory is the tightest bound of the groups in /proc/self/cgroup and of those above
// them, in either version of cgroups; most where there is none.
func groupMemory(root, groups string, most uint64) uint64 {
	for line := range strings.Lines(groups) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		mount, file := root, "memory.max" // version 2
		if controllers != "" {
			if controllers != "memory" && !strings.Contains(","+controllers+",", ",memory,") {
				continue
			}
			mount, file = filepath.Join(root, controllers), "memory.limit_in_bytes"
		}
		for at := filepath.Clean("/" + path); ; at = filepath.Dir(at) {
			text, err := os.ReadFile(filepath.Join(mount, at, file))
			if n, bad := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil && n > 0 {
				most = min(most, n) // "max" is no number
			}
			if at == "/" {
				break
			}
		}
	}
	return most
}

// listShare is the part of the memory that an uploaded list may have: it is there some times over until it is taken, beside what it says.
const listShare = 16

// sizes are how large the parts become that are bounded by memory. At 256 MB the kernel's
// part of the fast lane is 14 MB, 11 of them at once; from 1 GB on nothing grows any more
// but the flows that are followed.
type sizes struct {
	flows, sources, leases, blocked, metered, ring int // of the fast lane
	pairs                                          int // of addresses whose tags are known
	followed                                       int // flows known at once
	socket                                         int // of each queue, in bytes
}

func sizesFor(memory uint64) sizes {
	// part is memory/each as a power of two, within bounds.
	part := func(each uint64, least, most int) int {
		n := memory / each
		if n == 0 {
			return least
		}
		return min(max(1<<(bits.Len64(n)-1), least), most)
	}
	if memory == 0 {
		memory = 1 << 30
	}
	return sizes{
		flows: part(8<<10, 1<<12, 1<<17), sources: part(8<<10, 1<<12, 1<<17), leases: part(16<<10, 1<<12, 1<<16),
		blocked: part(64<<10, 1<<10, 1<<14), metered: part(16<<10, 1<<12, 1<<16), ring: part(128, 1<<20, 8<<20),
		pairs: part(8<<10, 1<<12, 1<<16), followed: part(16<<10, 1<<12, 1<<17), socket: part(32, 1<<20, 32<<20),
	}
}

// heapLimit is what Go's memory is kept below, if it can be: a quarter of the box is left
// to the kernel and to what is not Go's, and at least 128 MB of a small one, but never more
// than half.
func heapLimit(memory uint64) uint64 {
	return memory - max(memory/4, min(128<<20, memory/2))
}
