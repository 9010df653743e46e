package spool

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// stuck is a file that, when it is told to, takes neither a write nor a cut.
type stuck struct {
	file
	fails *bool
}

var errStuck = errors.New("input/output error")

func (s *stuck) Write(b []byte) (int, error) {
	if *s.fails {
		return 0, errStuck
	}
	return s.file.Write(b)
}

func (s *stuck) Truncate(size int64) error {
	if *s.fails {
		return errStuck
	}
	return s.file.Truncate(size)
}

// A segment that can neither be written nor be cut is closed, and nobody can sync it any more: what it took since the last sync does not count as
// on the disk, and is written anew.
func TestWhatCannotBeSyncedIsNotOnTheDisk(t *testing.T) {
	t.Parallel()
	fails := false
	b := newBox(t, Options{create: func(path string) (file, error) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		return &stuck{f, &fails}, nil
	}})
	b.say(records.KindAudit, 5)
	b.spool.Sync()
	b.say(records.KindAudit, 5) // written, and not on the disk yet
	fails = true
	b.say(records.KindAudit, 1)
	b.spool.Sync()
	b.spool.mu.Lock()
	if b.spool.durable != 5 {
		t.Errorf("up to %d are said to be on the disk, of which 5 are", b.spool.durable)
	}
	b.spool.mu.Unlock()
	fails = false
	b.at = b.at.Add(2 * retryEvery)
	b.spool.retry()
	b.spool.mu.Lock()
	if b.spool.durable != 11 || b.spool.fault != nil {
		t.Errorf("up to %d are on the disk in the end: %v", b.spool.durable, b.spool.fault)
	}
	b.spool.mu.Unlock()
	same(t, "all", b.read(), numbers(1, 11))
}

// A new segment whose directory cannot be synced is closed and goes.
func TestASegmentWhoseDirectoryCannotBeSyncedGoes(t *testing.T) {
	t.Parallel()
	var made *os.File
	o := Options{Dir: t.TempDir(), syncDir: func(string) error { return errStuck }, Now: time.Now, create: func(path string) (file, error) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		made = f
		return f, err
	}}
	g, err := newSegment(o, 0, "")
	if !errors.Is(err, errStuck) || g != nil {
		t.Fatalf("%v, %v", g, err)
	}
	if err := made.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file is still open: %v", err)
	}
	if _, err := os.Stat(made.Name()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}
