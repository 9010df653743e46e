package boot

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/image/layout"
)

// What children ask of process 1: SIGTERM ends all, and orderFile says how; SIGHUP has it look whether bypassFile is there, and
// againFile.
const (
	orderRestart  = "restart" // also without a file
	orderPowerOff = "power off"
	orderErase    = "erase" // and restart
)

var (
	orderFile  = filepath.Join(runDir, "order")
	bypassFile = filepath.Join(runDir, "bypass")
)

// order has process 1 do it.
func order(what string) error {
	if err := os.WriteFile(orderFile, []byte(what), 0o600); err != nil {
		return err
	}
	return unix.Kill(1, unix.SIGTERM)
}

// Restart has process 1 end everything in order, and start the box again.
func Restart() error { return order(orderRestart) }

// FactoryReset has process 1 end everything, and the next start erase all data.
func FactoryReset() error {
	if _, err := dataPartition(); err != nil {
		return err // else the box would start again with all its data
	}
	return order(orderErase)
}

// dataPartition is that of the disk which the box was started from.
func dataPartition() (string, error) {
	return partition("/sys", "/dev", readString(diskFile), layout.Data)
}

func bypassed() bool {
	_, err := os.Stat(bypassFile)
	return err == nil
}

// setBypass has process 1 end governing, or begin it again.
func setBypass(on bool) error {
	err := gone(os.Remove(bypassFile))
	if on {
		err = os.WriteFile(bypassFile, nil, 0o600)
	}
	if err != nil {
		return err
	}
	return unix.Kill(1, unix.SIGHUP)
}
