package spool

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mailweir/mailweir/appliance/records"
)

// Where the directory should be is something else: records wait in memory, and are written once it is gone.
func TestASpoolWithoutItsDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	if err := os.WriteFile(dir, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBox(t, Options{Dir: dir})
	if len(b.faults) != 1 || len(b.unsaved) != 1 || b.spool.Stat().Fault == nil {
		t.Fatalf("told %v and %v", b.faults, b.unsaved)
	}
	b.say(records.KindAudit, 10)
	same(t, "out of memory", b.read(), numbers(1, 10))
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	b.at = b.at.Add(retryEvery)
	b.spool.retry()
	b.spool.save(false)
	if len(b.faults) != 2 || b.faults[1] != nil || len(b.unsaved) != 2 || b.unsaved[1] != nil {
		t.Errorf("told %v and %v", b.faults, b.unsaved)
	}
	b.open(Options{Dir: dir})
	same(t, "what is there in the end", b.read(), numbers(1, 10))
}

// While the disk takes nothing, what one collector has acknowledged stays in memory for the others, and for the disk.
func TestOneAcknowledgesFromMemoryAndTheOthersKeepTheirs(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	if err := os.WriteFile(dir, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBox(t, Options{Dir: dir})
	const other = "relp://192.0.2.2:2514"
	slow := b.spool.Reader(other)
	b.say(records.KindAudit, 10)
	same(t, "out of memory", b.read(), numbers(1, 10))
	b.reader.Ack(10)
	items, err := slow.Next(4)
	if err != nil || len(items) != 4 || items[0].Seq != 1 {
		t.Fatalf("the other one gets %d records: %v", len(items), err)
	}
	slow.Ack(4)
	if st := b.spool.Stat(); st.Waiting != 6 {
		t.Errorf("%d records wait, want the 6 that one collector has not got", st.Waiting)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	b.at = b.at.Add(retryEvery)
	b.spool.retry()
	b.spool.save(false)
	b.open(Options{Dir: dir})
	b.reader = b.spool.Reader(other)
	same(t, "what the other one gets in the next life", b.read(), numbers(5, 10))
	if len(b.losses) > 0 {
		t.Errorf("lost %+v", b.losses)
	}
}

// A segment that cannot be read costs its records only, and stays for somebody to look at.
func TestASegmentThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := newBox(t, Options{})
	b.say(records.KindAudit, 10)
	b.spool.Sync()
	b.at = b.at.Add(2 * rotateAfter)
	b.say(records.KindAudit, 10)
	if err := b.spool.Close(); err != nil {
		t.Fatal(err)
	}
	first := segmentPath(b.spool.opt.Dir, 0)
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(first, 0o700); err != nil { // reading it fails with EISDIR
		t.Fatal(err)
	}
	b.open(Options{Dir: b.spool.opt.Dir})
	if len(b.damage) != 1 || len(b.faults) > 0 {
		t.Errorf("told %v and %v", b.damage, b.faults)
	}
	if _, err := os.Stat(first + unreadable); err != nil {
		t.Error(err)
	}
	b.say(records.KindAudit, 5)
	b.spool.Sync()
	same(t, "the others", b.read(), numbers(11, 25))
}

// A file system without room for another file: a new collector's position is kept in memory until there is some.
func TestAPositionWithoutRoomOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,nr_inodes=5"); err != nil {
		t.Fatalf("mount a tmpfs (this test needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	b := newBox(t, Options{Dir: filepath.Join(dir, "spool")})
	b.say(records.KindAudit, 10)
	b.spool.Sync()
	ballast := filepath.Join(dir, "ballast")
	for i := 0; ; i++ { // until there is no inode left
		f, err := os.Create(ballast + string(rune('a'+i)))
		if err != nil {
			break
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r := b.spool.Reader("relp://192.0.2.2:2514")
	b.say(records.KindAudit, 5)
	b.spool.Sync()
	if items, err := r.Next(100); err != nil || len(items) != 5 {
		t.Errorf("%d records: %v", len(items), err)
	}
	r.Ack(12)
	for range 3 {
		if err := b.spool.save(false); err == nil {
			t.Error("there is room")
		}
	}
	if len(b.unsaved) != 1 || b.unsaved[0] == nil || len(b.faults) > 0 {
		t.Errorf("told %v and %v", b.unsaved, b.faults)
	}
	if err := os.Remove(ballast + "a"); err != nil {
		t.Fatal(err)
	}
	if err := b.spool.save(true); err != nil || len(b.unsaved) != 2 || b.unsaved[1] != nil {
		t.Errorf("%v, told %v", err, b.unsaved)
	}
	b.open(Options{Dir: b.spool.opt.Dir})
	if n := b.spool.Reader("relp://192.0.2.2:2514").Position(); n != 12 {
		t.Errorf("position %d", n)
	}
}
