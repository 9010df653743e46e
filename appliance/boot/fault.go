//go:build faulty

package boot

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A binary with this tag is for tests of updates that fail. How it does so is the end of its version.

// breakDown ends the box early.
func breakDown(version string) {
	switch version[strings.LastIndexByte(version, '-')+1:] {
	case "panic": // the kernel does when process 1 ends
		os.Exit(1)
	case "hang":
		for {
			time.Sleep(time.Hour)
		}
	case "reboot":
		if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
			panic(err)
		}
	}
}

// mute has the box come up and govern nothing.
func mute(version string) bool { return strings.HasSuffix(version, "-mute") }
