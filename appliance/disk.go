package appliance

import (
	"fmt"
	"sync"
	"time"
)

// saveHangs is how long a save may take before the disk is said to hang.
const saveHangs = 10 * time.Second

// disk knows how saving goes, and never waits for a save to tell.
type disk struct {
	mu    sync.Mutex // never held over the disk
	began time.Time  // when the save that runs now began; zero: none runs
	err   error      // of the last save
}

func (d *disk) begins(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.began = now
}

func (d *disk) ends(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.began, d.err = time.Time{}, err
}

func (d *disk) status(now time.Time) (ok bool, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if took := now.Sub(d.began); !d.began.IsZero() && took > saveHangs {
		return false, fmt.Sprintf("the disk has not answered for %v", took.Round(time.Second))
	}
	if d.err != nil {
		return false, d.err.Error()
	}
	return true, ""
}

// saved tells whether everything that is to be saved can be, and if not why.
func (a *Appliance) saved() (ok bool, why string) {
	if ok, why = a.saver.status(); !ok {
		return false, why
	}
	if ok, why = a.keeper.disk.status(a.now()); !ok {
		return false, "addresses and cases: " + why
	}
	return true, ""
}
