package spool

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailweir/mailweir/appliance/records"
)

// aside puts a file of so many bytes into a spool's directory that was set aside in an earlier life, and says when it was written.
func aside(t *testing.T, dir string, after uint64, size int, at time.Time) string {
	t.Helper()
	path := segmentPath(dir, after) + unreadable
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
	return filepath.Base(path)
}

// onDisk is what a directory takes.
func onDisk(t *testing.T, dir string) (sum int64) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// What was set aside counts towards the limit and goes before any record, the oldest first, and no more of it than must; it is said.
func TestWhatWasSetAsideCountsAndGoesFirst(t *testing.T) {
	t.Parallel()
	const limit = 2 << 20
	b := newBox(t, Options{Limit: limit})
	b.say(records.KindAudit, 10)
	if err := b.spool.Close(); err != nil {
		t.Fatal(err)
	}
	dir := b.spool.opt.Dir
	old, young := aside(t, dir, 1000, 600<<10, b.at.Add(-2*time.Hour)), aside(t, dir, 500, 600<<10, b.at.Add(-time.Hour))
	b.open(Options{Dir: dir, Limit: limit})
	if st := b.spool.Stat(); st.Aside != 2 || st.AsideBytes != 1200<<10 || st.Bytes < st.AsideBytes || len(b.removed) > 0 {
		t.Errorf("%+v, removed %v", st, b.removed)
	}
	for range 20 {
		b.say(records.KindSession, 100)
		b.spool.Sync()
		if sum := onDisk(t, dir); sum > limit {
			t.Fatalf("%d bytes on the disk, the limit is %d", sum, limit)
		}
	}
	if !slices.Equal(b.removed, []string{old + ": " + asideFull}) || b.spool.Stat().Aside != 1 || len(b.losses) > 0 {
		t.Errorf("removed %v of %s and %s, lost %v", b.removed, old, young, b.losses)
	}
	b.say(records.KindSession, 3000)
	b.spool.Sync()
	b.say(records.KindSession, 1)
	if len(b.removed) != 2 || b.spool.Stat().AsideBytes != 0 || len(b.losses) == 0 {
		t.Errorf("removed %v, %d losses", b.removed, len(b.losses))
	}
	if left, _ := Unreadable(dir); len(left) > 0 {
		t.Errorf("there is still %v", left)
	}
}

// What was set aside may hold addresses: it goes when the shorter retention has passed since it was written, and not before.
func TestWhatWasSetAsideGoesWithItsRetention(t *testing.T) {
	t.Parallel()
	o := Options{Sessions: 30 * 24 * time.Hour, Records: 60 * 24 * time.Hour}
	b := newBox(t, o)
	o.Dir = b.spool.opt.Dir
	name := aside(t, o.Dir, 7, 1000, b.at)
	b.open(o)
	b.spool.Expire(b.at.Add(o.Sessions - 2*rotateAfter))
	if len(b.removed) > 0 {
		t.Errorf("too early: %v", b.removed)
	}
	b.spool.Expire(b.at.Add(o.Sessions))
	if !slices.Equal(b.removed, []string{name + ": " + asideExpired}) {
		t.Errorf("removed %v", b.removed)
	}
	// One that cannot be removed is told once, and counts on.
	stuck := segmentPath(o.Dir, 9) + unreadable
	if err := os.MkdirAll(filepath.Join(stuck, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.removed = nil
	b.open(o)
	for range 3 {
		b.spool.Expire(b.at.Add(365 * 24 * time.Hour))
	}
	if len(b.removed) != 1 || !strings.Contains(b.removed[0], "cannot be removed") || b.spool.Stat().Aside != 1 {
		t.Errorf("removed %v, %+v", b.removed, b.spool.Stat())
	}
}
