package appliance

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Somebody who has the store for a moment does not keep the box from starting.
func TestTheStoreIsWaitedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "budgets"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	time.AfterFunc(storeWait/10, func() { gone <- f.Close() })
	s, err = openStore(dir)
	if err := errors.Join(err, <-gone); err != nil {
		t.Fatalf("it was given back: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
