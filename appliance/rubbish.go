package appliance

import (
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// collectLess makes Go's garbage collector begin not before a certain amount of memory is
// in use, however little of it lives. Without that a box with few subscribers and much
// mail, which leaves behind some kilobytes a session, collects rubbish several times a
// second. What is given away for it is an allocation that nobody ever touches, so that it
// takes no memory by itself; the collector counts it as living, and waits until as much
// again is there. Who sets GOGC knows better.
func collectLess() {
	if os.Getenv("GOGC") != "" {
		return
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return
	}
	all := uint64(info.Totalram) * uint64(info.Unit)
	ballast = make([]byte, min(all/16, 128<<20))
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(all / 2)) // from there on it collects as often as it takes
	}
}

// ballast is what collectLess gives away.
var ballast []byte
