package boot

import (
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	watchdogDevice = "/dev/watchdog"
	watchdogBite   = 60 * time.Second // without a pet for this long the hardware starts the box again
	watchdogPet    = 5 * time.Second
)

// watchdog is the hardware's; without one all of it does nothing.
type watchdog struct {
	mu   sync.Mutex
	file *os.File
}

func openWatchdog(device string, log *slog.Logger) *watchdog {
	w := &watchdog{}
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		log.Warn("no watchdog: a box that hangs stays so", "err", err)
		return w
	}
	w.file = f
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, int(watchdogBite/time.Second)); err != nil {
		log.Warn("the watchdog keeps its own time", "err", err)
	}
	return w
}

func (w *watchdog) pet() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file != nil {
		w.file.Write([]byte{1}) // what cannot be petted bites, as it should
	}
}

// whileBusy pets during a step that may take long on a slow disk, five minutes at most; the function it returns ends that.
func (w *watchdog) whileBusy() (done func()) {
	end := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(watchdogPet)
		defer tick.Stop()
		for range 5 * time.Minute / watchdogPet {
			select {
			case <-tick.C:
				w.pet()
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-ended }
}

// close sets the timer anew for the time that the reboot takes, and does not disarm it: a reboot that hangs is ended, too.
func (w *watchdog) close() { w.pet() }

// disarm keeps it from starting a box again that was powered off: 'V' is the magic close of Documentation/watchdog/watchdog-api.rst.
func (w *watchdog) disarm() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	_, err := w.file.WriteString("V")
	err = errors.Join(err, w.file.Close())
	w.file = nil
	return err
}
