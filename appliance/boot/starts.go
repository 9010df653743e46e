package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mailweir/mailweir/appliance/durable"
)

// A box that comes down again and again soon after it began to govern, by a panic of its kernel or a hang that the watchdog ended, would keep mail from
// passing for most of the time. So starts are counted, and after startsMost in a row that did not last the next is in safe mode for a while. Power cuts
// count, too: nobody can tell them from the others.

// startsFile in the data partition has the number of starts since one lasted, or ended in order.
const startsFile = "starts"

const (
	startsMost = 5
	lasting    = 2 * time.Minute  // a start that governed so long is well
	safeTime   = 15 * time.Minute // then governing is tried again
)

// countStart counts this start, and tells whether it has to be in safe mode; then the count begins anew.
func countStart(dir string) (safe bool, err error) {
	n := 0
	text, err := os.ReadFile(filepath.Join(dir, startsFile))
	if err == nil {
		n, err = strconv.Atoi(strings.TrimSpace(string(text)))
		n = min(max(n, 0), startsMost)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	n++
	if safe = n > startsMost; safe {
		n = 0
	}
	return safe, errors.Join(err, durable.Replace(filepath.Join(dir, startsFile), fmt.Appendln(nil, n)))
}

// lasted says that this start was well.
func lasted(dir string) error {
	if err := os.Remove(filepath.Join(dir, startsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.SyncDir(dir)
}

// afterwards calls f after some time, unless ctx ends before.
func afterwards(ctx context.Context, d time.Duration, f func()) {
	go guard(func() {
		if wait(ctx, d); ctx.Err() == nil {
			f()
		}
	})
}
