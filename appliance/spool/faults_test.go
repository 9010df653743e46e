package spool

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/records"
)

// faulty is a disk of which sync or write fail while they are told to.
type faulty struct {
	*os.File
	disk *disk
}

type disk struct {
	mu          sync.Mutex
	sync, write error
}

func (d *disk) create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &faulty{f, d}, nil
}

func (f *faulty) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.sync != nil {
		return f.disk.sync
	}
	return f.File.Sync()
}

func (f *faulty) Write(b []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.write != nil {
		n, _ := f.File.Write(b[:len(b)/2])
		return n, f.disk.write
	}
	return f.File.Write(b)
}

func TestADiskWithFaultsLosesNothing(t *testing.T) {
	t.Parallel()
	for why, fail := range map[string]func(*disk, error){
		"EIO on fsync": func(d *disk, err error) { d.sync = err },
		"EIO on write": func(d *disk, err error) { d.write = err },
	} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			d := &disk{}
			b := newBox(t, Options{create: d.create})
			b.say(records.KindSession, 50)
			b.spool.Sync()
			same(t, "before", b.read(), numbers(1, 50))
			b.say(records.KindSession, 10) // written, and not synced yet
			fail(d, syscall.EIO)
			b.say(records.KindSession, 40)
			b.spool.Sync()
			if len(b.faults) != 1 || !errors.Is(b.faults[0], syscall.EIO) || b.spool.Stat().Fault == nil {
				t.Fatalf("told %v", b.faults)
			}
			same(t, "out of memory", b.read(), numbers(51, 100))
			for range 3 {
				b.at = b.at.Add(retryEvery)
				b.spool.retry()
				b.say(records.KindAudit, 1)
			}
			fail(d, nil)
			b.at = b.at.Add(retryEvery)
			b.spool.retry()
			if len(b.faults) != 2 || b.faults[1] != nil {
				t.Fatalf("told %v", b.faults)
			}
			b.open(Options{Dir: b.spool.opt.Dir})
			same(t, "what the disk has in the end", b.read(), numbers(1, 103))
			if len(b.losses) > 0 {
				t.Errorf("%+v", b.losses)
			}
		})
	}
}

// While the disk takes nothing for long, memory is bounded and what does not fit is stated.
func TestMemoryIsBoundedWhileTheDiskTakesNothing(t *testing.T) {
	t.Parallel()
	d := &disk{}
	b := newBox(t, Options{create: d.create})
	d.write = syscall.EIO
	b.say(records.KindAudit, MemoryRecords+100)
	same(t, "the newest", b.read(), numbers(101, MemoryRecords+100))
	b.tellsDropped()
	var lost uint64
	for _, l := range b.losses {
		if lost += l.Numbers.Count(); l.Why != Unwritable {
			t.Errorf("%+v", l)
		}
	}
	if lost != 100 {
		t.Errorf("%d stated", lost)
	}
	b.reader.Ack(b.chain.Seq()) // all from memory: the disk is tried all the same, and heals once
	for range 3 {
		b.at = b.at.Add(retryEvery)
		b.spool.retry()
	}
	d.write = nil
	b.at = b.at.Add(retryEvery)
	b.spool.retry()
	if len(b.faults) != 2 || b.faults[1] != nil {
		t.Errorf("told %v", b.faults)
	}
}

// A file system that is full, with the kernel's own ENOSPC.
func TestAFullFileSystemLosesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount a tmpfs (this test needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	b := newBox(t, Options{Dir: filepath.Join(dir, "spool")})
	b.say(records.KindSession, 100)
	b.spool.Sync()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the file system takes more than it should: %v", err)
	}
	b.say(records.KindSession, 300)
	b.spool.Sync()
	if len(b.faults) != 1 || !errors.Is(b.faults[0], syscall.ENOSPC) {
		t.Fatalf("told %v", b.faults)
	}
	same(t, "while it is full", b.read(), numbers(1, 400))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	b.at = b.at.Add(retryEvery)
	b.spool.retry()
	b.open(Options{Dir: b.spool.opt.Dir})
	same(t, "what is there in the end", b.read(), numbers(1, 400))
}
