package update

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/image/bundle"
)

// lockFile keeps two who install from each other.
const lockFile = "update.lock"

// Install checks and applies an update, and keeps in the data directory what came of it. What can be read twice is checked to its end before anything is
// written; of a stream the slot that does not run is written while it comes. links are the ports that have a link now.
func (b *Box) Install(r io.Reader, dir string, links []string, now func() time.Time) (o Outcome, err error) {
	unlock, err := lock(dir)
	if err != nil {
		return o, err
	}
	defer unlock()
	if file, ok := r.(io.ReadSeeker); ok {
		m, err := b.Check(file)
		if err == nil {
			_, err = file.Seek(0, io.SeekStart)
		}
		if err != nil {
			return b.fails(m, dir, err, now())
		}
	}
	m, err := b.Apply(r)
	if err != nil {
		return b.fails(m, dir, err, now())
	}
	o = b.Of(m, Waits, now())
	o.Links = links
	return o, o.Save(dir)
}

// fails keeps why an update was not installed.
func (b *Box) fails(m bundle.Manifest, dir string, why error, now time.Time) (Outcome, error) {
	o := b.Of(m, Stopped, now)
	if _, refused := errors.AsType[*RefusedError](why); refused {
		o.State = Refused
		if last, err := Load(dir); err == nil && last != nil && last.State == Waits {
			return o, why // what waits is the news, and still does
		}
	}
	o.Why = why.Error()
	return o, errors.Join(why, o.Save(dir))
}

func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another update is being written: %w", err), f.Close())
	}
	return func() { f.Close() }, nil
}
