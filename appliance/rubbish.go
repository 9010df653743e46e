package appliance

import (
	"os"
	"runtime/debug"
)

// collectLess makes Go's garbage collector begin not before a certain amount of memory is
// in use, however little of it lives. Without that a box with few subscribers and much
// mail, which leaves behind some kilobytes a session, collects rubbish several times a
// second. What it returns is to be kept for as long: an allocation that nobody ever
// touches, so that it takes no memory by itself; the collector counts it as living, and
// waits until as much again is there. Who sets GOGC knows better.
//
// From then on until collect is called nothing is collected at all, up to that limit: all that a box reads at its start
// is there to stay.
func collectLess() (ballast []byte, collect func()) {
	if os.Getenv("GOGC") != "" {
		return nil, func() {}
	}
	all := memoryHere()
	if all == 0 {
		return nil, func() {}
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(heapLimit(all))) // from there on it collects as often as it takes
	}
	usual := debug.SetGCPercent(-1)
	return make([]byte, min(all/16, 128<<20)), func() { debug.SetGCPercent(usual) }
}
